"""Training the 2D networks: the loop, its commands, mistakes that people make with them."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from engines.networks.catalog import load_network
from engines.networks.light_cpn import LightCpnConfig
from picture_scenes import write_scenes
from tools.train import app
from tools.training.joint_readout import ReadoutConfig
from tools.training.loop import Trainer
from tools.training.loop_config import LoopConfig
from tools.training.pose2d_task import Pose2dTask, Pose2dTaskConfig
from tools.training.presets import load_preset
from tools.training.stages import PictureStage
from tools.training.vision_command import DetectorPreset, Pose2dPreset

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")

NETWORK = "{height: 64, width: 48, stem: 8, stages: [8, 8, 8, 8], blocks: [1, 1, 1, 1], pyramid: 8}"
POSE_PRESET = f"""
task:
  network: {NETWORK}
  stages: [{{until: 0.5, height: 32, width: 32}}, {{until: 1.0, height: 64, width: 48}}]
  batch: 2
  validation_crops: 4
loop: {{steps: 6, warmup_steps: 2, validate_every: 3, checkpoint_minutes: 0.0, bfloat16: true}}
"""
DETECTOR_PRESET = """
task:
  height: 64
  width: 64
  stages: [{until: 0.5, height: 32, width: 32}, {until: 1.0, height: 64, width: 64}]
  batch: 2
  validation_pictures: 4
loop: {steps: 4, warmup_steps: 2, validate_every: 2, checkpoint_minutes: 0.0}
"""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of both kinds for every split."""
    return write_scenes(tmp_path_factory.mktemp("scenes"))


# ---- the loop


def pose_trainer(data: Path, folder: Path, steps: int = 6) -> Trainer:
    network = LightCpnConfig(64, 48, 8, (8, 8, 8, 8), (1, 1, 1, 1), 2, 8)
    stages = (PictureStage(0.5, 32, 32), PictureStage(1.0, 64, 48))
    config = Pose2dTaskConfig(network=network, stages=stages, batch=2, validation_crops=4)
    loop = LoopConfig(steps=steps, warmup_steps=2, validate_every=3, checkpoint_minutes=0.0)
    return Trainer(Pose2dTask(config, data, CPU), loop, folder, CPU)


def test_what_is_told_of_joints_can_be_learned_alone(data: Path, tmp_path: Path) -> None:
    network = LightCpnConfig(64, 48, 8, (8, 8, 8, 8), (1, 1, 1, 1), 2, 8)
    config = Pose2dTaskConfig(
        network=network,
        stages=(PictureStage(1.0, 64, 48),),
        batch=2,
        readout=ReadoutConfig(found_share=0.5, found_heat=0.0),
        context_only=True,
        validation_crops=4,
    )
    loop = LoopConfig(steps=3, warmup_steps=1)
    trainer = Trainer(Pose2dTask(config, data, CPU), loop, tmp_path, CPU)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.run()
    for one in (trainer.network, trainer.average):  # its running statistics, too
        changed = {n for n, v in one.state_dict().items() if not torch.equal(before[n], v)}
        assert changed and all(name.startswith("context.") for name in changed)


def test_pose_training_goes_on_where_it_stopped(data: Path, tmp_path: Path) -> None:
    first = pose_trainer(data, tmp_path)
    before = {name: value.clone() for name, value in first.network.state_dict().items()}
    first.run()
    assert any(not torch.equal(before[n], v) for n, v in first.network.state_dict().items())
    again = pose_trainer(data, tmp_path, steps=8)
    assert again.resume() and again.state.step == 6
    for one, other in zip(
        first.average.state_dict().values(), again.average.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)
    again.run()
    assert again.state.step == 8
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [3, 6, 8]
    assert all(0 <= float(row["visible"]) <= 100 for row in rows)


