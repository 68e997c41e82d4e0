"""The light CPN as a training task: its batches, its loss, its validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from engines.front_ends.yolo_cpn.host_operations import decode
from engines.front_ends.yolo_cpn.operations import CPN_MEAN
from engines.networks.light_cpn import LightCpn, LightCpnConfig
from tools.training.joint_readout import ReadoutConfig, readout_loss
from tools.training.loop_config import LoopConfig
from tools.training.pose2d_loss import HeatConfig, heat_loss
from tools.training.pose2d_metrics import KeypointScore, score_keypoints
from tools.training.pose2d_samples import (
    CropSource,
    PoseSample,
    PoseVariety,
    plain_crop,
)
from tools.training.scene_person import is_usable, nobody_seen
from tools.training.scene_pool import ScenePool
from tools.training.stages import Draw, PictureStage, StagedStream

_CHUNK = 32


@dataclass(frozen=True, slots=True)
class Pose2dTaskConfig:
    """What a pose network learns from.

    Attributes:
        network: Size of the network and of its crops.
        stages: Sizes of the crops in training. The network is fully convolutional: it learns
            faster on small ones first.
        batch: Crops of a batch (of each process).
        heat: Shape of the heatmaps and cost of errors.
        readout: What errors of the image context cost.
        context_only: Leaves all as it is but what tells the image context: joints are found as
            before, bit for bit.
        variety: How crops are varied.
        validation_crops: Crops of the validation set.
        workers: Processes that make crops ahead; 0 on a CPU, some 12 for a GPU.
        memory_mb: For scenes kept in memory, for each process.
    """

    network: LightCpnConfig = field(default_factory=LightCpnConfig)
    stages: tuple[PictureStage, ...] = (
        PictureStage(0.7, 192, 144),
        PictureStage(1.0, 256, 192),
    )
    batch: int = 24
    heat: HeatConfig = field(default_factory=HeatConfig)
    readout: ReadoutConfig = field(default_factory=ReadoutConfig)
    context_only: bool = False
    variety: PoseVariety = field(default_factory=PoseVariety)
    validation_crops: int = 512
    workers: int = 0
    memory_mb: float = 1500.0


@dataclass(frozen=True, slots=True)
class Pose2dPreset:
    """All of a training preset: ``task`` and ``loop``."""

    task: Pose2dTaskConfig = field(default_factory=Pose2dTaskConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)


class Pose2dTask:
    """Trains a `LightCpn` on rendered crops.

    Args:
        config: What it learns from.
        data: Folder of rendered scenes.
        device: Where the network is.

    Raises:
        UserError: There are no scenes to train on or to validate with.
    """

    def __init__(self, config: Pose2dTaskConfig, data: Path, device: torch.device) -> None:
        self.config, self._data, self._device = config, data, device
        self._stream = StagedStream(
            config.stages, self._source_of, config.batch, config.workers, device
        )
        self.validation = self._draw_validation()

    def build(self) -> nn.Module:
        """A fresh network, its weights laid out with the channels last, as engines prefer them."""
        network = LightCpn(self.config.network)
        for head in (network.heatmaps, *network.predict):
            # Heat is rare: a network that begins without any need not unlearn it first.
            nn.init.normal_(cast(nn.Conv2d, cast(nn.Sequential, head)[-1]).weight, std=0.002)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.config.context_only:
            network.requires_grad_(False)
            network.context.requires_grad_(True)
        return network

    def advance(self, progress: float) -> None:
        """Goes on to the stage that the spent share of the budget asks for."""
        if self._stream.advance(progress):
            self.validation = self._draw_validation()

    def loss(
        self, network: nn.Module, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """CPN's loss on a batch of varied crops."""
        config = self.config
        batch = cast("PoseBatch", self._stream.draw(generator))
        joints = batch.joints.to(self._device, non_blocking=True)
        visibility = batch.visibility.to(self._device, non_blocking=True)
        images = as_images(batch.picture.to(self._device, non_blocking=True))
        height = images.shape[2]
        depths = batch.depths.to(self._device, non_blocking=True)
        cpn = cast(LightCpn, network)
        if config.context_only:
            cpn.eval()  # the statistics of what stays as it is, too
            cpn.context.train()
            answer = cpn(images)
            told, off = readout_loss(
                answer.features, joints, depths, visibility, height, config.readout, answer.heatmaps
            )
            return told, {**off, "loss": told.detach()}
        maps = cpn.training_outputs(images)
        heat, parts = heat_loss(maps.coarse, maps.final, joints, visibility, height, config.heat)
        told, off = readout_loss(
            maps.features, joints, depths, visibility, height, config.readout, maps.final
        )
        loss = heat + told
        return loss, {**parts, **off, "loss": loss.detach()}

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Joints found, in per cent, and the mean error, on people never trained on."""
        result = measure(cast(LightCpn, network), self.validation, self._device)
        return {
            "visible": result.visible,
            "limbs": result.visible_limbs,
            "hidden": result.hidden,
            "error": result.error,
            "visible_confidence": result.visible_confidence,
            "hidden_confidence": result.hidden_confidence,
            "score": 100 - result.visible,
        }

    def _draw_validation(self) -> list[PoseSample]:
        """At the stage's own size: joints are counted by body height, so figures compare."""
        pool = ScenePool(self._data, "validation", "crops", 100.0)
        stage = self._stream.stage
        return draw_plain(pool, self.config.validation_crops, stage.height, stage.width)

    def _source_of(self, stage: PictureStage) -> Draw[PoseSample]:
        config = self.config
        return CropSource(
            self._data, "train", stage.height, stage.width, config.variety, config.memory_mb
        ).draw


