"""Boards before people: what a desk, a counter or a table leaves of somebody.

Furniture in the rendered rooms hides people here and there. Behind a desk they are hidden from the
waist down in every picture, which networks that saw it seldom take for a strange pose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from tools.studio.shards import HIDDEN, PICTURE_SIZES, VISIBLE, Scene
from tools.training.scene_person import ScenePerson, person_of

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_PELVIS, _THORAX = 0, 8
_LOWEST, _HIGHEST = 0.3, -0.1
"""Knees and waist, in body heights below the pelvis."""
_STEEPEST: Final = 0.12
_LEAST_JOINTS: Final = 4
_MISSED_BY: Final = 0.15
"""Share of views that look past the board."""


@dataclass(frozen=True, slots=True)
class Board:
    """A board from an edge near the person's hips down to the picture's lower border.

    Attributes:
        below: of the edge below the pelvis, in body heights.
        slope: of the edge, pixels down a pixel to the right.
        top: RGB at the edge.
        bottom: RGB at the picture's lower border.
        rim: height of the edge's lighter rim, in body heights.
    """

    below: float
    slope: float
    top: tuple[float, float, float]
    bottom: tuple[float, float, float]
    rim: float


def draw_board(rng: np.random.Generator) -> Board:
    """A board of any height, slope and colour."""
    colour = rng.uniform(15, 240, 3) if rng.random() < 0.6 else np.repeat(rng.uniform(15, 240), 3)
    darker = colour * rng.uniform(0.5, 1.1)
    return Board(
        below=float(rng.uniform(_HIGHEST, _LOWEST)),
        slope=float(np.clip(rng.normal(0, _STEEPEST / 3), -_STEEPEST, _STEEPEST)),
        top=(float(colour[0]), float(colour[1]), float(colour[2])),
        bottom=(float(darker[0]), float(darker[1]), float(darker[2])),
        rim=float(rng.uniform(0, 0.03)),
    )


def boards_of(scene: Scene, share: float) -> tuple[Board | None, ...]:
    """What stands before the person of a sequence, for each camera; the same at every call.

    Args:
        scene: the sequence.
        share: of sequences whose person stands behind something.

    Returns:
        (V,) None where a camera looks past it.
    """
    rng = np.random.default_rng([scene.seed, 41])
    views = len(scene.camera_R)
    if rng.random() >= share:
        return (None,) * views
    common = draw_board(rng)
    boards: list[Board | None] = []
    for _ in range(views):
        own = draw_board(rng)
        below = common.below + float(rng.normal(0, 0.04))
        boards.append(None if rng.random() < _MISSED_BY else replace(own, below=below))
    return tuple(boards)


def edge_of(board: Board, person: ScenePerson, width: int) -> tuple[float, float]:
    """Where a board's edge meets the picture's left and right border, rows of the picture."""
    x, y = (float(value) for value in person.joints[_PELVIS])
    row = y + board.below * person.stature
    return row - board.slope * x, row + board.slope * (width - x)


def stand_before(board: Board, person: ScenePerson, picture: Picture) -> ScenePerson | None:
    """Draws a board into a picture, in place.

    Args:
        board: what to draw.
        person: whom it stands before.
        picture: (h, w, 3) RGB that shows them.

    Returns:
        What is left of the person; None, and nothing drawn, where they are not upright in the
        picture or too little would be left.
    """
    left = behind(board, person, picture.shape[1])
    if left is not None:
        _paint(board, person, picture)
    return left


def behind(board: Board, person: ScenePerson, width: int) -> ScenePerson | None:
    """What a board leaves of a person in a picture so wide; None as for ``stand_before``."""
    if person.joints[_THORAX, 1] >= person.joints[_PELVIS, 1] - 0.05 * person.stature:
        return None
    first, last = edge_of(board, person, width)
    rows = first + (last - first) * person.joints[:, 0] / width
    hidden = (person.joints[:, 1] > rows) & (person.visibility == VISIBLE)
    visibility = np.where(hidden, HIDDEN, person.visibility).astype(np.uint8)
    box = person.box.copy()
    lowest = float((first + (last - first) * (box[[0, 2]] / width)).max())
    box[3] = min(float(box[3]), lowest)
    seen = int((visibility == VISIBLE).sum())
    if seen < _LEAST_JOINTS or box[3] - box[1] < 0.2 * (person.box[3] - person.box[1]):
        return None
    return replace(person, visibility=visibility, box=box)


def _paint(board: Board, person: ScenePerson, picture: Picture) -> None:
    height, width = picture.shape[:2]
    rim = board.rim * person.stature
    mask = np.zeros((height, width), np.uint8)
    limit = 4 * (height + width)
    a, b = (round(float(np.clip(row, -limit, limit))) for row in edge_of(board, person, width))
    corners = np.array(((0, a), (width, b), (width, height + limit), (0, height + limit)))
    cv2.fillConvexPoly(mask, corners.astype(np.int32), 255)
    first = min(max(min(a, b), 0), height)
    share = np.linspace(0, 1, max(height - first, 1), dtype=np.float32)[:, None]
    shade = np.array(board.top) * (1 - share) + np.array(board.bottom) * share
    rows = np.zeros((height, 1, 3), np.uint8)
    rows[first:, 0] = shade[: height - first].clip(0, 255)
    covered = mask > 0
    picture[covered] = np.broadcast_to(rows, picture.shape)[covered]
    if rim >= 1:
        light = tuple(min(255.0, 1.25 * value + 10) for value in board.top)
        thick = max(1, round(rim))
        cv2.line(picture, (0, a + thick // 2), (width, b + thick // 2), light, thick)


class BoardedScene:
    """A scene whose person stands behind something.

    Args:
        scene: of one person.
        boards: (V,) what stands before each camera; None for nothing.

    Attributes:
        scene: as it was rendered.
        boxes: (N, 4) around what is left of the person, pixels of the whole picture; NaN where
            nothing is seen.
        visibility: (N, 17) as in ``tools.studio.shards``.
    """

    def __init__(self, scene: Scene, boards: tuple[Board | None, ...]) -> None:
        self.scene = scene
        self.boxes = scene.boxes[:, 0].copy()
        self.visibility = scene.visibility[:, 0].copy()
        self._behind: dict[int, tuple[Board, ScenePerson]] = {}
        width = PICTURE_SIZES[scene.kind][0]
        for index, view in enumerate(scene.view):
            board = boards[int(view)]
            if board is None or not np.isfinite(scene.boxes[index, 0]).all():
                continue
            person = person_of(scene, index)
            left = behind(board, person, width)
            if left is None:
                continue
            self._behind[index] = board, person
            self.visibility[index] = left.visibility
            region = scene.regions[index]
            lowest = region[1] + left.box[3] * (region[2] - region[0]) / width
            self.boxes[index, 3] = min(float(self.boxes[index, 3]), float(lowest))

    def picture(self, index: int) -> Picture:
        """(h, w, 3) RGB, with the board."""
        picture = self.scene.picture(index)
        if index in self._behind:
            _paint(*self._behind[index], picture)
        return picture
