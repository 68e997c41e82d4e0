"""The project's own rig file: JSON with everything a rig knows, checked strictly when read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import numpy as np

from engines.errors import UserError
from engines.rig.types import CAMERA_PARAMETERS, CameraModel, Quality, Rig, RigCamera
from engines.skeleton import BONES

MAX_BYTES: Final = 1 << 20
_Positive = Annotated[float, msgspec.Meta(gt=0, lt=1e6)]
_Focal = Annotated[float, msgspec.Meta(ge=0.15, le=30)]
_Noise = Annotated[float, msgspec.Meta(ge=1e-5, le=10)]
_Principal = Annotated[float, msgspec.Meta(ge=-10, le=10)]
_Pixels = Annotated[int, msgspec.Meta(ge=8, le=32768)]
_Row = tuple[float, float, float]


class _CameraRecord(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    width: _Pixels
    height: _Pixels
    focal: _Focal
    principal: tuple[_Principal, _Principal]
    k1: float
    rotation: tuple[_Row, _Row, _Row]
    position: _Row
    time_offset_s: float
    noise: _Noise
    covariance: list[list[float]]


class _RigRecord(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    format: Literal["dsvt-live-rig"]
    version: Literal[1]
    units: Literal["metres, half-widths, seconds; rotation world to camera; z up"]
    quality: Quality
    expected_error_mm: _Positive
    rig_error_mm: _Positive
    levelled: bool
    body_height_m: _Positive
    bone_lengths: list[float]
    cameras: Annotated[list[_CameraRecord | None], msgspec.Meta(min_length=1, max_length=64)]


def rig_to_json(rig: Rig) -> bytes:
    """The file's content."""
    record = _RigRecord(
        format="dsvt-live-rig",
        version=1,
        units="metres, half-widths, seconds; rotation world to camera; z up",
        quality=rig.quality,
        expected_error_mm=rig.expected_error_mm,
        rig_error_mm=rig.rig_error_mm,
        levelled=rig.levelled,
        body_height_m=rig.body_height_m,
        bone_lengths=rig.bone_lengths.tolist(),
        cameras=[None if c is None else _record(c) for c in rig.cameras],
    )
    return msgspec.json.format(msgspec.json.encode(record), indent=1)


def rig_from_json(data: bytes, place: str) -> Rig:
    """Reads the file's content.

    Args:
        data: the content.
        place: file name, for messages.

    Raises:
        UserError: it is no rig file, or a value in it cannot be.
    """
    advice = "give a rig file written by this program"
    if len(data) > MAX_BYTES:
        raise UserError(f"{place}: too large for a rig file; {advice}")
    try:
        record = msgspec.json.decode(data, type=_RigRecord)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"{place}: {error}; {advice}") from error
    if len(record.bone_lengths) not in (0, len(BONES)):
        raise UserError(f"{place}: bone_lengths holds {len(record.bone_lengths)} values, not 16")
    if not np.isfinite(record.bone_lengths).all():
        raise UserError(f"{place}: bone_lengths holds a value that is not a finite number")
    ids = [c.id for c in record.cameras if c is not None]
    if len(set(ids)) != len(ids):
        raise UserError(f"{place}: two cameras have the same id")
    return Rig(
        cameras=tuple(
            None if c is None else _camera(c, f"{place}: camera {c.id}") for c in record.cameras
        ),
        expected_error_mm=record.expected_error_mm,
        rig_error_mm=record.rig_error_mm,
        quality=record.quality,
        levelled=record.levelled,
        body_height_m=record.body_height_m,
        bone_lengths=np.array(record.bone_lengths, np.float64),
    )


def _record(camera: RigCamera) -> _CameraRecord:
    a, b, c = (tuple(float(n) for n in row) for row in camera.rotation)
    x, y, z = (float(n) for n in camera.position)
    return _CameraRecord(
        id=camera.id,
        width=camera.model.width,
        height=camera.model.height,
        focal=camera.model.focal,
        principal=camera.model.principal,
        k1=camera.model.k1,
        rotation=((a[0], a[1], a[2]), (b[0], b[1], b[2]), (c[0], c[1], c[2])),
        position=(x, y, z),
        time_offset_s=camera.time_offset_s,
        noise=camera.noise,
        covariance=camera.covariance.tolist(),
    )


def _camera(record: _CameraRecord, place: str) -> RigCamera:
    rotation = np.array(record.rotation, np.float64)
    position = np.array(record.position, np.float64)
    size = CAMERA_PARAMETERS
    if [len(row) for row in record.covariance] != [size] * size:
        raise UserError(f"{place}: covariance is not {size} by {size} numbers")
    covariance = np.array(record.covariance, np.float64)
    scalars = [*record.principal, record.k1, record.time_offset_s]
    for values in (rotation, position, covariance, np.array(scalars)):
        if not np.isfinite(values).all():
            raise UserError(f"{place}: holds a value that is not a finite number")
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-6 or np.linalg.det(rotation) < 0:
        raise UserError(f"{place}: its rotation is not a rotation")
    if np.abs(position).max() > 1e4 or abs(record.k1) > 10 or abs(record.time_offset_s) > 10:
        raise UserError(f"{place}: its position, k1 or time offset is impossible")
    if np.abs(covariance - covariance.T).max() > 1e-9 or np.diag(covariance).min() < 0:
        raise UserError(f"{place}: its covariance is none")
    return RigCamera(
        id=record.id,
        model=CameraModel(record.focal, record.principal, record.k1, record.width, record.height),
        rotation=rotation,
        position=position,
        time_offset_s=record.time_offset_s,
        covariance=covariance,
        noise=record.noise,
    )


def save_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error


def read_bytes(path: Path) -> bytes:
    """Reads a small file.

    Raises:
        UserError: it is missing, too large, or cannot be read.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: too large for a calibration file")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
