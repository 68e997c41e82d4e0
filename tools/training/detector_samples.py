"""Letterboxed pictures with the people in them, as the detector sees them live."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

from engines.front_ends.yolo_cpn.operations import LETTERBOX_FILL
from tools.studio.shards import PICTURE_SIZES, VISIBLE, Scene, Split
from tools.training.looks import cover, vary_look
from tools.training.pasted_people import Labelled, paste_person
from tools.training.scene_pool import ScenePool

Picture = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

NOBODY, PERSON, IGNORED = range(3)
"""What a row of boxes is: none, a person to find, or one too little seen to ask for or forbid."""

MOST_PEOPLE: Final = 16
"""Rows of boxes of a sample: up to four people in each of four pictures."""

_LEAST_SHARE: Final = 0.0015
"""People who fill less of the stored picture are not asked for."""

_LEAST_SIZE: Final = 0.055
"""People whose box's longer side is a smaller share of the input's are not asked for."""

_LEAST_KEPT: Final = 0.3
"""People of whose box the picture's border leaves less are not asked for."""

CLEAR_SHARE: Final = 0.65
"""Somebody of whom this share of the joints can be seen is in clear view, as in the "reasonable"
set of pedestrians (Dollár et al., "Pedestrian Detection: An Evaluation of the State of the Art",
TPAMI 2012)."""

_SHAPES: Final = ((4 / 3, 0.45), (16 / 9, 0.25), (3 / 4, 0.15), (9 / 16, 0.15))
"""Width over height of webcam pictures, and how often they are drawn."""

_FILL: Final = [255 * value for value in LETTERBOX_FILL]


class DetectorSample(NamedTuple):
    """One letterboxed picture, or a batch of them with a leading axis.

    Attributes:
        picture: (h, w, 3) RGB bytes.
        boxes: (16, 4) x0, y0, x1, y1 in pixels of the input.
        kinds: (16,) ``NOBODY``, ``PERSON`` or ``IGNORED``.
    """

    picture: Picture
    boxes: Floats
    kinds: Picture


@dataclass(frozen=True, slots=True)
class DetectorVariety:
    """How pictures are varied.

    Attributes:
        crops_share: Share of pictures that are taken from crops of people rather than whole ones.
        mosaic_share: Share of samples made of four pictures.
        least_zoom: The smallest part of a picture that is shown, of its sides.
        paste_share: Share of pictures with somebody out of another one laid in.
        cover_share: Share of pictures with something drawn in front.
        look: Strength of the changes of colour and tone; 0 leaves pictures as they are.
        spoilt: How often light is uneven, and sharpness, noise and compression are a webcam's.
    """

    crops_share: float = 0.3
    mosaic_share: float = 0.2
    least_zoom: float = 0.45
    paste_share: float = 0.35
    cover_share: float = 0.15
    look: float = 1.0
    spoilt: float = 0.5


