"""A dressed person in the rest pose: body, eyes, clothes, shoes and hair as skinned meshes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from tools.studio.assets import Assets
from tools.studio.formats import FloatArray, Garment, IntArray, Mesh
from tools.studio.rig import Rig, build_rig, split_weights, strongest
from tools.studio.shape import Shape, shaped_vertices

SKIN, EYES, CLOTH, SHOES, HAIR, HAT = range(6)
"""What a part is made of; the painter gives each its own look."""
TOP, BOTTOM, TRIM = range(3)
"""Which piece of a suit a corner belongs to."""

_EYES: Final = ("helper-l-eye", "helper-r-eye")
_WAIST: Final = 0.62
"""Where trousers can end and shirts begin, as a fraction of the stature."""


@dataclass(frozen=True, slots=True)
class Outfit:
    """What a person wears, by file name in the assets; ``None`` leaves it off."""

    suit: str | None = None
    shoes: str | None = None
    hair: str | None = None
    hat: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One skinned mesh in the rest pose.

    Attributes:
        kind: ``SKIN`` … ``HAT``.
        rest: (C, 3) corner positions, metres.
        normals: (C, 3) unit normals.
        uv: (C, 2) texture coordinates in 0..1, v up.
        metres: length in metres of one unit of ``uv``.
        piece: (C,) ``TOP``, ``BOTTOM`` or ``TRIM`` for clothes, else 0.
        bones: (C, 4) bones that move a corner.
        weights: (C, 4) their weights, rows sum to 1.
        triangles: (F, 3) indices of corners.
    """

    kind: int
    rest: FloatArray
    normals: FloatArray
    uv: FloatArray
    metres: float
    piece: IntArray
    bones: IntArray
    weights: FloatArray
    triangles: IntArray


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Points of the face in the rest pose, metres."""

    left_eye: FloatArray
    right_eye: FloatArray
    mouth: FloatArray
    crown: FloatArray


@dataclass(frozen=True, slots=True)
class Person:
    """A dressed body ready to be posed and drawn."""

    rig: Rig
    parts: tuple[Part, ...]
    landmarks: Landmarks
    stature_m: float


def _vertex_normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """Area-weighted vertex normals (V, 3)."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for i in range(3):
        for axis in range(3):
            normals[:, axis] += np.bincount(faces[:, i], face[:, axis], len(vertices))
    return np.asarray(
        normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12), np.float32
    )


def _metres_per_uv(rest: FloatArray, uv: FloatArray, triangles: IntArray) -> float:
    """How long one unit of texture coordinate is on the body (from total areas)."""
    a, b, c = (rest[triangles[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    p, q, r = (uv[triangles[:, i]] for i in range(3))
    flat = np.abs((q - p)[:, 0] * (r - p)[:, 1] - (q - p)[:, 1] * (r - p)[:, 0]).sum()
    return float(np.sqrt(area / max(float(flat), 1e-9)))


def _part(
    kind: int,
    mesh: Mesh,
    vertices: FloatArray,
    weights: FloatArray,
    triangles: IntArray,
    piece: IntArray | None = None,
) -> Part:
    """Cuts the given triangles out of a mesh, with its vertices moved to ``vertices``."""
    normals = _vertex_normals(vertices, mesh.corners[triangles, 0])
    used, inverse = np.unique(triangles, return_inverse=True)
    compact = np.asarray(inverse.reshape(-1, 3), np.int32)
    at = mesh.corners[used, 0]
    uv = mesh.uv[mesh.corners[used, 1]]
    bones, kept = strongest(weights[at])
    rest = vertices[at]
    return Part(
        kind,
        rest,
        normals[at],
        uv,
        _metres_per_uv(rest, uv, compact),
        np.zeros(len(used), np.int32) if piece is None else piece[at],
        bones,
        kept,
        compact,
    )


def fit(garment: Garment, base: FloatArray) -> FloatArray:
    """Fits a garment to a shaped base mesh (V, 3): its vertices (G, 3), metres."""
    on_body = np.einsum("gk,gkd->gd", garment.weights, base[garment.anchors])
    ends = base[garment.scale_vertices]
    spans = np.abs(np.diagonal(ends[:, 0] - ends[:, 1]))
    scale = spans / np.maximum(garment.scale_reference, 1e-6)
    return np.asarray(on_body + garment.offsets * scale, np.float32)


def _pieces(mesh: Mesh, fitted: FloatArray, stature_m: float) -> IntArray:
    """Tells tops, bottoms and trim apart: a suit's mesh falls into unconnected pieces."""
    faces = mesh.corners[mesh.triangles, 0]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (len(fitted),) * 2)
    count, label = connected_components(graph, directed=False)
    kinds = np.full(count, TRIM, np.int32)
    for i in range(count):
        heights = fitted[label == i, 2] / stature_m
        if (label == i).sum() > 0.08 * len(fitted):
            kinds[i] = BOTTOM if heights.mean() < _WAIST and heights.max() < 0.72 else TOP
    return np.asarray(kinds[label], np.int32)


def build_person(assets: Assets, shape: Shape, outfit: Outfit) -> Person:
    """Shapes, rigs and dresses a body."""
    base, stature = shaped_vertices(assets, shape)
    rig = build_rig(assets, base, stature)
    weights = split_weights(assets, rig, base)
    mesh = assets.base
    hidden = np.zeros(len(base), bool)
    worn: list[Part] = []
    wardrobe = (
        (SHOES, "clothes", outfit.shoes),
        (CLOTH, "clothes", outfit.suit),
        (HAIR, "hair", outfit.hair),
        (HAT, "clothes", outfit.hat),
    )
    for kind, folder, name in wardrobe:
        if name is None:
            continue
        garment = assets.garment(folder, name)
        fitted = fit(garment, base)
        moved = np.einsum("gk,gkb->gb", garment.weights, weights[garment.anchors])
        moved = np.maximum(moved, 0.0)
        moved /= np.maximum(moved.sum(1, keepdims=True), 1e-6)
        piece = _pieces(garment.mesh, fitted, stature) if kind == CLOTH else None
        worn.append(_part(kind, garment.mesh, fitted, moved, garment.mesh.triangles, piece))
        hidden[garment.hidden] = True

    def faces(*groups: str) -> IntArray:
        chosen = np.isin(mesh.groups, [mesh.group_names.index(g) for g in groups])
        return mesh.triangles[chosen]

    body = faces("body")
    body = body[~hidden[mesh.corners[body, 0]].any(1)]
    skin = _part(SKIN, mesh, base, weights, body)
    eyes = _part(EYES, mesh, base, weights, faces(*_EYES))

    def middle(group: str) -> FloatArray:
        return np.asarray(base[assets.group_vertices(group)].mean(0), np.float32)

    head = base[assets.group_vertices("body")]
    landmarks = Landmarks(
        middle(_EYES[0]), middle(_EYES[1]), middle("joint-mouth"), head[head[:, 2].argmax()]
    )
    return Person(rig, (skin, eyes, *worn), landmarks, stature)
