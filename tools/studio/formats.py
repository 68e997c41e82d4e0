"""Readers of the MakeHuman / MPFB2 file formats: meshes, shape targets, garments.

Everything is converted once to metres with z up: x to the person's left, y to the back (the
person looks along -y), z up. The files hold decimetres with y up, looking along +z.
"""

from __future__ import annotations

import gzip
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engines.errors import UserError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
RealArray = npt.NDArray[np.floating]
"""Numbers of any precision, as an argument."""

WHERE: Final = "is this the folder with 3dobjs/, targets/, rigs/ and base/ of the MPFB2 assets?"


@dataclass(frozen=True, slots=True)
class Mesh:
    """A triangle mesh whose corners carry texture coordinates.

    Attributes:
        vertices: (V, 3) positions in metres, z up.
        corners: (C, 2) distinct (vertex, texture coordinate) pairs.
        uv: (T, 2) texture coordinates, v up.
        triangles: (F, 3) indices into ``corners``.
        groups: (F,) index into ``group_names`` for each triangle.
        group_names: names of the face groups.
    """

    vertices: FloatArray
    corners: IntArray
    uv: FloatArray
    triangles: IntArray
    groups: IntArray
    group_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Garment:
    """A mesh that is worn: each vertex is fixed to three vertices of the base mesh.

    Attributes:
        name: file name without its ending.
        mesh: the mesh as modelled on the unshaped body (its vertices serve only as a reference).
        anchors: (V, 3) base vertices.
        weights: (V, 3) barycentric weights, rows sum to 1.
        offsets: (V, 3) offset from the barycentric point, in metres at reference size.
        scale_vertices: (3, 2) base vertices whose distance along x, y, z scales the offset.
        scale_reference: (3,) that distance at reference size, metres.
        hidden: base vertices that the garment covers; faces that touch them are not drawn.
        tags: the words by which the author filed it ("Male", "Casual").
    """

    name: str
    mesh: Mesh
    anchors: IntArray
    weights: FloatArray
    offsets: FloatArray
    scale_vertices: IntArray
    scale_reference: FloatArray
    hidden: IntArray
    tags: tuple[str, ...]


def _to_z_up(points: npt.NDArray[np.floating]) -> FloatArray:
    """Decimetres, y up, looking along +z → metres, z up, looking along -y."""
    turned = np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)
    return (turned * 0.1).astype(np.float32)


def _text(path: Path) -> str:
    try:
        if path.suffix == ".gz":
            return gzip.decompress(path.read_bytes()).decode("utf-8")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error}); {WHERE}") from error


def read_json(path: Path) -> Any:
    """Reads a JSON file."""
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error}); {WHERE}") from error


def read_obj(path: Path) -> Mesh:
    """Reads a Wavefront OBJ file with texture coordinates; polygons become triangle fans.

    Raises:
        UserError: the file is missing or is not such an OBJ file.
    """
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    corner_of: dict[tuple[int, int], int] = {}
    triangles: list[tuple[int, int, int]] = []
    groups: list[int] = []
    names: dict[str, int] = {}
    group = names.setdefault("", 0)
    try:
        for line in _text(path).splitlines():
            parts = line.split()
            if not parts:
                continue
            if parts[0] == "v":
                vertices.append([float(x) for x in parts[1:4]])
            elif parts[0] == "vt":
                uv.append([float(x) for x in parts[1:3]])
            elif parts[0] == "g":
                group = names.setdefault(parts[1] if len(parts) > 1 else "", len(names))
            elif parts[0] == "f":
                face = []
                for corner in parts[1:]:
                    fields = corner.split("/")
                    key = (int(fields[0]) - 1, int(fields[1]) - 1)
                    face.append(corner_of.setdefault(key, len(corner_of)))
                for i in range(1, len(face) - 1):
                    triangles.append((face[0], face[i], face[i + 1]))
                    groups.append(group)
    except (ValueError, IndexError) as error:
        raise UserError(f"{path}: not an OBJ file with texture coordinates ({error})") from error
    if not triangles:
        raise UserError(f"{path}: holds no faces; {WHERE}")
    return Mesh(
        _to_z_up(np.array(vertices)),
        np.array(list(corner_of), np.int32),
        np.array(uv, np.float32),
        np.array(triangles, np.int32),
        np.array(groups, np.int32),
        tuple(names),
    )


def read_target(path: Path, vertex_count: int) -> FloatArray:
    """Reads a shape target (lines ``vertex dx dy dz``) as dense offsets (V, 3) in metres."""
    text = _text(path)
    dense = np.zeros((vertex_count, 3), np.float32)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input contained no data")
            numbers = np.loadtxt(io.StringIO(text), np.float64, ndmin=2)
    except ValueError as error:
        raise UserError(f"{path}: not a shape target ({error})") from error
    if numbers.size:
        dense[numbers[:, 0].astype(np.int64)] = _to_z_up(numbers[:, 1:4])
    return dense


def read_garment(path: Path) -> Garment:
    """Reads an ``.mhclo`` file and the OBJ beside it.

    The format is described in the MakeHuman documentation ("Proxy files"): after ``verts`` one
    line a vertex, either one base vertex or three with three weights and an offset; after
    ``delete_verts`` ranges ``a - b`` of covered base vertices.

    Raises:
        UserError: a file is missing or broken.
    """
    fields: dict[str, list[str]] = {}
    tags: list[str] = []
    anchors: list[list[int]] = []
    weights: list[list[float]] = []
    offsets: list[list[float]] = []
    hidden: list[int] = []
    section = ""
    try:
        for line in _text(path).splitlines():
            parts = line.split()
            if not parts or parts[0].startswith("#"):
                continue
            if parts[0] in ("verts", "delete_verts"):
                section = parts[0]
            elif parts[0][0].isalpha():
                if parts[0] == "tag":
                    tags.append(" ".join(parts[1:]))
                fields[parts[0]] = parts[1:]
            elif section == "verts":
                if len(parts) == 1:
                    anchors.append([int(parts[0])] * 3)
                    weights.append([1.0, 0.0, 0.0])
                    offsets.append([0.0, 0.0, 0.0])
                else:
                    anchors.append([int(x) for x in parts[:3]])
                    weights.append([float(x) for x in parts[3:6]])
                    offsets.append([float(x) for x in parts[6:9]])
            elif section == "delete_verts":
                at = 0
                while at < len(parts):
                    if at + 2 < len(parts) and parts[at + 1] == "-":
                        hidden.extend(range(int(parts[at]), int(parts[at + 2]) + 1))
                        at += 3
                    else:
                        hidden.append(int(parts[at]))
                        at += 1
        # The axes of the file are x, y up, z to the front; ours x, z to the back, y up.
        scales = [fields["x_scale"], fields["z_scale"], fields["y_scale"]]
        mesh = read_obj(path.with_name(fields["obj_file"][0]))
        garment = Garment(
            path.stem,
            mesh,
            np.array(anchors, np.int32),
            np.array(weights, np.float32),
            _to_z_up(np.array(offsets)),
            np.array([[int(s[0]), int(s[1])] for s in scales], np.int32),
            np.array([float(s[2]) * 0.1 for s in scales], np.float32),
            np.unique(np.array(hidden, np.int32)),
            tuple(tags),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{path}: not a MakeHuman clothes file ({error!r})") from error
    if len(garment.anchors) != len(mesh.vertices):
        raise UserError(
            f"{path}: fits {len(garment.anchors)} vertices, its OBJ has {len(mesh.vertices)}"
        )
    return garment
