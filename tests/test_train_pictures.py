"""Training the 2D networks: crops and pictures, targets and losses, the loop, its commands."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from engines.errors import UserError
from engines.front_ends.yolo_cpn.host_operations import decode
from engines.networks.catalog import load_network
from engines.networks.light_cpn import LightCpnConfig
from engines.skeleton import MIRROR
from picture_scenes import box_scene
from rendered_scenes import marker_scene
from tools.studio.shards import HIDDEN, OUTSIDE, VISIBLE, Scene, scene_path, write_scene
from tools.train import app
from tools.training.detector_loss import boxes_of, complete_iou, detector_loss, pair_iou
from tools.training.detector_metrics import score_detections
from tools.training.detector_samples import (
    IGNORED,
    NOBODY,
    PERSON,
    DetectorSample,
    DetectorVariety,
    PictureSource,
    whole_picture,
)
from tools.training.detector_task import DetectorCosts, fresh_detector
from tools.training.looks import cover, vary_look
from tools.training.loop import Trainer
from tools.training.loop_config import LoopConfig
from tools.training.pose2d_loss import HeatConfig, heat_loss, heat_targets
from tools.training.pose2d_metrics import score_keypoints
from tools.training.pose2d_samples import CropSource, PoseVariety, person_of, plain_crop
from tools.training.pose2d_task import Pose2dTask, Pose2dTaskConfig
from tools.training.presets import load_preset
from tools.training.sample_stream import SampleStream
from tools.training.stages import PictureStage
from tools.training.vision_command import DetectorPreset, Pose2dPreset
from walking import walking_clip

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
PLAIN = PoseVariety(scale=0, shift=0, turned_share=0, half_share=0, cover_share=0, look=0)

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
    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(0)
    for number, split in enumerate(("train", "validation", "test")):
        scene = marker_scene(walking_clip(4, number).astype(np.float32), 2, number, split)
        write_scene(scene, scene_path(folder / split, "crops", number))
        people = []
        for _ in range(6):
            x, y = (int(v) for v in rng.integers(0, (200, 80)))
            people.append([(x, y, x + 60, y + 150)])
        write_scene(box_scene([*people, []], split), scene_path(folder / split, "frames", number))
    return folder


@pytest.fixture(scope="session")
def crops() -> Scene:
    return marker_scene(walking_clip(4, 1).astype(np.float32), 2)


def source(data: Path, variety: PoseVariety) -> CropSource:
    return CropSource(data, "train", 64, 48, variety)


# ---- looks


@given(st.integers(0, 2**32), st.integers(16, 70), st.integers(16, 70))
@settings(max_examples=60, deadline=None)
def test_looks_keep_size_and_move_nothing(seed: int, height: int, width: int) -> None:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2] = 255
    varied = vary_look(picture, np.random.default_rng(seed))
    assert varied.shape == picture.shape and varied.dtype == np.uint8
    light = varied.astype(float).mean((1, 2))
    # Still lighter above than below, unless it is all dark or all light now.
    assert light[: height // 3].mean() >= light[-height // 3 :].mean() - 12


def test_a_look_of_no_strength_changes_nothing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert np.array_equal(vary_look(picture, np.random.default_rng(1), 0.0), picture)


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_cover_says_what_it_covers(seed: int) -> None:
    picture = np.full((60, 40, 3), 77, np.uint8)
    covered = cover(picture, np.random.default_rng(seed), None)
    assert (picture[~covered] == 77).all()
    assert covered.mean() < 0.5


# ---- crops


def test_a_plain_crop_shows_each_joint_where_its_label_says(crops: Scene) -> None:
    from marker_networks import joint_colours

    sample = plain_crop(crops, 3, 256, 192)
    assert sample.picture.shape == (256, 192, 3)
    colours = 255 * joint_colours()
    for joint in (3, 6, 13, 16):  # nothing is drawn over the outer ones
        x, y = (int(v) for v in sample.joints[joint])
        seen = sample.picture[y, x].astype(float)
        assert np.abs(seen - colours[joint]).max() < 90, joint


def test_a_mirrored_crop_exchanges_left_and_right(data: Path, crops: Scene) -> None:
    from marker_networks import joint_colours

    colours = 255 * joint_colours()
    drawn = source(data, PLAIN)
    exchanged = 0
    for seed in range(12):
        sample = drawn.draw(np.random.default_rng(seed))
        x, y = (int(v) for v in sample.joints[6])
        seen = sample.picture[y, x].astype(float)
        own, other = (np.abs(seen - colours[j]).max() for j in (6, MIRROR[6]))
        exchanged += other < own
    assert 0 < exchanged < 12


def test_joints_follow_scale_turn_and_shift(data: Path) -> None:
    wild = PoseVariety(turned_share=1.0, half_share=0.3, cover_share=0, look=0)
    drawn = source(data, wild)
    spread = []
    for seed in range(30):
        sample = drawn.draw(np.random.default_rng(seed))
        inside = ((sample.joints >= 0) & (sample.joints < (48, 64))).all(1)
        assert (sample.visibility[~inside] == OUTSIDE).all()
        assert (sample.visibility[inside] == VISIBLE).all()
        length = np.linalg.norm(sample.joints[0] - sample.joints[8]) / sample.stature
        spread.append(length)
    # Lengths in body heights are the same whatever the crop: same person, same distance nearly.
    assert np.std(spread) / np.mean(spread) < 0.25


def test_covered_joints_are_hidden(data: Path) -> None:
    variety = PoseVariety(cover_share=1.0, half_share=0, look=0)
    drawn = source(data, variety)
    seen = np.concatenate([drawn.draw(np.random.default_rng(s)).visibility for s in range(30)])
    assert 0.01 < float((seen == HIDDEN).mean()) < 0.6


def test_the_same_seed_gives_the_same_batch(data: Path) -> None:
    batches = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(4)
        batches.append(SampleStream(source(data, PoseVariety()).draw, 3, 0, generator).draw())
    assert torch.equal(torch.as_tensor(batches[0].picture), torch.as_tensor(batches[1].picture))


def test_processes_make_samples_ahead(data: Path) -> None:
    generator = torch.Generator().manual_seed(4)
    batch = SampleStream(source(data, PLAIN).draw, 3, 1, generator).draw()
    here = SampleStream(source(data, PLAIN).draw, 3, 0, torch.Generator().manual_seed(4)).draw()
    assert torch.equal(torch.as_tensor(batch.joints), torch.as_tensor(here.joints))


def test_stature_is_the_person_standing(crops: Scene) -> None:
    person = person_of(crops, 0)
    tall = person.joints[:, 1].max() - person.joints[:, 1].min()
    # The stick person stands 1.64 m from ankle to head, of a stature said to be 1.75 m.
    assert 0.8 < tall / person.stature < 1.05


# ---- heat


@given(st.floats(9, 38), st.floats(9, 54))
@settings(max_examples=40, deadline=None)
def test_heat_reads_back_as_the_joint(x: float, y: float) -> None:
    joints = torch.full((1, 17, 2), 0.0)
    joints[..., 0], joints[..., 1] = x, y
    heat = heat_targets(joints, torch.ones(1, 17), 16, 12, 4.0, 2.0)
    places, confidence = decode(heat.numpy(), "log_parabola", 1.0)
    assert np.abs((places + 0.5) * 4 - (x, y)).max() < 0.05
    assert confidence.min() > 0.8


def test_perfect_heat_costs_nothing_and_no_heat_costs_the_visible_joints() -> None:
    joints = torch.tensor([[[20.0, 30.0]]]).expand(2, 17, 2)
    visibility = torch.full((2, 17), VISIBLE, dtype=torch.uint8)
    visibility[:, 3], visibility[:, 4] = OUTSIDE, HIDDEN
    config = HeatConfig()
    peaks = torch.ones(2, 17)
    peaks[:, 3], peaks[:, 4] = 0.0, config.hidden_peak
    final = heat_targets(joints, peaks, 16, 12, 4.0, config.sigma)
    coarse = [heat_targets(joints, peaks, 8, 6, 8.0, config.sigma / 2)]
    loss, _ = heat_loss(coarse, final, joints, visibility, 64, config)
    assert float(loss) < 1e-6
    squares = HeatConfig(place_weight=0.0)
    _, parts = heat_loss(
        [torch.zeros_like(coarse[0])], torch.zeros_like(final), joints, visibility, 64, squares
    )
    expected = (15 + config.hidden_weight * config.hidden_peak**2) / 17
    assert float(parts["final"]) == pytest.approx(expected, rel=0.05)


def test_joints_found_are_counted_by_visibility() -> None:
    joints = np.zeros((1, 17, 2), np.float32)
    places = joints + np.linspace(0, 16, 17, dtype=np.float32)[None, :, None] * (1, 0)
    visibility = np.full((1, 17), VISIBLE, np.uint8)
    visibility[0, :3], visibility[0, 16] = HIDDEN, OUTSIDE
    score = score_keypoints(places, np.ones((1, 17)), joints, visibility, np.array([100.0]))
    assert score.hidden == 100
    assert score.visible == pytest.approx(100 * 2 / 13)  # joints 3 and 4 of 3 to 15
    assert score.error == pytest.approx(9.0)


# ---- pictures


def test_whole_pictures_are_letterboxed_with_their_people() -> None:
    scene = box_scene([[(100, 50, 180, 230), (0, 0, 6, 6)], []])
    sample = whole_picture(scene, 0, 256, 256)
    assert (sample.picture[:32] == 127).all() and (sample.picture[-32:] == 127).all()
    assert sample.kinds.tolist()[:3] == [PERSON, IGNORED, NOBODY]
    np.testing.assert_allclose(sample.boxes[0], [80, 72, 144, 216], atol=0.6)
    x0, y0, x1, y1 = sample.boxes[0].astype(int)
    assert sample.picture[y0 + 3 : y1, x0 + 3 : x1 - 3].mean() > 180
    assert (whole_picture(scene, 1, 256, 256).kinds == NOBODY).all()


def test_varied_pictures_keep_boxes_on_people(data: Path) -> None:
    variety = DetectorVariety(crops_share=0, cover_share=0, look=0, mosaic_share=0.5)
    drawn = PictureSource(data, "train", 128, 128, variety)
    people = 0
    for seed in range(40):
        sample = drawn.draw(np.random.default_rng(seed))
        assert sample.picture.shape == (128, 128, 3)
        for box in sample.boxes[sample.kinds == PERSON]:
            x0, y0, x1, y1 = np.round(box).astype(int)
            assert 0 <= x0 < x1 <= 128 and 0 <= y0 < y1 <= 128
            inside = sample.picture[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1]
            people += 1
            if inside.size > 3 * 60:
                assert inside.mean() > 170
    assert people > 15


@given(st.lists(st.floats(0, 50), min_size=4, max_size=4))
def test_complete_iou_is_one_for_the_same_box_only(values: list[float]) -> None:
    x, y, w, h = values
    box = torch.tensor([[x, y, x + w + 1, y + h + 1]])
    assert float(complete_iou(box, box)) == pytest.approx(1.0, abs=1e-4)
    moved = box + torch.tensor([5.0, 0, 5, 0])
    assert float(complete_iou(box, moved)) < float(pair_iou(box, moved)) <= 1
    far = box + 500
    assert float(complete_iou(box, far)) < 0


@pytest.mark.parametrize("smaller", [1, 2])
def test_training_reads_boxes_as_the_detector_does(smaller: int) -> None:
    """Of smaller pictures too, in proportion: the same answers mean the same people."""
    network = fresh_detector(128, 64)
    images = torch.rand(2, 3, 128 // smaller, 64 // smaller)
    with torch.no_grad():
        network.train()(torch.rand(4, 3, 128, 64))  # other statistics than a fresh network's
        network.eval()
        read = boxes_of(network, images)
        twin = fresh_detector(128 // smaller, 64 // smaller)
        twin.load_state_dict(network.state_dict())
        wanted, _ = twin.eval()(images)
    sizes = read[..., 2:] - read[..., :2]
    torch.testing.assert_close((read[..., :2] + read[..., 2:]) / 2, wanted[..., :2])
    torch.testing.assert_close(sizes, wanted[..., 2:])


def test_the_detector_learns_one_picture() -> None:
    torch.manual_seed(0)
    network = fresh_detector(64, 64).train()
    images = torch.rand(2, 3, 64, 64)
    images[0, :, 10:50, 20:40] = 1.0
    boxes = torch.zeros(2, 12, 4)
    boxes[0, 0] = torch.tensor([20.0, 10, 40, 50])
    kinds = torch.zeros(2, 12, dtype=torch.uint8)
    kinds[0, 0] = PERSON
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(80):
        loss, _ = detector_loss(network, images, boxes, kinds, DetectorCosts())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
    with torch.no_grad():
        found, scores = network(images)
    best = int(scores[0].argmax())
    assert float(scores[0, best]) > 0.5
    centre, size = found[0, best, :2], found[0, best, 2:]
    corners = torch.cat((centre - size / 2, centre + size / 2))
    assert float(pair_iou(corners, boxes[0, 0])) > 0.6
    assert float(scores[1].max()) < 0.5


def test_people_too_little_seen_are_neither_asked_for_nor_forbidden() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    boxes = np.array([[0, 0, 20, 40], [30, 0, 50, 40], [0, 0, 0, 0]], np.float32)
    sample = DetectorSample(picture, boxes, np.array([PERSON, IGNORED, NOBODY], np.uint8))
    empty = DetectorSample(picture, boxes * 0, np.zeros(3, np.uint8))
    found = np.array([[0, 0, 20, 38], [31, 1, 49, 39], [0, 45, 20, 60]], np.float32)
    score = score_detections([found, found[:1]], [sample, empty])
    assert (score.people, score.empty) == (1, 1)
    assert score.recall == 100 and score.false_per_empty == 1.0
    assert score.false_per_picture == 1.0  # one in each picture
    twice = score_detections([found[[0, 0]]], [sample])
    assert twice.recall == 100, "a second box on the same person finds nobody new"


# ---- the loop


def pose_trainer(data: Path, folder: Path, steps: int = 6) -> Trainer:
    network = LightCpnConfig(64, 48, 8, (8, 8, 8, 8), (1, 1, 1, 1), 2, 8)
    stages = (PictureStage(0.5, 32, 32), PictureStage(1.0, 64, 48))
    config = Pose2dTaskConfig(network=network, stages=stages, batch=2, validation_crops=4)
    loop = LoopConfig(steps=steps, warmup_steps=2, validate_every=3, checkpoint_minutes=0.0)
    return Trainer(Pose2dTask(config, data, CPU), loop, folder, CPU)


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
        assert torch.equal(value, average[f"inner.{key}"]), key
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
    start = torch.load(best, weights_only=True)["average"]["inner.fuse.0.0.weight"]
    after = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)["network"]
    assert torch.allclose(after["inner.fuse.0.0.weight"], start, atol=1e-5)


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


def test_scenes_without_anybody_are_refused(crops: Scene, tmp_path: Path) -> None:
    import dataclasses

    nobody = dataclasses.replace(crops, pixels=np.zeros_like(crops.pixels))
    write_scene(nobody, scene_path(tmp_path / "train", "crops", 0))
    with pytest.raises(UserError, match="seen well"):
        source(tmp_path, PLAIN).draw(np.random.default_rng(0))


def test_the_presets_that_ship_are_valid() -> None:
    pose = load_preset(ROOT / "configs/train/pose2d.yaml", Pose2dPreset)
    load_preset(ROOT / "configs/train/detector.yaml", DetectorPreset)
    assert pose.task.stages[-1].until == 1.0
    last = pose.task.stages[-1]
    assert (last.height, last.width) == (pose.task.network.height, pose.task.network.width)
