"""Changes of a picture's look that a webcam, its light and its driver might make.

Networks that learn from rendered pictures must not learn how they are rendered: colours, contrast,
sharpness, noise and compression are drawn afresh for every use of a picture.
"""

from __future__ import annotations

import math
from typing import Final, cast

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_LUMA: Final = np.array((0.299, 0.587, 0.114), np.float32)

_GRAIN_SIZE: Final = 640
_GRAIN: Final = (
    np.random.default_rng(7).normal(0, 32, (_GRAIN_SIZE, _GRAIN_SIZE, 3)).clip(-127, 127)
).astype(np.int8)
"""Noise to cut pieces from; drawing it anew would cost more than all the rest."""


_UNEVEN, _COARSE, _BLURRED, _SHARPENED, _GRAINY, _COMPRESSED = 0.25, 0.3, 0.25, 0.15, 0.5, 0.12
"""How often each happens to a picture that is spoilt in full."""


def vary_look(
    picture: Picture, rng: np.random.Generator, strength: float = 1.0, spoilt: float = 1.0
) -> Picture:
    """Gives a picture another look; nothing in it moves.

    Args:
        picture: (h, w, 3) RGB.
        rng: Source of chance.
        strength: Of the changes of colour and tone; 0 leaves the picture as it is.
        spoilt: 0…1 how often light is uneven, and sharpness, noise and compression are a webcam's.

    Returns:
        (h, w, 3) RGB, a new array.
    """
    if strength <= 0:
        return picture.copy()
    chance = rng.random(6)
    picture = cast(Picture, cv2.transform(picture, _colour_matrix(rng, strength)))
    if chance[0] < spoilt * _UNEVEN:
        picture = _light_unevenly(picture, rng)
    picture = cast(Picture, cv2.LUT(picture, _tone_curve(rng, strength)))
    if chance[1] < spoilt * _COARSE:
        picture = _coarsen(picture, rng)
    elif chance[2] < spoilt * _BLURRED:
        picture = _blur(picture, rng)
    elif chance[3] < spoilt * _SHARPENED:
        soft = cv2.GaussianBlur(picture, (0, 0), 1.2)
        picture = cast(Picture, cv2.addWeighted(picture, 1.7, soft, -0.7, 0))
    if chance[4] < spoilt * _GRAINY:
        picture = _add_grain(picture, rng)
    if chance[5] < spoilt * _COMPRESSED:
        picture = _compress(picture, rng)
    return picture


def _colour_matrix(rng: np.random.Generator, strength: float) -> Floats:
    """Hue, saturation and white balance as one linear map of RGB.

    A turn about the grey axis changes hue, moving towards the luma changes saturation.
    """
    angle = rng.normal(0, 0.18 * strength)
    third, root = (1 - math.cos(angle)) / 3, math.sin(angle) / math.sqrt(3)
    turn = np.full((3, 3), third) + math.cos(angle) * np.eye(3)
    turn += root * np.array(((0, -1, 1), (1, 0, -1), (-1, 1, 0)))
    grey = rng.random() < 0.07 * strength
    saturation = 0.0 if grey else rng.uniform(1 - 0.65 * strength, 1 + 0.5 * strength)
    fade = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMA, (3, 1))
    balance = np.exp(rng.normal(0, 0.09 * strength, 3))
    return np.asarray(np.diag(balance) @ fade @ turn, np.float32)


def _tone_curve(rng: np.random.Generator, strength: float) -> Picture:
    """(256,) brightness, contrast and gamma as one table."""
    levels = np.arange(256) / 255
    levels = levels ** math.exp(rng.normal(0, 0.25 * strength))
    contrast = math.exp(rng.normal(0, 0.22 * strength))
    middle = rng.uniform(0.3, 0.7)
    levels = (levels - middle) * contrast + middle + rng.normal(0, 0.07 * strength)
    return (255 * levels.clip(0, 1)).astype(np.uint8)


