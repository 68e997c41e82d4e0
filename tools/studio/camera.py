"""Pinhole cameras in the world (z up, metres) and what their sensors add."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tools.studio.formats import FloatArray


@dataclass(frozen=True, slots=True)
class Sensor:
    """How a webcam's picture differs from the light that falls on it.

    Attributes:
        gains: (3,) exposure times white balance for red, green, blue.
        vignette: darkening in the corners, 0..1.
        blur: 0 sharp … 1 mean of the neighbours.
        noise: standard deviation of the noise, as a fraction of full scale.
        contrast: 0 plain … 1 a strong S-curve.
    """

    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    vignette: float = 0.25
    blur: float = 0.25
    noise: float = 0.01
    contrast: float = 0.25


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera: x_cam = R x_world + t, n = x_cam / z, pixel = K n (1 + k1 |n|²).

    Pixel centres lie at integers + 0.5: the picture spans 0…width and 0…height. Camera axes are x
    right, y down, z forward.
    """

    R: FloatArray
    t: FloatArray
    K: FloatArray
    width: int
    height: int
    sensor: Sensor = field(default_factory=Sensor)
    k1: float = 0.0

    @property
    def position(self) -> FloatArray:
        """(3,) where it stands, metres."""
        return np.asarray(-self.R.T @ self.t, np.float32)


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a camera's whole picture, in its pixels; it may reach over the border."""

    left: float
    top: float
    width: float
    height: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1."""
        return self.left, self.top, self.left + self.width, self.top + self.height


def whole(camera: Camera) -> Window:
    """The whole picture."""
    return Window(0.0, 0.0, float(camera.width), float(camera.height))


def look_at(
    position: tuple[float, float, float],
    target: tuple[float, float, float],
    fov_deg: float,
    width: int,
    height: int,
    roll_deg: float = 0.0,
    sensor: Sensor | None = None,
) -> Camera:
    """A camera at ``position`` that looks at ``target``; ``fov_deg`` is the horizontal one."""
    eye = np.array(position, np.float64)
    forward = np.array(target, np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    roll = np.radians(roll_deg)
    x = np.cos(roll) * right + np.sin(roll) * down
    y = np.cos(roll) * down - np.sin(roll) * right
    R = np.stack([x, y, forward])
    focal = width / 2.0 / np.tan(np.radians(fov_deg) / 2.0)
    K = np.array([[focal, 0.0, width / 2.0], [0.0, focal, height / 2.0], [0, 0, 1]])
    return Camera(
        R.astype(np.float32),
        (-R @ eye).astype(np.float32),
        K.astype(np.float32),
        width,
        height,
        sensor or Sensor(),
    )


def to_camera(camera: Camera, points: FloatArray) -> FloatArray:
    """World points (..., 3) → camera axes (..., 3)."""
    return np.asarray(points @ camera.R.T + camera.t, np.float32)


def project(camera: Camera, points: FloatArray) -> FloatArray:
    """World points (..., 3) → pixels (..., 2), lens distortion included."""
    seen = to_camera(camera, points)
    flat = seen[..., :2] / seen[..., 2:]
    bent = flat * (1.0 + camera.k1 * (flat * flat).sum(-1, keepdims=True))
    focal = np.array([camera.K[0, 0], camera.K[1, 1]])
    return np.asarray(bent * focal + camera.K[:2, 2], np.float32)


def straightened(camera: Camera, pixels: FloatArray) -> FloatArray:
    """Where pixels (..., 2) would lie without the lens's distortion (fixed-point iteration)."""
    focal = np.array([camera.K[0, 0], camera.K[1, 1]])
    bent = (pixels - camera.K[:2, 2]) / focal
    flat = bent
    for _ in range(5):
        flat = bent / (1.0 + camera.k1 * (flat * flat).sum(-1, keepdims=True))
    return np.asarray(flat * focal + camera.K[:2, 2], np.float32)


def drawn_window(camera: Camera, window: Window) -> Window:
    """What must be drawn without distortion, so that ``window`` can be taken out of it."""
    if camera.k1 == 0.0:
        return window
    middle = np.array([window.left + window.width / 2, window.top + window.height / 2])
    x, y = straightened(camera, middle.astype(np.float32))
    wide, high = 1.06 * window.width, 1.06 * window.height
    return Window(float(x) - wide / 2, float(y) - high / 2, wide, high)


def clip_matrix(camera: Camera, window: Window, near: float = 0.1, far: float = 40.0) -> FloatArray:
    """(4, 4) matrix from world to OpenGL clip space, the window's first row at the top."""
    w, h, K = window.width, window.height, camera.K.astype(np.float64)
    lens = np.zeros((4, 4))
    lens[0] = [2 * K[0, 0] / w, 2 * K[0, 1] / w, 2 * (K[0, 2] - window.left) / w - 1, 0]
    lens[1] = [0, -2 * K[1, 1] / h, 1 - 2 * (K[1, 2] - window.top) / h, 0]
    lens[2] = [0, 0, (far + near) / (far - near), -2 * far * near / (far - near)]
    lens[3] = [0, 0, 1, 0]
    place = np.eye(4)
    place[:3, :3], place[:3, 3] = camera.R, camera.t
    return np.asarray(lens @ place, np.float32)
