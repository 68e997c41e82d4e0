"""The cameras' pictures in their frusta, put onto the rendered scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from engines.skeleton import BONES
from viz.orbit_camera import View, intrinsic
from viz.palette import TEXT_DIM
from viz.room import Frustum
from viz.scene import Body
from viz.text import draw_text

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

_NEAR_M: Final = 0.3
_OPAQUE: Final = 0.8
_LIMB_M: Final = 0.05
_SMALLEST_PX: Final = 6.0
_NAME: Final = 11


def draw_pictures(
    image: Image,
    view: View,
    shown: Sequence[Frustum],
    pictures: Mapping[str, Image],
    body: Body | None,
) -> None:
    """Draws each camera's newest picture into its frustum.

    Args:
        image: (H, W, 3) uint8 BGR, the rendered scene; drawn on in place.
        view: where the scene is seen from.
        shown: the cameras.
        pictures: the newest small picture of each camera, (h, w, 3) uint8 BGR.
        body: the person, who hides what is behind.
    """
    height, width = image.shape[:2]
    eye = view.eye()
    person = None if body is None else float(np.linalg.norm(_middle(body) - eye))
    farthest = sorted(shown, key=lambda f: -float(np.linalg.norm(f.apex - eye)))
    for frustum in farthest:
        points, depth = _project(np.vstack([frustum.corners, frustum.apex]), view, width, height)
        if depth.min() < _NEAR_M:
            continue
        picture = pictures.get(frustum.camera)
        away = float(np.linalg.norm(frustum.corners.mean(0) - eye))
        hidden = body if body is not None and person is not None and away > person else None
        if picture is not None:
            _paste(image, picture, points[:4], hidden, view)
        if hidden is None or away < 2.5 * (person or away):
            at = (round(float(points[:4, 0].mean())), round(float(points[:4, 1].max())) + 3)
            draw_text(image, at, frustum.camera, _NAME, TEXT_DIM, "centre")


def _middle(body: Body) -> Floats:
    known = body.confidence > 0
    return np.asarray(body.joints[known].mean(0) if known.any() else np.zeros(3))


def _project(points: Floats, view: View, width: int, height: int) -> tuple[Floats, Floats]:
    """(N, 2) pixels and (N,) depths of (N, 3) points in the room."""
    matrix = view.extrinsic()
    seen = points @ matrix[:3, :3].T + matrix[:3, 3]
    depth = seen[:, 2]
    flat = seen / np.maximum(depth, 1e-3)[:, None] @ intrinsic(width, height).T
    return flat[:, :2], depth


def _paste(image: Image, picture: Image, quad: Floats, hidden: Body | None, view: View) -> None:
    height, width = image.shape[:2]
    low = np.maximum(np.floor(quad.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(quad.max(0)).astype(int) + 1, (width, height))
    size = high - low
    if (size <= 0).any() or (quad.max(0) - quad.min(0)).min() < _SMALLEST_PX:
        return
    h, w = picture.shape[:2]
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    warp = cv2.getPerspectiveTransform(corners, (quad - low).astype(np.float32))
    target = image[low[1] : high[1], low[0] : high[0]]
    box = (int(size[0]), int(size[1]))
    warped = cv2.warpPerspective(picture, warp, box, flags=cv2.INTER_LINEAR)
    mask = np.zeros((box[1], box[0]), np.uint8)
    outline = np.round((quad - low) * 16).astype(np.int32)
    cv2.fillConvexPoly(mask, outline, 255, cv2.LINE_AA, 4)
    if hidden is not None:
        _cut_out(mask, hidden, view, low, (width, height))
    share = (mask.astype(np.float32) * (_OPAQUE / 255))[..., None]
    target[:] = (target + share * (warped.astype(np.float32) - target)).astype(np.uint8)


def _cut_out(
    mask: Image, body: Body, view: View, low: npt.NDArray[np.intp], size: tuple[int, int]
) -> None:
    """Clears the mask where the person stands before it."""
    points, depth = _project(body.joints, view, *size)
    focal = intrinsic(*size)[0, 0]
    for parent, child in BONES:
        if body.confidence[parent] <= 0 or body.confidence[child] <= 0:
            continue
        near = float(min(depth[parent], depth[child]))
        if near < _NEAR_M:
            continue
        a, b = (tuple(int(v) for v in np.round(points[j] - low)) for j in (parent, child))
        thick = max(1, round(2 * _LIMB_M * focal / near))
        cv2.line(mask, a, b, 0, thick, cv2.LINE_AA)
