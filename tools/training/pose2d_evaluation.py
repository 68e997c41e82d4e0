"""Measures a shipped pose network the way the live front end uses it, on people of the test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from engines.backends.select import open_backend
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.joint_finder import JointFinder
from engines.skeleton import JOINT_NAMES
from tools.training.boards import draw_board, stand_before
from tools.training.pose2d_metrics import KeypointScore, score_keypoints
from tools.training.scene_person import is_usable, nobody_seen, person_of
from tools.training.scene_pool import ScenePool

_AT_ONCE = 8


def evaluate_pose2d(
    weights: Path, data: Path, crops: int, threads: int, boards: bool = False
) -> KeypointScore:
    """Runs the front end's second stage on pictures of the test split, and prints the figures.

    Each person's box is that of their visible pixels, as a perfect detector would give it.

    Args:
        weights: The network's file.
        data: Folder of rendered scenes.
        crops: At most so many people, spread over the scenes.
        threads: CPU threads.
        boards: A board stands before each of them (``tools.training.boards``); who is not
            upright, or would be hardly seen then, is left out.

    Raises:
        UserError: The network or the scenes cannot be read.
    """
    operations = HostOperations()
    backend = open_backend(weights, "onnxruntime", threads)
    finder = JointFinder(backend, operations, "none")
    pool = ScenePool(data, "test", "crops", 100.0)
    rng = np.random.default_rng(5)
    each = -(-crops // len(pool.paths))
    keypoints, joints, visibility, stature = [], [], [], []
    for path in pool.paths:
        scene = pool.read(path)
        usable = [index for index in range(len(scene)) if is_usable(scene, index)]
        chosen = [usable[int(i)] for i in rng.permutation(len(usable))[:each]]
        for start in range(0, len(chosen), _AT_ONCE):
            part = chosen[start : start + _AT_ONCE]
            shown = [(person_of(scene, index), scene.picture(index)) for index in part]
            if boards:
                shown = [
                    (left, picture)
                    for person, picture in shown
                    if (left := stand_before(draw_board(rng), person, picture)) is not None
                ]
            if not shown:
                continue
            people = [person for person, _ in shown]
            # The front end takes BGR.
            operations.take([picture[..., ::-1] for _, picture in shown])
            boxes = [(view, person.box) for view, person in enumerate(people)]
            keypoints += [view.keypoints for view in finder.find(boxes, lambda stage, time: None)]
            joints += [person.joints for person in people]
            visibility += [person.visibility for person in people]
            stature += [person.stature for person in people]
        if len(keypoints) >= crops:
            break
    backend.close()
    if not keypoints:
        raise nobody_seen(pool)
    found = np.stack(keypoints)
    score = score_keypoints(
        found[..., :2],
        found[..., 2],
        np.stack(joints),
        np.stack(visibility),
        np.asarray(stature, np.float32),
    )
    _show(score)
    return score


def _show(score: KeypointScore) -> None:
    print(f"people {score.crops}")
    print(f"visible joints within 5 % of body height: {score.visible:.1f} %")
    print(f"  of arms and legs: {score.visible_limbs:.1f} %, hidden joints: {score.hidden:.1f} %")
    print(
        f"error of visible joints, % of height: mean {score.error:.2f}, median {score.median:.2f}"
    )
    print(
        f"mean confidence: visible {score.visible_confidence:.2f}, "
        f"hidden {score.hidden_confidence:.2f}, outside {score.outside_confidence:.2f}"
    )
    table = Table("joint", "found, %")
    for name, found in zip(JOINT_NAMES, score.by_joint, strict=True):
        table.add_row(name, f"{found:.1f}")
    Console().print(table)
