"""The lifter's image stream: rendered sequences as the front end sees them, windows, training."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from app.tracks import JointTrack
from drawn_features import CPU, NO_ERRORS, drawn_features
from engines.backends.onnxruntime_backend import OnnxRuntimeBackend
from engines.errors import UserError
from engines.networks.rig_lifter import RigLifterConfig
from engines.shipping import ship_network
from engines.skeleton import MIRROR
from marker_networks import joint_colours, marker_pose_network
from rendered_scenes import WIDTH, marker_scene
from tools.studio.shards import scene_path, write_scene
from tools.train import app
from tools.training.feature_pass import FeaturePass
from tools.training.feature_scenes import (
    FeatureScene,
    load_feature_scenes,
    read_feature_scene,
    save_feature_scene,
)
from tools.training.lifter_config import LifterTaskConfig, RenderedConfig
from tools.training.lifter_task import LifterTask
from tools.training.loop import Trainer
from tools.training.loop_config import LoopConfig
from tools.training.rendered_errors import disturb, hide, newest_at_sets
from tools.training.rendered_evaluation import evaluate_rendered
from tools.training.rendered_windows import WindowBank
from tools.training.window_reading import LEAD, Pictures, read_windows
from walking import walking_clip, write_mocap


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small networks are slower on several threads, by far where the cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pose2d(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The marker network as it would ship."""
    folder = tmp_path_factory.mktemp("pose2d")
    ship_network(marker_pose_network(), folder, "pose2d", name="marker", training={})
    return folder


@pytest.fixture(scope="module")
def feature_pass(pose2d: Path) -> FeaturePass:
    return FeaturePass(OnnxRuntimeBackend(pose2d / "pose2d.onnx", 1))


@pytest.fixture(scope="module")
def walker(feature_pass: FeaturePass) -> FeatureScene:
    return feature_pass.see(marker_scene(walking_clip(12, 0), 3))


# ---- what the front end finds


def test_the_pass_finds_the_joints_and_their_context(walker: FeatureScene) -> None:
    found = walker.keypoints[..., 2] > 0
    there = np.isfinite(walker.offset_s)
    assert (~there).sum() == 3, "each camera lost a picture"
    assert not found[~there].any()
    assert found[there].mean() > 0.95
    pixels = np.linalg.norm(walker.keypoints[..., :2] - walker.truth, axis=-1) * WIDTH / 2
    assert np.median(pixels[found]) < 0.6
    colours = np.abs(walker.context.astype(np.float32) - joint_colours()).max(-1)
    assert np.median(colours[found]) < 0.25
    assert np.abs(walker.offset_s[there]).max() <= 0.0151


def test_the_truth_is_what_the_cameras_saw(walker: FeatureScene) -> None:
    """Seen from straight ahead, picture and camera axes agree about left, right, up and down."""
    camera = np.einsum("vij,tkj->tvki", walker.rotation, walker.joints_m - walker.joints_m[:, :1])
    there = np.isfinite(walker.offset_s)
    shown = walker.truth - walker.truth[..., :1, :]
    for axis in (0, 1):
        together = np.corrcoef(camera[there][..., axis].ravel(), shown[there][..., axis].ravel())
        assert together[0, 1] > 0.97


def test_a_mirrored_scene_is_the_mirror_image(feature_pass: FeaturePass) -> None:
    scene = marker_scene(walking_clip(6, 1), 2, seed=3)
    plain, mirrored = feature_pass.see(scene), feature_pass.see(scene, mirror=True)
    flip = np.array([-1.0, 1.0], np.float32)
    assert np.allclose(mirrored.truth, plain.truth[:, :, MIRROR] * flip, atol=1e-5, equal_nan=True)
    relative = plain.joints_m - plain.joints_m[:, :1]
    camera = np.einsum("vij,tkj->tvki", plain.rotation, relative)
    relative = mirrored.joints_m - mirrored.joints_m[:, :1]
    other = np.einsum("vij,tkj->tvki", mirrored.rotation, relative)
    assert np.allclose(other, camera[:, :, MIRROR] * (-1, 1, 1), atol=1e-5)
    assert np.allclose(np.linalg.det(mirrored.rotation), 1, atol=1e-5)
    # Its pictures are mirrored too: the disc of a joint is where the other side's truth is.
    found = mirrored.keypoints[..., 2] > 0
    pixels = np.abs(mirrored.keypoints[..., :2] - plain.truth * flip).max(-1) * WIDTH / 2
    assert np.median(pixels[found]) < 0.6


