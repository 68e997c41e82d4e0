"""Training the lifter: the loop, its checkpoints, its presets, its command."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from engines.errors import UserError
from engines.networks.rig_lifter import RigLifterConfig
from tests.lifter_training import CPU, PRESET, ROOT, command, run_command, trainer
from tests.two_processes import run_in_two
from tools.training.lifter_config import LifterPreset, LifterTaskConfig
from tools.training.lifter_task import LifterTask
from tools.training.loop import Trainer
from tools.training.loop_config import LoopConfig
from tools.training.presets import load_preset


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(PRESET)
    return path


def test_stopping_and_going_on_changes_nothing(mocap: Path, tmp_path: Path) -> None:
    whole = trainer(mocap, tmp_path / "whole")
    for _ in range(6):
        whole.step()
    first = trainer(mocap, tmp_path / "parts")
    for _ in range(3):
        first.step()
    first.save()
    second = trainer(mocap, tmp_path / "parts")
    assert second.resume()
    for _ in range(3):
        second.step()
    for mine, other in ((whole.network, second.network), (whole.average, second.average)):
        for name, value in mine.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def test_training_learns(mocap: Path, tmp_path: Path) -> None:
    run = trainer(mocap, tmp_path, steps=150)
    before = run.validate()["score"]
    run.run()
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["score"]) < 0.75 * before
    assert float(rows[-1]["rate"]) < 0.02 * run.config.learning_rate
    assert int(rows[-1]["step"]) == 150


def test_a_checkpoint_of_another_network_is_one_line(mocap: Path, tmp_path: Path) -> None:
    run = trainer(mocap, tmp_path)
    run.save()
    network = RigLifterConfig(frames=6, width=48, joint_width=16, depth=1, joint_depth=1)
    task = LifterTask(LifterTaskConfig(network=network, validation_windows=2), mocap, CPU)
    other = Trainer(task, LoopConfig(), tmp_path, CPU)
    with pytest.raises(UserError, match=r"checkpoint\.pt does not fit") as error:
        other.resume()
    assert "\n" not in str(error.value)
    run.checkpoint_path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be read"):
        run.resume()


def test_the_shipped_presets_are_valid() -> None:
    paths = sorted((ROOT / "configs/train").glob("lifter*.yaml"))
    assert paths
    for path in paths:
        assert load_preset(path, LifterPreset).task.network.frames == 27


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("loop: {step: 3}", ("loop.step", "steps")),
        ("task: {network: {widht: 3}}", ("task.network.widht", "width")),
        ("loop: {steps: many}", ("loop.steps",)),
        ("loop: 3", ("loop",)),
        ("loop: [", ("YAML",)),
    ],
)
def test_a_bad_preset_is_one_line_that_names_the_key(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_preset(path, LifterPreset)
    for word in (*words, "bad.yaml"):
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.timeout(1200)  # minutes on a machine that does much else
def test_command_trains_exports_and_evaluates(mocap: Path, preset: Path, tmp_path: Path) -> None:
    common = ("--mocap", mocap, "--preset", preset, "--folder", tmp_path / "run", "--threads", 1)
    trained = run_command(*common)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run/checkpoint.pt").exists() and (tmp_path / "run/metrics.png").exists()
    exported = run_command(*common, "--export", tmp_path / "out")
    assert exported.returncode == 0, exported.stderr
    card = json.loads((tmp_path / "out/lifter.json").read_text())
    assert card["training"]["steps"] == 8
    assert card["training"]["validation_mm"]["full_mpjpe"] > 0
    report = tmp_path / "report.json"
    weights = tmp_path / "out/lifter.onnx"
    measured = run_command(*common, "--evaluate", weights, "--windows", 4, "--report", report)
    assert measured.returncode == 0, measured.stderr
    result = json.loads(report.read_text())
    assert [row["name"] for row in result["settings"]] == ["sketch", "full", "live"]
    assert [row["views"] for row in result["by_views"]] == list(range(1, 9))
    assert [row["name"] for row in result["by_people"]] == ["full, cmu_01"]
    assert result["settings"][0]["mpjpe"] > result["settings"][0]["pa_mpjpe"] > 0


@pytest.mark.timeout(1200)
def test_interrupted_training_goes_on(mocap: Path, preset: Path, tmp_path: Path) -> None:
    preset.write_text(PRESET.replace("steps: 8", "steps: 100000"))
    arguments = ("--mocap", mocap, "--preset", preset, "--folder", tmp_path, "--threads", 1)
    log = tmp_path / "metrics.csv"
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 400
    while not log.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "run again to go on" in output
    stopped = int(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"])
    assert stopped >= 4
    preset.write_text(PRESET.replace("steps: 8", f"steps: {stopped + 4}"))
    again = run_command(*arguments)
    assert again.returncode == 0, again.stderr
    assert f"going on at step {stopped}" in again.stdout
    assert int(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"]) == stopped + 4


@pytest.mark.timeout(1200)
def test_two_processes_train_one_network(mocap: Path, preset: Path, tmp_path: Path) -> None:
    arguments = ("--mocap", mocap, "--preset", preset, "--folder", tmp_path, "--threads", 1)
    run_in_two(*command(*arguments)[1:])
    assert int(torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"]) == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("--mocap",)),
        (("--mocap", "nowhere.npz"), ("nowhere.npz", "not found")),
        (("--mocap", "x", "--preset", "nowhere.yaml"), ("nowhere.yaml",)),
        (("--mocap", "x", "--export", "a", "--evaluate", "b"), ("exclude",)),
        (("--mocap", "x", "--evaluate", "nowhere.onnx"), ("nowhere.onnx",)),
        (("--mocap", "x", "--folder", "nowhere", "--export", "a"), ("checkpoint.pt",)),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...],
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from typer.testing import CliRunner

    from tools.train import app

    monkeypatch.delenv("DSVT_MOCAP", raising=False)
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["lifter", *arguments])
    assert result.exit_code == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
