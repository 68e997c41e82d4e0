"""Crops of people with their joints, as the pose network sees them live."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

from engines.front_ends.yolo_cpn.operations import CPN_MEAN
from engines.front_ends.yolo_cpn.regions import LIGHT_EXTENSION, Region, box_of_joints, crop_region
from engines.skeleton import JOINT_COUNT, JOINT_NAMES, MIRROR
from tools.studio.shards import HIDDEN, OUTSIDE, VISIBLE, Scene, Split
from tools.training.boards import draw_board, stand_before
from tools.training.looks import blur_disc, cover, vary_look
from tools.training.scene_person import ScenePerson, is_usable, nobody_seen, person_of
from tools.training.scene_pool import ScenePool

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_UPPER: Final = (7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
_LOWER: Final = (0, 1, 2, 3, 4, 5, 6)
_TRIES: Final = 200
_NECK, _HEAD = JOINT_NAMES.index("neck"), JOINT_NAMES.index("head")
_HEAD_RADIUS: Final = 0.08
"""Of the disc that hides a head, over stature."""


class PoseSample(NamedTuple):
    """One crop, or a batch of them with a leading axis.

    Attributes:
        picture: (h, w, 3) RGB bytes.
        joints: (17, 2) x, y in pixels of the crop.
        visibility: (17,) as in ``tools.studio.shards``; outside also where outside the crop.
        stature: pixels of the crop that the person's body height takes at their distance.
        depths: (17,) how far behind the pelvis along the ray to it, in body heights.
    """

    picture: Picture
    joints: Floats
    visibility: Picture
    stature: Floats
    depths: Floats


@dataclass(frozen=True, slots=True)
class PoseVariety:
    """How crops are varied.

    Attributes:
        scale: Standard deviation of the logarithm of the size.
        shift: Standard deviation of the place, in crop sizes.
        turned_share: Share of crops that are turned.
        turn_deg: Standard deviation of the turn.
        half_share: Share of crops of the upper or lower body alone.
        board_share: Share of crops of people behind a board (``tools.training.boards``).
        cover_share: Share of crops with something drawn in front.
        loose_share: Share of crops around a box that reaches too far, or falls short, on a side.
        faceless_share: Share of crops whose head is blurred, as published recordings often are.
        look: Strength of the changes of colour and tone; 0 leaves pictures as they are.
        spoilt: How often light is uneven, and sharpness, noise and compression are a webcam's.
    """

    scale: float = 0.13
    shift: float = 0.04
    turned_share: float = 0.5
    turn_deg: float = 15.0
    half_share: float = 0.1
    board_share: float = 0.2
    cover_share: float = 0.25
    loose_share: float = 0.15
    faceless_share: float = 0.1
    look: float = 0.75
    spoilt: float = 0.5


@dataclass(frozen=True, slots=True)
class _Placement:
    """How a crop lies on a stored picture: q = middle + matrix · (p - size / 2)."""

    matrix: npt.NDArray[np.float64]
    middle: npt.NDArray[np.float64]
    width: int
    height: int

    def cut(self, picture: Picture, replicate: bool = False) -> Picture:
        half = np.array((self.width, self.height)) / 2
        # OpenCV counts from pixel centres; ours are at integers + 0.5.
        offset = self.middle - 0.5 + self.matrix @ (0.5 - half)
        return cast(
            Picture,
            cv2.warpAffine(
                picture,
                np.column_stack((self.matrix, offset)),
                (self.width, self.height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT,
                borderValue=[255 * value for value in CPN_MEAN],
            ),
        )

    def to_crop(self, places: Floats) -> Floats:
        half = np.array((self.width, self.height)) / 2
        return np.asarray((places - self.middle) @ np.linalg.inv(self.matrix).T + half, np.float32)


class CropSource:
    """Draws crops of the people of one split.

    Args:
        data: Folder of rendered scenes.
        split: Which people, rooms and motions.
        height: Of the crops.
        width: Of the crops.
        variety: How they are varied.
        memory_mb: For scenes kept in memory.

    Raises:
        UserError: There are no scenes.
    """

    def __init__(
        self,
        data: Path,
        split: Split,
        height: int,
        width: int,
        variety: PoseVariety,
        memory_mb: float = 1500.0,
    ) -> None:
        self.pool = ScenePool(data, split, "crops", memory_mb)
        self._height, self._width, self._variety = height, width, variety
        self._stuff: Picture | None = None

    def draw(self, rng: np.random.Generator) -> PoseSample:
        """A varied crop for training.

        Raises:
            UserError: A scene is damaged, or none shows a person well.
        """
        for _ in range(_TRIES):
            scene = self.pool.draw(rng)
            index = int(rng.integers(len(scene)))
            if is_usable(scene, index):
                return self._varied(scene, index, rng)
        raise nobody_seen(self.pool)

    def _varied(self, scene: Scene, index: int, rng: np.random.Generator) -> PoseSample:
        variety = self._variety
        person = person_of(scene, index)
        stored = scene.picture(index)
        if rng.random() < variety.board_share:
            person = stand_before(draw_board(rng), person, stored) or person
        box = self._box(person, rng)
        if rng.random() < variety.loose_share:
            box = _loosened(box, rng)
        region = crop_region(box, self._height, self._width, LIGHT_EXTENSION)
        size = math.exp(np.clip(rng.normal(0, variety.scale), -0.35, 0.3))
        turn = 0.0
        if rng.random() < variety.turned_share:
            turn = math.radians(np.clip(rng.normal(0, variety.turn_deg), -40, 40))
        shift = rng.normal(0, variety.shift, 2) * (region.width, region.height)
        placed = _place(region, self._height, self._width, size, turn, shift, rng.random() < 0.5)
        picture = placed.cut(stored, replicate=rng.random() < 0.3)
        sample = _labelled(picture, person, placed)
        if rng.random() < variety.faceless_share:
            middle = sample.joints[[_NECK, _HEAD]].mean(0)
            blur_disc(picture, middle, _HEAD_RADIUS * float(sample.stature), rng)
        if rng.random() < variety.cover_share:
            for _ in range(int(rng.integers(1, 4))):
                _hide(sample, cover(picture, rng, self._stuff))
        # Pieces of the picture before serve as cover in the next one.
        self._stuff = stored
        return sample._replace(picture=vary_look(picture, rng, variety.look, variety.spoilt))

    def _box(self, person: ScenePerson, rng: np.random.Generator) -> Floats:
        """What the crop is laid around: as a detector or the last picture's joints would say."""
        inside = person.visibility != OUTSIDE
        if rng.random() < self._variety.half_share:
            part = np.zeros(JOINT_COUNT, np.bool_)
            part[list(_UPPER if rng.random() < 0.65 else _LOWER)] = True
            box = _joint_box(person, part & inside, 0.12)
            if box is not None:
                return box
        choice = rng.random()
        if choice < 0.5:
            size = person.box[2:] - person.box[:2]
            return person.box + (rng.normal(0, 0.03, 4) * np.tile(size, 2)).astype(np.float32)
        sure = inside if choice < 0.75 else person.visibility == VISIBLE
        box = _joint_box(person, sure)
        return person.box if box is None else box


