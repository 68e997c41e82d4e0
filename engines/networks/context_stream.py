"""The image stream of the rig-agnostic lifter: context read at joints, fused into the pose.

A joint that was not found is put where those that were found point to, and marked; of the others it
is said how far from there they were found. The joints of a picture hear of each other what is told
of them. Then the two streams read from each other by cross-attention as in DSVTformer. Everything
that this stream adds to the pose is multiplied by the context mask, so that without context it adds
exactly nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.networks.attention import CrossAttention, TransformerBlock
from engines.networks.joint_context import JOINT_CHANNELS
from engines.networks.pointed_joints import PointedJoints
from engines.skeleton import JOINT_COUNT


@dataclass(slots=True)
class ImageTokens:
    """The stream's state while a forward pass runs.

    Attributes:
        joints: (B*V*steps, 17, width) tokens at the joints.
        wide: (B, V, steps, width) one token for all joints.
        mask: (B, V, steps, 1) share of the merged frames that have context.
    """

    joints: Tensor
    wide: Tensor
    mask: Tensor


class ContextStream(nn.Module):
    """Image tokens beside the pose tokens, and the cross-attention between the two.

    Raises:
        ValueError: the context has fewer channels than are told of a joint.
    """

    def __init__(
        self,
        *,
        frames_merged: int,
        channels: int,
        width: int,
        pose_joint_width: int,
        pose_width: int,
        layers: int,
    ) -> None:
        super().__init__()
        if channels < JOINT_CHANNELS:
            raise ValueError(f"{channels} channels of context, want {JOINT_CHANNELS} or more")
        self.merge, self.channels, self.width = frames_merged, channels, width
        self.pointed = PointedJoints()
        self.embed_pointed = nn.Linear(4 * frames_merged, pose_joint_width, bias=False)
        self.embed = nn.Linear(frames_merged * channels, width)
        self.joint_position = nn.Parameter(torch.randn(JOINT_COUNT, width) * 0.02)
        self.joint_block = TransformerBlock(width, 2, 2.0)
        self.to_pose_joints = CrossAttention(pose_joint_width, width, 2)
        # A joint's own token need not be sought.
        self.to_same_joint = nn.Linear(width, pose_joint_width)
        self.from_pose_joints = CrossAttention(width, pose_joint_width, 2)
        self.collapse = nn.Linear(JOINT_COUNT * width, width)
        # Nothing wider than the image tokens has anything to carry between the streams.
        self.to_pose = nn.ModuleList(
            CrossAttention(pose_width, width, 4, inner=width) for _ in range(layers)
        )
        self.from_pose = nn.ModuleList(CrossAttention(width, pose_width, 4) for _ in range(layers))
        self.blocks = nn.ModuleList(TransformerBlock(width, 4, 2.0) for _ in range(layers))
        last = [cross.out for cross in (self.to_pose_joints, *self.to_pose)]
        for linear in (*last, self.to_same_joint):
            # Starts silent, so that adding the stream to a trained pose stream harms nothing.
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.embed_pointed.weight)

    @torch.no_grad()
    def standardise(self, mean: Tensor, deviation: Tensor) -> None:
        """Makes the embedding expect features of a given mean and deviation.

        Features of a network that was trained for something else come in any range; the fresh
        embedding is rescaled so that its tokens come out as from features of zero mean and unit
        deviation.

        Args:
            mean: (C,) of the features.
            deviation: (C,), positive.
        """
        weight = self.embed.weight.reshape(self.width, self.merge, self.channels)
        weight.div_(deviation)
        self.embed.bias.sub_((weight * mean).sum((1, 2)))

    def start(self, context: Tensor, mask: Tensor) -> ImageTokens:
        """Embeds the context of a window.

        Args:
            context: (B, F, V, 17, C).
            mask: (B, F, V), 1 where there is context.

        Returns:
            The stream's tokens.
        """
        views = context.shape[2]
        steps = context.shape[1] // self.merge
        known = torch.where(mask[..., None, None] > 0, context, 0.0).transpose(1, 2)
        tokens = self.embed(merged_frames(known, self.merge)) + self.joint_position
        tokens = self.joint_block(tokens)
        share = mask.transpose(1, 2).reshape(-1, views, steps, self.merge).mean(-1, keepdim=True)
        empty = tokens.new_zeros((*share.shape[:3], self.width))
        return ImageTokens(tokens, empty, share)

    def fuse_joints(self, pose: Tensor, image: ImageTokens) -> Tensor:
        """Exchanges joint tokens, then gathers the image's into one wide token.

        Args:
            pose: (B*V*steps, 17, pose_joint_width).
            image: The stream's tokens, updated in place.

        Returns:
            ``pose``, updated.
        """
        gate = image.mask.reshape(-1, 1, 1)
        told = self.to_pose_joints(pose, image.joints) + self.to_same_joint(image.joints)
        pose = pose + gate * told
        image.joints = image.joints + self.from_pose_joints(image.joints, pose)
        shape = image.mask.shape[:3]
        image.wide = self.collapse(image.joints.flatten(1)).reshape(*shape, self.width)
        return pose

    def fuse(self, layer: int, pose: Tensor, image: ImageTokens) -> Tensor:
        """Exchanges wide tokens over time within each view.

        Args:
            layer: Which of the layers.
            pose: (B, V, steps, pose_width).
            image: The stream's tokens, updated in place.

        Returns:
            ``pose``, updated.
        """
        views, steps, width = pose.shape[1:]
        flat, picture = pose.reshape(-1, steps, width), image.wide.reshape(-1, steps, self.width)
        gate = image.mask.reshape(-1, steps, 1)
        flat = flat + gate * self.to_pose[layer](flat, picture)
        picture = picture + self.from_pose[layer](picture, flat)
        picture = self.blocks[layer](picture)
        image.wide = picture.reshape(-1, views, steps, self.width)
        fused: Tensor = flat.reshape(-1, views, steps, width)
        return fused


def merged_frames(values: Tensor, merge: int) -> Tensor:
    """Puts consecutive frames of a joint into one token.

    Args:
        values: (B, V, F, 17, C).
        merge: So many frames, a divisor of F.

    Returns:
        (B*V*F/merge, 17, merge*C).
    """
    channels = values.shape[-1]
    tokens = values.reshape(-1, merge, JOINT_COUNT, channels).transpose(1, 2)
    return tokens.reshape(-1, JOINT_COUNT, merge * channels)
