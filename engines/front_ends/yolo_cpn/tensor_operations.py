"""The steps around the networks in torch, on the device of the engine.

Pictures go up once, as bytes; letterbox, crop, normalisation and decoding happen there; boxes and
joints come down. The same code runs on ``cpu``, where tests compare it with the host's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

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
    Floats,
    HeatReading,
    Patch,
    PoseAnswer,
    reduction,
)
from engines.front_ends.yolo_cpn.regions import Region
from engines.front_ends.yolo_cpn.rivals import APART, LEAST_SHARE, RIVALS


class TensorOperations:
    """See ``Operations``.

    Args:
        device: as torch names it.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._staging: dict[int, Tensor] = {}
        self._pictures: list[Tensor | None] = []
        # Constants lie on the device from the start: a copy in every set would wait for it.
        self._mean = torch.tensor(CPN_MEAN, device=self._device).reshape(3, 1, 1)
        self._bars = torch.tensor(LETTERBOX_FILL, device=self._device).reshape(3, 1, 1)
        self._kernels = {
            blur: torch.from_numpy(
                cv2.getGaussianKernel(blur.size, blur.sigma, cv2.CV_32F)[:, 0]
            ).to(self._device)
            for blur in BLURS.values()
        }

    def take(self, images: Sequence[Image | None]) -> None:
        """Sends the pictures up, as bytes, through pinned memory."""
        self._pictures = [
            None if image is None else self._upload(view, image)
            for view, image in enumerate(images)
        ]

    @torch.inference_mode()
    def detect(self, backend: DescribedBackend, patches: Sequence[Patch]) -> tuple[Floats, Floats]:
        """Letterboxes, detects, and picks the surest boxes."""
        outputs = backend.run_tensors({"images": self._batch(backend, patches, self._bars)})
        scores, order = outputs["scores"].topk(min(TOP, outputs["scores"].shape[1]), dim=1)
        boxes = outputs["boxes"].gather(1, order[..., None].expand(-1, -1, 4))
        down = torch.cat((boxes, scores[..., None]), 2).cpu().numpy()
        return down[..., :4], down[..., 4]

    @torch.inference_mode()
    def find_joints(
        self, backend: DescribedBackend, patches: Sequence[Patch], reading: HeatReading
    ) -> PoseAnswer:
        """Crops, runs the pose network and reads its heatmaps."""
        batch = self._batch(backend, patches, self._mean) - self._mean
        mirrored: Tensor | None = None
        kept: Tensor | None = None
        if reading.partners is not None:
            # First, and copied: the next run may write to the same memory.
            answer = backend.run_tensors({"images": batch.flip(3)})
            mirrored = answer["heatmaps"].flip(3)[:, list(reading.partners)]
            kept = answer["features"].clone() if reading.both else None
        outputs = backend.run_tensors({"images": batch})
        heatmaps = outputs["heatmaps"]
        if mirrored is not None:
            heatmaps = 0.5 * (heatmaps + mirrored)
        searched = self._blurred(heatmaps, BLURS[reading.decoding])
        joints = self._decoded(heatmaps, searched, reading.decoding, reading.peak)
        found = [joints[:, :, None]]
        if reading.rivals:
            found.append(find_rivals(searched, reading.peak))
        # One transfer for all of it: joint by joint its peak, then its rivals.
        down = torch.cat(found, 2).cpu().numpy()
        down[..., :2] = (down[..., :2] + 0.5) * np.float32(batch.shape[2] / heatmaps.shape[2])
        places, confidence = down[:, :, 0, :2], down[:, :, 0, 2]
        return PoseAnswer(places, confidence, down[:, :, 1:], outputs["features"], kept)

    def sample(self, answer: PoseAnswer, places: Floats, height: int, width: int) -> Floats:
        """Bilinear samples of the features; see ``Operations.sample``."""
        grid = torch.from_numpy(places).to(self._device)
        return self.sample_here(answer, grid, height, width).cpu().numpy()

    def pool(self, answer: PoseAnswer) -> Floats:
        """The mean of the features over each crop."""
        return self.pool_here(answer).cpu().numpy()

    @torch.inference_mode()
    def sample_here(self, answer: PoseAnswer, places: Tensor, height: int, width: int) -> Tensor:
        """The same as ``sample``, from and to tensors on the device."""
        grid = torch.stack((places[..., 0] / width, places[..., 1] / height), -1) * 2 - 1
        sampled = functional.grid_sample(
            cast(Tensor, answer.features), grid[:, None], padding_mode="border", align_corners=False
        )
        return sampled[:, :, 0].transpose(1, 2)

    @torch.inference_mode()
    def pool_here(self, answer: PoseAnswer) -> Tensor:
        """The same as ``pool``, as a tensor on the device."""
        return cast(Tensor, answer.features).mean((2, 3))

    def decode(self, heatmaps: Tensor, decoding: Decoding, peak: float) -> Tensor:
        """Reads joints from heatmaps; the arithmetic of ``host_operations.decode``.

        Args:
            heatmaps: (B, 17, h, w).
            decoding: ``cpn`` or ``log_parabola``.
            peak: heat of full certainty.

        Returns:
            (B, 17, 3) x, y in cells, confidence.
        """
        return self._decoded(heatmaps, self._blurred(heatmaps, BLURS[decoding]), decoding, peak)

    def _decoded(
        self, heatmaps: Tensor, blurred: Tensor, decoding: Decoding, peak: float
    ) -> Tensor:
        rows, columns = heatmaps.shape[2:]
        flat = heatmaps.flatten(2)
        searched = blurred.flatten(2)
        best = searched.argmax(2, keepdim=True)
        if decoding == "cpn":
            second = searched.scatter(2, best, -torch.inf).argmax(2, keepdim=True)
            towards = _cells(second, columns) - _cells(best, columns)
            shift = 0.25 * towards / towards.norm(dim=2, keepdim=True).clamp(min=1e-3)
        else:
            shift = _parabola(searched, best, rows, columns, peak)
        x, y = (_cells(best, columns) + shift).unbind(2)
        places = torch.stack((x.clamp(0, columns - 1), y.clamp(0, rows - 1)), 2)
        return torch.cat((places, (flat.gather(2, best) / peak).clamp(0, 1)), 2)

    def _upload(self, view: int, image: Image) -> Tensor:
        if self._device.type == "cpu":
            return torch.from_numpy(np.require(image, requirements=("C", "W")))
        staging = self._staging.get(view)
        if staging is None or staging.shape != image.shape:
            staging = self._staging[view] = torch.empty(
                image.shape, dtype=torch.uint8, pin_memory=True
            )
        # The copy of the last picture has ended: its joints have come down since.
        np.copyto(staging.numpy(), image)
        return staging.to(self._device, non_blocking=True)

    def _batch(self, backend: DescribedBackend, patches: Sequence[Patch], fill: Tensor) -> Tensor:
        height, width = (int(size or 0) for size in backend.inputs[0].shape[2:])
        alike: dict[tuple[torch.Size, int], list[int]] = {}
        for place, patch in enumerate(patches):
            picture = self._pictures[patch.view]
            assert picture is not None
            key = (picture.shape, reduction(patch.region, height, width))
            alike.setdefault(key, []).append(place)
        parts: list[Tensor] = []
        for (_, factor), places in alike.items():
            pictures = torch.stack(
                [cast(Tensor, self._pictures[patches[place].view]) for place in places]
            )
            regions = [patches[place].region for place in places]
            parts.append(_cut(pictures, regions, factor, height, width, fill))
        if len(parts) == 1:
            return parts[0]
        order = [place for places in alike.values() for place in places]
        return torch.cat(parts)[np.argsort(order).tolist()]

    def _blurred(self, heatmaps: Tensor, blur: Blur) -> Tensor:
        rows, columns = heatmaps.shape[2:]
        maps = heatmaps.reshape(-1, 1, rows, columns)
        half, kernel = blur.size // 2, self._kernels[blur]
        mode = "replicate" if blur.edge_goes_on else "constant"
        maps = functional.pad(maps, (half, half, half, half), mode)
        maps = functional.conv2d(maps, kernel.reshape(1, 1, 1, -1))
        maps = functional.conv2d(maps, kernel.reshape(1, 1, -1, 1))
        return maps.reshape(heatmaps.shape)


