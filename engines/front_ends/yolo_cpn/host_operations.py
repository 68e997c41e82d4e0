"""The steps around the networks on the host, with OpenCV and NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, cast

import cv2
import numpy as np

from engines.backends.base import DescribedBackend
from engines.front_ends.base import Image
from engines.front_ends.yolo_cpn.operations import (
    BLURS,
    CPN_MEAN,
    FARTHEST,
    LEAST_HEAT,
    LETTERBOX_FILL,
    NEARLY_HIGHEST,
    TOP,
    Blur,
    Decoding,
    FeatureLayout,
    Floats,
    HeatReading,
    Patch,
    PoseAnswer,
    reduction,
)
from engines.front_ends.yolo_cpn.regions import Region
from engines.front_ends.yolo_cpn.rivals import APART, LEAST_SHARE, RIVALS

_NEIGHBOURS: Final = np.ones((3, 3), np.uint8)


class HostOperations:
    """See ``Operations``."""

    def __init__(self) -> None:
        self._images: tuple[Image | None, ...] = ()

    def take(self, images: Sequence[Image | None]) -> None:
        """Keeps the pictures until the next call."""
        self._images = tuple(images)

    def detect(self, backend: DescribedBackend, patches: Sequence[Patch]) -> tuple[Floats, Floats]:
        """Letterboxes, detects, and picks the surest boxes."""
        batch = self._batch(backend, patches, LETTERBOX_FILL)
        outputs = backend.run({"images": batch})
        boxes = cast(Floats, outputs["boxes"])
        scores = cast(Floats, outputs["scores"])
        count = min(TOP, scores.shape[1])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return (
            np.take_along_axis(boxes, order[..., None], 1),
            np.take_along_axis(scores, order, 1),
        )

    def find_joints(
        self, backend: DescribedBackend, patches: Sequence[Patch], reading: HeatReading
    ) -> PoseAnswer:
        """Crops, runs the pose network and reads its heatmaps."""
        batch = self._batch(backend, patches, CPN_MEAN)
        batch -= np.array(CPN_MEAN, np.float32).reshape(3, 1, 1)
        mirrored: Floats | None = None
        kept: Floats | None = None
        if reading.partners is not None:
            # First, for the features that are kept are those of the crop as it is.
            answer = backend.run({"images": np.ascontiguousarray(batch[..., ::-1])})
            mirrored = cast(Floats, answer["heatmaps"])[..., ::-1][:, list(reading.partners)]
            kept = cast(Floats, answer["features"]).copy() if reading.both else None
        outputs = backend.run({"images": batch})
        heatmaps = cast(Floats, outputs["heatmaps"])
        if mirrored is not None:
            heatmaps = 0.5 * (heatmaps + mirrored)
        searched = _blurred(heatmaps, BLURS[reading.decoding])
        places, confidence = _decoded(heatmaps, searched, reading.decoding, reading.peak)
        stride = np.float32(batch.shape[2] / heatmaps.shape[2])
        rivals = np.zeros((*confidence.shape, 0, 3), np.float32)
        if reading.rivals:
            rivals = find_rivals(searched, reading.peak)
        rivals[..., :2] = (rivals[..., :2] + 0.5) * stride
        return PoseAnswer((places + 0.5) * stride, confidence, rivals, outputs["features"], kept)

    def sample(self, features: object, places: Floats, layout: FeatureLayout) -> Floats:
        """Bilinear samples of the features; see ``Operations.sample``."""
        maps = cast(Floats, features)
        rows, columns = maps.shape[2:]
        joints = places.shape[1]
        owners = joints if layout.by_joint else 1
        maps = maps.reshape(len(maps), owners, -1, rows, columns)
        owner = np.arange(joints) if layout.by_joint else np.zeros(joints, np.intp)
        x = np.clip(places[..., 0] * (columns / layout.width) - 0.5, 0, columns - 1)
        y = np.clip(places[..., 1] * (rows / layout.height) - 0.5, 0, rows - 1)
        left, top = np.floor(x).astype(int), np.floor(y).astype(int)
        right, bottom = np.minimum(left + 1, columns - 1), np.minimum(top + 1, rows - 1)
        across, down = (x - left)[..., None], (y - top)[..., None]
        crop = np.arange(len(maps))[:, None]

        def at(row: np.ndarray, column: np.ndarray) -> np.ndarray:
            return maps[crop, owner, :, row, column]

        upper = at(top, left) * (1 - across) + at(top, right) * across
        lower = at(bottom, left) * (1 - across) + at(bottom, right) * across
        return np.asarray(upper * (1 - down) + lower * down, np.float32)

    def pool(self, answer: PoseAnswer) -> Floats:
        """The mean of the features over each crop."""
        return np.asarray(cast(Floats, answer.features).mean((2, 3)), np.float32)

    def _batch(
        self, backend: DescribedBackend, patches: Sequence[Patch], fill: tuple[float, float, float]
    ) -> Floats:
        height, width = (int(size or 0) for size in backend.inputs[0].shape[2:])
        batch = np.empty((len(patches), 3, height, width), np.float32)
        for place, patch in enumerate(patches):
            image = self._images[patch.view]
            assert image is not None
            cut = _cut(image, patch.region, height, width, fill)
            np.multiply(cut[..., ::-1].transpose(2, 0, 1), np.float32(1 / 255), out=batch[place])
        return batch


def decode(heatmaps: Floats, decoding: Decoding, peak: float) -> tuple[Floats, Floats]:
    """Reads joints from heatmaps.

    ``cpn`` is how the public CPN is read: blur, take the maximum, move a quarter of a cell
    towards the second maximum. ``log_parabola`` blurs a little and fits parabolas to the
    logarithm about the maximum, along x and along y, which is right for Gaussian peaks (DARK:
    Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR
    2020).

    Args:
        heatmaps: (B, 17, h, w).
        decoding: one of the two.
        peak: heat of full certainty.

    Returns:
        (B, 17, 2) x, y in cells (0 is the first cell's centre) and (B, 17) confidence 0…1.
    """
    return _decoded(heatmaps, _blurred(heatmaps, BLURS[decoding]), decoding, peak)


def _decoded(
    heatmaps: Floats, blurred: Floats, decoding: Decoding, peak: float
) -> tuple[Floats, Floats]:
    rows, columns = heatmaps.shape[2:]
    flat = heatmaps.reshape(-1, rows * columns)
    searched = blurred.reshape(-1, rows * columns)
    best = searched.argmax(1)
    if decoding == "cpn":
        rest = searched.copy()
        np.put_along_axis(rest, best[:, None], -np.inf, 1)
        second = rest.argmax(1)
        towards = np.stack(
            (second % columns - best % columns, second // columns - best // columns), 1
        )
        shift = 0.25 * towards / np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-3)
    else:
        shift = _parabola(searched.reshape(-1, rows, columns), best, peak)
    x, y = best % columns, best // columns
    places = np.stack((x, y), 1) + shift
    places = np.clip(places, 0, (columns - 1, rows - 1)).reshape(*heatmaps.shape[:2], 2)
    heat = np.take_along_axis(flat, best[:, None], 1).reshape(heatmaps.shape[:2])
    return places.astype(np.float32), np.clip(heat / peak, 0, 1).astype(np.float32)


def _parabola(maps: Floats, best: np.ndarray, peak: float) -> Floats:
    """Offset (N, 2) in x and y of each map's peak from its highest cell.

    The mean of what that cell and those around it that are nearly as high say, each by a parabola
    through the logarithm.
    """
    count, rows, columns = maps.shape
    around = np.arange(-2, 3)
    y, x = best[:, None] // columns + around, best[:, None] % columns + around
    inside = ((y >= 0) & (y < rows))[:, :, None] & ((x >= 0) & (x < columns))[:, None]
    y, x = np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)
    heat = maps[np.arange(count)[:, None, None], y[:, :, None], x[:, None]]  # (N, 5, 5)
    logs = np.log(np.maximum(heat, LEAST_HEAT * peak))
    middle, cells = logs[:, 1:4, 1:4], heat[:, 1:4, 1:4]
    weight = np.maximum(cells - (1 - NEARLY_HIGHEST) * heat[:, 2:3, 2:3], 0)
    weight = np.where(inside[:, 1:4, 1:4], weight, 0)
    weight[:, 1, 1] = np.maximum(weight[:, 1, 1], LEAST_HEAT * peak)
    weight /= weight.sum((1, 2), keepdims=True)
    steps = np.arange(-1, 2)
    shifts = []
    for before, after, step in (
        (np.s_[:, 1:4, 0:3], np.s_[:, 1:4, 2:5], steps),
        (np.s_[:, 0:3, 1:4], np.s_[:, 2:5, 1:4], steps[:, None]),
    ):
        curve = logs[before] - 2 * middle + logs[after]
        known = inside[before] & inside[after] & (curve < 0)
        shift = 0.5 * (logs[before] - logs[after]) / np.where(known, curve, -1)
        place = step + np.where(known, np.clip(shift, -2 * FARTHEST, 2 * FARTHEST), 0)
        shifts.append(np.clip((weight * place).sum((1, 2)), -FARTHEST, FARTHEST))
    return np.stack(shifts, 1).astype(np.float32)


def find_rivals(searched: Floats, peak: float) -> Floats:
    """Finds the further peaks of heatmaps (``rivals.py``).

    Args:
        searched: (B, J, h, w) heat, smoothed as for decoding.
        peak: heat of full certainty.

    Returns:
        (B, J, ``RIVALS``, 3): x, y in cells (0 is the first cell's centre) and heat 0…1, highest
        first; zeros where there is none.
    """
    batch, joints, rows, columns = searched.shape
    maps = searched.reshape(-1, rows, columns)
    highest = _filtered(searched, lambda stacked: cv2.dilate(stacked, _NEIGHBOURS))
    left = np.where(searched >= highest, searched, -np.inf).reshape(maps.shape)
    # What is left after the peak itself is taken away are the rivals.
    place = maps.reshape(len(maps), -1).argmax(1)
    found = np.zeros((len(maps), RIVALS, 3), np.float32)
    for n in range(RIVALS):
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
    return found.reshape(batch, joints, RIVALS, 3)


def _blurred(heatmaps: Floats, blur: Blur) -> Floats:
    size = (blur.size, blur.size)
    border = cv2.BORDER_REPLICATE if blur.edge_goes_on else cv2.BORDER_CONSTANT
    return _filtered(
        heatmaps,
        lambda stacked: cv2.GaussianBlur(stacked, size, blur.sigma, borderType=border),
    )


def _filtered(heatmaps: Floats, change: Callable[[Floats], np.ndarray]) -> Floats:
    """Heatmaps (B, J, h, w), each changed by a filter of OpenCV."""
    changed = np.empty_like(heatmaps)
    for maps, result in zip(heatmaps, changed, strict=True):
        # A crop's maps at a time, as channels, of which OpenCV takes 512 at most.
        stacked = np.ascontiguousarray(maps.transpose(1, 2, 0))
        result[:] = change(stacked).reshape(stacked.shape).transpose(2, 0, 1)
    return changed


def _cut(
    image: Image, region: Region, height: int, width: int, fill: tuple[float, float, float]
) -> Image:
    """The region of a picture as (height, width, 3) BGR; outside it is the fill colour."""
    factor = reduction(region, height, width)
    left = top = 0
    if factor > 1:
        # Only the part that is needed is averaged down, on the whole picture's grid of blocks.
        rows, columns = image.shape[0] // factor, image.shape[1] // factor
        left = min(max(int(region.left / factor) - 1, 0), columns - 1)
        top = min(max(int(region.top / factor) - 1, 0), rows - 1)
        right = min(int((region.left + region.width) / factor) + 2, columns)
        bottom = min(int((region.top + region.height) / factor) + 2, rows)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        part = image[top * factor : bottom * factor, left * factor : right * factor]
        image = cv2.resize(part, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    across, down = region.width / factor / width, region.height / factor / height
    # OpenCV counts from pixel centres; ours are at integers + 0.5.
    matrix = np.array(
        [
            [across, 0, region.left / factor - left + across / 2 - 0.5],
            [0, down, region.top / factor - top + down / 2 - 0.5],
        ]
    )
    colour = [255 * fill[2], 255 * fill[1], 255 * fill[0]]
    cut = cv2.warpAffine(
        image,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=colour,
    )
    return cast(Image, cut)
