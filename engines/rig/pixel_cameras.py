"""Cameras as other programs write them (pixels, OpenCV's lens), to and from a rig."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from engines.errors import UserError
from engines.rig.types import CAMERA_PARAMETERS, CameraModel, Floats, Rig, RigCamera

MAX_CAMERAS: Final = 64
_FOREIGN_SIGMAS: Final = (0.3, 0.01, 0.005, 0.01, 0.005)
"""What a rig of another program is trusted to: degrees, metres, focal, k1, seconds."""
_GRID: Final = 15


@dataclass(frozen=True, slots=True, eq=False)
class PixelCamera:
    """One camera in OpenCV's terms.

    Pixel coordinates are those of the project's 2D joints: 0 at the picture's border, pixel
    centres at integers + 0.5. (Programs that put pixel centres at integers differ by half a pixel,
    alike in all cameras.)

    Attributes:
        name: of the camera.
        size: (width, height) of its pictures, pixels; None where a file does not say.
        matrix: (3, 3) intrinsic matrix, pixels.
        distortion: (4…14,) OpenCV's k1, k2, p1, p2, k3, …
        rotation: (3, 3) world to camera.
        translation: (3,) metres; a point X is at R X + t in camera axes.
    """

    name: str
    size: tuple[int, int] | None
    matrix: Floats
    distortion: Floats
    rotation: Floats
    translation: Floats


def to_pixel_cameras(rig: Rig) -> tuple[PixelCamera, ...]:
    """The known cameras of a rig."""
    out = []
    for camera in rig.cameras:
        if camera is None:
            continue
        model = camera.model
        half = model.width / 2
        matrix = np.array(
            [
                [model.focal * half, 0.0, half * (1 + model.principal[0])],
                [0.0, model.focal * half, model.height / 2 + half * model.principal[1]],
                [0.0, 0.0, 1.0],
            ]
        )
        out.append(
            PixelCamera(
                name=camera.id,
                size=(model.width, model.height),
                matrix=matrix,
                distortion=np.array([model.k1, 0.0, 0.0, 0.0, 0.0]),
                rotation=camera.rotation,
                translation=-camera.rotation @ camera.position,
            )
        )
    return tuple(out)


def check_camera(camera: PixelCamera, place: str) -> PixelCamera:
    """Refuses a camera that cannot be.

    Args:
        camera: as read from a file.
        place: file and camera, for the message.

    Returns:
        The camera, its rotation made exactly orthonormal.

    Raises:
        UserError: a value is not finite, no rotation, or impossible.
    """
    for what, values in (
        ("matrix", camera.matrix),
        ("distortion", camera.distortion),
        ("rotation", camera.rotation),
        ("translation", camera.translation),
    ):
        if not np.isfinite(values).all():
            raise UserError(f"{place}: {what} holds a value that is not a finite number")
    k = camera.matrix
    if k.shape != (3, 3) or np.abs(k[2] - [0, 0, 1]).max() > 1e-6 or k[0, 0] <= 0 or k[1, 1] <= 0:
        raise UserError(f"{place}: the intrinsic matrix is not one (f, 0, c; 0, f, c; 0, 0, 1)")
    if abs(k[0, 1]) > 1e-6 * k[0, 0] or abs(k[1, 0]) > 1e-6 * k[0, 0]:
        raise UserError(f"{place}: skewed pixels are not supported")
    if not 4 <= len(camera.distortion) <= 14 or np.abs(camera.distortion).max() > 100:
        raise UserError(f"{place}: the lens distortion is not OpenCV's k1, k2, p1, p2, k3, …")
    if not all(8 <= side <= 32768 for side in camera.size or _size_by_centre(camera)):
        raise UserError(
            f"{place}: picture size {camera.size or _size_by_centre(camera)} is not possible"
        )
    rotation = camera.rotation
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
        raise UserError(f"{place}: the rotation is not a rotation")
    if np.abs(camera.translation).max() > 1e7:
        raise UserError(f"{place}: the camera is impossibly far away")
    u, _, vt = np.linalg.svd(rotation)
    return replace(camera, rotation=u @ vt)


def _size_by_centre(camera: PixelCamera) -> tuple[int, int]:
    """Width and height of pictures whose principal point is in their middle."""
    return round(2 * camera.matrix[0, 2]), round(2 * camera.matrix[1, 2])


def from_pixel_cameras(
    cameras: tuple[PixelCamera, ...], levelled: bool, body_height_m: float
) -> tuple[Rig, tuple[str, ...]]:
    """Makes a rig.

    Args:
        cameras: checked cameras, metres.
        levelled: whether their world has z up.
        body_height_m: of the person who will be seen.

    Returns:
        The rig, and what was simplified, one line each.
    """
    notes: list[str] = []
    out: list[RigCamera | None] = []
    for camera in cameras:
        size = camera.size
        if size is None:
            size = _size_by_centre(camera)
            notes.append(
                f"camera {camera.name}: the file gives no picture size; taken as "
                f"{size[0]}x{size[1]} from the principal point"
            )
        model, off = _simplify(camera, size)
        if off > 0.5:
            notes.append(
                f"camera {camera.name}: its lens is simplified to one focal length and k1, "
                f"{off:.1f} pixels off on average"
            )
        out.append(
            RigCamera(
                id=camera.name,
                model=model,
                rotation=camera.rotation,
                position=-camera.rotation.T @ camera.translation,
                time_offset_s=0.0,
                covariance=_foreign_covariance(),
            )
        )
    rig = Rig(
        cameras=tuple(out),
        expected_error_mm=25.0,
        quality="fair",
        levelled=levelled,
        body_height_m=body_height_m,
        bone_lengths=np.zeros(0),
    )
    return rig, tuple(notes)


def _simplify(camera: PixelCamera, size: tuple[int, int]) -> tuple[CameraModel, float]:
    """The nearest lens with one focal length and k1, and its mean error in pixels."""
    width, height = size
    half = width / 2
    centre = np.array([camera.matrix[0, 2], camera.matrix[1, 2]])
    u, v = np.meshgrid(
        np.linspace(0.02, 0.98, _GRID) * width, np.linspace(0.02, 0.98, _GRID) * height
    )
    pixels = np.stack([u.ravel(), v.ravel()], -1)
    plain = np.array_equal(camera.distortion[1:], np.zeros(len(camera.distortion) - 1))
    if plain and math.isclose(camera.matrix[0, 0], camera.matrix[1, 1], rel_tol=1e-12):
        focal, k1, off = camera.matrix[0, 0], float(camera.distortion[0]), 0.0
    else:
        straight = cv2.undistortPoints(pixels[:, None], camera.matrix, camera.distortion)[:, 0]
        r2 = (straight**2).sum(-1, keepdims=True)
        usable = np.isfinite(straight).all(-1) & (r2[:, 0] < 25)
        columns = np.stack([straight, straight * r2], -1)[usable].reshape(-1, 2)
        target = (pixels - centre)[usable].reshape(-1)
        solution = np.linalg.lstsq(columns, target, rcond=None)[0]
        focal, k1 = float(solution[0]), float(solution[1] / solution[0])
        off = float(np.abs(columns @ solution - target).mean())
    principal = ((centre[0] - half) / half, (centre[1] - height / 2) / half)
    model = CameraModel(
        focal=float(focal) / half,
        principal=(float(principal[0]), float(principal[1])),
        k1=k1,
        width=width,
        height=height,
    )
    return model, off


def _foreign_covariance() -> Floats:
    turn, place, focal, k1, time = _FOREIGN_SIGMAS
    sigma = np.empty(CAMERA_PARAMETERS)
    sigma[:3] = np.radians(turn) / np.sqrt(3)
    sigma[3:6] = place / np.sqrt(3)
    sigma[6:] = focal, k1, time
    return np.diag(sigma**2)
