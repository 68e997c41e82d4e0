"""Features that a perfect front end would find of a walker, drawn rather than rendered."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS
from engines.networks.joint_context import (
    BONE,
    BONE_DOUBT,
    BONE_UNIT,
    DEPTH,
    DOUBT,
    JOINT_CHANNELS,
    NEIGHBOURS,
    SEEN,
    TOWARDS,
    TOWARDS_DOUBT,
    TOWARDS_UNIT,
)
from engines.skeleton import BODY_UNIT_BONE_LENGTH, PARENTS
from tools.training.feature_scenes import FeatureScene
from tools.training.rendered_errors import RenderedErrors
from tools.training.told_context import BODY_UNITS_PER_HEIGHT
from walking import walking_clip

CPU = torch.device("cpu")

NO_ERRORS = RenderedErrors(
    sigma=(0.0, 0.0), slow_share=0.0, missing_pictures=0.0, absent_share=0.0, hidden_views=0.0,
    swap_share=0.0, doubt=(1.0, 1.0),
)  # fmt: skip


ARMS: Final = slice(11, 17)
RIVAL: Final = (0.5, -0.25, 0.375)
"""x, y from the joint, and heat."""

CROP: Final = 0.8
TOLD_DOUBT: Final = -3.5
TOLD_BONE_DOUBT: Final = -4.0
TOLD_SEEN: Final = 2.5
TOLD_TOWARDS_DOUBT: Final = -1.5


def body_heights(joints: np.ndarray) -> float:
    """Body heights a metre, of people (N, 17, 3) as the lifter measures them."""
    bones = np.linalg.norm(joints[:, 1:] - joints[:, PARENTS[1:]], axis=-1).sum(-1).mean()
    return BODY_UNIT_BONE_LENGTH / float(bones) / BODY_UNITS_PER_HEIGHT


def drawn_features(frames: int = 30, views: int = 3, seed: int = 0) -> FeatureScene:
    """What a perfect front end would find of a walker, with context that tells where joints are.

    The joints of the arms have one rival each, ``RIVAL``. Cameras see along parallel rays.
    """
    random = np.random.default_rng(seed)
    joints = walking_clip(frames, seed).astype(np.float32)
    turns = np.linalg.qr(random.normal(size=(views, 3, 3)))[0]
    rotation = (turns * np.linalg.det(turns)[:, None, None]).astype(np.float32)
    camera = np.einsum("vij,tkj->tvki", rotation, joints - joints[:, :1])
    xy = camera[..., :2] / 4.0
    confidence = np.full((*xy.shape[:3], 1), 0.9)
    keypoints = np.concatenate([xy, confidence], -1).astype(np.float32)
    told = np.zeros((*xy.shape[:3], JOINT_CHANNELS), np.float32)
    depth = camera[..., 2] * body_heights(joints)
    told[..., DEPTH] = depth
    told[..., 1:, BONE] = (depth[..., 1:] - depth[..., PARENTS[1:]]) / BONE_UNIT
    told[..., DOUBT], told[..., BONE_DOUBT] = TOLD_DOUBT, TOLD_BONE_DOUBT
    told[..., SEEN], told[..., TOWARDS_DOUBT] = TOLD_SEEN, TOLD_TOWARDS_DOUBT
    around = xy[..., np.array(NEIGHBOURS), :] - xy[..., None, :]
    told[..., TOWARDS] = (around / (TOWARDS_UNIT * CROP)).reshape(*xy.shape[:3], 4)
    rivals = np.zeros((*xy.shape[:3], RIVAL_CHANNELS), np.float32)
    rivals[:, :, ARMS, :3] = RIVAL
    return FeatureScene(
        keypoints=keypoints,
        context=np.concatenate((told, rivals), -1).astype(np.float16),
        crop=np.full(xy.shape[:2], CROP, np.float32),
        offset_s=random.uniform(-0.015, 0.015, xy.shape[:2]).astype(np.float32),
        truth=xy.astype(np.float32),
        visibility=np.full(xy.shape[:3], 2, np.uint8),
        joints_m=joints,
        rotation=rotation,
        digest="0123456789abcdef",
    )
