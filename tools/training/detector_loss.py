"""YOLOv3's loss for one class, with complete IoU for the boxes.

Assignment and objectness as in Redmon and Farhadi, "YOLOv3" (2018), section 2.1: the anchor that
fits best answers for a person, anchors that overlap one well without being the best are let alone.
More than one anchor may answer where their shapes fit nearly alike, and where ``scale_x_y`` lets
boxes reach beyond their cell (Bochkovskiy et al., "YOLOv4", 2020), the two nearest cells answer
beside a person's own: three times as much to learn from. Objectness says how well the box fits, so
that suppression keeps the best one. Boxes: Zheng et al., "Distance-IoU Loss" (AAAI 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor
from torch.nn import functional

from engines.networks.darknet import Darknet
from engines.networks.person_detector import PersonDetector
from tools.training.detector_samples import IGNORED, PERSON

_REACHES_NEIGHBOURS: Final = 2.0
"""From this ``scale_x_y`` on, a box's middle may lie half a cell outside its own cell."""


@dataclass(frozen=True, slots=True)
class DetectorCosts:
    """What each error costs.

    Attributes:
        box: Cost of a person's box that is wholly wrong.
        background: Cost of objectness where nobody is.
        shape_overlap: Anchors whose shape overlaps a person's this much answer for them too.
        let_alone: Boxes that overlap a person this much without answering are not punished.
    """

    box: float = 2.0
    background: float = 0.7
    shape_overlap: float = 0.55
    let_alone: float = 0.6


@dataclass(frozen=True, slots=True)
class _Rows:
    """All heads' answers in one list, as `PersonDetector` orders them.

    Attributes:
        raw: (B, N, 6) before any sigmoid.
        cells: (N, 2) left upper corners in cells.
        anchors: (N, 2) in input pixels.
        strides: (N, 2) input pixels a cell.
        stretch: (N, 1) ``scale_x_y`` of the head.
        starts: First row of each head.
        grids: Cells across and down of each head.
    """

    raw: Tensor
    cells: Tensor
    anchors: Tensor
    strides: Tensor
    stretch: Tensor
    starts: tuple[int, ...]
    grids: tuple[tuple[int, int], ...]

    def boxes(self) -> Tensor:
        """(B, N, 4) x0, y0, x1, y1 in input pixels."""
        shift = (self.raw[..., :2].sigmoid() - 0.5) * self.stretch + 0.5
        centres = (shift + self.cells) * self.strides
        # A young network may say anything; exp must stay finite.
        half = self.raw[..., 2:4].clamp(-6, 6).exp() * self.anchors / 2
        return torch.cat((centres - half, centres + half), -1)


