"""Rendered sequences as the 2D front end saw them: joints found, image context, and the truth.

One scene is one safetensors file in DATA/{train,validation,test}. It is made once from pictures
(`feature_pass.py`) and is what the lifter's image stream trains on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engines.errors import UserError
from engines.skeleton import JOINT_COUNT

Floats = npt.NDArray[np.float32]

FORMAT: Final = "dsvt-feature-scene"
VERSION: Final = 6
RATE_HZ: Final = 30.0
SPLITS: Final = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class FeatureScene:
    """A sequence of T instants at ``RATE_HZ``, seen by V cameras.

    Attributes:
        keypoints: (T, V, 17, 3) float32 joints found: x, y in half-widths of the picture
            (``app.tracks.to_half_widths``) and confidence; all 0 where nobody was found.
        context: (T, V, 17, C) float16 what the pose network tells of the joints found
            (``engines.networks.joint_context``), and the joints' rivals
            (``engines.front_ends.yolo_cpn.rivals``).
        crop: (T, V) float32 height of the crop that was looked at, half-widths; 0 where none was.
        offset_s: (T, V) float32 by how much the picture was taken after its instant; NaN where
            there was no picture.
        truth: (T, V, 17, 2) float32 true joints in the picture, half-widths; NaN without picture.
        visibility: (T, V, 17) uint8: 0 outside the picture, 1 hidden, 2 visible.
        joints_m: (T, 17, 3) float32 true joints at the instants, world, metres, z up.
        rotation: (V, 3, 3) float32 world to camera axes (x right, y down, z forward).
        digest: ``engines.shipping.weights_digest`` of the pose network that saw it.
        boards: share of scenes that got boards (``tools.training.boards``) when it was made;
            None where that was not noted.
    """

    keypoints: Floats
    context: npt.NDArray[np.float16]
    crop: Floats
    offset_s: Floats
    truth: Floats
    visibility: npt.NDArray[np.uint8]
    joints_m: Floats
    rotation: Floats
    digest: str
    boards: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Making:
    """How a scene of features was made; where it would be made otherwise now, it is made anew.

    Attributes:
        digest: of the pose network.
        boards: share of scenes with boards; None where it was not noted, as at first.
    """

    digest: str
    boards: float | None


_NO_ARRAYS: Final = ("digest", "boards")
_ARRAYS: Final = tuple(f.name for f in fields(FeatureScene) if f.name not in _NO_ARRAYS)


def save_feature_scene(scene: FeatureScene, path: Path) -> None:
    """Writes a scene; the file appears only once it is whole.

    Raises:
        UserError: it cannot be written.
    """
    arrays = {name: np.ascontiguousarray(getattr(scene, name)) for name in _ARRAYS}
    scratch = path.with_name(path.name + ".part")
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "pose_network": scene.digest,
    }
    if scene.boards is not None:
        metadata["boards"] = repr(scene.boards)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(arrays, scratch, metadata=metadata)
        scratch.replace(path)
    except (OSError, SafetensorError) as error:  # the latter of a full disk
        raise UserError(f"{path}: cannot be written ({error})") from error
    finally:
        scratch.unlink(missing_ok=True)


def read_feature_scene(path: Path) -> FeatureScene:
    """Reads a scene.

    Raises:
        UserError: the file is missing, damaged or no such scene.
    """
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays: dict[str, Any] = {name: file.get_tensor(name) for name in _ARRAYS}
    except (OSError, SafetensorError, ValueError) as error:
        first = (str(error).splitlines() or ["unreadable"])[0]
        raise UserError(
            f"features: {path} cannot be read ({first}); "
            "make it with python -m tools.train features"
        ) from error
    making = _making(metadata)
    if making is None or not _consistent(arrays):
        raise UserError(
            f"features: {path} is no scene of features (version {VERSION}); "
            "make it with python -m tools.train features"
        )
    return FeatureScene(**arrays, digest=making.digest, boards=making.boards)


def making_of(path: Path) -> Making | None:
    """How an existing file of features was made; None where there is no such file."""
    try:
        with safe_open(path, framework="np") as file:
            return _making(file.metadata() or {})
    except (OSError, SafetensorError, ValueError):
        return None


def load_feature_scenes(folder: Path, split: str) -> tuple[FeatureScene, ...]:
    """Reads all scenes of one split.

    Args:
        folder: what ``python -m tools.train features`` wrote.
        split: ``train``, ``validation`` or ``test``.

    Raises:
        UserError: there are none, one is damaged, or they come from different pose networks.
    """
    paths = sorted((folder / split).glob("*.safetensors"))
    if not paths:
        raise UserError(
            f"features: {folder / split} holds no scenes; "
            "make them with python -m tools.train features"
        )
    scenes = tuple(read_feature_scene(path) for path in paths)
    for path, scene in zip(paths, scenes, strict=True):
        if scene.digest != scenes[0].digest or scene.context.shape[3] != scenes[0].context.shape[3]:
            raise UserError(
                f"features: {path} was seen by another pose network than {paths[0].name}; "
                "run python -m tools.train features again"
            )
    return scenes


def _making(metadata: Mapping[str, str]) -> Making | None:
    if metadata.get("format") != FORMAT or metadata.get("version") != str(VERSION):
        return None
    digest, noted = metadata.get("pose_network"), metadata.get("boards")
    try:
        boards = None if noted is None else float(noted)
    except ValueError:
        return None
    return None if digest is None else Making(digest, boards)


def _consistent(arrays: Mapping[str, npt.NDArray[Any]]) -> bool:
    keypoints, context = arrays["keypoints"], arrays["context"]
    if keypoints.ndim != 4 or context.ndim != 4:
        return False
    instants, views = keypoints.shape[:2]
    shapes = {
        "keypoints": (instants, views, JOINT_COUNT, 3),
        "context": (instants, views, JOINT_COUNT, context.shape[3]),
        "crop": (instants, views),
        "offset_s": (instants, views),
        "truth": (instants, views, JOINT_COUNT, 2),
        "visibility": (instants, views, JOINT_COUNT),
        "joints_m": (instants, JOINT_COUNT, 3),
        "rotation": (views, 3, 3),
    }
    finite = ("keypoints", "context", "crop", "joints_m", "rotation")
    return all(arrays[name].shape == shape for name, shape in shapes.items()) and all(
        bool(np.isfinite(arrays[name]).all()) for name in finite
    )
