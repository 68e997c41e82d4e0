"""Rotation vectors and matrices."""

from __future__ import annotations

import numpy as np

from engines.rig.types import Floats


def skew(vectors: Floats) -> Floats:
    """Cross-product matrices, (..., 3, 3) of (..., 3) vectors: their product with b is a × b."""
    out = np.zeros((*vectors.shape, 3))
    out[..., 0, 1], out[..., 0, 2] = -vectors[..., 2], vectors[..., 1]
    out[..., 1, 0], out[..., 1, 2] = vectors[..., 2], -vectors[..., 0]
    out[..., 2, 0], out[..., 2, 1] = -vectors[..., 1], vectors[..., 0]
    return out


def exponential(vectors: Floats) -> Floats:
    """(..., 3) rotation vectors (radians) to (..., 3, 3) rotations (Rodrigues)."""
    angle = np.sqrt((vectors**2).sum(-1))[..., None, None]
    matrix = skew(vectors)
    small = angle < 1e-6
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 1 - angle**2 / 6, np.sin(safe) / safe)
    second = np.where(small, 0.5 - angle**2 / 24, (1 - np.cos(safe)) / safe**2)
    return np.asarray(np.eye(3) + first * matrix + second * (matrix @ matrix))


def angle_deg(rotations: Floats) -> Floats:
    """(..., 3, 3) rotations to (...) angles in degrees, 0…180."""
    trace = np.trace(rotations, axis1=-2, axis2=-1)
    # The sine is exact where the cosine is flat.
    axis = rotations - np.swapaxes(rotations, -1, -2)
    sine = np.sqrt((axis**2).sum((-1, -2)) / 8)
    return np.asarray(np.degrees(np.arctan2(sine, (trace - 1) / 2)))


def between(first: Floats, second: Floats) -> Floats:
    """(3, 3) the smallest rotation that takes the direction of one vector to another's."""
    a, b = first / np.linalg.norm(first), second / np.linalg.norm(second)
    axis = np.cross(a, b)
    sine, cosine = float(np.linalg.norm(axis)), float(a @ b)
    if sine < 1e-12:
        if cosine > 0:
            return np.eye(3)
        other = np.cross(a, [1.0, 0.0, 0.0] if abs(a[0]) < 0.9 else [0.0, 1.0, 0.0])
        return exponential(np.pi * other / np.linalg.norm(other))
    return exponential(axis / sine * np.arctan2(sine, cosine))
