"""The rig-agnostic lifter as a training task: its loss, its batches, its validation.

It learns from motion capture seen by random rigs, and, where rendered sequences are given, also
from what the 2D front end found in those, with the image stream.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from engines.errors import UserError
from engines.networks.rig_lifter import RigLifter
from tools.training import parallel
from tools.training.feature_scenes import load_feature_scenes
from tools.training.keypoint_errors import chance
from tools.training.lent_errors import ErrorLender
from tools.training.lifter_config import LifterTaskConfig
from tools.training.lifter_data import (
    FULL_SCENES,
    LIVE_SCENES,
    SKETCH_SCENES,
    TRAIN_SCENES,
    WindowSource,
    draw_fixed,
    predict,
)
from tools.training.lifter_weights import fill_lifter
from tools.training.lost_joints import lose_joints
from tools.training.metrics import joint_errors, procrustes_errors
from tools.training.mirrored_scenes import mirrored_scene
from tools.training.mocap import load_mocap
from tools.training.rendered_bodies import vary_people
from tools.training.rendered_errors import disturb, disturb_context, turn_views
from tools.training.rendered_evaluation import fixed_batch, predict_rendered
from tools.training.rendered_windows import WindowBank
from tools.training.rigs import uniform


class LifterTask:
    """Trains a `RigLifter` on mocap seen by random rigs, and on rendered sequences.

    Args:
        config: What from and how.
        mocap: Motion capture.
        device: Where batches are made.
        features: Rendered sequences as the 2D front end saw them; needed where the configuration
            gives them a share.
        start: Weights to start from; None starts fresh.

    Raises:
        UserError: A file is missing or damaged, or the features do not fit the network.
    """

    def __init__(
        self,
        config: LifterTaskConfig,
        mocap: Path,
        device: torch.device,
        features: Path | None = None,
        start: Path | None = None,
    ) -> None:
        self.config, self.start = config, start
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
        self.rendered = self._load_rendered(features, "train", device)
        self.lender: ErrorLender | None = None
        if self.rendered is not None:
            self.context_mean, self.context_deviation = self.rendered.feature_statistics()
            self.lender = ErrorLender(self.rendered, config.rendered.errors)
        held_back_scenes = self._load_rendered(features, "validation", device)
        self.rendered_validation = (
            None
            if held_back_scenes is None
            else fixed_batch(
                held_back_scenes,
                config.rendered.validation_windows,
                min(4, held_back_scenes.most_views),
            )
        )

    def _load_rendered(
        self, folder: Path | None, split: str, device: torch.device
    ) -> WindowBank | None:
        if self.config.rendered.share <= 0:
            return None
        if folder is None:
            raise UserError("features: the preset trains on rendered sequences; give --features")
        scenes = load_feature_scenes(folder, split)
        mirrored = tuple(mirrored_scene(scene) for scene in scenes) if split == "train" else ()
        bank = WindowBank(scenes + mirrored, self.config.network.frames, device)
        channels = self.config.network.context_channels
        if bank.context.shape[-1] != channels:
            raise UserError(
                f"features: {folder} has {bank.context.shape[-1]} channels, the preset's network "
                f"takes {channels}; set network.context_channels"
            )
        if bank.most_views == 0:
            raise UserError(
                f"features: no scene of {folder / split} has {bank.frames} instants; "
                "render longer sequences"
            )
        short = sum(len(scene.joints_m) < bank.frames for scene in scenes)
        if short and parallel.rank() == 0:
            print(
                f"features: {short} of {len(scenes)} scenes of {folder / split} have "
                f"fewer than {bank.frames} instants and are left out",
                file=sys.stderr,
            )
        return bank

    def build(self) -> nn.Module:
        """A network, fresh or from the weights to start from; the image stream waits for images."""
        network = RigLifter(self.config.network)
        trained = self.start is not None and fill_lifter(network, self.start)
        if self.rendered is None:
            network.context_stream.requires_grad_(False)
        elif not trained:
            network.context_stream.standardise(
                self.context_mean.cpu(), self.context_deviation.cpu()
            )
        return network

    def loss(
        self, network: nn.Module, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean Euclidean error, error of motion, and the likelihood of the predicted error.

        Every step has both kinds of batches, so that all processes have the same gradients.
        """
        share = self.config.rendered.share if self.rendered is not None else 0.0
        loss, scalars = self._mocap_loss(network, 1.0 - share, generator)
        if self.rendered is not None:
            seen_loss, seen_scalars = self._rendered_loss(network, self.rendered, generator)
            loss = (1.0 - share) * loss + share * seen_loss
            scalars |= {f"seen_{name}": value for name, value in seen_scalars.items()}
        return loss, {"loss": loss.detach(), **scalars}

    def _mocap_loss(
        self, network: nn.Module, share: float, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        views = int(torch.multinomial(self.view_weights, 1, generator=generator)) + 1
        count = round(self.config.views_per_batch * share)
        observer = None
        if self.lender is not None and chance((), self.config.rendered.lent, generator):
            observer = self.lender.observe
        batch = self.source.draw(max(1, count // views), views, generator, observer)
        mask = self._drop_views(batch.view_mask, generator)
        found = batch.found
        context_mask = found.context_mask
        if context_mask is not None:
            context_mask = context_mask * self._context_dropout(
                batch.view_mask, self.config.rendered.lent_masked, generator
            )
        keypoints, context = lose_joints(
            found.keypoints, found.context, self.config.lost, generator
        )
        joints, log_sigma = network(keypoints, mask, context, context_mask)
        return self._errors(joints, log_sigma, batch.target, mask, self.config.sigma_weight)

    def _rendered_loss(
        self, network: nn.Module, bank: WindowBank, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config.rendered
        weights = torch.tensor(config.view_weights[: bank.most_views], device=generator.device)
        views = int(torch.multinomial(weights, 1, generator=generator)) + 1
        count = max(1, round(self.config.views_per_batch * config.share) // views)
        windows = bank.choose(count, views, generator)
        pictures, people = vary_people(
            bank, windows, bank.pictures(windows), config.varied, generator
        )
        pictures = disturb(pictures, config.errors, generator)
        batch = bank.batch(windows, pictures, people)
        batch = turn_views(batch, config.turn_deg, config.zoom, generator)
        batch = disturb_context(batch, self.context_deviation, config.context_noise, generator)
        mask = self._drop_views(batch.view_mask, generator)
        context_mask = batch.context_mask * self._context_dropout(
            batch.view_mask, config.masked_windows, generator
        )
        keypoints, context = lose_joints(
            batch.keypoints, batch.context, self.config.lost, generator
        )
        joints, log_sigma = network(keypoints, mask, context, context_mask)
        return self._errors(joints, log_sigma, batch.target, mask, config.sigma_weight)

    def _context_dropout(
        self, view_mask: Tensor, masked_windows: float, generator: torch.Generator
    ) -> Tensor:
        """(B, 1, V): 1 where context may be looked at."""
        count, views = view_mask.shape
        window = uniform((count, 1, 1), 0.0, 1.0, generator) >= masked_windows
        masked_views = self.config.rendered.masked_views
        view = uniform((count, 1, views), 0.0, 1.0, generator) >= masked_views
        return (window & view).to(view_mask.dtype)

    def _errors(
        self,
        joints: Tensor,
        log_sigma: Tensor,
        target: Tensor,
        mask: Tensor,
        sigma_weight: float,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        joints, log_sigma = joints.float(), log_sigma.float()
        # Views count alike; the root is zero by construction and is left out.
        weight = mask / mask.sum()
        weights = weight[:, None, :, None] * self.frame_weights[:, None, None]
        errors = joint_errors(joints, target)[..., 1:]
        scale = errors.shape[1] * errors.shape[3]
        position = (errors * weights).sum() / scale
        # The likelihood of a Laplace-like density whose mean distance is sigma.
        surprise = errors.detach() * (-log_sigma[..., 1:]).exp() + log_sigma[..., 1:]
        likelihood = (surprise * weights).sum() / scale
        motion = joint_errors(joints.diff(dim=1), target.diff(dim=1))[..., 1:]
        velocity = (motion * weight[:, None, :, None]).sum() / scale
        loss = position + config.velocity_weight * velocity + sigma_weight * likelihood
        return loss, {
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
        rendered = self.rendered_validation
        if rendered is not None:
            # With the image stream ("seen") and with it masked ("blind").
            for name, context in (("seen", True), ("blind", False)):
                joints, _ = predict_rendered(network, rendered, context)
                errors = joint_errors(joints, rendered.target)
                aligned = procrustes_errors(joints[:, ::3], rendered.target[:, ::3])
                scores[f"{name}_mpjpe"] = 1e3 * float(errors.mean())
                scores[f"{name}_pa"] = 1e3 * float(aligned.mean())
                scores[f"{name}_last"] = 1e3 * float(errors[:, -1].mean())
            scores["score"] += scores["seen_mpjpe"] + scores["blind_mpjpe"]
        return scores
