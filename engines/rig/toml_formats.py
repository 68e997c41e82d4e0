"""Rigs in TOML: Anipose and Pose2Sim (``Calib.toml``), FreeMoCap, Caliscope.

All hold one table a camera with ``size``, ``matrix``, ``distortions``, ``rotation`` (Rodrigues
vector, world to camera; Caliscope formerly a matrix) and ``translation``. They differ in how the
tables are called and in the unit: metres in Pose2Sim and Caliscope, millimetres in FreeMoCap, the
calibration board's unit in Anipose.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any, Final, Literal

import cv2
import numpy as np
import tomli_w

from engines.errors import UserError
from engines.rig.pixel_cameras import MAX_CAMERAS, PixelCamera, check_camera
from engines.rig.types import Floats

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TomlFormat = Literal["anipose", "pose2sim", "freemocap", "caliscope"]

_MILLIMETRES_FROM: Final = 50.0
"""Cameras further apart than this are not measured in metres."""


def write_toml(cameras: tuple[PixelCamera, ...], kind: TomlFormat, levelled: bool) -> str:
    """Writes cameras in one of the formats; FreeMoCap's says whether z is up."""
    scale = 1000.0 if kind == "freemocap" else 1.0
    tables: dict[str, Any] = {}
    for index, camera in enumerate(cameras):
        assert camera.size is not None
        turn = cv2.Rodrigues(camera.rotation)[0].ravel()
        size: list[int] | list[float] = list(camera.size)
        distortion = camera.distortion.tolist()
        if kind == "pose2sim":
            size, distortion = [float(side) for side in camera.size], distortion[:4]
        table: dict[str, Any] = {"name": camera.name, "size": size}
        if kind == "caliscope":
            table = {"cam_id": index, "port": index, **table, "rotation_count": 0, "error": 0.0}
            table |= {"grid_count": 0, "ignore": False}
        table |= {
            "matrix": camera.matrix.tolist(),
            "distortions": distortion,
            "rotation": turn.tolist(),
            "translation": (camera.translation * scale).tolist(),
            "fisheye": False,
        }
        if kind == "freemocap":
            centre = -camera.rotation.T @ camera.translation * scale
            table["world_position"] = centre.tolist()
            table["world_orientation"] = camera.rotation.T.tolist()
        key = f"cam_{index + 1:02d}" if kind == "pose2sim" else f"cam_{index}"
        tables[str(index) if kind == "caliscope" else key] = table
    if kind == "caliscope":
        return tomli_w.dumps({"cameras": tables})
    metadata: dict[str, Any] = {"adjusted": False, "error": 0.0}
    if kind == "freemocap":
        metadata = {"groundplane_calibration": levelled, "charuco_square_size": 1.0}
    return tomli_w.dumps({**tables, "metadata": metadata})


