"""The rig-agnostic lifter: 2D joints of a window in any number of views to 3D joints in each view.

After DSVTformer (dual stream, spatial, then view, then temporal attention), changed where a
stranger's cameras need it: views are a set, missing views and frames are masked, and the answer
is in each view's own camera axes, in units of body size. Three consecutive frames share a token,
so that the wide part runs on 9 tokens a view and answers all 27 frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from engines.networks.attention import TransformerBlock, key_bias
from engines.networks.context_stream import ContextStream, merged_frames
from engines.networks.pointed_joints import Pointed
from engines.skeleton import JOINT_COUNT

_FEATURES: Final = 6  # per joint and frame: x, y in the box; x, y in the picture; confidence; seen
_BOX_FEATURES: Final = 4
_LOG_SIGMA_START: Final = -2.0  # about 140 mm


@dataclass(frozen=True, slots=True)
class RigLifterConfig:
    """The size of a `RigLifter`.

    Attributes:
        frames: Frames of a window; a multiple of ``merge``.
        merge: Consecutive frames that share one token.
        joint_width: Width of a joint's token.
        joint_depth: Attention blocks over joints before the views meet.
        width: Width of a (frames, view) token.
        depth: Pairs of a view block and a temporal block.
        heads: Attention heads of the wide blocks.
        joint_heads: Attention heads of the joint blocks.
        mlp_ratio: Hidden width of an MLP over its width.
        context_channels: Image-context channels at each joint: what the light CPN tells of it
            (``engines.networks.joint_context``), and its rivals
            (``engines.front_ends.yolo_cpn.rivals``).
        context_width: Width of the image stream's tokens.
    """

    frames: int = 27
    merge: int = 3
    joint_width: int = 32
    joint_depth: int = 2
    width: int = 224
    depth: int = 3
    heads: int = 4
    joint_heads: int = 2
    mlp_ratio: float = 2.0
    context_channels: int = 17
    context_width: int = 64


class RigLifter(nn.Module):
    """Lifts a window of 2D joints, seen by V uncalibrated cameras, to 3D joints in each view."""

    def __init__(self, config: RigLifterConfig | None = None) -> None:
        super().__init__()
        config = config or RigLifterConfig()
        if config.frames % config.merge:
            raise ValueError(f"frames {config.frames} is not a multiple of merge {config.merge}")
        self.config = config
        steps, narrow, wide = config.frames // config.merge, config.joint_width, config.width

        def joint_block() -> TransformerBlock:
            return TransformerBlock(narrow, config.joint_heads, config.mlp_ratio)

        def wide_blocks() -> nn.ModuleList:
            blocks = (
                TransformerBlock(wide, config.heads, config.mlp_ratio) for _ in range(config.depth)
            )
            return nn.ModuleList(blocks)

        self.joint_embed = nn.Linear(_FEATURES * config.merge, narrow)
        self.joint_position = nn.Parameter(torch.randn(JOINT_COUNT, narrow) * 0.02)
        self.joint_blocks = nn.ModuleList(joint_block() for _ in range(config.joint_depth))
        self.collapse = nn.Linear(JOINT_COUNT * narrow, wide)
        self.box_embed = nn.Linear(_BOX_FEATURES, wide)
        self.time_position = nn.Parameter(torch.randn(steps, wide) * 0.02)
        self.view_blocks = wide_blocks()
        self.time_blocks = wide_blocks()
        self.expand_norm = nn.LayerNorm(wide)
        self.expand = nn.Linear(wide, JOINT_COUNT * narrow)
        self.answer_block = joint_block()
        self.answer_norm = nn.LayerNorm(narrow)
        self.answer = nn.Linear(narrow, config.merge * 3)
        self.answer_wide = nn.Linear(wide, JOINT_COUNT * config.merge * 3)
        for layer in (self.answer, self.answer_wide):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        self.sigma_joint = nn.Linear(narrow, config.merge)
        self.sigma_wide = nn.Linear(wide, JOINT_COUNT * config.merge)
        for layer in (self.sigma_joint, self.sigma_wide):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.sigma_joint.bias, _LOG_SIGMA_START)
        self.context_stream = ContextStream(
            frames_merged=config.merge,
            channels=config.context_channels,
            width=config.context_width,
            pose_joint_width=narrow,
            pose_width=wide,
            layers=config.depth,
        )

    def forward(
        self,
        keypoints: Tensor,
        view_mask: Tensor,
        context: Tensor | None = None,
        context_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Lifts windows.

        Args:
            keypoints: (B, F, V, 17, 3) float32: x, y in half-widths of the picture (x = 2u/w - 1,
                y = (2v - h)/w, y down) and confidence 0..1, where 0 is missing and x, y are
                ignored.
            view_mask: (B, V) float32, 1 where the view exists.
            context: (B, F, V, 17, C) float32 image context sampled at the joints, or None.
            context_mask: (B, F, V) float32, 1 where there is context; needed with ``context``.

        Returns:
            joints: (B, F, V, 17, 3) in that view's camera axes (x right, y down, z forward),
                root-relative, in body units; 0 for views that do not exist.
            log_sigma: (B, F, V, 17), the logarithm of the Euclidean error to be expected, in
                body units.
        """
        merge, narrow = self.config.merge, self.config.joint_width
        batch, views = keypoints.shape[0], keypoints.shape[2]
        steps = self.config.frames // merge
        pointed = None
        if context is not None and context_mask is not None:
            pointed = self.context_stream.pointed(keypoints, context, context_mask)
        features, box, seen = self._features(keypoints, view_mask, pointed)

        joint_tokens = self.joint_embed(features) + self.joint_position
        if pointed is not None:
            joint_tokens = joint_tokens + self._opinions(keypoints, pointed)
        for block in self.joint_blocks:
            joint_tokens = block(joint_tokens)  # (B*V*steps, 17, narrow)
        image = None
        if context is not None and context_mask is not None:
            image = self.context_stream.start(context, context_mask)
            joint_tokens = self.context_stream.fuse_joints(joint_tokens, image)

        flat = joint_tokens.reshape(-1, views, steps, JOINT_COUNT * narrow)
        x = self.collapse(flat) + self.box_embed(box)[:, :, None] + self.time_position
        width = self.config.width
        # A token in which nothing was seen has nothing to say to the others.
        view_bias = key_bias(seen.transpose(1, 2).reshape(-1, views))
        time_bias = key_bias(seen.reshape(-1, steps))
        for layer, (view_block, time_block) in enumerate(
            zip(self.view_blocks, self.time_blocks, strict=True)
        ):
            x = x.transpose(1, 2).reshape(-1, views, width)
            x = view_block(x, view_bias)
            x = x.reshape(-1, steps, views, width).transpose(1, 2).reshape(-1, steps, width)
            x = time_block(x, time_bias).reshape(-1, views, steps, width)
            if image is not None:
                x = self.context_stream.fuse(layer, x, image)

        x = self.expand_norm(x)
        joint_tokens = joint_tokens + self.expand(x).reshape(-1, JOINT_COUNT, narrow)
        joint_tokens = self.answer_norm(self.answer_block(joint_tokens))
        joints = self.answer(joint_tokens).reshape(-1, views, steps, JOINT_COUNT, merge, 3)
        joints = joints + self.answer_wide(x).reshape(-1, views, steps, JOINT_COUNT, merge, 3)
        joints = joints.permute(0, 2, 4, 1, 3, 5).reshape(
            -1, self.config.frames, views, JOINT_COUNT, 3
        )
        joints = (joints - joints[..., :1, :]) * view_mask[:, None, :, None, None]
        # Detached: learning how sure to be must not change the answer itself.
        log_sigma = self.sigma_joint(joint_tokens.detach()).reshape(
            -1, views, steps, JOINT_COUNT, merge
        ) + self.sigma_wide(x.detach()).reshape(-1, views, steps, JOINT_COUNT, merge)
        log_sigma = log_sigma.permute(0, 2, 4, 1, 3).reshape(
            batch, self.config.frames, views, JOINT_COUNT
        )
        return joints, log_sigma

    def _opinions(self, keypoints: Tensor, pointed: Pointed) -> Tensor:
        """(B*V*steps, 17, narrow) which joints are where others point to, and which are not."""
        found = (keypoints[..., 2] > 0).to(keypoints.dtype)
        sure, away = pointed.confidence, pointed.away
        told = torch.stack(
            ((1 - found) * sure, found * sure, sure * away[..., 0], sure * away[..., 1]), -1
        )
        merged = merged_frames(told.transpose(1, 2), self.config.merge)
        tokens: Tensor = self.context_stream.embed_pointed(merged)
        return tokens

    def _features(
        self, keypoints: Tensor, view_mask: Tensor, pointed: Pointed | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the network sees of the joints.

        Args:
            keypoints: (B, F, V, 17, 3) as in `forward`.
            view_mask: (B, V).
            pointed: Where missing joints are said to be.

        Returns:
            Features of a joint in ``merge`` frames, (B*V*steps, 17, 6*merge); of a view's box,
            (B, V, 4); and whether anything was seen, (B, V, steps) bool.
        """
        merge = self.config.merge
        views = keypoints.shape[2]
        steps = self.config.frames // merge
        points = keypoints.transpose(1, 2)  # (B, V, F, 17, 3)
        confidence = points[..., 2:].clamp(0.0, 1.0) * view_mask[:, :, None, None, None]
        seen = confidence > 0
        xy = torch.where(seen, points[..., :2], 0.0)
        centre, size = person_box(xy, confidence)
        box = torch.cat([centre, size.log(), confidence.mean((2, 3), keepdim=True)], dim=-1)
        seen_steps = confidence.reshape(-1, views, steps, merge * JOINT_COUNT).amax(-1) > 0
        if pointed is not None:
            # They join the others only now: the box is that of the joints found.
            sure = pointed.confidence.transpose(1, 2) * view_mask[:, :, None, None]
            told = (sure > 0)[..., None] & ~seen
            xy = torch.where(told, pointed.places.transpose(1, 2), xy)
            confidence = torch.where(told, sure[..., None], confidence)
            seen = seen | told
        inside = torch.where(seen, (xy - centre) / size, 0.0).clamp(-4.0, 4.0)
        features = torch.cat([inside, xy, confidence, seen.to(xy.dtype)], dim=-1)
        features = merged_frames(features, merge)
        return features, box[:, :, 0, 0], seen_steps


def person_box(xy: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """The person's centre and size in each view over a window, shrugging off stray joints.

    Three rounds of iteratively reweighted means with Cauchy weights.

    Args:
        xy: (B, V, F, 17, 2) joints in half-widths, finite.
        confidence: (B, V, F, 17, 1), 0 where missing.

    Returns:
        Centre (B, V, 1, 1, 2) and size (B, V, 1, 1, 1) = twice the root mean square distance,
        both in half-widths; 0 and 1 where nothing is seen.
    """
    any_seen = confidence.amax((2, 3), keepdim=True) > 0
    weight = confidence
    for _ in range(3):
        total = weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
        centre = (weight * xy).sum((2, 3), keepdim=True) / total
        distance2 = (xy - centre).square().sum(-1, keepdim=True)
        spread2 = (weight * distance2).sum((2, 3), keepdim=True) / total
        weight = confidence / (1.0 + distance2 / (4.0 * spread2).clamp(min=1e-8))
    size = torch.where(any_seen, 2.0 * (spread2 + 1e-6).sqrt(), 1.0)
    return centre, size