class PictureSource:
    """Draws pictures of one split.

    Args:
        data: Folder of rendered scenes.
        split: Which people, rooms and motions.
        height: Of the detector's input.
        width: Of the detector's input.
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
        variety: DetectorVariety,
        memory_mb: float = 1000.0,
    ) -> None:
        self._frames = ScenePool(data, split, "frames", memory_mb / 2)
        self._crops: ScenePool | None = None
        if variety.crops_share > 0:
            self._crops = ScenePool(data, split, "crops", memory_mb / 2)
        self._height, self._width, self._variety = height, width, variety
        self._stuff: Picture | None = None

    def draw(self, rng: np.random.Generator) -> DetectorSample:
        """A varied picture for training.

        Raises:
            UserError: A scene is damaged.
        """
        height, width = self._height, self._width
        if rng.random() < self._variety.mosaic_share:
            parts = [self._single(rng, height // 2, width // 2) for _ in range(4)]
            picture = np.vstack([np.hstack([p.picture for p in parts[i : i + 2]]) for i in (0, 2)])
            places = ((0, 0), (width // 2, 0), (0, height // 2), (width // 2, height // 2))
            boxes = np.concatenate(
                [p.boxes + np.tile(place, 2) for p, place in zip(parts, places, strict=True)]
            )
            kinds = np.concatenate([part.kinds for part in parts])
            order = np.argsort(kinds == NOBODY, kind="stable")[:MOST_PEOPLE]
            return DetectorSample(picture, boxes[order].astype(np.float32), kinds[order])
        return self._single(rng, height, width)

    def _single(self, rng: np.random.Generator, height: int, width: int) -> DetectorSample:
        variety = self._variety
        scene, index = self._stored(rng)
        if rng.random() < variety.paste_share:
            pasted = paste_person(Labelled.of(scene, index), Labelled.of(*self._stored(rng)), rng)
            stored = pasted.picture
            boxes, pixels = pasted.people()
            asked = pixels >= _LEAST_SHARE * pasted.owner.size
        else:
            stored = scene.picture(index)
            boxes, asked = people_of(scene, index)
        if rng.random() < variety.cover_share:
            # Not so much that a person disappears: boxes stay as they are.
            cover(stored, rng, self._stuff)
        self._stuff = stored
        shapes, odds = zip(*_SHAPES, strict=True)
        shape = float(rng.choice(shapes, p=odds)) * math.exp(rng.normal(0, 0.05))
        shown = _part_shown(stored.shape[0], stored.shape[1], shape, boxes, rng, variety.least_zoom)
        return _letterboxed(
            *(stored, shown, boxes, asked, height, width, rng.random() < 0.5),
            lambda inner: vary_look(inner, rng, variety.look, variety.spoilt),
        )

    def _stored(self, rng: np.random.Generator) -> tuple[Scene, int]:
        """A scene by chance, and which of its pictures."""
        pool = self._frames
        if self._crops is not None and rng.random() < self._variety.crops_share:
            pool = self._crops
        scene = pool.draw(rng)
        return scene, int(rng.integers(len(scene)))


def who_is_in(scene: Scene, index: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """Which of a scene's people a stored picture shows, (K,), and their boxes (K, 4) in it."""
    corners = scene.to_stored(scene.boxes[index].reshape(-1, 2, 2), index)
    boxes = corners.clip(0, PICTURE_SIZES[scene.kind]).reshape(-1, 4).astype(np.float32)
    present = np.isfinite(boxes).all(1) & (scene.pixels[index] > 0)
    present &= (boxes[:, 2:] - boxes[:, :2] > 0).all(1)
    return np.flatnonzero(present), boxes[present]


