"""Left and right exchanged by a detector: found by comparing with the other cameras."""

from __future__ import annotations

from typing import Final

import numpy as np

from engines.rig.types import Bools, Floats
from engines.skeleton import MIRROR

GROUPS: Final = ((1, 2, 3, 4, 5, 6), (11, 12, 13, 14, 15, 16))
"""Legs and arms, each swapped as a whole."""

_MARGIN: Final = 6.0
"""How much better, in squared sigmas summed over a group, the exchange must be."""
_CUT2: Final = 30.0


def find_swaps(predicted: Floats, keypoints: Floats, sigma: Floats) -> Bools:
    """Finds exchanged sides.

    Args:
        predicted: (..., 17, 2) where the joints should be seen.
        keypoints: (..., 17, 3) where they were seen, with confidence (0: missing).
        sigma: (...) standard deviation to be expected.

    Returns:
        (..., 2) whether legs and arms are exchanged.
    """
    found = []
    mirrored = keypoints[..., list(MIRROR), :]
    for group in GROUPS:
        as_is = _miss(predicted, keypoints, sigma, group)
        swapped = _miss(predicted, mirrored, sigma, group)
        found.append(swapped < 0.6 * as_is - _MARGIN)
    return np.stack(found, -1)


def mend_swaps(keypoints: Floats, swaps: Bools) -> Floats:
    """Exchanges the sides again: (..., 17, 3) joints, (..., 2) as from ``find_swaps``."""
    out = keypoints.copy()
    mirrored = keypoints[..., list(MIRROR), :]
    for index, group in enumerate(GROUPS):
        mask = np.zeros(17, bool)
        mask[list(group)] = True
        out = np.where((swaps[..., index, None] & mask)[..., None], mirrored, out)
    return out


def _miss(predicted: Floats, seen: Floats, sigma: Floats, group: tuple[int, ...]) -> Floats:
    joints = list(group)
    known = seen[..., joints, 2] > 0.1
    square = ((predicted[..., joints, :] - seen[..., joints, :2]) ** 2).sum(-1)
    return np.asarray((np.minimum(square / sigma[..., None] ** 2, _CUT2) * known).sum(-1))
