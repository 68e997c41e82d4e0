"""Other places where a joint may be: the further peaks of its heatmap.

Where the highest peak is wrong, as with crossed legs or a hand before the trunk, the joint is often
under another one. A single picture can't tell; the lifter, which sees all views and their motion,
can. So these rivals are part of the image context that it reads at each joint.
"""

from __future__ import annotations

from typing import Final

import cv2
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

_NEIGHBOURS: Final = np.ones((3, 3), np.uint8)

_UNIT: Final = 0.1
"""Rivals are told in this many crop heights, which is about a forearm."""


def find_rivals(searched: Floats, peak: float, count: int = RIVALS) -> Floats:
    """Finds the further peaks of heatmaps.

    Args:
        searched: (B, J, h, w) heat, smoothed as for decoding.
        peak: heat of full certainty.
        count: how many of each joint.

    Returns:
        (B, J, ``count``, 3): x, y in cells (0 is the first cell's centre) and heat 0…1, highest
        first; zeros where there is none.
    """
    batch, joints, rows, columns = searched.shape
    if not count:
        return np.zeros((batch, joints, 0, 3), np.float32)
    maps = searched.reshape(-1, rows, columns)
    left = np.where(searched >= _highest_around(searched), searched, -np.inf)
    left = left.reshape(maps.shape)
    # What is left after the peak itself is taken away are the rivals.
    place = maps.reshape(len(maps), -1).argmax(1)
    found = np.zeros((len(maps), count, 3), np.float32)
    for n in range(count):
        for one, cell in zip(left, place.tolist(), strict=True):
            y, x = divmod(cell, columns)
            one[max(y - APART, 0) : y + APART + 1, max(x - APART, 0) : x + APART + 1] = -np.inf
        flat = left.reshape(len(maps), -1)
        place = flat.argmax(1)
        heat = np.take_along_axis(flat, place[:, None], 1)[:, 0] / peak
        there = heat >= LEAST_SHARE
        found[there, n, 0] = (place % columns)[there]
        found[there, n, 1] = (place // columns)[there]
        found[there, n, 2] = np.minimum(heat[there], 1.0)
    return found.reshape(batch, joints, count, 3)


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


def _highest_around(searched: Floats) -> Floats:
    """The highest heat of each cell and its eight neighbours, (B, J, h, w)."""
    highest = np.empty_like(searched)
    for maps, found in zip(searched, highest, strict=True):
        # A crop's maps at a time, as channels, of which OpenCV takes 512 at most.
        stacked = np.ascontiguousarray(maps.transpose(1, 2, 0))
        found[:] = cv2.dilate(stacked, _NEIGHBOURS).reshape(stacked.shape).transpose(2, 0, 1)
    return highest
