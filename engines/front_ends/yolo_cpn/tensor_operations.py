"""The steps around the networks in torch, on the device of the engine.

Pictures go up once, as bytes; letterbox, crop, normalisation and decoding happen there; boxes and
joints come down. The same code runs on ``cpu``, where tests compare it with the host's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.backends.base import DescribedBackend
from engines.backends.cuda_graphs import CudaGraphs
from engines.front_ends.base import Image
from engines.front_ends.yolo_cpn.operations import (
    CPN_MEAN,
    LETTERBOX_FILL,
    TOP,
    FeatureLayout,
    Floats,
    HeatReading,
    Patch,
    PoseAnswer,
    reduction,
)
from engines.front_ends.yolo_cpn.regions import Region
from engines.front_ends.yolo_cpn.tensor_heat import TensorHeat


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
        self._orders: dict[tuple[int, ...], Tensor] = {}
        # On a GPU the small steps are recorded: launching one by one takes longer than they do.
        self._cutters: dict[tuple[int, ...], CudaGraphs] = {}
        self._heat = TensorHeat(device)

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
            mirrored = answer["heatmaps"].flip(3).index_select(1, self._index(reading.partners))
            kept = answer["features"].clone() if reading.both else None
        outputs = backend.run_tensors({"images": batch})
        heatmaps = outputs["heatmaps"]
        if mirrored is not None:
            heatmaps = 0.5 * (heatmaps + mirrored)
        # One transfer for all of it: joint by joint its peak, then its rivals.
        down = self._heat.read(heatmaps, reading).cpu().numpy()
        down[..., :2] = (down[..., :2] + 0.5) * np.float32(batch.shape[2] / heatmaps.shape[2])
        places, confidence = down[:, :, 0, :2], down[:, :, 0, 2]
        return PoseAnswer(places, confidence, down[:, :, 1:], outputs["features"], kept)

    def sample(self, features: object, places: Floats, layout: FeatureLayout) -> Floats:
        """Bilinear samples of the features; see ``Operations.sample``."""
        there = torch.from_numpy(places).to(self._device)
        return self.sample_here(features, there, layout).cpu().numpy()

    def pool(self, answer: PoseAnswer) -> Floats:
        """The mean of the features over each crop."""
        return self.pool_here(answer).cpu().numpy()

    @torch.inference_mode()
    def sample_here(self, features: object, places: Tensor, layout: FeatureLayout) -> Tensor:
        """The same as ``sample``, from and to tensors on the device."""
        return sample_features(cast(Tensor, features), places, layout)

    @torch.inference_mode()
    def pool_here(self, answer: PoseAnswer) -> Tensor:
        """The same as ``pool``, as a tensor on the device."""
        return cast(Tensor, answer.features).mean((2, 3))

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
            parts.append(self._cut(pictures, regions, factor, height, width, fill))
        if len(parts) == 1:
            return parts[0]
        order = [place for places in alike.values() for place in places]
        return torch.cat(parts).index_select(0, self._index(np.argsort(order).tolist()))

    def _index(self, order: Sequence[int]) -> Tensor:
        """An order of rows on the device, where it stays: a list would go up, and be waited for."""
        key = tuple(order)
        if key not in self._orders:
            self._orders[key] = torch.tensor(key, device=self._device)
        return self._orders[key]

    def _cut(
        self,
        pictures: Tensor,
        regions: Sequence[Region],
        factor: int,
        height: int,
        width: int,
        colour: Tensor,
    ) -> Tensor:
        sides = np.array([(r.left, r.top, r.width, r.height) for r in regions], np.float32)
        given = torch.from_numpy(sides).to(self._device, non_blocking=True)
        if self._device.type == "cpu":
            return _sampled(pictures, given, factor, height, width, colour)
        # Pictures of another shape get graphs of their own: what these answer is needed until all
        # are cut. (Both colours live as long as this object.)
        key = (*pictures.shape[1:3], factor, height, width, id(colour))
        if key not in self._cutters:

            def run(pictures: Tensor, sides: Tensor) -> tuple[Tensor, ...]:
                return (_sampled(pictures, sides, factor, height, width, colour),)

            self._cutters[key] = CudaGraphs(run, "cutting")
        return self._cutters[key](pictures, given)[0]


def sample_features(maps: Tensor, places: Tensor, layout: FeatureLayout) -> Tensor:
    """Bilinear samples of features, through which gradients flow.

    Args:
        maps: (B, channels, h, w).
        places: (B, 17, 2) x, y in pixels of the crop.
        layout: how the features belong to the crop and its joints.

    Returns:
        (B, 17, C).
    """
    crops, joints = places.shape[:2]
    grid = torch.stack((places[..., 0] / layout.width, places[..., 1] / layout.height), -1)
    grid = grid * 2 - 1
    if layout.by_joint:
        maps = maps.reshape(crops * joints, -1, *maps.shape[2:])
        grid = grid.reshape(crops * joints, 1, 2)
    sampled = functional.grid_sample(
        maps, grid[:, None], padding_mode="border", align_corners=False
    )
    return sampled[:, :, 0].transpose(1, 2).reshape(crops, joints, -1)


def _sampled(
    pictures: Tensor, sides: Tensor, factor: int, height: int, width: int, colour: Tensor
) -> Tensor:
    """A region of each (N, H, W, 3) BGR byte picture as (N, 3, height, width) RGB 0…1.

    Args:
        pictures: (N, H, W, 3) bytes.
        sides: (N, 4) left, top, width and height of each region, in pixels.
        factor: what the pictures are averaged down by first.
        height: of the answer.
        width: of the answer.
        colour: (3, 1, 1) of what lies outside the picture.
    """
    rgb = pictures.permute(0, 3, 1, 2).flip(1).float() / 255
    if factor > 1:
        rgb = functional.avg_pool2d(rgb, factor)
    rows, columns = rgb.shape[2:]
    left, top, across, down = sides[..., None].unbind(1)
    x = left + (torch.arange(width, device=rgb.device) + 0.5) * (across / width)
    y = top + (torch.arange(height, device=rgb.device) + 0.5) * (down / height)
    x, y = x / (factor * columns) * 2 - 1, y / (factor * rows) * 2 - 1
    shape = (len(pictures), height, width)
    grid = torch.stack((x[:, None].expand(shape), y[..., None].expand(shape)), -1)
    # Sampled as differences from the fill colour, so that "nothing" outside is that colour.
    return functional.grid_sample(rgb - colour, grid, align_corners=False) + colour