def _cut(
    pictures: Tensor,
    regions: Sequence[Region],
    factor: int,
    height: int,
    width: int,
    colour: Tensor,
) -> Tensor:
    """A region of each (N, H, W, 3) BGR byte picture as (N, 3, height, width) RGB 0…1."""
    rgb = pictures.permute(0, 3, 1, 2).flip(1).float() / 255
    if factor > 1:
        rgb = functional.avg_pool2d(rgb, factor)
    rows, columns = rgb.shape[2:]
    sides = np.array([(r.left, r.top, r.width, r.height) for r in regions], np.float32)
    left, top, across, down = (
        torch.from_numpy(sides).to(rgb.device, non_blocking=True)[..., None].unbind(1)
    )
    x = left + (torch.arange(width, device=rgb.device) + 0.5) * (across / width)
    y = top + (torch.arange(height, device=rgb.device) + 0.5) * (down / height)
    x, y = x / (factor * columns) * 2 - 1, y / (factor * rows) * 2 - 1
    shape = (len(regions), height, width)
    grid = torch.stack((x[:, None].expand(shape), y[..., None].expand(shape)), -1)
    # Sampled as differences from the fill colour, so that "nothing" outside is that colour.
    return functional.grid_sample(rgb - colour, grid, align_corners=False) + colour


