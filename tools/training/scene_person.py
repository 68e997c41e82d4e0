"""The person of a stored picture: joints, box, size and depth, in that picture's pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.errors import UserError
from tools.studio.shards import PICTURE_SIZES, VISIBLE, Scene
from tools.training.scene_pool import ScenePool

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_LEAST_PIXELS: Final = 350
"""A person of whom fewer pixels are seen teaches nothing but guessing."""

_LEAST_VISIBLE: Final = 4
_NOWHERE: Final = -1e4
"""Pixels. Not NaN: networks are read at these places before they are masked."""


@dataclass(frozen=True, slots=True)
class ScenePerson:
    """Person 0 of a stored picture, in pixels of that picture.

    Attributes:
        joints: (17, 2) x, y; beyond every picture where the camera has none, as behind it.
        visibility: (17,) as in ``tools.studio.shards``.
        box: (4,) x0, y0, x1, y1 of the visible pixels.
        stature: pixels that the body height takes at the person's distance.
        depths: (17,) how far behind the pelvis along the camera's ray to it, in body heights: what
            a crop can show, which does not say where in the picture it was cut out.
    """

    joints: Floats
    visibility: Picture
    box: Floats
    stature: float
    depths: Floats


def is_usable(scene: Scene, index: int) -> bool:
    """Whether enough of person 0 is seen to learn from."""
    visible = int((scene.visibility[index, 0] == VISIBLE).sum())
    return (
        int(scene.pixels[index, 0]) >= _LEAST_PIXELS
        and visible >= _LEAST_VISIBLE
        and bool(np.isfinite(scene.boxes[index, 0]).all())
    )


def person_of(scene: Scene, index: int) -> ScenePerson:
    """Person 0 in pixels of the stored picture."""
    region = scene.regions[index]
    height, width = stored_size(scene)
    camera = scene.view[index]
    body = scene.joints_m[scene.instant[index]]
    seen = body @ scene.camera_R[camera].T + scene.camera_t[camera]
    depth = float(seen[0, 2])
    ray = seen[0] / max(float(np.linalg.norm(seen[0])), 1e-6)
    focal = float(scene.camera_K[camera, 1, 1])
    box = scene.to_stored(scene.boxes[index, 0].reshape(2, 2), index)
    joints = scene.to_stored(scene.joints_px[index, 0], index)
    enlarged = height / float(region[3] - region[1])
    return ScenePerson(
        joints=np.where(np.isfinite(joints), joints, _NOWHERE).astype(np.float32),
        visibility=scene.visibility[index, 0],
        box=box.clip(0, (width, height)).reshape(4).astype(np.float32),
        stature=enlarged * focal * scene.stature_m / max(depth, 0.1),
        depths=((seen - seen[0]) @ ray / scene.stature_m).astype(np.float32),
    )


def stored_size(scene: Scene) -> tuple[int, int]:
    """Height and width of a scene's stored pictures."""
    width, height = PICTURE_SIZES[scene.kind]
    return height, width


def nobody_seen(pool: ScenePool) -> UserError:
    """The error of a pool that shows nobody."""
    return UserError(f"data: {pool.folder} holds no picture in which a person is seen well")
