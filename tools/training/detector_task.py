"""The light detector as a training task: its batches, its loss, its validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from engines.front_ends.yolo_cpn.settings import YoloCpnSettings
from engines.networks.catalog import build
from engines.networks.light_detector import HEIGHT, WIDTH, light_detector_cfg
from engines.networks.person_detector import PersonDetector
from tools.training.detector_loss import DetectorCosts, detector_loss
from tools.training.detector_metrics import DetectionScore, score_detections, thinned
from tools.training.detector_samples import (
    DetectorSample,
    DetectorVariety,
    PictureSource,
    whole_picture,
)
from tools.training.loop_config import LoopConfig
from tools.training.scene_pool import ScenePool
from tools.training.stages import Draw, PictureStage, StagedStream

_CHUNK = 32
_FIRST_OBJECTNESS = -4.0
"""Before any training nobody is anywhere, or the background would outweigh all else at first."""


@dataclass(frozen=True, slots=True)
class DetectorTaskConfig:
    """What a detector learns from.

    Attributes:
        height: Of the input in pixels, a multiple of 32.
        width: Of the input in pixels, a multiple of 32.
        stages: Sizes of the pictures in training, of the input's proportions; none for its own
            size throughout. The network is fully convolutional, and smaller pictures shrink its
            anchors.
        batch: Pictures of a batch (of each process).
        costs: What each error costs.
        variety: How pictures are varied.
        validation_pictures: Pictures of the validation set.
        workers: Processes that make pictures ahead; 0 on a CPU, some 12 for a GPU.
        memory_mb: For scenes kept in memory, for each process.
    """

    height: int = HEIGHT
    width: int = WIDTH
    stages: tuple[PictureStage, ...] = ()
    batch: int = 24
    costs: DetectorCosts = field(default_factory=DetectorCosts)
    variety: DetectorVariety = field(default_factory=DetectorVariety)
    validation_pictures: int = 768
    workers: int = 0
    memory_mb: float = 1000.0


@dataclass(frozen=True, slots=True)
class DetectorPreset:
    """All of a training preset: ``task`` and ``loop``."""

    task: DetectorTaskConfig = field(default_factory=DetectorTaskConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)


class DetectorTask:
    """Trains the light detector on rendered pictures.

    Args:
        config: What it learns from.
        data: Folder of rendered scenes.
        device: Where the network is.

    Raises:
        UserError: There are no scenes to train on or to validate with.
    """

    def __init__(self, config: DetectorTaskConfig, data: Path, device: torch.device) -> None:
        self.config, self._data, self._device = config, data, device
        size = (config.height, config.width)
        stages = config.stages or (PictureStage(1.0, *size),)
        self._stream = StagedStream(stages, self._source_of, config.batch, config.workers, device)
        pool = ScenePool(data, "validation", "frames", 100.0)
        self.validation = draw_whole(pool, config.validation_pictures, *size)

    def build(self) -> nn.Module:
        """A fresh network."""
        return fresh_detector(self.config.height, self.config.width)

    def advance(self, progress: float) -> None:
        """Goes on to the stage that the spent share of the budget asks for."""
        self._stream.advance(progress)

    def loss(
        self, network: nn.Module, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """YOLOv3's loss on a batch of varied pictures."""
        config = self.config
        batch = cast("DetectorBatch", self._stream.draw(generator))
        images = as_images(batch.picture.to(self._device, non_blocking=True))
        boxes = batch.boxes.to(self._device, non_blocking=True)
        kinds = batch.kinds.to(self._device, non_blocking=True)
        return detector_loss(cast(PersonDetector, network), images, boxes, kinds, config.costs)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Recall and false boxes on people and rooms never trained on."""
        result = measure(cast(PersonDetector, network), self.validation, self._device)
        return {
            "recall": result.recall,
            "false_empty": result.false_per_empty,
            "false_all": result.false_per_picture,
            "overlap": result.mean_overlap,
            "score": 100 - result.recall + 100 * result.false_per_empty,
        }

    def _source_of(self, stage: PictureStage) -> Draw[DetectorSample]:
        config = self.config
        return PictureSource(
            self._data, "train", stage.height, stage.width, config.variety, config.memory_mb
        ).draw


@dataclass(frozen=True, slots=True)
class DetectorBatch:
    """`DetectorSample` as tensors with a leading batch axis; see there."""

    picture: Tensor
    boxes: Tensor
    kinds: Tensor


def fresh_detector(height: int, width: int) -> PersonDetector:
    """The light detector with random weights, laid out as a CPU is fastest with them."""
    cfg = light_detector_cfg(height, width)
    network = cast(PersonDetector, build("darknet", {"cfg": cfg, "height": height, "width": width}))
    for module in network.inner.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            with torch.no_grad():
                module.bias.zero_().view(-1, 6)[:, 4] = _FIRST_OBJECTNESS
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def as_images(pictures: Tensor) -> Tensor:
    """(B, h, w, 3) RGB bytes to the network's (B, 3, h, w), channels last in memory."""
    return pictures.permute(0, 3, 1, 2).float().div_(255)


def draw_whole(pool: ScenePool, count: int, height: int, width: int) -> list[DetectorSample]:
    """Always the same pictures of a pool, as the live front end letterboxes them.

    Raises:
        UserError: A scene is damaged.
    """
    pictures = islice(pool.pictures(), count)
    return [whole_picture(scene, index, height, width) for scene, index in pictures]


def measure(
    network: PersonDetector, samples: Sequence[DetectorSample], device: torch.device
) -> DetectionScore:
    """How well a network in evaluation mode finds the people of whole pictures."""
    settings = YoloCpnSettings()
    found = []
    for start in range(0, len(samples), _CHUNK):
        chunk = samples[start : start + _CHUNK]
        pictures = torch.from_numpy(np.stack([sample.picture for sample in chunk])).to(device)
        boxes, scores = network(as_images(pictures))
        found += [
            thinned(*answer, settings.score, settings.overlap)
            for answer in zip(boxes.cpu().numpy(), scores.cpu().numpy(), strict=True)
        ]
    return score_detections(found, samples)
