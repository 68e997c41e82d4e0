"""Rigs to and from files: the project's own format and those of other programs.

A format is told by its name, or guessed from the file: ``.json`` is the project's own, ``.toml``
is Anipose's, Pose2Sim's, FreeMoCap's or Caliscope's (all read alike), ``.yml`` is OpenCV's, and a
folder, or its ``intri.yml``, is EasyMocap's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from engines.errors import UserError
from engines.rig.pixel_cameras import PixelCamera, from_pixel_cameras, to_pixel_cameras
from engines.rig.rig_file import read_bytes, rig_from_json, rig_to_json, save_bytes
from engines.rig.toml_formats import guess_toml, guess_unit, read_toml, write_toml
from engines.rig.types import Rig
from engines.rig.yaml_formats import read_easymocap, read_opencv, write_easymocap, write_opencv

RigFormat = Literal["own", "opencv", "anipose", "pose2sim", "freemocap", "caliscope", "easymocap"]

FORMATS: Final[tuple[RigFormat, ...]] = (
    "own",
    "opencv",
    "anipose",
    "pose2sim",
    "freemocap",
    "caliscope",
    "easymocap",
)
_TOML: Final = ("anipose", "pose2sim", "freemocap", "caliscope")


def guess_format(path: Path) -> RigFormat:
    """Tells the format from a path.

    Raises:
        UserError: it cannot be told.
    """
    if path.is_dir() or path.name in ("intri.yml", "extri.yml"):
        return "easymocap"
    by_suffix: dict[str, RigFormat] = {
        ".json": "own",
        ".toml": "pose2sim",
        ".yml": "opencv",
        ".yaml": "opencv",
    }
    found = by_suffix.get(path.suffix.lower())
    if found is None:
        raise UserError(
            f"{path}: its ending tells no format; name one of {', '.join(FORMATS)}, or end it in "
            ".json, .toml or .yml"
        )
    return found


def save_rig(rig: Rig, path: Path, kind: RigFormat | None = None) -> tuple[Path, ...]:
    """Writes a rig; cameras that are not known are left out of other programs' formats.

    Args:
        rig: the rig.
        path: the file; for EasyMocap a folder.
        kind: the format; None to tell it from the path.

    Returns:
        The files written.

    Raises:
        UserError: it cannot be written.
    """
    kind = kind or guess_format(path)
    if kind == "own":
        save_bytes(path, rig_to_json(rig))
        return (path,)
    cameras = to_pixel_cameras(rig)
    if kind == "easymocap":
        folder = path.parent if path.name in ("intri.yml", "extri.yml") else path
        intri, extri = write_easymocap(_plain_names(cameras))
        save_bytes(folder / "intri.yml", intri.encode())
        save_bytes(folder / "extri.yml", extri.encode())
        return folder / "intri.yml", folder / "extri.yml"
    text = write_opencv(cameras) if kind == "opencv" else write_toml(cameras, kind, rig.levelled)
    save_bytes(path, text.encode())
    return (path,)


def load_rig(
    path: Path,
    kind: RigFormat | None = None,
    body_height_m: float = 1.70,
    unit_m: float | None = None,
) -> tuple[Rig, tuple[str, ...]]:
    """Reads a rig. It is to be checked against what is seen before it is trusted.

    Args:
        path: the file; for EasyMocap its folder or one of its files.
        kind: the format; None to tell it from the path.
        body_height_m: of the person who will be seen; the project's own format has it.
        unit_m: one unit of another program's lengths in metres; None to tell metres from
            millimetres by how far apart the cameras are.

    Returns:
        The rig, and what was guessed or simplified, one line each. Of other programs' worlds only
        Pose2Sim's, EasyMocap's and FreeMoCap's (with a ground plane) are taken to have z up.

    Raises:
        UserError: the file is missing, broken, hostile, or not of that format.
    """
    guessed = kind is None
    kind = kind or guess_format(path)
    if kind == "own":
        return rig_from_json(read_bytes(path), str(path)), ()
    if kind == "easymocap":
        folder = path if path.is_dir() else path.parent
        cameras = read_easymocap(
            _text(folder / "intri.yml"), _text(folder / "extri.yml"), str(folder)
        )
        cameras, notes = _in_metres(cameras, unit_m)
        levelled = True
    elif kind == "opencv":
        cameras, notes = _in_metres(read_opencv(_text(path), str(path)), unit_m)
        levelled = False
    else:
        text = _text(path)
        if guessed:  # the ending says TOML, not whose
            kind = guess_toml(text)
        cameras, notes = _in_metres(read_toml(text, str(path), 1.0), unit_m)
        ground = "groundplane_calibration = true" in text
        levelled = kind == "pose2sim" or (kind == "freemocap" and ground)
    names = [camera.name for camera in cameras]
    if len(set(names)) != len(names):
        raise UserError(f"{path}: two cameras have the same name")
    rig, more = from_pixel_cameras(cameras, levelled, body_height_m)
    return rig, (*notes, *more)


def match_cameras(rig: Rig, ids: Sequence[str], place: str) -> Rig:
    """Puts a rig's cameras into the order of a configuration.

    By name where the rig knows any of the names; otherwise by their order, if there are as many.

    Args:
        rig: as read from a file.
        ids: names in the configuration.
        place: the file, for the message.

    Returns:
        A rig with one entry for each of ``ids``; None for cameras that the file does not have.

    Raises:
        UserError: names and numbers both do not match.
    """
    by_name = {camera.id: camera for camera in rig.cameras if camera is not None}
    if any(name in by_name for name in ids):
        return replace(rig, cameras=tuple(by_name.get(name) for name in ids))
    if len(rig.cameras) != len(ids):
        raise UserError(
            f"{place}: its cameras ({', '.join(by_name)}) are not those of the configuration "
            f"({', '.join(ids)}); rename them or give as many"
        )
    renamed = tuple(
        None if camera is None else replace(camera, id=name)
        for camera, name in zip(rig.cameras, ids, strict=True)
    )
    return replace(rig, cameras=renamed)


def _in_metres(
    cameras: tuple[PixelCamera, ...], unit_m: float | None
) -> tuple[tuple[PixelCamera, ...], tuple[str, ...]]:
    if unit_m is None:
        unit_m = guess_unit(list(cameras))
        notes = ("lengths are taken as millimetres",) if unit_m != 1.0 else ()
    else:
        notes = ()
    if not 1e-6 < unit_m < 1e3 or not np.isfinite(unit_m):
        raise UserError(f"unit of {unit_m:g} m is not possible; 0.001 is a millimetre")
    return tuple(replace(c, translation=c.translation * unit_m) for c in cameras), notes


def _plain_names(cameras: tuple[PixelCamera, ...]) -> tuple[PixelCamera, ...]:
    """OpenCV's YAML keys are plain: letters, digits, _."""
    return tuple(
        replace(c, name="".join(a if a.isascii() and a.isalnum() else "_" for a in c.name))
        for c in cameras
    )


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file") from error
