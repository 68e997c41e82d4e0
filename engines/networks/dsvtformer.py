"""DSVTformer as its authors released it, parameter for parameter.

Two streams (2D joints, image context) pass through fusion blocks over joints (S), views (V) and
frames (T), layer by layer. The input is 2D joints of a fixed rig, the output one skeleton in the
training laboratory's world axes: for a stranger's cameras use `engines.networks.rig_lifter`.
The names of modules are those of the release (MIT, Rowenazhang/DSVTformer), so that its
checkpoints load; the code was written from the description of the architecture.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.errors import UserError
from engines.networks.checkpoint import check_values, read_checkpoint
from engines.networks.drop_path import DropPath

Axis = Literal["joints", "views", "frames"]

_AXES: Final[tuple[Axis, ...]] = ("joints", "views", "frames")
_HEADS: Final = 8
_MLP_RATIO: Final = 4
_IMAGE_CHANNELS: Final = 256
_COORDINATES: Final = 3


@dataclass(frozen=True, slots=True)
class DsvtformerConfig:
    """The size of a DSVTformer; the default is the published one.

    Attributes:
        frames: Frames of a window.
        views: Cameras.
        joints: Joints.
        pose_ratio: Pose embedding channels for each frame (S) or joint (V, T).
        image_ratio: Image embedding channels, likewise.
        depth: Layers of S, V and T.
        drop_path: Share of residual branches dropped in training.
    """

    frames: int = 27
    views: int = 4
    joints: int = 17
    pose_ratio: int = 32
    image_ratio: int = 16
    depth: int = 2
    drop_path: float = 0.2


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, _MLP_RATIO * width)
        self.fc2 = nn.Linear(_MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


def _split_heads(x: Tensor) -> Tensor:
    """(N, n, C) to (N, heads, n, C / heads)."""
    return x.reshape(x.shape[0], x.shape[1], _HEADS, -1).transpose(1, 2)


def _join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class _SelfAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (_split_heads(part) for part in self.qkv(x).chunk(3, dim=-1))
        out: Tensor = self.proj(_join_heads(functional.scaled_dot_product_attention(q, k, v)))
        return out


class _CrossAttention(nn.Module):
    """Queries and keys of one width, values of another."""

    def __init__(self, width: int, value_width: int) -> None:
        super().__init__()
        self.wq = nn.Linear(width, width)
        self.wk = nn.Linear(width, width)
        self.wv = nn.Linear(value_width, value_width)
        self.proj = nn.Linear(value_width, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        heads = (_split_heads(self.wq(q)), _split_heads(self.wk(k)), _split_heads(self.wv(v)))
        out: Tensor = self.proj(_join_heads(functional.scaled_dot_product_attention(*heads)))
        return out


class _SelfAttentionBlock(nn.Module):
    """A pre-norm ViT block."""

    def __init__(self, width: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = _SelfAttention(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class _CrossAttentionBlock(nn.Module):
    """Cross-attention and MLP; the residual starts from the query as it is passed in."""

    def __init__(self, width: int, value_width: int, drop_path: float) -> None:
        super().__init__()
        self.normq = nn.LayerNorm(width)
        self.normk = nn.LayerNorm(width)
        self.normv = nn.LayerNorm(value_width)
        self.attn = _CrossAttention(width, value_width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        x = q + self.drop_path(self.attn(self.normq(q), self.normk(k), self.normv(v)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class FusionBlock(nn.Module):
    """Embeds both streams, lets them read from each other, then from themselves."""

    def __init__(
        self,
        *,
        tokens: int,
        pose_in: int,
        pose_width: int,
        pose_out: int,
        image_in: int,
        image_width: int,
        drop_path: float,
    ) -> None:
        super().__init__()

        def embedding(width: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(1, tokens, width))

        self.joint_pos_embed = embedding(pose_width)
        self.img_pos_embed = embedding(image_width)
        self.j_Q_embed = embedding(pose_width)
        self.i_Q_embed = embedding(image_width)
        self.i2j_K_embed = embedding(pose_width)
        self.j2i_K_embed = embedding(image_width)
        self.joint_proj = nn.Linear(pose_in, pose_width)
        self.img_proj = nn.Linear(image_in, image_width)
        self.proj_i2j_dim = nn.Linear(image_width, pose_width)
        self.proj_j2i_dim = nn.Linear(pose_width, image_width)
        self.joint_SA_FFN = _SelfAttentionBlock(pose_width, drop_path)
        self.img_SA_FFN = _SelfAttentionBlock(image_width, drop_path)
        self.joint_CA_FFN = _CrossAttentionBlock(pose_width, image_width, drop_path)
        self.img_CA_FFN = _CrossAttentionBlock(image_width, pose_width, drop_path)
        self.proj_joint_feat2coor = nn.Linear(pose_width, pose_out)
        self.proj_img_feat2orig = nn.Linear(image_width, image_in)

    def forward(self, pose: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Fuses.

        Args:
            pose: (N, tokens, pose_in).
            image: (N, tokens, image_in).

        Returns:
            (N, tokens, pose_out) and (N, tokens, image_in), without a residual.
        """
        pose = self.joint_proj(pose) + self.joint_pos_embed
        image = self.img_proj(image) + self.img_pos_embed
        pose = self.joint_CA_FFN(
            pose + self.j_Q_embed, self.proj_i2j_dim(image) + self.i2j_K_embed, image
        )
        image = self.img_CA_FFN(
            image + self.i_Q_embed, self.proj_j2i_dim(pose) + self.j2i_K_embed, pose
        )
        pose = self.proj_joint_feat2coor(self.joint_SA_FFN(pose))
        return pose, self.proj_img_feat2orig(self.img_SA_FFN(image))


