"""The colours of the viewer, in BGR as OpenCV has them.

Right is orange and left is blue: apart also for people who cannot tell red from green.
"""

from __future__ import annotations

from typing import Final

from engines.skeleton import BONES, JOINT_COUNT, LEFT_JOINTS, RIGHT_JOINTS

Colour = tuple[int, int, int]

RIGHT: Final[Colour] = (48, 146, 255)
LEFT: Final[Colour] = (255, 158, 56)
MIDLINE: Final[Colour] = (214, 206, 200)

BACKGROUND: Final[Colour] = (28, 22, 18)
FLOOR: Final[Colour] = (50, 41, 35)
GRID: Final[Colour] = (84, 70, 60)
GRID_STRONG: Final[Colour] = (112, 95, 82)
FRUSTUM: Final[Colour] = (188, 172, 120)
PATH: Final[Colour] = (110, 214, 190)
SHADOW: Final[Colour] = (7, 5, 4)
PANEL: Final[Colour] = (21, 16, 13)
TILE: Final[Colour] = (38, 31, 27)

TEXT: Final[Colour] = (236, 230, 224)
TEXT_DIM: Final[Colour] = (160, 148, 138)
GOOD: Final[Colour] = (150, 214, 110)
WARNING: Final[Colour] = (70, 190, 250)
ALARM: Final[Colour] = (84, 84, 246)

AXES: Final[tuple[Colour, Colour, Colour]] = ((90, 90, 235), (110, 200, 110), (240, 160, 90))
"""Of x, y and z."""


def _side(joint: int) -> Colour:
    if joint in RIGHT_JOINTS:
        return RIGHT
    return LEFT if joint in LEFT_JOINTS else MIDLINE


JOINT_COLOURS: Final[tuple[Colour, ...]] = tuple(_side(joint) for joint in range(JOINT_COUNT))
BONE_COLOURS: Final[tuple[Colour, ...]] = tuple(_side(child) for _, child in BONES)
"""A bone has the side of its far end."""