def plain_crop(scene: Scene, index: int, height: int, width: int) -> PoseSample:
    """A picture's crop as the live front end makes it from a perfect detection."""
    person = person_of(scene, index)
    region = crop_region(person.box, height, width, LIGHT_EXTENSION)
    placed = _place(region, height, width, 1.0, 0.0, np.zeros(2), False)
    return _labelled(placed.cut(scene.picture(index)), person, placed)


def _loosened(box: Floats, rng: np.random.Generator) -> Floats:
    """A box as a poor detection is: one side or two of it where something else ends."""
    size = np.tile(box[2:] - box[:2], 2)
    outwards = np.array((-1, -1, 1, 1))
    moved = rng.permutation(4)[: int(rng.integers(1, 3))]
    by = np.zeros(4)
    by[moved] = rng.uniform(-0.12, 0.5, len(moved))
    return np.asarray(box + by * outwards * size, np.float32)


def _joint_box(
    person: ScenePerson, chosen: npt.NDArray[np.bool_], margin: float = 0.0
) -> Floats | None:
    keypoints = np.column_stack((person.joints, chosen)).astype(np.float32)
    box = box_of_joints(keypoints)
    if box is not None and margin > 0:
        room = margin * float((box[2:] - box[:2]).max())
        box = box + np.array((-room, -room, room, room), np.float32)
    return box


def _place(
    region: Region,
    height: int,
    width: int,
    size: float,
    turn: float,
    shift: npt.NDArray[np.float64],
    flipped: bool,
) -> _Placement:
    scale = size * region.width / width
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    matrix = np.array(((cos, -sin), (sin, cos)))
    if flipped:
        matrix[:, 0] *= -1
    middle = np.array((region.left + region.width / 2, region.top + region.height / 2))
    return _Placement(matrix, middle + shift, width, height)


def _labelled(picture: Picture, person: ScenePerson, placed: _Placement) -> PoseSample:
    joints, depths = placed.to_crop(person.joints), person.depths
    visibility = person.visibility.copy()
    if np.linalg.det(placed.matrix) < 0:  # mirrored: left is right
        swapped = list(MIRROR)
        joints, visibility, depths = joints[swapped], visibility[swapped], depths[swapped]
    beyond = ((joints < 0) | (joints >= (placed.width, placed.height))).any(1)
    visibility[beyond] = OUTSIDE
    scale = math.sqrt(abs(float(np.linalg.det(placed.matrix))))
    stature = np.array(person.stature / scale, np.float32)
    return PoseSample(picture, joints, visibility, stature, depths)


def _hide(sample: PoseSample, covered: npt.NDArray[np.bool_]) -> None:
    """Joints behind something that was drawn are hidden."""
    height, width = covered.shape
    x = sample.joints[:, 0].clip(0, width - 1).astype(int)
    y = sample.joints[:, 1].clip(0, height - 1).astype(int)
    behind = covered[y, x] & (sample.visibility == VISIBLE)
    sample.visibility[behind] = HIDDEN
