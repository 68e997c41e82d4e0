"""2D joints and their speeds at an instant, from the pictures around it.

Local quadratic regression (Fan & Gijbels, "Local Polynomial Modelling", 1996) with a weak prior on
speed and acceleration, so that one, two or twenty pictures are all used as well as can be, and with
Cauchy weights against stray joints. Free-running cameras are read at any instant in this way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.rig.types import Floats

HALF_WINDOW_S: Final = 0.14
"""Pictures further from the instant than this do not count."""

_NOISE: Final = 0.012  # of one 2D joint, in person sizes
_SPEED: Final = 1.5  # person sizes a second; a fast hand is at 3
_ACCELERATION: Final = 15.0
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class LocalFit:
    """Joints at one instant.

    Attributes:
        xy: (..., J, 2); 0 where unknown.
        speed: (..., J, 2) per second.
        variance: (..., J) of ``xy`` relative to that of one picture's joint; infinite where
            unknown.
        confidence: (..., J) weighted mean confidence; 0 where unknown.
    """

    xy: Floats
    speed: Floats
    variance: Floats
    confidence: Floats


def fit_local(delays: Floats, keypoints: Floats, size: Floats) -> LocalFit:
    """Fits joints around an instant.

    Args:
        delays: (..., W) time of each picture minus the instant, seconds; anything where the
            picture is missing.
        keypoints: (..., W, J, 3) x, y, confidence (0: missing).
        size: (...) the person's size in the unit of x and y.

    Returns:
        The joints at the instant.
    """
    scaled = delays / HALF_WINDOW_S
    kernel = np.clip(1 - np.nan_to_num(scaled, nan=9.0) ** 2, 0.0, 1.0)
    confidence = np.clip(keypoints[..., 2], 0.0, 1.0)
    prior_weight = kernel[..., None] * confidence**2  # (..., W, J)
    known = prior_weight > 0
    xy = np.where(known[..., None], keypoints[..., :2], 0.0) / size[..., None, None, None]
    t = np.where(kernel > 0, scaled, 0.0)
    basis = np.stack([np.ones_like(t), t, 0.5 * t**2], -1)  # (..., W, 3)
    outer = basis[..., :, None] * basis[..., None, :]
    ridge = np.array(
        [
            1e-9,
            (_NOISE / (_SPEED * HALF_WINDOW_S)) ** 2,
            (_NOISE / (_ACCELERATION * HALF_WINDOW_S**2)) ** 2,
        ]
    )
    weight = prior_weight
    for _ in range(_ROUNDS):
        system = np.einsum("...wab,...wj->...jab", outer, weight) + np.diag(ridge)
        right = np.einsum("...wa,...wj,...wjc->...jac", basis, weight, xy)
        inverse = np.linalg.inv(system)
        coefficients = inverse @ right  # (..., J, 3, 2)
        predicted = np.einsum("...wa,...jac->...wjc", basis, coefficients)
        miss2 = ((xy - predicted) ** 2).sum(-1) / (3 * _NOISE) ** 2
        weight = prior_weight / (1 + miss2) ** 2
    total = weight.sum(-2)
    seen = total > 1e-3
    first = inverse[..., 0, :]
    spread = np.einsum("...wab,...wj->...jab", outer, weight**2)
    variance = np.einsum("...a,...ab,...b->...", first, spread, first)
    sure = (weight * confidence).sum(-2) / np.maximum(total, 1e-12)
    scale = size[..., None, None]
    return LocalFit(
        xy=np.where(seen[..., None], coefficients[..., 0, :] * scale, 0.0),
        speed=np.where(seen[..., None], coefficients[..., 1, :] * scale / HALF_WINDOW_S, 0.0),
        variance=np.where(seen, variance, np.inf),
        confidence=np.where(seen, sure, 0.0),
    )


def person_size(keypoints: Floats) -> Floats:
    """How large the person appears.

    Args:
        keypoints: (..., J, 3) x, y, confidence.

    Returns:
        (...) the longer side of the box around the joints that are known, leaving out a joint in
        twenty at either end; NaN where fewer than five are known.
    """
    known = keypoints[..., 2] > 0.1
    count = known.sum(-1)
    last = np.maximum(count - 1, 0)
    few = count < 5
    xy = np.where(known[..., None], keypoints[..., :2], np.inf)
    xy = np.sort(np.where(few[..., None, None], 0.0, xy), axis=-2)
    # A share of the way from the outermost joint to the next, at either end.
    share = 0.05 * last
    whole = share.astype(np.intp)
    part = (share - whole)[..., None]

    def at(index: npt.NDArray[np.intp]) -> Floats:
        return np.asarray(np.take_along_axis(xy, index[..., None, None], axis=-2)[..., 0, :])

    first, second = np.where(few, 0, whole), np.where(few, 0, whole + 1)
    low = at(first) * (1 - part) + at(second) * part
    high = at(last - first) * (1 - part) + at(last - second) * part
    return np.where(few, np.nan, (high - low).max(-1))