def invoke(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout + result.stderr


@pytest.fixture
def presets(tmp_path: Path) -> dict[str, Path]:
    paths = {}
    for name, text in (("pose2d", POSE_PRESET), ("detector", DETECTOR_PRESET)):
        paths[name] = tmp_path / f"{name}.yaml"
        paths[name].write_text(text)
    return paths


@pytest.mark.parametrize("name", ["pose2d", "detector"])
def test_trained_exported_and_measured(
    name: str, data: Path, presets: dict[str, Path], tmp_path: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    common = (name, "--preset", presets[name], "--threads", 1)
    code, text = invoke(*common, "--data", data, "--folder", run)
    assert code == 0, text
    assert (run / "metrics.png").exists()
    code, text = invoke(*common, "--folder", run, "--export", out)
    assert code == 0, text
    card = json.loads((out / f"{name}.json").read_text())
    assert card["kind"] == name and card["training"]["steps"] in (4, 6)
    network = load_network(out / f"{name}.safetensors")
    average = torch.load(run / "checkpoint.pt", weights_only=True)["average"]
    for key, value in network.inner.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue
        trained = average[f"inner.{key}" if name == "detector" else key]
        stored = trained.half().float() if trained.dim() > 1 else trained
        assert torch.equal(value, stored), key
    images = torch.rand(2, *network.info.inputs[0].sized(2)[1:])
    session = onnxruntime.InferenceSession(
        str(out / f"{name}.onnx"), providers=["CPUExecutionProvider"]
    )
    with torch.no_grad():
        wanted = network(images)
    for one, other in zip(session.run(None, {"images": images.numpy()}), wanted, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-3 * float(other.abs().max() + 1))
    report = tmp_path / "report.json"
    weights = out / f"{name}.onnx"
    code, text = invoke(*common, "--data", data, "--evaluate", weights, "--report", report)
    assert code == 0, text
    measured = json.loads(report.read_text())
    share = measured["visible" if name == "pose2d" else "recall"]
    assert 0 <= share <= 100
    assert f"{share:.1f}" in text
    if name == "pose2d":
        measure = (*common, "--data", data, "--evaluate", weights, "--boards")
        code, text = invoke(*measure, "--report", report)
        assert code == 0, text
        assert json.loads(report.read_text())["crops"] <= measured["crops"]


def test_a_stopped_run_goes_on(data: Path, presets: dict[str, Path], tmp_path: Path) -> None:
    presets["pose2d"].write_text(POSE_PRESET.replace("steps: 6", "steps: 100000"))
    command = [
        sys.executable, "-m", "tools.train", "pose2d", "--data", str(data),
        "--preset", str(presets["pose2d"]), "--folder", str(tmp_path / "run"), "--threads", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        limit = time.monotonic() + 200
        while not (tmp_path / "run" / "checkpoint.pt").exists():
            assert process.poll() is None and time.monotonic() < limit
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 0
    stopped = int(torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"])
    assert f"stopped at step {stopped}" in output
    presets["pose2d"].write_text(POSE_PRESET.replace("steps: 6", f"steps: {stopped + 2}"))
    code, text = invoke(*command[3:])
    assert code == 0, text
    assert f"going on at step {stopped}" in text


def test_a_new_run_starts_from_given_weights(
    data: Path, presets: dict[str, Path], tmp_path: Path
) -> None:
    common = ("pose2d", "--preset", presets["pose2d"], "--data", data, "--threads", 1)
    assert invoke(*common, "--folder", tmp_path / "one")[0] == 0
    presets["pose2d"].write_text(POSE_PRESET.replace("steps: 6", "steps: 1, learning_rate: 1e-9"))
    best = tmp_path / "one" / "best.pt"
    code, text = invoke(*common, "--folder", tmp_path / "two", "--from", best)
    assert code == 0, text
    start = torch.load(best, weights_only=True)["average"]["fuse.0.0.weight"]
    after = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)["network"]
    assert torch.allclose(after["fuse.0.0.weight"], start, atol=1e-5)
    # Weights to begin with are nothing for a run that has begun: it would go on without them.
    code, text = invoke(*common, "--folder", tmp_path / "one", "--from", tmp_path / "nothing.pt")
    assert code == 2 and "a run has begun" in text

    out, two, other = tmp_path / "out", tmp_path / "two", tmp_path / "other.pt"
    first = torch.load(best, weights_only=True)["average"]
    torch.save({"average": {key: 3 * value for key, value in first.items()}}, other)
    code, text = invoke(*common, "--folder", two, "--export", out, "--from", other)
    assert code == 0, text
    name = "fuse.0.0.weight"
    second = torch.load(two / "checkpoint.pt", weights_only=True)["average"]
    mean = (3 * first[name] + second[name]) / 2
    written = load_network(out / "pose2d.safetensors").inner.state_dict()[name]
    assert torch.equal(written, mean.half().float())
    assert json.loads((out / "pose2d.json").read_text())["training"]["mean_with_start"]
    torch.save({"average": {"alien": torch.zeros(3)}}, other)
    code, text = invoke(*common, "--folder", two, "--export", out, "--from", other)
    assert code == 2
    assert "other.pt holds none of the preset's network" in text

    grown = POSE_PRESET.replace("steps: 6", "steps: 1").replace(
        "width: 48", "width: 48, mixers: [1, 0]"
    )
    presets["pose2d"].write_text(grown)
    code, text = invoke(*common, "--folder", tmp_path / "three", "--from", best)
    assert code == 0, text
    assert "best.pt lacks 12 tensors of this preset; they begin fresh" in text

    presets["pose2d"].write_text(POSE_PRESET.replace("stem: 8", "stem: 16"))
    code, text = invoke(*common, "--folder", tmp_path / "four", "--from", best)
    assert code == 2
    assert "best.pt holds none of the preset's network" in text


# ---- mistakes


@pytest.mark.parametrize("damage", ["empty", "truncated", "text"])
def test_a_damaged_scene_is_one_line(damage: str, data: Path, tmp_path: Path) -> None:
    whole = next((data / "train").glob("crops-*")).read_bytes()
    bad = {"empty": b"", "truncated": whole[: len(whole) // 2], "text": b"not a scene at all"}
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "crops-000000.safetensors").write_bytes(bad[damage])
    code, text = invoke("pose2d", "--data", tmp_path, "--folder", tmp_path / "run")
    assert code == 2
    lines = text.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert "crops-000000" in lines[0] and "delete it" in lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("--data",)),
        (("--data", "nowhere"), ("nowhere", "no crops scenes", "tools.studio data")),
        (("--data", "x", "--preset", "nowhere.yaml"), ("nowhere.yaml",)),
        (("--export", "a", "--evaluate", "b"), ("exclude",)),
        (("--data", "x", "--evaluate", "nowhere.onnx"), ("nowhere.onnx",)),
        (("--folder", "nowhere", "--export", "a"), ("checkpoint.pt",)),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DSVT_SCENES", raising=False)
    monkeypatch.chdir(ROOT)
    code, text = invoke("pose2d", *arguments)
    assert code == 2
    lines = text.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_the_presets_that_ship_are_valid() -> None:
    pose = load_preset(ROOT / "configs/train/pose2d.yaml", Pose2dPreset)
    context = load_preset(ROOT / "configs/train/pose2d_context.yaml", Pose2dPreset)
    assert context.task.context_only and context.task.network == pose.task.network
    load_preset(ROOT / "configs/train/detector.yaml", DetectorPreset)
    assert pose.task.stages[-1].until == 1.0
    last = pose.task.stages[-1]
    assert (last.height, last.width) == (pose.task.network.height, pose.task.network.width)
