"""Training the lifter: data, errors, the loop, its checkpoints, its command."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.errors import UserError
from engines.networks.rig_lifter import BODY_UNIT_BONE_LENGTH, RigLifterConfig
from engines.skeleton import MIRROR, PARENTS
from tools.training.bodies import BodyRanges, body_offsets, vary_bodies
from tools.training.keypoint_errors import KeypointErrors, observe
from tools.training.lifter_data import SKETCH_SCENES, TRAIN_SCENES, WindowSource
from tools.training.lifter_evaluation import reliability_line
from tools.training.lifter_task import LifterPreset, LifterTask, LifterTaskConfig
from tools.training.loop import Trainer
from tools.training.loop_config import LoopConfig
from tools.training.metrics import joint_errors, procrustes_errors, triangulate
from tools.training.mocap import bone_length_sum, in_split, load_mocap, subject_of
from tools.training.presets import load_preset
from tools.training.rigs import RigRanges, random_rigs
from walking import walking_clip, write_mocap

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")

PRESET = """
task:
  network: {frames: 6, width: 32, joint_width: 16, depth: 1, joint_depth: 1}
  views_per_batch: 16
  validation_windows: 4
loop: {steps: 8, warmup_steps: 2, validate_every: 4, checkpoint_minutes: 0.0}
"""


@pytest.fixture(scope="session")
def mocap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mocap(tmp_path_factory.mktemp("mocap") / "walk.npz")


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(PRESET)
    return path


def trainer(mocap: Path, folder: Path, steps: int = 8) -> Trainer:
    network = RigLifterConfig(frames=6, width=32, joint_width=16, depth=1, joint_depth=1)
    task = LifterTask(
        LifterTaskConfig(network=network, views_per_batch=16, validation_windows=4), mocap, CPU
    )
    config = LoopConfig(steps=steps, warmup_steps=2, validate_every=4, checkpoint_minutes=0.0)
    return Trainer(task, config, folder, CPU)


# ---- people


def test_nobody_is_in_two_splits() -> None:
    names = ["cmu_01_01", "cmu_02_05", "cmu_13_26", "indian_07#3", "salsa_18", "cmu_10_01"]
    names += [f"cseq_train_{clip}_1" for clip in ("jumping_jumping", "soccer_soccer")]
    for name in names:
        splits = [split for split in ("train", "validation", "test") if in_split(name, split)]
        assert len(splits) <= 1
    assert subject_of("cmu_05_06#1") == "cmu_05"
    assert in_split("cmu_13_26", "train") and in_split("cseq_train_soccer_soccer_1", "test")
    assert in_split("cseq_train_jumping_jumping_1", "train"), "a recording of subject 13"
    assert in_split("cseq_train_walking_walking_1", "validation"), "a recording of subject 2"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "not found"),
        (b"not a zip", "cannot be read"),
        ({"xyz": np.zeros((4, 16, 3)), "offsets": [0, 4], "names": ["cmu_03_01"]}, "17"),
        ({"xyz": np.zeros((4, 17, 3)), "offsets": [0, 9], "names": ["cmu_03_01"]}, "offsets"),
        ({"xyz": np.full((4, 17, 3), np.nan), "offsets": [0, 4], "names": ["cmu_03_01"]}, "finite"),
        ({"xyz": np.zeros((4, 17, 3)), "offsets": [0, 4], "names": ["cmu_01_01"]}, "no clip"),
    ],
)
def test_bad_mocap_is_one_line(tmp_path: Path, content: object, word: str) -> None:
    path = tmp_path / "mocap.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    with pytest.raises(UserError, match=word) as error:
        load_mocap(path, "train")
    assert "\n" not in str(error.value) and "mocap.npz" in str(error.value)


def test_too_short_clips_are_refused(mocap: Path) -> None:
    with pytest.raises(UserError, match="longer clips"):
        load_mocap(mocap, "train").window_starts(1000)


# ---- data


def test_cameras_look_at_the_person_and_are_rotations() -> None:
    rig = random_rigs(64, 5, RigRanges(), torch.Generator().manual_seed(0))
    identity = rig.rotation @ rig.rotation.transpose(-1, -2)
    assert torch.allclose(identity, torch.eye(3).expand_as(identity), atol=1e-5)
    assert torch.allclose(torch.linalg.det(rig.rotation), torch.ones(64, 5), atol=1e-5)
    person = torch.tensor([0.0, 0.0, 0.95]).expand(64, 1, 1, 1, 3)
    assert (rig.to_camera(person)[..., 2] > 1.0).all()
    assert (rig.rotation[..., 1, 2] < 0.1).all(), "y points down"
    assert float(rig.position[..., 2].min()) >= 0.4 and float(rig.position[..., 2].max()) <= 2.8


def test_windows_keep_units_symmetry_and_truth(mocap: Path) -> None:
    source = WindowSource(load_mocap(mocap, "train"), 6, TRAIN_SCENES, CPU)
    batch = source.draw(32, 3, torch.Generator().manual_seed(1))
    assert batch.keypoints.shape == (32, 6, 3, 17, 3)
    assert torch.isfinite(batch.keypoints).all()
    assert (batch.target[..., 0, :] == 0).all()
    length = bone_length_sum(batch.target).mean((1, 2))
    assert torch.allclose(length, torch.full_like(length, BODY_UNIT_BONE_LENGTH), atol=1e-3)
    bones = batch.world - batch.world[:, :, [max(parent, 0) for parent in PARENTS]]
    lengths = bones.norm(dim=-1)
    # Sides differ only by the small shifts of spine and thorax to one side.
    uneven = (lengths - lengths[..., list(MIRROR)]).abs().mean() / lengths.mean()
    assert float(uneven) < 0.03
    spread = lengths[..., 2].mean(1).std() / lengths[..., 2].mean()
    assert float(spread) > 0.03, "bone lengths vary between people"


def test_the_same_seed_gives_the_same_data(mocap: Path) -> None:
    source = WindowSource(load_mocap(mocap, "train"), 6, TRAIN_SCENES, CPU)
    first, second = (source.draw(4, 2, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.keypoints, second.keypoints)
    assert torch.equal(first.target, second.target)


def bones_of(joints: torch.Tensor) -> torch.Tensor:
    return (joints - joints[..., [max(parent, 0) for parent in PARENTS], :]).norm(dim=-1)


def test_without_variety_bodies_stay_as_they_are() -> None:
    body = torch.from_numpy(walking_clip(6, 0)).float()[None, :, None]
    kept = vary_bodies(body, BodyRanges(bone_sigma=0.0), torch.Generator().manual_seed(0))
    assert torch.allclose(kept, body, atol=1e-6)


def test_varied_bodies_have_even_sides_and_the_widths_asked_for() -> None:
    body = torch.from_numpy(walking_clip(6, 0)).float()[None, :, None].expand(64, -1, -1, -1, -1)
    ranges = BodyRanges(shoulder_m=(0.11, 0.24), hip_m=(0.07, 0.12), trunk=(0.8, 1.1))
    varied = vary_bodies(body, ranges, torch.Generator().manual_seed(0))
    assert torch.allclose(varied[..., 0, :], body[..., 0, :])
    lengths = bones_of(varied)
    assert torch.allclose(lengths, lengths[..., list(MIRROR)], rtol=1e-4)
    assert torch.allclose(lengths, lengths[:, :1], rtol=1e-3), "the same all through a window"
    shoulders = lengths[:, 0, 0, 11] / bones_of(body)[:, 0, 0].sum(-1) * 4.2
    assert 0.11 <= float(shoulders.min()) < 0.13 and 0.22 < float(shoulders.max()) <= 0.24


def test_turned_limbs_keep_their_lengths() -> None:
    body = torch.from_numpy(walking_clip(6, 0)).float()[None, :, None].expand(16, -1, -1, -1, -1)
    ranges = BodyRanges(bone_sigma=0.0, turn_share=1.0, tilt_share=1.0)
    turned = vary_bodies(body, ranges, torch.Generator().manual_seed(0))
    assert torch.allclose(bones_of(turned), bones_of(body), atol=1e-5)
    assert float((turned - body).norm(dim=-1).mean()) > 0.1


def test_shifted_joints_are_mirrored_and_follow_the_body() -> None:
    body = torch.from_numpy(walking_clip(6, 0)).float()[None, :, None].expand(16, -1, -1, -1, -1)
    shifted = vary_bodies(
        body, BodyRanges(bone_sigma=0.0, structure=1.0), torch.Generator().manual_seed(0)
    )
    lengths = bones_of(shifted)
    assert torch.allclose(lengths[..., 4], lengths[..., 1], atol=1e-4)
    assert float((shifted - body)[..., [7, 8, 9, 10, 11], :].norm(dim=-1).min()) > 1e-4
    kept = [0, 3, 6, 13, 16]
    assert torch.allclose(shifted[..., kept, :], body[..., kept, :], atol=1e-5)
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    local = 0.05 * torch.randn(16, 17, 3, generator=torch.Generator().manual_seed(1))
    turned = body_offsets(body @ quarter.T, local)
    assert torch.allclose(turned, body_offsets(body, local) @ quarter.T, atol=1e-5)


def test_people_of_whom_there_is_much_are_drawn_less_often(mocap: Path) -> None:
    people = load_mocap(mocap, "train")
    weights = people.window_weights(20)
    assert weights.shape == people.window_starts(20).shape
    few, many = 90 - 19, 180 - 19
    assert float(weights[-1] / weights[0]) == pytest.approx((few / many) ** 0.5, rel=1e-4)


def still_windows(frames: int = 27) -> tuple[torch.Tensor, torch.Tensor, object]:
    rig = random_rigs(48, 4, RigRanges(framed=False), torch.Generator().manual_seed(0))
    person = torch.from_numpy(walking_clip(frames, 0)).float()
    camera = rig.to_camera(person[None, :, None].expand(48, -1, -1, -1, -1))
    return rig.project(camera), camera[..., 2], rig


NO_ERRORS = KeypointErrors(
    sigma=(0.0, 0.0), slow_share=(0.0, 0.0), sure=False, outlier_share=0.0, missing_views=0.0,
    lost_limbs=0.0, swap_share=0.0, absent_share=0.0,
)  # fmt: skip


def test_without_errors_joints_are_the_truth() -> None:
    xy, depth, rig = still_windows()
    seen = observe(xy, depth, rig, NO_ERRORS, torch.Generator().manual_seed(0))
    assert torch.equal(seen[..., :2], xy)
    assert (seen[..., 2] >= 0.3).all()


def test_noise_has_the_size_and_the_memory_asked_for() -> None:
    xy, depth, rig = still_windows()
    size = xy.amax(3).sub(xy.amin(3)).amax(-1).mean(1)[:, None, :, None, None]
    memory = []
    for share in (0.0, 1.0):
        model = KeypointErrors(
            sigma=(0.01, 0.01), slow_share=(share, share), sure=False, outlier_share=0.0,
            missing_views=0.0, lost_limbs=0.0, swap_share=0.0, absent_share=0.0,
        )  # fmt: skip
        seen = observe(xy, depth, rig, model, torch.Generator().manual_seed(0))
        error = (seen[..., :2] - xy) / size
        assert float(error.std()) == pytest.approx(0.01, rel=0.1)
        memory.append(float((error[:, 1:] * error[:, :-1]).mean() / error.square().mean()))
    assert memory[0] == pytest.approx(0.0, abs=0.05)
    assert memory[1] == pytest.approx(0.88, abs=0.05)


@pytest.mark.parametrize(
    ("change", "share"),
    [
        ({"swap_share": 1.0}, "moved"),
        ({"missing_views": 1.0, "missing_share": 0.3}, "missing"),
        ({"absent_share": 1.0}, "missing"),
        ({"lost_limbs": 1.0}, "missing"),
        ({"outlier_share": 0.5}, "astray"),
        ({"derived_share": 1.0}, "trunk"),
        ({"slow_rate_share": 1.0}, "moved"),
    ],
)
def test_each_error_does_what_it_says(change: dict[str, float], share: str) -> None:
    import dataclasses

    xy, depth, rig = still_windows()
    model = dataclasses.replace(NO_ERRORS, **change)
    seen = observe(xy, depth, rig, model, torch.Generator().manual_seed(0))
    missing = seen[..., 2] == 0
    moved = (seen[..., :2] - xy).norm(dim=-1) > 1e-6
    if share == "missing":
        assert 0.03 < float(missing.float().mean()) < 0.9
        assert (seen[..., :2][missing] == 0).all()
        assert not (moved & ~missing).any()
    elif share == "astray":
        assert 0.15 < float((moved & ~missing).float().mean()) < 0.35
        assert float(seen[..., 2][moved & ~missing].mean()) < 0.5
    else:
        assert not missing.any()
        assert moved.any()
    if share == "trunk":
        pelvis = (seen[..., 1, :2] + seen[..., 4, :2]) / 2
        assert torch.allclose(seen[..., 0, :2], pelvis, atol=1e-6)
        assert not moved[..., [1, 2, 3, 4, 5, 6, 9, 10]].any()
    if "swap_share" in change:
        there = (seen[..., :2] - xy[..., list(MIRROR), :]).norm(dim=-1) < 1e-6
        assert (there | ~moved).all()


def test_a_picture_has_a_border() -> None:
    rig = random_rigs(32, 4, RigRanges(aim_m=1.5), torch.Generator().manual_seed(0))
    person = torch.from_numpy(walking_clip(6, 0)).float()
    camera = rig.to_camera(person[None, :, None].expand(32, -1, -1, -1, -1))
    seen = observe(
        rig.project(camera), camera[..., 2], rig, NO_ERRORS, torch.Generator().manual_seed(0)
    )
    known = seen[..., 2] > 0
    limit = rig.half_height[:, None, :, None].expand_as(seen[..., 1])
    assert (seen[..., 0].abs() <= 1.0).all()
    assert (seen[..., 1].abs() <= limit + 1e-6)[known].all()
    assert (~known).any()


# ---- measures


def test_procrustes_undoes_a_similarity_but_not_a_reflection() -> None:
    random = torch.Generator().manual_seed(0)
    pose = torch.randn(5, 17, 3, generator=random, dtype=torch.float64)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=random, dtype=torch.float64))
    q = q * torch.sign(torch.linalg.det(q))
    moved = 1.7 * pose @ q + torch.tensor([1.0, -2.0, 3.0])
    assert float(procrustes_errors(moved, pose).max()) < 1e-9
    mirrored = pose * torch.tensor([-1.0, 1.0, 1.0])
    assert float(procrustes_errors(mirrored, pose).mean()) > 0.1
    assert float(joint_errors(moved, pose).mean()) > 1.0


def test_triangulation_of_perfect_joints_is_exact(mocap: Path) -> None:
    import dataclasses

    scenes = dataclasses.replace(SKETCH_SCENES, errors=NO_ERRORS)
    source = WindowSource(load_mocap(mocap, "test"), 6, scenes, CPU)
    batch = source.draw(8, 3, torch.Generator().manual_seed(0))
    points = triangulate(batch.keypoints, batch.rig)
    assert float((points - batch.world).norm(dim=-1).max()) < 1e-4


def test_reliability_of_perfect_predictions_is_a_straight_line() -> None:
    sigma = torch.rand(20000, generator=torch.Generator().manual_seed(0)) + 0.1
    actual = sigma * torch.distributions.Exponential(1.0).sample((20000,))
    for part in reliability_line(actual, sigma):
        assert part.actual == pytest.approx(part.predicted, rel=0.15)


# ---- the loop


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


# ---- presets


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


# ---- the command


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tools.train", "lifter", *map(str, arguments)]


def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=500, check=False
    )


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
    result = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
            *("--standalone", *command(*arguments)[1:]),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
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