def people_of(scene: Scene, index: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The people in a stored picture.

    Returns:
        (K, 4) boxes in its pixels, and (K,) whether enough is seen of each to ask for them.
    """
    who, boxes = who_is_in(scene, index)
    width, height = PICTURE_SIZES[scene.kind]
    return boxes, scene.pixels[index, who] >= _LEAST_SHARE * width * height


def graded(scene: Scene, index: int) -> tuple[Floats, Picture]:
    """The people in a stored picture, (K, 4), and which to ask for, (K,)."""
    boxes, asked = people_of(scene, index)
    longer = (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0)
    asked &= longer >= _LEAST_SIZE * max(PICTURE_SIZES[scene.kind])
    return boxes, np.where(asked, PERSON, IGNORED).astype(np.uint8)


def share_in_sight(scene: Scene, index: int) -> Floats:
    """(K,) the share of joints in plain sight of each of the people in a stored picture."""
    who, _ = who_is_in(scene, index)
    return np.asarray((scene.visibility[index, who] == VISIBLE).mean(1), np.float32)


def in_clear_view(scene: Scene, index: int) -> npt.NDArray[np.bool_]:
    """(K,) which of the people in a stored picture little or nothing hides."""
    return share_in_sight(scene, index) >= CLEAR_SHARE


def whole_picture(scene: Scene, index: int, height: int, width: int) -> DetectorSample:
    """A stored picture as the live front end letterboxes it."""
    stored = scene.picture(index)
    boxes, asked = people_of(scene, index)
    shown = np.array((0, 0, stored.shape[1], stored.shape[0]), np.float64)
    return _letterboxed(stored, shown, boxes, asked, height, width, False)


def _part_shown(
    height: int,
    width: int,
    shape: float,
    boxes: Floats,
    rng: np.random.Generator,
    least_zoom: float,
) -> npt.NDArray[np.float64]:
    """(4,) x0, y0, x1, y1 of a part of the asked proportions, more often with people than not."""
    largest = np.array((min(width, height * shape), min(height, width / shape)))
    size = largest * (1.0 if rng.random() < 0.35 else rng.uniform(least_zoom, 1.0))
    room = np.array((width, height)) - size
    start = rng.uniform(0, 1, 2) * room
    if len(boxes) and rng.random() < 0.7:
        box = boxes[int(rng.integers(len(boxes)))]
        middle = (box[:2] + box[2:]) / 2 + rng.normal(0, 0.2, 2) * size
        start = (middle - size / 2).clip(0, np.maximum(room, 0))
    return np.concatenate((start, start + size))


def _letterboxed(
    stored: Picture,
    shown: npt.NDArray[np.float64],
    boxes: Floats,
    asked: npt.NDArray[np.bool_],
    height: int,
    width: int,
    flipped: bool,
    look: Callable[[Picture], Picture] | None = None,
) -> DetectorSample:
    """Lays a part of a picture into the input; ``look`` changes it, but not the bars beside it."""
    part = shown[2:] - shown[:2]
    scale = min(width / part[0], height / part[1])
    size = part * scale
    origin = (np.array((width, height)) - size) / 2
    # The filled rectangle has whole borders, so that its edge is as sharp as in a real letterbox.
    left, top = (int(v) for v in np.round(origin))
    across, down = width - 2 * left, height - 2 * top
    step = part / (across, down)
    matrix = np.array(
        ((step[0], 0, shown[0] + step[0] / 2 - 0.5), (0, step[1], shown[1] + step[1] / 2 - 0.5))
    )
    if step.min() >= 2:
        way = cv2.INTER_AREA
        rows, columns = (np.round(shown).astype(int)[[1, 3]], np.round(shown).astype(int)[[0, 2]])
        inside = stored[rows[0] : max(rows[1], rows[0] + 1), columns[0] : columns[1]]
        inner = cv2.resize(inside, (across, down), interpolation=way)
    else:
        inner = cv2.warpAffine(
            stored,
            matrix,
            (across, down),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    if look is not None:
        inner = look(cast(Picture, inner))
    picture = np.full((height, width, 3), _FILL, np.uint8)
    picture[top : top + down, left : left + across] = inner[:, ::-1] if flipped else inner
    placed = (boxes.reshape(-1, 2, 2) - shown[:2]) / step
    limit = np.array((across, down))
    kept = placed.clip(0, limit)
    if flipped:
        kept[..., 0] = across - kept[:, ::-1, 0]
    before, after = (np.prod(b[:, 1] - b[:, 0], axis=-1) for b in (placed, kept))
    longer = (kept[:, 1] - kept[:, 0]).max(-1, initial=0)
    there = (kept[:, 1] - kept[:, 0] > 0.5).all(-1)
    good = asked & (after >= _LEAST_KEPT * before) & (longer >= _LEAST_SIZE * max(height, width))
    rows_out = np.zeros((MOST_PEOPLE, 4), np.float32)
    kinds = np.full(MOST_PEOPLE, NOBODY, np.uint8)
    chosen = np.flatnonzero(there)[:MOST_PEOPLE]
    rows_out[: len(chosen)] = (kept[chosen] + (left, top)).reshape(-1, 4)
    kinds[: len(chosen)] = np.where(good[chosen], PERSON, IGNORED)
    return DetectorSample(picture, rows_out, kinds)
