"""Other places where a joint may be: the further peaks of its heatmap.

Where the highest peak is wrong, as with crossed legs or a hand before the trunk, the joint is often
under another one. A single picture can't tell; the lifter, which sees all views and their motion,
can. So these rivals are part of the image context that it reads at each joint.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

RIVALS: Final = 2
"""So many further peaks of each joint are told, highest first."""

RIVAL_CHANNELS: Final = 3 * RIVALS
"""The last channels of context sampled at joints: of each rival x, y from the joint, and heat."""

APART: Final = 4
"""A rival lies more than this many cells from the peak and the other rivals, along x or y."""

LEAST_SHARE: Final = 0.05
"""Less heat than this share of a full peak is no rival."""

_UNIT: Final = 0.1
"""Rivals are told in this many crop heights, which is about a forearm."""

ACROSS: Final = tuple(range(0, RIVAL_CHANNELS, 3))
"""Which of the channels change their sign in a mirror."""


def rival_features(places: Floats, rivals: Floats, height: int) -> Floats:
    """Rivals as the lifter reads them.

    Args:
        places: (..., 17, 2) the joints found, in pixels of the crop.
        rivals: (..., 17, ``RIVALS``, 3) x, y in the same pixels and heat; heat 0 is none.
        height: of the crop.

    Returns:
        (..., 17, ``RIVAL_CHANNELS``): of each rival x and y from the joint in tenths of the
        crop's height, and heat; zeros where there is none.
    """
    away = (rivals[..., :2] - places[..., None, :]) / np.float32(_UNIT * height)
    told = np.concatenate((away, rivals[..., 2:]), -1)
    told[rivals[..., 2] <= 0] = 0
    return told.reshape(*told.shape[:-2], RIVAL_CHANNELS).astype(np.float32)
