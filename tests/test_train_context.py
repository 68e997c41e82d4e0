"""The lifter's image stream: from pictures to weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from drawn_features import CPU, drawn_features
from engines.networks.rig_lifter import RigLifterConfig
from rendered_scenes import marker_scene
from tools.studio.shards import scene_path, write_scene
from tools.train import app
from tools.training.feature_scenes import (
    load_feature_scenes,
    save_feature_scene,
)
from tools.training.lifter_config import LifterTaskConfig, RenderedConfig
from tools.training.lifter_task import LifterTask
from tools.training.loop import Trainer
from tools.training.loop_config import LoopConfig
from tools.training.rendered_evaluation import evaluate_rendered
from tools.training.rendered_windows import WindowBank
from walking import walking_clip, write_mocap


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small networks are slower on several threads, by far where the cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_stream_learns_what_only_the_picture_tells(tmp_path: Path) -> None:
    features = tmp_path / "features"
    for split, seeds in (("train", range(6)), ("validation", range(6, 8)), ("test", range(8, 10))):
        for seed in seeds:
            scene = drawn_features(30, 2, seed)
            save_feature_scene(scene, features / split / f"{seed}.safetensors")
    config = LifterTaskConfig(
        network=RigLifterConfig(
            frames=6, width=32, joint_width=16, depth=1, joint_depth=1, context_channels=17
        ),
        views_per_batch=24,
        validation_windows=2,
        rendered=RenderedConfig(
            share=0.75, lent=0.0, turn_deg=0.0, zoom=0.0, validation_windows=16
        ),
    )
    task = LifterTask(config, write_mocap(tmp_path / "walk.npz"), CPU, features)
    loop = LoopConfig(steps=200, learning_rate=5e-3, warmup_steps=10, validate_every=200)
    trainer = Trainer(task, loop, tmp_path / "run", CPU)
    before = trainer.validate()
    assert before["seen_mpjpe"] == pytest.approx(before["blind_mpjpe"], rel=1e-5)
    trainer.run()
    after = trainer.validate()
    assert after["seen_mpjpe"] < 0.8 * after["blind_mpjpe"], "context tells the depth"
    bank = WindowBank(load_feature_scenes(features, "test"), 6, CPU)
    rows = evaluate_rendered(trainer.average.eval(), bank, 8)
    assert [(row.name, row.views) for row in rows] == [
        (name, views) for name in ("detected", "legs away", "slow", "taken") for views in (1, 2)
    ]
    assert all(row.worth > 0.1 for row in rows if row.name == "detected")
    met = [row for row in rows if row.name not in ("legs away", "taken")]
    # Procrustes lowers squared distances, which these hardly differ in.
    assert all(row.with_pa < 1.05 * row.with_mpjpe for row in met)
    for row in rows:
        # One view has nothing to be fused with; two lie apart in depth and meet in the middle.
        if row.views == 1:
            assert row.fused_mpjpe == pytest.approx(row.with_mpjpe, rel=1e-4)
        elif row in met:  # the others this network has never met
            assert row.fused_mpjpe < row.with_mpjpe


PRESET = """
task:
  network: {frames: 6, width: 32, joint_width: 16, depth: 1, joint_depth: 1, context_channels: 17}
  views_per_batch: 16
  validation_windows: 4
  rendered: {share: 0.5, validation_windows: 4}
loop: {steps: 4, warmup_steps: 2, validate_every: 4}
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.timeout(1500)  # minutes on a machine that does much else
def test_commands_from_pictures_to_weights(marker_pose2d: Path, tmp_path: Path) -> None:
    data, features = tmp_path / "data", tmp_path / "features"
    for seed, split in enumerate(("train", "validation", "test")):
        scene = marker_scene(walking_clip(8, seed), 2, seed, split)
        write_scene(scene, scene_path(data / split, "crops", seed))
    find = (
        "features",
        "--data",
        data,
        "--out",
        features,
        "--pose2d",
        marker_pose2d,
        "--processes",
        1,
    )
    found = run(*find)
    assert found.exit_code == 0, found.stderr
    names = sorted(str(path.relative_to(features)) for path in features.rglob("*.safetensors"))
    assert names == [
        "test/crops-000002.safetensors",
        "train/crops-000000.safetensors",
        "validation/crops-000001.safetensors",
    ]
    again = run(*find)
    assert again.exit_code == 0 and "wrote 0 scenes" in again.stdout, again.stderr
    behind = run(*find, "--boards", 1.0)  # none of those that are there was made like this
    assert behind.exit_code == 0 and "wrote 3 scenes" in behind.stdout, behind.stderr
    assert {scene.boards for scene in load_feature_scenes(features, "train")} == {1.0}
    restored = run(*find)
    assert restored.exit_code == 0 and "wrote 3 scenes" in restored.stdout, restored.stderr
    assert {scene.boards for scene in load_feature_scenes(features, "train")} == {0.0}
    unseen = run(*find, "--out", tmp_path / "unseen", "--unseen-from", 1)
    assert unseen.exit_code == 0, unseen.stderr
    assert not list((tmp_path / "unseen").rglob("train/*.safetensors"))
    assert list((tmp_path / "unseen").rglob("validation/*.safetensors"))

    preset = tmp_path / "tiny.yaml"
    preset.write_text(PRESET)
    mocap = write_mocap(tmp_path / "walk.npz")
    common = ("lifter", "--mocap", mocap, "--preset", preset, "--folder", tmp_path / "run")
    common = (*common, "--threads", 1)
    trained = run(*common, "--features", features)
    assert trained.exit_code == 0, trained.stderr
    exported = run(*common, "--features", features, "--export", tmp_path / "out")
    assert exported.exit_code == 0, exported.stderr
    card = json.loads((tmp_path / "out/lifter.json").read_text())
    assert card["context_stream"] == "trained"
    assert (
        card["context_of"]
        == json.loads((marker_pose2d / "pose2d.json").read_text())["weights_digest"]
    )
    assert card["training"]["validation_mm"]["seen_mpjpe"] > 0

    bare = run(*common, "--export", tmp_path / "bare", "--pose-only")
    assert bare.exit_code == 0, bare.stderr
    card = json.loads((tmp_path / "bare/lifter.json").read_text())
    assert card["context_stream"] == "untrained" and card["context_of"] is None
    assert (tmp_path / "bare/lifter.onnx").stat().st_size < (
        tmp_path / "out/lifter.onnx"
    ).stat().st_size

    start = ("--start", tmp_path / "out/lifter.safetensors", "--folder", tmp_path / "second")
    second = run(*common, "--features", features, *start)
    assert second.exit_code == 0, second.stderr

    report = tmp_path / "report.json"
    weights = tmp_path / "out/lifter.onnx"
    measure = ("lifter", "--preset", preset, "--evaluate", weights, "--features", features)
    measured = run(*measure, "--windows", 4, "--report", report)
    assert measured.exit_code == 0, measured.stderr
    rows = json.loads(report.read_text())["rendered"]
    assert {(row["name"], row["views"]) for row in rows} >= {("detected", 1), ("detected", 2)}
    assert all(row["with_mpjpe"] > 0 for row in rows)

    for missing, word in (((), "--features"), (("--features", tmp_path), "no scenes")):
        refused = run(*common, *missing, "--folder", tmp_path / "third")
        assert refused.exit_code == 2 and word in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