@dataclass(frozen=True, slots=True)
class PoseBatch:
    """`PoseSample` as tensors with a leading batch axis; see there."""

    picture: Tensor
    joints: Tensor
    visibility: Tensor
    stature: Tensor
    depths: Tensor


def as_images(pictures: Tensor) -> Tensor:
    """(B, h, w, 3) RGB bytes to the network's (B, 3, h, w), channels last in memory."""
    mean = torch.tensor(CPN_MEAN, device=pictures.device).reshape(3, 1, 1)
    return pictures.permute(0, 3, 1, 2).float().div_(255).sub_(mean)


def draw_plain(pool: ScenePool, count: int, height: int, width: int) -> list[PoseSample]:
    """Always the same crops of a pool, unvaried, spread over its scenes.

    Raises:
        UserError: A scene is damaged, or none shows a person well.
    """
    rng = np.random.default_rng(5)
    samples: list[PoseSample] = []
    paths = list(pool.paths)
    each = -(-count // len(paths))
    for path in (paths[int(i)] for i in rng.permutation(len(paths))):
        scene = pool.read(path)
        usable = [index for index in range(len(scene)) if is_usable(scene, index)]
        chosen = rng.permutation(len(usable))[:each]
        samples += [plain_crop(scene, usable[int(i)], height, width) for i in chosen]
        if len(samples) >= count:
            break
    if not samples:
        raise nobody_seen(pool)
    return samples[:count]


def measure(
    network: LightCpn, samples: Sequence[PoseSample], device: torch.device
) -> KeypointScore:
    """How well a network in evaluation mode finds the joints of crops."""
    places, confidences = [], []
    for start in range(0, len(samples), _CHUNK):
        pictures = np.stack([sample.picture for sample in samples[start : start + _CHUNK]])
        images = as_images(torch.from_numpy(pictures).to(device))
        heatmaps = network(images).heatmaps.float().cpu().numpy()
        cells, confidence = decode(heatmaps, "log_parabola", 1.0)
        places.append((cells + 0.5) * (images.shape[2] / heatmaps.shape[2]))
        confidences.append(confidence)
    return score_keypoints(
        np.concatenate(places),
        np.concatenate(confidences),
        np.stack([sample.joints for sample in samples]),
        np.stack([sample.visibility for sample in samples]),
        np.stack([sample.stature for sample in samples]),
    )
