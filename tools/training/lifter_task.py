"""The rig-agnostic lifter as a training task: its loss, its batches, its validation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from engines.networks.rig_lifter import RigLifter, RigLifterConfig
from tools.training.lifter_data import (
    FULL_SCENES,
    LIVE_SCENES,
    SKETCH_SCENES,
    TRAIN_SCENES,
    WindowSource,
    draw_fixed,
    predict,
)
from tools.training.loop_config import LoopConfig
from tools.training.metrics import joint_errors, procrustes_errors
from tools.training.mocap import load_mocap
from tools.training.rigs import uniform


@dataclass(frozen=True, slots=True)
class LifterTaskConfig:
    """What a lifter learns from.

    Attributes:
        network: Size of the network.
        views_per_batch: Views of a batch, all windows together, so that every batch costs alike.
        view_weights: Relative share of batches with 1, 2, ... cameras.
        masked_view_share: Share of the views that are dropped whole.
        last_frame_weight: Weight of the newest frame over that of the oldest.
        velocity_weight: Weight of the error of joint motion between frames.
        sigma_weight: Weight of the likelihood of the predicted error.
        validation_windows: Windows of each validation set.
    """

    network: RigLifterConfig = field(default_factory=RigLifterConfig)
    views_per_batch: int = 128
    view_weights: tuple[float, ...] = (0.05, 0.14, 0.2, 0.36, 0.12, 0.06, 0.03, 0.04)
    masked_view_share: float = 0.04
    last_frame_weight: float = 1.5
    velocity_weight: float = 0.5
    sigma_weight: float = 0.02
    validation_windows: int = 192


class LifterTask:
    """Trains a `RigLifter` on mocap seen by random rigs."""

    def __init__(self, config: LifterTaskConfig, mocap: Path, device: torch.device) -> None:
        self.config = config
        frames = config.network.frames
        self.source = WindowSource(load_mocap(mocap, "train"), frames, TRAIN_SCENES, device)
        held_back = load_mocap(mocap, "validation")
        self.validation = {
            name: draw_fixed(held_back, frames, scenes, config.validation_windows, 4, 11, device)
            for name, scenes in (
                ("sketch", SKETCH_SCENES),
                ("full", FULL_SCENES),
                ("live", LIVE_SCENES),
            )
        }
        self.frame_weights = torch.linspace(1.0, config.last_frame_weight, frames, device=device)
        self.frame_weights /= self.frame_weights.mean()
        self.view_weights = torch.tensor(config.view_weights, device=device)

    def build(self) -> nn.Module:
        """A fresh network; the image stream waits for images."""
        network = RigLifter(self.config.network)
        network.context_stream.requires_grad_(False)
        return network

    def loss(
        self, network: nn.Module, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean Euclidean error, error of motion, and the likelihood of the predicted error."""
        config = self.config
        views = int(torch.multinomial(self.view_weights, 1, generator=generator)) + 1
        batch = self.source.draw(max(1, config.views_per_batch // views), views, generator)
        mask = self._drop_views(batch.view_mask, generator)
        joints, log_sigma = network(batch.keypoints, mask)
        joints, log_sigma = joints.float(), log_sigma.float()
        # Views count alike; the root is zero by construction and is left out.
        weight = mask / mask.sum()
        weights = weight[:, None, :, None] * self.frame_weights[:, None, None]
        errors = joint_errors(joints, batch.target)[..., 1:]
        scale = errors.shape[1] * errors.shape[3]
        position = (errors * weights).sum() / scale
        # The likelihood of a Laplace-like density whose mean distance is sigma.
        surprise = errors.detach() * (-log_sigma[..., 1:]).exp() + log_sigma[..., 1:]
        likelihood = (surprise * weights).sum() / scale
        motion = joint_errors(joints.diff(dim=1), batch.target.diff(dim=1))[..., 1:]
        velocity = (motion * weight[:, None, :, None]).sum() / scale
        loss = position + config.velocity_weight * velocity + config.sigma_weight * likelihood
        return loss, {
            "loss": loss.detach(),
            "position": position.detach(),
            "velocity": velocity.detach(),
            "likelihood": likelihood.detach(),
        }

    def _drop_views(self, mask: Tensor, generator: torch.Generator) -> Tensor:
        """Drops whole views, never the last of a window."""
        draw = uniform(tuple(mask.shape), 0.0, 1.0, generator)
        kept = (draw > self.config.masked_view_share) | (draw == draw.amax(1, keepdim=True))
        return mask * kept.to(mask.dtype)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Errors in millimetres of a body with 4.2 m of bones, four cameras, unseen people."""
        scores: dict[str, float] = {}
        for name, batch in self.validation.items():
            joints, _ = predict(network, batch)
            errors = joint_errors(joints, batch.target)
            aligned = procrustes_errors(joints[:, ::3], batch.target[:, ::3])
            scores[f"{name}_mpjpe"] = 1e3 * float(errors.mean())
            scores[f"{name}_pa"] = 1e3 * float(aligned.mean())
            scores[f"{name}_last"] = 1e3 * float(errors[:, -1].mean())
        scores["score"] = scores["full_mpjpe"] + scores["live_mpjpe"]
        return scores


@dataclass(frozen=True, slots=True)
class LifterPreset:
    """All of a training preset: ``task`` and ``loop``."""

    task: LifterTaskConfig = field(default_factory=LifterTaskConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
