"""Targets, losses and scores of the 2D networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.front_ends.yolo_cpn.host_operations import decode
from engines.skeleton import MIRROR
from tools.studio.shards import HIDDEN, OUTSIDE, VISIBLE
from tools.training.detector_loss import (
    answering_cells,
    boxes_of,
    complete_iou,
    detector_loss,
    pair_iou,
)
from tools.training.detector_metrics import score_detections
from tools.training.detector_samples import (
    IGNORED,
    NOBODY,
    PERSON,
    DetectorSample,
)
from tools.training.detector_task import DetectorCosts, fresh_detector
from tools.training.pose2d_loss import HeatConfig, heat_loss, heat_targets, sides_taken
from tools.training.pose2d_metrics import score_keypoints

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


@pytest.fixture
def spread() -> tuple[torch.Tensor, torch.Tensor]:
    """Joints a cell or more apart in a crop of 64×48, and that all can be seen."""
    generator = torch.Generator().manual_seed(3)
    cells = torch.randperm(12 * 16, generator=generator)[:17]
    joints = torch.stack((cells % 12, cells // 12), -1)[None].float() * 4 + 2
    return joints, torch.full((1, 17), VISIBLE, dtype=torch.uint8)


def test_sides_cost_where_they_are_exchanged_and_only_there(
    spread: tuple[torch.Tensor, torch.Tensor],
) -> None:
    joints, visibility = spread
    config = HeatConfig(side_apart=0.2)
    right = heat_targets(joints, torch.ones(1, 17), 16, 12, 4.0, 0.7)
    wrong = right[:, list(MIRROR)]
    assert float(sides_taken(right, joints, visibility, 64, config)) < 0.01
    cost = float(sides_taken(wrong, joints, visibility, 64, config))
    partner = joints[:, list(MIRROR)]
    apart = torch.linalg.vector_norm(joints - partner, dim=-1) > 0.2 * 64
    assert cost == pytest.approx(10 * float(apart.sum()) / 17, rel=0.1)  # sharpness is 10
    # Only joints that can be seen, and whose partner is in the crop.
    hidden = torch.full_like(visibility, HIDDEN)
    assert float(sides_taken(wrong, joints, hidden, 64, config)) == 0
    outside = joints.clone()
    outside[:, 4:7], outside[:, 14:] = -50, -50
    assert float(sides_taken(wrong, outside, visibility, 64, config)) == 0


def test_hidden_joints_count_as_little_as_asked(spread: tuple[torch.Tensor, torch.Tensor]) -> None:
    joints, visibility = spread
    visibility[:, :9] = HIDDEN
    nothing = torch.zeros(1, 17, 16, 12)
    seen_only = HeatConfig(hidden_weight=0, hidden_place_weight=0, hard_hidden=False)
    loss, _parts = heat_loss([nothing], nothing, joints, visibility, 64, seen_only)
    visibility[:, :9] = OUTSIDE
    same, _ = heat_loss([nothing], nothing, joints, visibility, 64, seen_only)
    assert float(loss) == pytest.approx(float(same), rel=1e-5)
    visibility[:, :9] = HIDDEN
    more, _ = heat_loss([nothing], nothing, joints, visibility, 64, HeatConfig())
    assert float(more) > float(loss) > 0


def test_joints_found_are_counted_by_visibility() -> None:
    joints = np.zeros((1, 17, 2), np.float32)
    places = joints + np.linspace(0, 16, 17, dtype=np.float32)[None, :, None] * (1, 0)
    visibility = np.full((1, 17), VISIBLE, np.uint8)
    visibility[0, :3], visibility[0, 16] = HIDDEN, OUTSIDE
    score = score_keypoints(places, np.ones((1, 17)), joints, visibility, np.array([100.0]))
    assert score.hidden == 100
    assert score.visible == pytest.approx(100 * 2 / 13)  # joints 3 and 4 of 3 to 15
    assert score.error == pytest.approx(9.0)


# ---- boxes


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
        for head in range(2):
            twin.get_buffer(f"anchors{head}").div_(smaller)
        wanted, _ = twin.eval()(images)
    sizes = read[..., 2:] - read[..., :2]
    torch.testing.assert_close((read[..., :2] + read[..., 2:]) / 2, wanted[..., :2])
    torch.testing.assert_close(sizes, wanted[..., 2:])


@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), min_size=1, max_size=9),
)
def test_cells_that_answer_reach_the_middle(
    columns: int, rows: int, people: list[tuple[float, float, bool]]
) -> None:
    size = torch.tensor((columns, rows))
    places = torch.tensor([person[:2] for person in people]) * size
    wide = torch.tensor([person[2] for person in people])
    which, cells = answering_cells(places, size.expand(len(people), 2), wide)
    assert ((cells >= 0) & (cells < size)).all()
    # Half a cell beyond its own is as far as a box's middle can lie.
    assert (places[which] - cells - 0.5).abs().max() <= 1.0 + 1e-5
    answers = torch.bincount(which, minlength=len(people))
    assert (answers[~wide] == 1).all() and (answers >= 1).all()
    inside = ((places > 0.5) & (places < size - 0.5)).all(1)
    assert (answers[wide & inside] == 3).all()
    assert len({(*pair,) for pair in torch.column_stack((which, cells)).tolist()}) == len(which)


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