def find_rivals(searched: Tensor, peak: float) -> Tensor:
    """Finds the further peaks of heatmaps; the arithmetic of ``host_operations.find_rivals``.

    Args:
        searched: (B, 17, h, w) heat, smoothed as for decoding.
        peak: heat of full certainty.

    Returns:
        (B, 17, ``RIVALS``, 3) x, y in cells, heat.
    """
    rows, columns = searched.shape[2:]
    row = torch.arange(rows, device=searched.device)[:, None]
    column = torch.arange(columns, device=searched.device)
    highest = functional.max_pool2d(searched, 3, stride=1, padding=1)
    left = torch.where(searched >= highest, searched, -torch.inf)
    place = searched.flatten(2).argmax(2)[..., None, None]
    found: list[Tensor] = []
    for _ in range(RIVALS):
        y = torch.div(place, columns, rounding_mode="floor")
        near = ((row - y).abs() <= APART) & ((column - place % columns).abs() <= APART)
        left = torch.where(near, -torch.inf, left)
        heat, flat = (part[..., None] for part in left.flatten(2).max(2))
        there = heat >= LEAST_SHARE * peak
        rival = torch.cat((_cells(flat, columns), (heat / peak).clamp(max=1.0)), 2)
        found.append(torch.where(there, rival, 0.0))
        place = flat[..., None]
    return torch.stack(found, 2)


def _cells(index: Tensor, columns: int) -> Tensor:
    """Flat indices (B, 17, 1) as x, y (B, 17, 2)."""
    return torch.cat((index % columns, torch.div(index, columns, rounding_mode="floor")), 2).float()


def _parabola(flat: Tensor, best: Tensor, rows: int, columns: int, peak: float) -> Tensor:
    """Offset (B, 17, 2) of each map's peak; the arithmetic of ``host_operations._parabola``."""
    around = torch.arange(-2, 3, device=flat.device)
    y = torch.div(best, columns, rounding_mode="floor") + around
    x = best % columns + around
    inside = ((y >= 0) & (y < rows))[..., None] & ((x >= 0) & (x < columns))[..., None, :]
    cells = y.clamp(0, rows - 1)[..., None] * columns + x.clamp(0, columns - 1)[..., None, :]
    heat = flat.gather(2, cells.flatten(2)).reshape(cells.shape)  # (B, 17, 5, 5)
    logs = heat.clamp(min=LEAST_HEAT * peak).log()
    middle = logs[..., 1:4, 1:4]
    weight = heat[..., 1:4, 1:4] - (1 - NEARLY_HIGHEST) * heat[..., 2:3, 2:3]
    weight = torch.where(inside[..., 1:4, 1:4], weight.clamp(min=0), 0.0)
    weight[..., 1, 1].clamp_(min=LEAST_HEAT * peak)
    weight = weight / weight.sum((2, 3), keepdim=True)
    steps = torch.arange(-1, 2, device=flat.device)
    shifts: list[Tensor] = []
    for before, after, step in (
        (np.s_[..., 1:4, 0:3], np.s_[..., 1:4, 2:5], steps),
        (np.s_[..., 0:3, 1:4], np.s_[..., 2:5, 1:4], steps[:, None]),
    ):
        curve = logs[before] - 2 * middle + logs[after]
        known = inside[before] & inside[after] & (curve < 0)
        shift = 0.5 * (logs[before] - logs[after]) / torch.where(known, curve, -1.0)
        place = step + torch.where(known, shift.clamp(-2 * FARTHEST, 2 * FARTHEST), 0.0)
        shifts.append((weight * place).sum((2, 3)).clamp(-FARTHEST, FARTHEST))
    return torch.stack(shifts, 2)