def test_scenes_come_back_as_they_were(walker: FeatureScene, tmp_path: Path) -> None:
    save_feature_scene(walker, tmp_path / "train/one.safetensors")
    (back,) = load_feature_scenes(tmp_path, "train")
    for field in dataclasses.fields(FeatureScene):
        mine, other = getattr(walker, field.name), getattr(back, field.name)
        assert np.array_equal(mine, other, equal_nan=True) if field.name != "digest" else True
    assert back.digest == walker.digest


@pytest.mark.parametrize("damage", ["cut", "shape", "values"])
def test_damaged_scenes_are_one_line(walker: FeatureScene, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "scene.safetensors"
    broken = walker
    if damage == "shape":
        broken = dataclasses.replace(walker, rotation=walker.rotation[:1])
    if damage == "values":
        broken = dataclasses.replace(walker, joints_m=walker.joints_m * np.float32(np.nan))
    save_feature_scene(broken, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"scene\.safetensors") as error:
        read_feature_scene(path)
    assert "\n" not in str(error.value)


def test_scenes_of_two_networks_do_not_mix(walker: FeatureScene, tmp_path: Path) -> None:
    save_feature_scene(walker, tmp_path / "train/a.safetensors")
    save_feature_scene(
        dataclasses.replace(walker, digest="other"), tmp_path / "train/b.safetensors"
    )
    with pytest.raises(UserError, match="another pose network"):
        load_feature_scenes(tmp_path, "train")
    with pytest.raises(UserError, match="no scenes"):
        load_feature_scenes(tmp_path, "test")


# ---- windows


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.15, 1.0), missing=st.floats(0.0, 0.6))
def test_windows_are_read_as_live(seed: int, share: float, missing: float) -> None:
    """Batched reading gives what the live application's tracks give for the same pictures."""
    random = np.random.default_rng(seed)
    frames, views, channels = 9, 3, 2
    count = LEAD + frames
    keypoints = random.normal(size=(count, views, 17, 3)).astype(np.float32)
    keypoints[..., 2] = random.uniform(0.1, 1, (count, views, 17))
    keypoints[random.uniform(size=(count, views, 17)) < missing] = 0
    kept = (random.uniform(size=(count, views)) < share) & (keypoints[..., 2] > 0).any(-1)
    times = (np.arange(count)[:, None] - LEAD) / 30 + random.uniform(-0.015, 0.015, (count, views))
    context = random.normal(size=(count, views, 17, channels)).astype(np.float32)
    pictures = Pictures(
        torch.from_numpy(keypoints)[None],
        torch.from_numpy(context)[None],
        torch.from_numpy(times).float()[None],
        torch.from_numpy(kept)[None],
    )
    joints, features, mask = (part[0].numpy() for part in read_windows(pictures, frames))
    wanted = np.round(np.arange(frames) / 30 * 1e9).astype(np.int64)
    for view in range(views):
        track = JointTrack()
        for picture in np.flatnonzero(kept[:, view]):
            time_ns = 10**9 + int(times[picture, view] * 1e9)
            track.add(time_ns, keypoints[picture, view], context[picture, view])
        live = track.sample(wanted + 10**9)
        assert np.array_equal(live[..., 2] > 0, joints[:, view, :, 2] > 0)
        known = live[..., 2] > 0
        assert np.allclose(live[known], joints[:, view][known], atol=2e-3)
        live_features, live_mask = track.sample_context(wanted + 10**9, channels)
        assert np.array_equal(live_mask, mask[:, view])
        assert np.allclose(live_features, features[:, view] * live_mask[:, None, None], atol=1e-6)


