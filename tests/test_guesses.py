"""Joints that the pose network does not see are missing rather than guessed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clip_pictures import clip_pictures
from engines.front_ends.base import View2D
from engines.front_ends.factory import make_front_end
from engines.front_ends.yolo_cpn.joint_finder import LEAST_SURE, without_guesses
from engines.skeleton import JOINT_NAMES

ANKLES = [index for index, name in enumerate(JOINT_NAMES) if "ankle" in name]
TRUNK = [JOINT_NAMES.index(name) for name in ("thorax", "neck", "head")]


def _look(picture: npt.NDArray[np.uint8]) -> View2D:
    front_end = make_front_end("yolo_cpn", 1, "onnxruntime", 1)
    for _ in range(3):  # the crop settles on what it sees
        (seen,) = front_end.process([picture])
    front_end.close()
    assert seen is not None
    return seen


def test_who_stands_behind_a_desk_has_no_feet() -> None:
    (picture,) = clip_pictures(0, 90)
    whole = _look(picture)
    assert (whole.keypoints[:, 2] > 0).all()
    hips = whole.keypoints[JOINT_NAMES.index("pelvis"), 1]
    picture[int(hips) + 5 :] = (52, 60, 74)
    cut = _look(picture)
    assert (cut.keypoints[ANKLES] == 0).all()
    away = np.linalg.norm(cut.keypoints[TRUNK, :2] - whole.keypoints[TRUNK, :2], axis=1)
    assert (cut.keypoints[TRUNK, 2] > 0.4).all() and away.max() < 12
    certain = cut.keypoints[:, 2] > 0
    assert cut.keypoints[certain, 2].min() >= LEAST_SURE


def test_only_guesses_go() -> None:
    keypoints = np.random.default_rng(0).uniform(0.01, 1, (17, 3)).astype(np.float32)
    context = np.ones((17, 4), np.float32)
    view = View2D(keypoints, np.zeros(4, np.float32), context)
    left = without_guesses(view)
    sure = keypoints[:, 2] >= LEAST_SURE
    assert 0 < sure.sum() < 17
    assert np.array_equal(left.keypoints[sure], keypoints[sure])
    assert (left.keypoints[~sure] == 0).all()
    assert left.context is context and (view.keypoints > 0).all()