def detector_loss(
    network: PersonDetector, images: Tensor, boxes: Tensor, kinds: Tensor, costs: DetectorCosts
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch.

    Args:
        network: in training mode.
        images: (B, 3, H, W) RGB 0…1, of the network's own proportions, maybe smaller.
        boxes: (B, M, 4) x0, y0, x1, y1 in input pixels.
        kinds: (B, M) as in ``detector_samples``.
        costs: What each error costs.

    Returns:
        The loss, and its parts for the log.
    """
    rows = _rows(network, images)
    picture, row, target = _assign(rows, network, boxes, kinds, costs.shape_overlap)
    count = max(len(picture), 1)
    found = rows.boxes()
    answers = found[picture, row]
    wrong = (1 - complete_iou(answers, target)).sum() / count
    person = rows.raw[picture, row, 5]
    person_loss = functional.softplus(-person).sum() / count
    wanted = torch.zeros_like(rows.raw[..., 4])
    wanted[picture, row] = 0.5 + 0.5 * pair_iou(answers.detach(), target)
    weight = torch.where(_let_alone(found.detach(), boxes, kinds, costs.let_alone), 0.0, 1.0)
    weight = weight * costs.background
    weight[picture, row] = 1.0
    objectness = functional.binary_cross_entropy_with_logits(
        rows.raw[..., 4], wanted, weight, reduction="sum"
    )
    objectness = objectness / count
    loss = costs.box * wrong + objectness + person_loss
    return loss, {"loss": loss.detach(), "box": wrong.detach(), "objectness": objectness.detach()}


def boxes_of(network: PersonDetector, images: Tensor) -> Tensor:
    """(B, N, 4) x0, y0, x1, y1 in pixels of (B, 3, H, W) images, as training reads them.

    The images may be smaller than the network's own input; its anchors then shrink with them.
    """
    return _rows(network, images).boxes()


def complete_iou(one: Tensor, other: Tensor) -> Tensor:
    """Complete IoU of boxes: overlap, less the distance of middles, less the misfit of shapes.

    Args:
        one: (K, 4) x0, y0, x1, y1.
        other: (K, 4).

    Returns:
        (K,) at most 1.
    """
    overlap = pair_iou(one, other)
    low = torch.minimum(one[:, :2], other[:, :2])
    high = torch.maximum(one[:, 2:], other[:, 2:])
    apart = (one[:, :2] + one[:, 2:] - other[:, :2] - other[:, 2:]).square().sum(1) / 4
    distance = apart / (high - low).square().sum(1).clamp(min=1e-6)
    size_one, size_other = (box[:, 2:] - box[:, :2] for box in (one, other))
    angles = [
        torch.atan2(size[:, 0], size[:, 1].clamp(min=1e-6)) for size in (size_one, size_other)
    ]
    misfit = (angles[0] - angles[1]).square() * (4 / math.pi**2)
    with torch.no_grad():
        share = misfit / (1 - overlap + misfit).clamp(min=1e-6)
    return overlap - distance - share * misfit


def pair_iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4) that broadcast against each other."""
    low = torch.maximum(one[..., :2], other[..., :2])
    high = torch.minimum(one[..., 2:], other[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (one, other)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-6)


def _rows(network: PersonDetector, images: Tensor) -> _Rows:
    # Smaller pictures than the network's own show smaller people: its anchors shrink alike.
    device = images.device
    size = torch.tensor(images.shape[:1:-1], device=device)
    smaller = size / torch.tensor(network.info.inputs[0].shape[:1:-1], device=device)
    parts, cells, anchors, strides, stretch, starts, grids, start = [], [], [], [], [], [], [], 0
    heads: tuple[Tensor, ...] = network.inner(images)
    for head, raw in zip(cast(Darknet, network.inner).heads, heads, strict=True):
        batch, _, height, width = raw.shape
        part = raw.float().reshape(batch, -1, 6, height * width)
        part = part.permute(0, 3, 1, 2).reshape(batch, -1, 6)
        parts.append(part)
        shapes = torch.tensor(head.anchors, device=device) * smaller
        anchors.append(shapes.repeat(height * width, 1))
        place = torch.arange(height * width, device=device)
        corners = torch.stack((place % width, place // width), -1).float()
        cells.append(corners.repeat_interleave(len(head.anchors), 0))
        grid = torch.tensor((width, height), device=device)
        strides.append((size / grid).expand(part.shape[1], 2))
        stretch.append(torch.full((part.shape[1], 1), head.scale_xy, device=device))
        starts.append(start)
        grids.append((width, height))
        start += part.shape[1]
    return _Rows(
        torch.cat(parts, 1),
        torch.cat(cells),
        torch.cat(anchors),
        torch.cat(strides),
        torch.cat(stretch),
        tuple(starts),
        tuple(grids),
    )


def _assign(
    rows: _Rows, network: PersonDetector, boxes: Tensor, kinds: Tensor, shape_overlap: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Which rows answer for which people: picture (K,), row (K,), box (K, 4)."""
    picture, place = (kinds == PERSON).nonzero(as_tuple=True)
    people = boxes[picture, place]
    sizes = (people[:, 2:] - people[:, :2])[:, None]
    anchors, strides, starts, grids, each, wide = [], [], [], [], [], []
    for index, (head, start) in enumerate(
        zip(cast(Darknet, network.inner).heads, rows.starts, strict=True)
    ):
        for anchor in range(len(head.anchors)):
            anchors.append(rows.anchors[start + anchor])
            strides.append(rows.strides[start])
            starts.append(start + anchor)
            grids.append(rows.grids[index])
            each.append(len(head.anchors))
            wide.append(head.scale_xy >= _REACHES_NEIGHBOURS)
    shapes = torch.stack(anchors)[None]
    shared = torch.minimum(sizes, shapes).prod(-1)
    fit = shared / (sizes.prod(-1) + shapes.prod(-1) - shared).clamp(min=1e-6)
    chosen = (fit == fit.amax(1, keepdim=True)) | (fit > shape_overlap)
    which, anchor_index = chosen.nonzero(as_tuple=True)
    device = boxes.device
    grid = torch.tensor(grids, device=device)[anchor_index]
    place = (people[which, :2] + people[which, 2:]) / 2 / torch.stack(strides)[anchor_index]
    answering, cell = answering_cells(place, grid, torch.tensor(wide, device=device)[anchor_index])
    which, anchor_index, grid = which[answering], anchor_index[answering], grid[answering]
    row = (cell[:, 1] * grid[:, 0] + cell[:, 0]) * torch.tensor(each, device=device)[anchor_index]
    row = row + torch.tensor(starts, device=device)[anchor_index]
    return picture[which], row, people[which]


def answering_cells(place: Tensor, grid: Tensor, wide: Tensor) -> tuple[Tensor, Tensor]:
    """The cells that answer for middles ``place`` (K, 2), in cells of grids (K, 2).

    Args:
        place: x, y.
        grid: cells across and down.
        wide: (K,) bool, whether the nearest cell beside, and that above or below, answer too.

    Returns:
        For each answer (A,) which place, and (A, 2) the cell's column and row.
    """
    own = torch.minimum(place.long().clamp(min=0), grid - 1)
    index = torch.arange(len(place), device=place.device)
    indices, cells = [index], [own]
    towards = torch.where(place - own < 0.5, -1, 1)
    for axis in range(2):
        step = torch.zeros_like(own)
        step[:, axis] = towards[:, axis]
        beside = own + step
        there = wide & ((beside >= 0) & (beside < grid)).all(1)
        indices.append(index[there])
        cells.append(beside[there])
    return torch.cat(indices), torch.cat(cells)


def _let_alone(found: Tensor, boxes: Tensor, kinds: Tensor, overlap: float) -> Tensor:
    """(B, N) boxes that overlap a person well, or lie mostly on one who is not asked for."""
    known = (kinds == PERSON)[:, None] & (pair_iou(found[:, :, None], boxes[:, None]) > overlap)
    low = torch.maximum(found[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(found[:, :, None, 2:], boxes[:, None, :, 2:])
    own = (found[..., 2:] - found[..., :2]).clamp(min=1e-3).prod(-1)[..., None]
    inside = (high - low).clamp(min=0).prod(-1) / own > 0.5
    return (known | ((kinds == IGNORED)[:, None] & inside)).any(-1)
