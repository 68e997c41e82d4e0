"""Cameras whose places are given: the start is moved to where they stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engines.rig.initial import Start
from engines.rig.priors import Knowledge
from engines.rig.types import Floats, KnownCamera


def into_world(start: Start, knowledge: Knowledge, views: tuple[int, ...], reference: int) -> Start:
    """Moves a start to where the fixed cameras are; without any it stays as it is."""
    anchor = knowledge.cameras[views[reference]]
    if anchor.rotation is None or anchor.position is None:
        return start
    fixed = [i for i, v in enumerate(views) if knowledge.cameras[v].position is not None]
    scale = 1.0
    if len(fixed) >= 2:
        true = np.stack([_given(knowledge.cameras[views[i]])[1] for i in fixed])
        found = start.positions[fixed]
        spread = np.linalg.norm(found - found.mean(0))
        scale = float(np.linalg.norm(true - true.mean(0)) / max(float(spread), 1e-6))
    turn, shift = anchor.rotation.T, anchor.position
    rotations = start.rotations @ turn.T
    positions = scale * start.positions @ turn.T + shift
    for i in fixed:
        rotations[i], positions[i] = _given(knowledge.cameras[views[i]])
    points = scale * start.points @ turn.T + shift
    return replace(start, rotations=rotations, positions=positions, points=points)


def _given(camera: KnownCamera) -> tuple[Floats, Floats]:
    assert camera.rotation is not None and camera.position is not None
    return camera.rotation, camera.position
