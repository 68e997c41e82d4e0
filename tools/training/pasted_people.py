"""People cut out of other pictures and laid into a picture, so that people hide each other.

After Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
Segmentation" (CVPR 2021): rendered pictures know whose every pixel is, so boxes round what is left
to see of everybody stay exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from tools.studio.shards import Scene

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_LEAST_PIXELS: Final = 400
"""People of fewer pixels are not cut out."""

_MOST_ENLARGED: Final = 1.4
"""Cut-outs are not enlarged further."""

_BESIDE_SHARE: Final = 0.75
"""How often somebody is laid beside or over somebody else rather than anywhere."""

_BEHIND_SHARE: Final = 0.4
"""How often somebody is laid behind everybody who is there."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture, and whose each of its pixels is.

    Attributes:
        picture: (h, w, 3) RGB bytes.
        owner: (h, w) 0 for the room, else a person's number.
    """

    picture: Bytes
    owner: Bytes

    @staticmethod
    def of(scene: Scene, index: int) -> Labelled:
        """A stored picture and its mask.

        Raises:
            UserError: One of them is damaged.
        """
        return Labelled(scene.picture(index), scene.mask(index))

    def people(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Boxes (K, 4) x0, y0, x1, y1 round everybody's visible pixels, and how many these are."""
        counts = np.bincount(self.owner.ravel())
        numbers = np.flatnonzero(counts[1:]) + 1
        boxes = [_extent(self.owner == number) for number in numbers]
        return np.array(boxes, np.float32).reshape(-1, 4), counts[numbers]


def paste_person(into: Labelled, source: Labelled, rng: np.random.Generator) -> Labelled:
    """Lays one person of another picture into a picture, before or behind those who are there.

    Args:
        into: The picture.
        source: Where somebody is cut out.
        rng: Source of chance.

    Returns:
        The picture with one person more; the same one where nobody whole can be cut out.
    """
    numbers = np.flatnonzero(np.bincount(source.owner.ravel())[1:] >= _LEAST_PIXELS) + 1
    if len(numbers) == 0:
        return into
    own = source.owner == numbers[int(rng.integers(len(numbers)))]
    x0, y0, x1, y1 = _extent(own)
    if min(x0, y0) == 0 or x1 == own.shape[1] or y1 == own.shape[0]:
        return into  # half of somebody in the middle of a room
    looks = source.picture[y0:y1, x0:x1]
    outline = own[y0:y1, x0:x1].astype(np.float32)
    height, width = into.owner.shape
    place, tall = _place(into, rng)
    scale = min(tall / (y1 - y0), _MOST_ENLARGED)
    size = (max(2, round((x1 - x0) * scale)), max(2, round((y1 - y0) * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    looks, outline = (cv2.resize(part, size, interpolation=way) for part in (looks, outline))
    if rng.random() < 0.5:
        looks, outline = looks[:, ::-1], outline[:, ::-1]
    # Feet at the place; what lies outside the picture is cut off.
    left, top = round(float(place[0]) - size[0] / 2), round(float(place[1])) - size[1]
    low = np.maximum((left, top), 0)
    high = np.minimum((left + size[0], top + size[1]), (width, height))
    if (high <= low).any():
        return into
    there = (slice(low[1], high[1]), slice(low[0], high[0]))
    cut = (slice(low[1] - top, high[1] - top), slice(low[0] - left, high[0] - left))
    share = outline[cut]
    owner, picture = into.owner.copy(), into.picture.copy()
    if rng.random() < _BEHIND_SHARE:
        share = np.where(owner[there] > 0, 0.0, share)
    gain = rng.uniform(0.75, 1.25)
    mixed = picture[there] * (1 - share[..., None]) + gain * looks[cut] * share[..., None]
    picture[there] = mixed.clip(0, 255).astype(np.uint8)
    owner[there][share > 0.5] = int(owner.max()) + 1
    return Labelled(picture, owner)


def _place(into: Labelled, rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], float]:
    """Where the feet of somebody new shall be, x, y, and how tall they shall be; pixels."""
    height, width = into.owner.shape
    numbers = np.flatnonzero(np.bincount(into.owner.ravel())[1:]) + 1
    if len(numbers) and rng.random() < _BESIDE_SHARE:
        number = numbers[int(rng.integers(len(numbers)))]
        box = np.array(_extent(into.owner == number), np.float64)
        extent = box[2:] - box[:2]
        tall = float(extent.max() * np.exp(rng.normal(0, 0.3)))
        feet = np.array(((box[0] + box[2]) / 2, box[3]))
        reach = np.maximum(extent, 0.3 * extent.max())
        return feet + rng.normal(0, (0.6, 0.12), 2) * reach, tall
    tall = height * rng.uniform(0.15, 1.0)
    return rng.uniform((0, 0.4), (1, 1.1)) * (width, height), float(tall)


def _extent(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 round the pixels of a mask that has some."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return left, top, left + width, top + height