def _light_unevenly(picture: Picture, rng: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    corners = np.exp(rng.normal(0, 0.3, (3, 3, 1)) + rng.normal(0, 0.06, (3, 3, 3)))
    light = cv2.resize(corners.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return cast(Picture, cv2.multiply(picture, light, dtype=cv2.CV_8U))


def _coarsen(picture: Picture, rng: np.random.Generator) -> Picture:
    """As if the person were far away: fewer pixels, then enlarged."""
    height, width = picture.shape[:2]
    factor = rng.uniform(1.3, 3.5)
    small = (max(8, round(width / factor)), max(8, round(height / factor)))
    coarse = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.4:
        coarse = _add_grain(cast(Picture, coarse), rng)
    way = cv2.INTER_LINEAR if rng.random() < 0.8 else cv2.INTER_CUBIC
    return cast(Picture, cv2.resize(coarse, (width, height), interpolation=way))


def _blur(picture: Picture, rng: np.random.Generator) -> Picture:
    """Out of focus, or moved while exposed."""
    if rng.random() < 0.5:
        return cast(Picture, cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.8)))
    size, angle = 15, rng.uniform(0, math.pi)
    length = rng.uniform(1.5, 6.5)
    kernel = np.zeros((size, size), np.float32)
    step = np.array((math.cos(angle), math.sin(angle))) * length * 16
    middle = np.array((size // 2, size // 2)) * 16
    ends = [tuple(int(v) for v in middle + side * step) for side in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 4)
    return cast(Picture, cv2.filter2D(picture, -1, kernel / max(float(kernel.sum()), 1e-6)))


def _add_grain(picture: Picture, rng: np.random.Generator) -> Picture:
    height, width = picture.shape[:2]
    if max(height, width) > _GRAIN_SIZE:
        return picture
    top = int(rng.integers(_GRAIN_SIZE - height + 1))
    left = int(rng.integers(_GRAIN_SIZE - width + 1))
    grain = _GRAIN[top : top + height, left : left + width]
    if rng.random() < 0.3:  # of brightness alone
        grain = np.repeat(grain[..., :1], 3, axis=2)
    sigma = rng.exponential(5.0) + 1.0
    return cast(
        Picture, cv2.addWeighted(picture, 1.0, grain, min(sigma, 28.0) / 32, 0, dtype=cv2.CV_8U)
    )


def _compress(picture: Picture, rng: np.random.Generator) -> Picture:
    quality = int(rng.integers(18, 75))
    _, data = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, quality))
    return cast(Picture, cv2.imdecode(data, cv2.IMREAD_COLOR))


def cover(
    picture: Picture, rng: np.random.Generator, stuff: Picture | None
) -> npt.NDArray[np.bool_]:
    """Draws something in front of a picture, in place.

    Args:
        picture: (h, w, 3) to draw into.
        rng: Source of chance.
        stuff: (h', w', 3) another picture, whose pieces serve as cover; None for plain colours.

    Returns:
        (h, w) where the picture is covered.
    """
    height, width = picture.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    middle = (int(rng.integers(width)), int(rng.integers(height)))
    # Both sides between a twentieth and two fifths of the picture's height; long ones are thin.
    sides = height * np.exp(rng.uniform(math.log(0.05), math.log(0.4), 2))
    angle = rng.uniform(0, 180)
    if rng.random() < 0.5:
        axes = (max(1, int(sides[0] / 2)), max(1, int(sides[1] / 2)))
        cv2.ellipse(mask, middle, axes, angle, 0, 360, 255, -1)
    else:
        corners = cv2.boxPoints((middle, (float(sides[0]), float(sides[1])), float(angle)))
        cv2.fillConvexPoly(mask, np.round(corners).astype(np.int32), 255)
    covered: npt.NDArray[np.bool_] = mask > 0
    if stuff is not None and rng.random() < 0.6:
        top = int(rng.integers(max(1, stuff.shape[0] // 2)))
        left = int(rng.integers(max(1, stuff.shape[1] // 2)))
        piece = cv2.resize(stuff[top:, left:], (width, height), interpolation=cv2.INTER_LINEAR)
        picture[covered] = piece[covered]
    else:
        picture[covered] = rng.integers(0, 256, 3, dtype=np.uint8)
    return covered


def blur_disc(picture: Picture, middle: Floats, radius: float, rng: np.random.Generator) -> None:
    """Makes what lies in a disc unknowable, blurred or in coarse squares, in place.

    Args:
        picture: (h, w, 3).
        middle: (2,) x, y in pixels.
        radius: in pixels.
        rng: Source of chance.
    """
    height, width = picture.shape[:2]
    low = np.maximum(np.floor(middle - radius), 0).astype(int)
    high = np.minimum(np.ceil(middle + radius), (width, height)).astype(int)
    if (high - low).min() < 2:
        return
    part = picture[low[1] : high[1], low[0] : high[0]]
    across, down = (int(side) for side in high - low)
    cells = int(rng.integers(2, 7))
    coarse = cv2.resize(part, (min(cells, across), min(cells, down)), interpolation=cv2.INTER_AREA)
    way = cv2.INTER_NEAREST if rng.random() < 0.5 else cv2.INTER_LINEAR
    hidden = cv2.resize(coarse, (across, down), interpolation=way)
    y, x = np.ogrid[low[1] : high[1], low[0] : high[0]]
    inside = (x + 0.5 - middle[0]) ** 2 + (y + 0.5 - middle[1]) ** 2 <= radius**2
    part[inside] = hidden[inside]