def test_windows_hold_the_scene_and_the_truth() -> None:
    scenes = [drawn_features(30, 2, 0), drawn_features(20, 4, 1), drawn_features(8, 6, 2)]
    bank = WindowBank(scenes, 9, CPU)
    assert bank.most_views == 4, "the last scene is too short for a window"
    random = torch.Generator().manual_seed(0)
    windows = bank.choose(64, 2, random)
    assert set(windows.scene.tolist()) == {0, 1}
    assert all(len(set(views)) == 2 for views in windows.views.tolist())
    assert set(bank.choose(16, 4, random).scene.tolist()) == {1}
    batch = bank.batch(windows, bank.pictures(windows))
    assert torch.isfinite(batch.keypoints).all() and torch.isfinite(batch.target).all()
    for n in range(8):
        scene = scenes[int(windows.scene[n])]
        start, view = int(windows.start[n]), int(windows.views[n, 1])
        now = scene.joints_m[start + 4] - scene.joints_m[start + 4, 0]
        wanted = now @ scene.rotation[view].T * float(batch.unit[n])
        assert np.allclose(batch.target[n, 4, 1].numpy(), wanted, atol=1e-4)
        # Drawn at the instant, read out from pictures a few milliseconds beside it.
        off = batch.keypoints[n, 4, 1, :, :2].numpy() - scene.truth[start + 4, view]
        assert np.abs(off).max() < 0.02
    assert (batch.context_mask == 1).all()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"sigma": (0.01, 0.01)}, "moved"),
        ({"slow_share": 1.0}, "gone"),
        ({"missing_pictures": 0.3}, "gone"),
        ({"absent_share": 1.0}, "gone"),
        ({"hidden_views": 1.0}, "hidden"),
        ({"swap_share": 1.0}, "moved"),
        ({"doubt": (0.5, 0.6)}, "doubted"),
    ],
)
def test_each_error_does_what_it_says(change: dict[str, object], kind: str) -> None:
    bank = WindowBank([drawn_features(60, 3)], 27, CPU)
    random = torch.Generator().manual_seed(0)
    pictures = bank.pictures(bank.choose(32, 3, random))
    same = disturb(pictures, NO_ERRORS, random)
    assert torch.allclose(same.keypoints, pictures.keypoints)
    assert torch.equal(same.kept, pictures.kept)
    worse = disturb(pictures, dataclasses.replace(NO_ERRORS, **change), random)
    gone = (pictures.kept & ~worse.kept).float().mean()
    hidden = (worse.keypoints[..., 2] == 0).float().mean()
    moved = (worse.keypoints[..., :2] != pictures.keypoints[..., :2]).any(-1) & (
        worse.keypoints[..., 2] > 0
    )
    assert (0.1 < float(gone) < 0.9) == (kind == "gone")
    assert (0.05 < float(hidden) < 0.5) == (kind == "hidden")
    assert (float(moved.float().mean()) > 0.1) == (kind == "moved")
    if kind == "doubted":
        assert float(worse.keypoints[..., 2].max()) < 0.55
    if change == {"slow_share": 1.0}:
        assert worse.kept[:, -1].all(), "a window ends with the newest set"


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 30), st.floats(0.1, 1.0))
@settings(max_examples=60, deadline=None)
def test_slow_sets_show_the_newest_picture_of_each_camera(
    seed: int, step: int, count: int, share: float
) -> None:
    kept = torch.rand(1, count, 2, generator=torch.Generator().manual_seed(seed)) < share
    found = newest_at_sets(kept, torch.tensor([[step]]))[0]
    for view in range(2):
        wanted = set()
        for instant in range(count - 1, -1, -step):
            before = [i for i in range(instant + 1) if kept[0, i, view]]
            wanted.update(before[-1:])
        assert set(found[:, view].nonzero()[:, 0].tolist()) == wanted


