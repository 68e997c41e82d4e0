"""Error measures of 3D pose, and triangulation as the yardstick."""

from __future__ import annotations

import torch
from torch import Tensor

from tools.training.rigs import Rig


def joint_errors(predicted: Tensor, target: Tensor) -> Tensor:
    """Euclidean distances: (..., 17, 3) twice to (..., 17). Their mean is the MPJPE."""
    distances: Tensor = (predicted - target).norm(dim=-1)
    return distances


def procrustes_errors(predicted: Tensor, target: Tensor) -> Tensor:
    """Distances after the best similarity transform of each pose (PA-MPJPE, protocol 2).

    Umeyama (PAMI 1991), with the determinant's sign kept positive.

    Args:
        predicted: (..., 17, 3).
        target: (..., 17, 3).

    Returns:
        (..., 17).
    """
    p = predicted.double() - predicted.double().mean(-2, keepdim=True)
    t = target.double() - target.double().mean(-2, keepdim=True)
    u, s, vh = torch.linalg.svd(p.transpose(-1, -2) @ t)
    sign = torch.sign(torch.linalg.det(u @ vh))
    s = torch.cat([s[..., :2], s[..., 2:] * sign[..., None]], dim=-1)
    u = torch.cat([u[..., :2], u[..., 2:] * sign[..., None, None]], dim=-1)
    scale = s.sum(-1) / p.square().sum((-1, -2)).clamp(min=1e-12)
    aligned = scale[..., None, None] * (p @ (u @ vh))
    distances: Tensor = (aligned - t).norm(dim=-1).to(predicted.dtype)
    return distances


def triangulate(keypoints: Tensor, rig: Rig) -> Tensor:
    """Linear triangulation (DLT) with the true cameras, rows weighted by confidence.

    Hartley & Zisserman, "Multiple View Geometry", 12.2.

    Args:
        keypoints: (B, F, V, 17, 3) x, y in half-widths, confidence.
        rig: The true cameras.

    Returns:
        (B, F, 17, 3) in the world, metres; meaningless where fewer than two views see a joint.
    """
    translation = -torch.einsum("bvij,bvj->bvi", rig.rotation, rig.position)
    projection = torch.cat([rig.rotation, translation[..., None]], -1).double()
    projection[:, :, :2] *= rig.focal[..., None, None].double()
    rows = projection[:, None, :, None]  # (B, 1, V, 1, 3, 4)
    points = keypoints.double()
    weight = points[..., 2:]
    first = weight * (points[..., 0:1] * rows[..., 2, :] - rows[..., 0, :])
    second = weight * (points[..., 1:2] * rows[..., 2, :] - rows[..., 1, :])
    system = torch.cat([first, second], dim=2).transpose(2, 3)  # (B, F, 17, 2V, 4)
    _, vectors = torch.linalg.eigh(system.transpose(-1, -2) @ system)
    solution = vectors[..., 0]
    scale = solution[..., 3:]
    scale = torch.where(scale.abs() < 1e-9, 1e-9, scale)
    points3: Tensor = (solution[..., :3] / scale).to(keypoints.dtype)
    return points3