def read_toml(text: str, place: str, unit_m: float | None) -> tuple[PixelCamera, ...]:
    """Reads cameras in any of the formats.

    Args:
        text: the file.
        place: its name, for messages.
        unit_m: one unit of its translations in metres; None to take millimetres where cameras are
            more than 50 units apart and metres elsewhere.

    Returns:
        The cameras, metres, in the order of their numbers.

    Raises:
        UserError: it is not TOML, holds no cameras, or a camera is impossible.
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: not a TOML file ({error}); give a Calib.toml") from error
    nested = data.get("cameras")
    source = nested if isinstance(nested, dict) else data
    tables = {
        key: table
        for key, table in source.items()
        if isinstance(table, dict) and "matrix" in table and key not in ("metadata", "charuco")
    }
    if not tables:
        raise UserError(f"{place}: holds no camera tables such as [cam_0] with a matrix")
    if len(tables) > MAX_CAMERAS:
        raise UserError(f"{place}: {len(tables)} cameras are more than {MAX_CAMERAS}")
    keys = list(tables)
    if isinstance(nested, dict) and all(key.isdigit() for key in keys):
        keys.sort(key=int)
    cameras = [_camera(key, tables[key], f"{place}: camera {key}") for key in keys]
    scale = unit_m if unit_m is not None else guess_unit(cameras)
    return tuple(replace(c, translation=c.translation * scale) for c in cameras)


def guess_toml(text: str) -> TomlFormat:
    """Which program wrote a TOML file, by what only that one writes; Anipose where nothing tells.

    A file that is no TOML counts as Anipose's: ``read_toml`` says what is wrong with it.
    """
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError):
        return "anipose"
    if isinstance(data.get("cameras"), dict):
        return "caliscope"
    tables = [table for table in data.values() if isinstance(table, dict)]
    if any("groundplane_calibration" in t or "world_position" in t for t in tables):
        return "freemocap"
    sizes = [side for t in tables if isinstance(t.get("size"), list) for side in t["size"]]
    lenses = [t["distortions"] for t in tables if isinstance(t.get("distortions"), list)]
    own = all(isinstance(side, float) for side in sizes) and all(len(d) == 4 for d in lenses)
    return "pose2sim" if sizes and lenses and own else "anipose"


def guess_unit(cameras: list[PixelCamera]) -> float:
    """Metres for one unit of length: 0.001 where cameras would stand 50 m apart, else 1."""
    places = np.stack([-c.rotation.T @ c.translation for c in cameras])
    spread = float(np.linalg.norm(places - places.mean(0), axis=-1).max())
    return 0.001 if spread > _MILLIMETRES_FROM else 1.0


def _camera(key: str, table: dict[str, Any], place: str) -> PixelCamera:
    if table.get("fisheye") is True:
        raise UserError(f"{place}: fisheye lenses are not supported; undistort its video first")
    if "rotation" not in table or "translation" not in table:
        raise UserError(f"{place}: has no rotation and translation; calibrate its place first")
    turn = numbers(table["rotation"], place, "rotation")
    if turn.shape == (3,):
        turn = np.asarray(cv2.Rodrigues(turn)[0])
    size = None
    if "size" in table:
        sides = numbers(table["size"], place, "size")
        if sides.shape != (2,) or not np.isfinite(sides).all():
            raise UserError(f"{place}: size is not [width, height]")
        size = (round(float(sides[0])), round(float(sides[1])))
    distortion = numbers(table.get("distortions", [0.0] * 5), place, "distortions").ravel()
    camera = PixelCamera(
        name=str(table.get("name", key))[:64],
        size=size,
        matrix=shaped(numbers(table["matrix"], place, "matrix"), (3, 3), place, "matrix"),
        distortion=distortion,
        rotation=shaped(turn, (3, 3), place, "rotation"),
        translation=shaped(
            numbers(table["translation"], place, "translation").ravel(), (3,), place, "translation"
        ),
    )
    return check_camera(camera, place)


def numbers(value: object, place: str, what: str) -> Floats:
    """Takes a list of numbers, or of lists of numbers, from an untrusted file.

    Raises:
        UserError: it is something else, or has more than 64 of them.
    """
    rows: list[Any] = value if isinstance(value, list) else [value]
    nested = bool(rows) and all(isinstance(row, list) for row in rows)
    flat = [number for row in rows for number in row] if nested else rows
    even = not nested or len({len(row) for row in rows}) == 1
    plain = all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in flat)
    if even and plain and len(flat) <= 64:
        try:
            array = np.array(rows, np.float64)
        except OverflowError:
            array = np.array(np.inf)
        if np.isfinite(array).all():
            return array
    raise UserError(f"{place}: {what} is not a list of a few finite numbers")


def shaped(value: Floats, shape: tuple[int, ...], place: str, what: str) -> Floats:
    """Refuses an array of another shape.

    Raises:
        UserError: it has.
    """
    if value.shape != shape:
        want = " by ".join(str(side) for side in shape)
        raise UserError(f"{place}: {what} is not {want} numbers")
    return value