def test_a_missing_joint_has_no_context() -> None:
    bank = WindowBank([drawn_features(60, 2)], 27, CPU)
    windows = bank.choose(4, 2, torch.Generator().manual_seed(0))
    pictures = bank.pictures(windows)
    hidden = torch.zeros(1, 1, 1, 17, dtype=torch.bool)
    hidden[..., 5] = True
    batch = bank.batch(windows, hide(pictures, hidden))
    assert (batch.keypoints[:, :, :, 5] == 0).all()
    assert (batch.context[:, :, :, 5] == 0).all()
    assert (batch.context[:, :, :, 4] != 0).any()


# ---- training


def test_the_stream_learns_what_only_the_picture_tells(tmp_path: Path) -> None:
    features = tmp_path / "features"
    for split, seeds in (("train", range(6)), ("validation", range(6, 8)), ("test", range(8, 10))):
        for seed in seeds:
            scene = drawn_features(30, 2, seed)
            save_feature_scene(scene, features / split / f"{seed}.safetensors")
    config = LifterTaskConfig(
        network=RigLifterConfig(
            frames=6, width=32, joint_width=16, depth=1, joint_depth=1, context_channels=4
        ),
        views_per_batch=24,
        validation_windows=2,
        rendered=RenderedConfig(
            share=0.75, lent=0.0, turn_deg=0.0, zoom=0.0, validation_windows=16
        ),
    )
    task = LifterTask(config, write_mocap(tmp_path / "walk.npz"), CPU, features)
    loop = LoopConfig(steps=120, learning_rate=5e-3, warmup_steps=10, validate_every=120)
    trainer = Trainer(task, loop, tmp_path / "run", CPU)
    before = trainer.validate()
    assert before["seen_mpjpe"] == pytest.approx(before["blind_mpjpe"], rel=1e-5)
    trainer.run()
    after = trainer.validate()
    assert after["seen_mpjpe"] < 0.8 * after["blind_mpjpe"], "context tells the depth"
    bank = WindowBank(load_feature_scenes(features, "test"), 6, CPU)
    rows = evaluate_rendered(trainer.average.eval(), bank, 8)
    assert [(row.name, row.views) for row in rows] == [
        (name, views) for name in ("detected", "slow", "taken") for views in (1, 2)
    ]
    assert all(row.worth > 0.1 for row in rows if row.name == "detected")
    assert all(row.with_pa < row.with_mpjpe for row in rows)


PRESET = """
task:
  network: {frames: 6, width: 32, joint_width: 16, depth: 1, joint_depth: 1, context_channels: 3}
  views_per_batch: 16
  validation_windows: 4
  rendered: {share: 0.5, validation_windows: 4}
loop: {steps: 4, warmup_steps: 2, validate_every: 4}
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.timeout(1500)  # minutes on a machine that does much else
def test_commands_from_pictures_to_weights(pose2d: Path, tmp_path: Path) -> None:
    data, features = tmp_path / "data", tmp_path / "features"
    for seed, split in enumerate(("train", "validation", "test")):
        scene = marker_scene(walking_clip(8, seed), 2, seed, split)
        write_scene(scene, scene_path(data / split, "crops", seed))
    find = ("features", "--data", data, "--out", features, "--pose2d", pose2d, "--processes", 1)
    found = run(*find)
    assert found.exit_code == 0, found.stderr
    names = sorted(str(path.relative_to(features)) for path in features.rglob("*.safetensors"))
    assert names == [
        "test/crops-000002.safetensors",
        "train/crops-000000-mirrored.safetensors",
        "train/crops-000000.safetensors",
        "validation/crops-000001.safetensors",
    ]
    again = run(*find)
    assert again.exit_code == 0 and "wrote 0 scenes" in again.stdout, again.stderr
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
    assert card["context_of"] == json.loads((pose2d / "pose2d.json").read_text())["weights_digest"]
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


def test_scenes_too_short_for_a_window_are_counted() -> None:
    bank = WindowBank([drawn_features(60, 2), drawn_features(20, 3)], 27, CPU)
    assert bank.short_scenes == 1 and bank.most_views == 2
