"""What the light CPN says of each joint beyond its place: the image context of our lifter.

One map for each number and joint, read where the joint was found (as the location maps of Mehta et
al., "VNect", ACM Transactions on Graphics 36(4), 2017). Few numbers that mean something carry over
to people never seen; features of a pyramid level, given to the lifter as they are, do not.
"""

from __future__ import annotations

from typing import Final

BY_JOINT: Final = "by joint"
"""What a network's file says of features of which each joint has its own."""

JOINT_CHANNELS: Final = 11
"""Numbers told of each joint, in this order: see the slices below."""

DEPTH: Final = 0
"""How far behind the pelvis the joint is, along the camera's ray to the pelvis, in body heights."""

DOUBT: Final = 1
"""Logarithm of the error that the depth is expected to have, in body heights."""

SEEN: Final = 2
"""Log odds of the joint being in plain sight."""

TOWARDS: Final = slice(3, 7)
"""x, y of each of two neighbours in the crop, from where this is read, in tenths of its height."""

BONE: Final = 7
"""How far behind its parent the joint is, along the same ray, in tenths of body height: which way a
bone points is told by what is around it, where its depth also takes all bones up to the pelvis.
(Maps of the directions of bones: Xiang et al., "Monocular Total Capture", CVPR 2019.)"""

BONE_DOUBT: Final = 8
"""Logarithm of the error that ``BONE`` is expected to have, in tenths of body height."""

TOWARDS_DOUBT: Final = slice(9, 11)
"""Logarithm of how far off each of the two neighbours may be, in tenths of the crop's height."""

NEIGHBOURS: Final = (
    (7, 8),
    (2, 4),
    (1, 3),
    (2, 1),
    (5, 1),
    (4, 6),
    (5, 4),
    (0, 8),
    (7, 9),
    (8, 10),
    (9, 8),
    (12, 14),
    (11, 13),
    (12, 11),
    (15, 11),
    (14, 16),
    (15, 14),
)
"""Of each H36M-17 joint the two that ``TOWARDS`` points to; the mirrored body has the same."""

TOWARDS_UNIT: Final = 0.1
"""Of the crop's height."""

BONE_UNIT: Final = 0.1
"""Of body height."""

ACROSS: Final = tuple(range(TOWARDS.start, TOWARDS.stop, 2))
"""Which of the numbers change their sign in a mirror."""