def _to_tokens(x: Tensor, axis: Axis) -> Tensor:
    """(B, F, V, J, C) to tokens along ``axis``; channels come before what they are merged with."""
    if axis == "joints":  # (B V) J (C F)
        return x.permute(0, 2, 3, 4, 1).flatten(3).flatten(0, 1)
    if axis == "views":  # (B F) V (C J)
        return x.transpose(3, 4).flatten(3).flatten(0, 1)
    return x.permute(0, 2, 1, 4, 3).flatten(3).flatten(0, 1)  # (B V) F (C J)


def _from_tokens(x: Tensor, axis: Axis, config: DsvtformerConfig) -> Tensor:
    """The reverse of `_to_tokens`."""
    frames, views, joints = config.frames, config.views, config.joints
    if axis == "joints":
        return x.reshape(-1, views, joints, x.shape[2] // frames, frames).permute(0, 4, 1, 2, 3)
    channels = x.shape[2] // joints
    if axis == "views":
        return x.reshape(-1, frames, views, channels, joints).transpose(3, 4)
    return x.reshape(-1, views, frames, channels, joints).permute(0, 2, 1, 4, 3)


class Dsvtformer(nn.Module):
    """The authors' network."""

    def __init__(self, config: DsvtformerConfig | None = None) -> None:
        super().__init__()
        config = config or DsvtformerConfig()
        self.config = config
        self.fusionblocks = nn.ModuleList(
            nn.ModuleList(self._block(axis, first=layer == 0) for axis in _AXES)
            for layer in range(config.depth)
        )
        # In the release but unused there as well: only so that its checkpoints load.
        self.conv = nn.Sequential(
            nn.BatchNorm2d(config.views), nn.Conv2d(config.views, 1, 7, bias=False)
        )
        merged = config.views * config.joints * _COORDINATES
        self.head = nn.Sequential(
            nn.LayerNorm(merged), nn.Linear(merged, config.joints * _COORDINATES)
        )

    def _block(self, axis: Axis, *, first: bool) -> FusionBlock:
        config = self.config
        merged = config.frames if axis == "joints" else config.joints
        tokens = {"joints": config.joints, "views": config.views, "frames": config.frames}[axis]
        channels_in = 2 if first and axis == "joints" else _COORDINATES
        return FusionBlock(
            tokens=tokens,
            pose_in=channels_in * merged,
            pose_width=config.pose_ratio * merged,
            pose_out=_COORDINATES * merged,
            image_in=_IMAGE_CHANNELS * merged,
            image_width=config.image_ratio * merged,
            drop_path=config.drop_path,
        )

    def forward(self, x: Tensor, img: Tensor) -> Tensor:
        """Lifts windows.

        Args:
            x: (B, F, V, J, 2) screen-normalised joints, X / w * 2 - [1, h / w].
            img: (B, F, V, 256) pooled image context.

        Returns:
            (B, F, J, 3) metres, in the axes of the laboratory that it was trained in.
        """
        config = self.config
        pose = x
        image = img[:, :, :, None].expand(-1, -1, -1, config.joints, -1)
        for layer, blocks in enumerate(self.fusionblocks):
            assert isinstance(blocks, nn.ModuleList)
            for axis, block in zip(_AXES, blocks, strict=True):
                new_pose, new_image = block(_to_tokens(pose, axis), _to_tokens(image, axis))
                new_pose = _from_tokens(new_pose, axis, config)
                new_image = _from_tokens(new_image, axis, config)
                # The first layer has no residual around its blocks.
                pose = new_pose if layer == 0 else pose + new_pose
                image = new_image if layer == 0 else image + new_image
        joints: Tensor = self.head(pose.flatten(2))
        return joints.reshape(-1, config.frames, config.joints, _COORDINATES)


def load_official(path: Path, config: DsvtformerConfig | None = None) -> Dsvtformer:
    """Loads a checkpoint of the authors' release.

    Args:
        path: A file that `torch.load` reads: a state dictionary, or one under ``model_pos``,
            ``state_dict`` or ``model``; names may begin with ``module.``.
        config: The size that it was trained at.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        UserError: The file is missing or damaged, or its parameters are not those of ``config``,
            of another type or not finite.
    """
    found = read_checkpoint(path, ("model_pos", "state_dict", "model"))
    network = Dsvtformer(config)
    _check(path, found, network.state_dict())
    network.load_state_dict(found)
    return network.eval()


def _check(path: Path, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Raises a UserError that names the first parameter that does not fit."""
    advice = "give the frames, views and ratios it was trained with"
    for name, value in wanted.items():
        if name not in found:
            raise UserError(f"DSVTformer: {path} lacks {name}; {advice}")
        if found[name].shape != value.shape:
            have, want = tuple(found[name].shape), tuple(value.shape)
            raise UserError(f"DSVTformer: {path} has {name} of {have}, want {want}; {advice}")
        if value.is_floating_point():  # and not a count of batches
            check_values(path, name, found[name])
    for name in found:
        if name not in wanted:
            raise UserError(f"DSVTformer: {path} has {name}, which this size lacks; {advice}")
