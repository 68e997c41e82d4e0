"""People behind boards: what is drawn, what is left of them, what the feature pass then sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.backends.onnxruntime_backend import OnnxRuntimeBackend
from rendered_scenes import marker_scene
from tools.studio.shards import HIDDEN, VISIBLE, Scene
from tools.training.boards import Board, BoardedScene, boards_of, draw_board, edge_of, stand_before
from tools.training.feature_pass import FeaturePass
from tools.training.scene_person import person_of
from walking import walking_clip

LEGS = [2, 3, 5, 6]
TRUNK = [7, 8, 9, 10]
AT_THE_HIPS = Board(0.05, 0.0, (40.0, 60.0, 80.0), (30.0, 40.0, 50.0), 0.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return marker_scene(walking_clip(6, 2), 3)


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_what_is_below_the_edge_is_hidden_and_nothing_else_changes(scene: Scene, seed: int) -> None:
    board = draw_board(np.random.default_rng(seed))
    person, before = person_of(scene, 4), scene.picture(4)
    picture = before.copy()
    left = stand_before(board, person, picture)
    assert left is not None
    height, width = before.shape[:2]
    a, b = edge_of(board, person, width)
    rows = a + (b - a) * np.arange(width) / width
    above = np.arange(height)[:, None] < rows - 1 - board.rim * person.stature
    assert np.array_equal(picture[above], before[above])
    below = np.arange(height)[:, None] > rows + 1 + board.rim * person.stature
    assert below.any() and (picture[below] != before[below]).any()
    edge = a + (b - a) * person.joints[:, 0] / width
    hidden = person.joints[:, 1] > edge
    assert hidden[[3, 6]].all() and not hidden[TRUNK].any()
    assert (left.visibility[hidden] != VISIBLE).all()
    assert np.array_equal(left.visibility[~hidden], person.visibility[~hidden])
    assert left.box[3] <= max(a, b) + 1e-3 and np.array_equal(left.box[:3], person.box[:3])


def test_nobody_who_hangs_upside_down_or_would_be_gone_gets_a_board(scene: Scene) -> None:
    person, before = person_of(scene, 4), scene.picture(4)
    picture = before.copy()
    upside_down = replace(person, joints=person.joints * np.array((1, -1), np.float32) + 200)
    assert stand_before(AT_THE_HIPS, upside_down, picture) is None
    assert stand_before(replace(AT_THE_HIPS, below=-0.6), person, picture) is None
    assert np.array_equal(picture, before)


def test_boards_follow_from_the_seed(scene: Scene) -> None:
    assert boards_of(scene, 0.0) == (None, None, None)
    assert boards_of(scene, 1.0) == boards_of(scene, 1.0)
    scenes = [replace(scene, seed=seed) for seed in range(300)]
    some = sum(any(boards_of(s, 0.3)) for s in scenes) / len(scenes)
    assert 0.2 < some < 0.4
    seen = [board for s in scenes for board in boards_of(s, 1.0)]
    assert 0.05 < sum(board is None for board in seen) / len(seen) < 0.25


def test_a_scene_with_boards_shows_and_says_them(scene: Scene) -> None:
    boarded = BoardedScene(scene, (AT_THE_HIPS, None, AT_THE_HIPS))
    for index, view in enumerate(scene.view):
        changed = not np.array_equal(boarded.picture(index), scene.picture(index))
        assert changed == (view != 1)
        if view == 1:
            assert np.array_equal(boarded.boxes[index], scene.boxes[index, 0])
        else:
            assert (boarded.visibility[index, LEGS] == HIDDEN).all()
            lowest = scene.joints_px[index, 0, LEGS, 1].min()
            assert boarded.boxes[index, 3] < lowest
            assert boarded.boxes[index, 3] > scene.joints_px[index, 0, 8, 1]


def test_the_feature_pass_does_not_find_what_a_board_hides(
    scene: Scene, marker_pose2d: Path
) -> None:
    backend = OnnxRuntimeBackend(marker_pose2d / "pose2d.onnx", 1)
    plain = FeaturePass(backend).see(scene)
    boards = boards_of(scene, 1.0)
    behind = [view for view, board in enumerate(boards) if board is not None]
    seen = FeaturePass(backend, 1.0).see(scene)
    there = np.isfinite(plain.offset_s)[:, behind]
    found, before = (
        (features.keypoints[:, behind][..., 2] > 0)[there].mean(0) for features in (seen, plain)
    )
    assert found[TRUNK].min() > 0.9
    # The marker network may take a board of a joint's colour for it.
    assert found[[3, 6]].mean() < 0.3 and before[[3, 6]].mean() > 0.9
    assert (seen.visibility[:, behind][there][:, [3, 6]] == HIDDEN).all()
    assert np.array_equal(seen.truth, plain.truth, equal_nan=True)
