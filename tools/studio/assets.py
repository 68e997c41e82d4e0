"""The folder of MakeHuman / MPFB2 body assets: base mesh, targets, garments, rig and weights.

The assets are not part of this repository; docs/studio.md says where they are published.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engines.errors import UserError
from tools.studio.formats import (
    WHERE,
    FloatArray,
    Garment,
    IntArray,
    read_garment,
    read_json,
    read_obj,
    read_target,
)


@dataclass(frozen=True, slots=True)
class BoneSpec:
    """One bone of the rig file: where it starts and ends, and what it hangs on."""

    name: str
    parent: str
    head: IntArray
    tail: IntArray


class Assets:
    """The folder of body assets; files are read when first asked for and then kept."""

    def __init__(self, folder: Path) -> None:
        """Opens the folder.

        Raises:
            UserError: it is not the folder of the assets.
        """
        self.folder = folder
        self.base = read_obj(folder / "3dobjs" / "base.obj")
        self._targets: dict[str, FloatArray] = {}
        self._garments: dict[str, Garment] = {}
        self._groups: dict[str, IntArray] = {}
        self._bones: tuple[BoneSpec, ...] = ()
        self._skin_weights: dict[tuple[str, ...], FloatArray] = {}

    def target(self, name: str) -> FloatArray:
        """The macro target of that name (path under targets/macrodetails), (V, 3) in metres."""
        if name not in self._targets:
            path = self.folder / "targets" / "macrodetails" / f"{name}.target.gz"
            self._targets[name] = read_target(path, len(self.base.vertices))
        return self._targets[name]

    def has_target(self, name: str) -> bool:
        """Whether a macro target of that name exists."""
        return (self.folder / "targets" / "macrodetails" / f"{name}.target.gz").is_file()

    def garment_names(self, kind: str) -> tuple[str, ...]:
        """Names of what can be worn, of one kind: ``clothes`` or ``hair``."""
        return tuple(sorted(p.stem for p in (self.folder / "base" / kind).glob("*/*.mhclo")))

    def garment(self, kind: str, name: str) -> Garment:
        """The garment of that kind and name."""
        if name not in self._garments:
            found = sorted((self.folder / "base" / kind).glob(f"*/{name}.mhclo"))
            if not found:
                raise UserError(f"{self.folder / 'base' / kind}: no {name}.mhclo; {WHERE}")
            self._garments[name] = read_garment(found[0])
        return self._garments[name]

    def group_vertices(self, name: str) -> IntArray:
        """The vertices of a named group of the base mesh, such as ``joint-l-knee``."""
        if name not in self._groups:
            if name not in self.base.group_names:
                raise UserError(f"{self.folder / '3dobjs' / 'base.obj'}: has no group {name}")
            faces = self.base.groups == self.base.group_names.index(name)
            self._groups[name] = np.unique(self.base.corners[self.base.triangles[faces], 0])
        return self._groups[name]

    def bones(self) -> tuple[BoneSpec, ...]:
        """The bones of the CMU-named rig, parents before children."""
        self._bones = self._bones or self._read_bones()
        return self._bones

    def _read_bones(self) -> tuple[BoneSpec, ...]:
        path = self.folder / "rigs" / "standard" / "rig.cmu_mb.json"
        table = read_json(path)
        try:
            bones = [
                BoneSpec(
                    name,
                    str(bone["parent"]),
                    self._anchor(bone["head"], path),
                    self._anchor(bone["tail"], path),
                )
                for name, bone in table.items()
            ]
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: not a rig file ({error!r})") from error
        ordered: list[BoneSpec] = []
        while bones:
            known = {bone.name for bone in ordered} | {""}
            ready = [bone for bone in bones if bone.parent in known]
            if not ready:
                raise UserError(f"{path}: bone {bones[0].name} hangs on no known bone")
            ordered += ready
            bones = [bone for bone in bones if bone.parent not in known]
        return tuple(ordered)

    def skin_weights(self, bone_names: tuple[str, ...]) -> FloatArray:
        """Dense skin weights (V, bones); rows sum to 1."""
        if bone_names not in self._skin_weights:
            self._skin_weights[bone_names] = self._read_skin_weights(bone_names)
        return self._skin_weights[bone_names]

    def _read_skin_weights(self, bone_names: tuple[str, ...]) -> FloatArray:
        path = self.folder / "rigs" / "standard" / "weights.cmu_mb.json"
        table = read_json(path)
        dense = np.zeros((len(self.base.vertices), len(bone_names)), np.float32)
        try:
            for column, name in enumerate(bone_names):
                pairs = np.array(table["weights"].get(name, []), np.float64).reshape(-1, 2)
                dense[pairs[:, 0].astype(np.int64), column] = pairs[:, 1]
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise UserError(f"{path}: not a skin weight file ({error!r})") from error
        dense[dense.sum(1) < 1e-6, 0] = 1.0
        return np.asarray(dense / dense.sum(1, keepdims=True), np.float32)

    def _anchor(self, where: dict[str, Any], path: Path) -> IntArray:
        """The base vertices whose mean is a bone's end."""
        strategy = where["strategy"]
        if strategy == "CUBE":
            return self.group_vertices(str(where["cube_name"]))
        if strategy == "VERTEX":
            return np.array([where["vertex_index"]], np.int32)
        if strategy == "MEAN":
            return np.array(where["vertex_indices"], np.int32)
        raise UserError(f"{path}: unknown way to place a bone: {strategy}")
