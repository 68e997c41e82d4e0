"""Reading of heatmaps in torch, on the device of the engine."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.backends.cuda_graphs import CudaGraphs
from engines.backends.single_precision import without_tf32
from engines.front_ends.yolo_cpn.operations import (
    BLURS,
    FARTHEST,
    LEAST_HEAT,
    NEARLY_HIGHEST,
    Blur,
    Decoding,
    HeatReading,
)
from engines.front_ends.yolo_cpn.rivals import APART, LEAST_SHARE, RIVALS


class TensorHeat:
    """Finds joints and their rivals in heatmaps; the arithmetic of ``host_operations``.

    Args:
        device: as torch names it.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        # On a GPU the steps are recorded: launching one by one takes longer than they do.
        self._readers: dict[HeatReading, CudaGraphs] = {}
        self._kernels = {
            blur: torch.from_numpy(
                cv2.getGaussianKernel(blur.size, blur.sigma, cv2.CV_32F)[:, 0]
            ).to(self._device)
            for blur in BLURS.values()
        }

    def read(self, heatmaps: Tensor, reading: HeatReading) -> Tensor:
        """Reads a network's heatmaps.

        Args:
            heatmaps: (B, 17, h, w).
            reading: how.

        Returns:
            (B, 17, 1 + rivals, 3) x, y in cells and certainty of each joint, then of its rivals;
            in memory that the next call may overwrite.
        """

        def run(heatmaps: Tensor) -> tuple[Tensor, ...]:
            with without_tf32():  # a place within a cell lies in the last bits of the heat
                searched = self._blurred(heatmaps, BLURS[reading.decoding])
            joints = self._decoded(heatmaps, searched, reading.decoding, reading.peak)
            found = [joints[:, :, None]]
            if reading.rivals:
                found.append(find_rivals(searched, reading.peak))
            return (torch.cat(found, 2),)

        if self._device.type == "cpu":
            return run(heatmaps)[0]
        if reading not in self._readers:
            self._readers[reading] = CudaGraphs(run, "reading of heatmaps")
        return self._readers[reading](heatmaps)[0]

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

    def _blurred(self, heatmaps: Tensor, blur: Blur) -> Tensor:
        rows, columns = heatmaps.shape[2:]
        maps = heatmaps.reshape(-1, 1, rows, columns)
        half, kernel = blur.size // 2, self._kernels[blur]
        mode = "replicate" if blur.edge_goes_on else "constant"
        maps = functional.pad(maps, (half, half, half, half), mode)
        maps = functional.conv2d(maps, kernel.reshape(1, 1, 1, -1))
        maps = functional.conv2d(maps, kernel.reshape(1, 1, -1, 1))
        return maps.reshape(heatmaps.shape)


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
