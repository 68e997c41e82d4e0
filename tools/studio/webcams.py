"""Random webcams: where they stand, how they see, what their sensors do to the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tools.studio.camera import Camera, Sensor, look_at
from tools.studio.room import Point

_SIZES = ((640, 480), (640, 480), (640, 480), (640, 360), (640, 360), (480, 640), (360, 640))
"""Whole pictures: most webcams lie, some stand on end."""


def random_sensor(rng: np.random.Generator) -> Sensor:
    """Exposure, white balance, lens fall-off, sharpness, noise and tone of a cheap camera."""
    gain, warm, green = rng.uniform(0.55, 1.5), rng.normal(0, 0.09), rng.normal(0, 0.03)
    return Sensor(
        (float(gain * (1 + warm)), float(gain * (1 + green)), float(gain * (1 - warm))),
        float(rng.uniform(0.0, 0.5)),
        float(rng.uniform(0.15, 0.85)),
        float(rng.choice([rng.uniform(0.002, 0.015), rng.uniform(0.01, 0.045)])),
        float(rng.uniform(0.0, 0.6)),
    )


def random_webcam(
    rng: np.random.Generator,
    low: Point,
    high: Point,
    size: tuple[int, int] | None = None,
    azimuth: float | None = None,
    near: float = 1.9,
    far: float = 4.6,
) -> Camera:
    """A webcam in the room that looks at the person near its middle.

    Args:
        rng: source of chance.
        low: the room's lowest corner, metres.
        high: the room's highest corner.
        size: width and height of its picture; ``None`` takes a random usual one.
        azimuth: direction in which it stands, radians; ``None`` is anywhere.
        near: least distance from the middle, metres.
        far: largest distance.
    """
    size = size or _SIZES[int(rng.integers(len(_SIZES)))]
    azimuth = float(rng.uniform(0, 2 * np.pi)) if azimuth is None else azimuth
    distance = rng.uniform(near, far)
    at = np.array(
        [np.cos(azimuth) * distance, np.sin(azimuth) * distance, rng.uniform(0.35, high[2] - 0.25)]
    )
    at[:2] = np.clip(at[:2], np.array(low[:2]) + 0.25, np.array(high[:2]) - 0.25)
    long_side = float(rng.uniform(45, 85))
    fov = long_side
    if size[1] > size[0]:
        fov = float(
            2 * np.degrees(np.arctan(np.tan(np.radians(long_side) / 2) * size[0] / size[1]))
        )
    roll = float(rng.normal(0, 2.5) if rng.random() < 0.75 else rng.uniform(-30, 30))
    target = (float(rng.normal(0, 0.2)), float(rng.normal(0, 0.2)), float(rng.normal(0.9, 0.12)))
    where = (float(at[0]), float(at[1]), float(at[2]))
    camera = look_at(where, target, fov, *size, roll, random_sensor(rng))
    return replace(camera, k1=float(rng.uniform(-0.12, 0.04)))
