"""Rigs in OpenCV's YAML: one file for all cameras, or EasyMocap's ``intri.yml``, ``extri.yml``.

Written with OpenCV itself. Read with PyYAML's safe loader, so that a hostile file can do no harm.
EasyMocap: X_camera = R X_world + T, metres; ``R_`` is the rotation vector, ``Rot_`` the matrix.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import yaml

from engines.errors import UserError
from engines.rig.pixel_cameras import MAX_CAMERAS, PixelCamera, check_camera
from engines.rig.toml_formats import numbers, shaped
from engines.rig.types import Floats


def write_opencv(cameras: tuple[PixelCamera, ...]) -> str:
    """All cameras in one file: a sequence ``cameras`` of maps with OpenCV's usual names."""
    storage = cv2.FileStorage(
        ".yml", cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY | cv2.FILE_STORAGE_FORMAT_YAML
    )
    storage.write("camera_count", len(cameras))
    storage.startWriteStruct("cameras", cv2.FileNode_SEQ)
    for camera in cameras:
        assert camera.size is not None
        storage.startWriteStruct("", cv2.FileNode_MAP)
        storage.write("name", camera.name)
        storage.write("image_width", camera.size[0])
        storage.write("image_height", camera.size[1])
        storage.write("camera_matrix", camera.matrix)
        storage.write("distortion_coefficients", camera.distortion.reshape(1, -1))
        storage.write("rotation_matrix", camera.rotation)
        storage.write("translation_vector", camera.translation.reshape(3, 1))
        storage.endWriteStruct()
    storage.endWriteStruct()
    return str(storage.releaseAndGetString())


def write_easymocap(cameras: tuple[PixelCamera, ...]) -> tuple[str, str]:
    """The two files ``intri.yml`` and ``extri.yml``."""
    flags = cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY | cv2.FILE_STORAGE_FORMAT_YAML
    intri, extri = cv2.FileStorage(".yml", flags), cv2.FileStorage(".yml", flags)
    for storage in (intri, extri):
        storage.startWriteStruct("names", cv2.FileNode_SEQ)
        for camera in cameras:
            storage.write("", camera.name)
        storage.endWriteStruct()
    for camera in cameras:
        intri.write(f"K_{camera.name}", camera.matrix)
        intri.write(f"dist_{camera.name}", camera.distortion.reshape(1, -1)[:, :5])
        if camera.size is not None:
            intri.write(f"H_{camera.name}", camera.size[1])
            intri.write(f"W_{camera.name}", camera.size[0])
        extri.write(f"R_{camera.name}", cv2.Rodrigues(camera.rotation)[0])
        extri.write(f"Rot_{camera.name}", camera.rotation)
        extri.write(f"T_{camera.name}", camera.translation.reshape(3, 1))
    return str(intri.releaseAndGetString()), str(extri.releaseAndGetString())


def read_opencv(text: str, place: str) -> tuple[PixelCamera, ...]:
    """Reads what ``write_opencv`` writes.

    Raises:
        UserError: it is not such a file, or a camera is impossible.
    """
    data = _load(text, place)
    entries = data.get("cameras")
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{place}: holds no sequence 'cameras'; give a file of all cameras")
    if len(entries) > MAX_CAMERAS:
        raise UserError(f"{place}: {len(entries)} cameras are more than {MAX_CAMERAS}")
    out = []
    for index, entry in enumerate(entries):
        here = f"{place}: camera {index + 1}"
        if not isinstance(entry, dict):
            raise UserError(f"{here}: is not a map of values")
        width, height = entry.get("image_width"), entry.get("image_height")
        size = None
        if isinstance(width, int) and isinstance(height, int):
            size = (width, height)
        camera = PixelCamera(
            name=str(entry.get("name", f"cam{index}"))[:64],
            size=size,
            matrix=_matrix(entry, "camera_matrix", (3, 3), here),
            distortion=_matrix(entry, "distortion_coefficients", None, here).ravel(),
            rotation=_matrix(entry, "rotation_matrix", (3, 3), here),
            translation=_matrix(entry, "translation_vector", (3, 1), here).ravel(),
        )
        out.append(check_camera(camera, here))
    return tuple(out)


def read_easymocap(intri: str, extri: str, place: str) -> tuple[PixelCamera, ...]:
    """Reads the two files of EasyMocap.

    Args:
        intri: text of ``intri.yml``.
        extri: text of ``extri.yml``.
        place: their folder, for messages.

    Raises:
        UserError: they are not such files, do not belong together, or a camera is impossible.
    """
    inner, outer = _load(intri, f"{place}/intri.yml"), _load(extri, f"{place}/extri.yml")
    names = inner.get("names")
    if not isinstance(names, list) or not names or len(names) > MAX_CAMERAS:
        raise UserError(f"{place}/intri.yml: holds no list 'names' of cameras")
    out = []
    for entry in names:
        name = str(entry)[:64]
        here = f"{place}: camera {name}"
        if f"Rot_{name}" in outer:
            rotation = _matrix(outer, f"Rot_{name}", (3, 3), here)
        else:
            vector = _matrix(outer, f"R_{name}", (3, 1), here)
            rotation = np.asarray(cv2.Rodrigues(vector)[0])
        key = f"dist_{name}" if f"dist_{name}" in inner else f"D_{name}"
        camera = PixelCamera(
            name=name,
            size=_easymocap_size(inner, name),
            matrix=_matrix(inner, f"K_{name}", (3, 3), here),
            distortion=_matrix(inner, key, None, here).ravel(),
            rotation=rotation,
            translation=_matrix(outer, f"T_{name}", (3, 1), here).ravel(),
        )
        out.append(check_camera(camera, here))
    return tuple(out)


def _easymocap_size(inner: dict[str, Any], name: str) -> tuple[int, int] | None:
    """Some versions write ``H_`` and ``W_``."""
    height, width = inner.get(f"H_{name}"), inner.get(f"W_{name}")
    if isinstance(height, (int, float)) and isinstance(width, (int, float)):
        if not (math.isfinite(width) and math.isfinite(height)):
            return 0, 0  # refused as every other impossible size
        return round(width), round(height)
    return None


class _OpenCvLoader(yaml.SafeLoader):
    """YAML's safe subset and OpenCV's matrices, which stay plain maps until they are checked."""


def _plain_map(loader: yaml.SafeLoader, node: yaml.Node) -> dict[Any, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, "a matrix is a map", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_OpenCvLoader.add_constructor("tag:yaml.org,2002:opencv-matrix", _plain_map)


def _load(text: str, place: str) -> dict[str, Any]:
    body = text.lstrip("\ufeff")
    if body.startswith("%YAML:"):  # OpenCV's header is no YAML
        body = body.partition("\n")[2]
    if "&" in body or "*" in body:
        raise UserError(f"{place}: holds YAML anchors, which calibration files do not need")
    try:
        data = yaml.load(body, Loader=_OpenCvLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{place}: not an OpenCV YAML file ({line})") from error
    if not isinstance(data, dict):
        raise UserError(f"{place}: not an OpenCV YAML file (no names with values)")
    return data


def _matrix(data: dict[str, Any], key: str, shape: tuple[int, int] | None, place: str) -> Floats:
    entry = data.get(key)
    if not isinstance(entry, dict):
        raise UserError(f"{place}: {key} is missing or not a matrix")
    rows, columns = entry.get("rows"), entry.get("cols")
    if not isinstance(rows, int) or not isinstance(columns, int) or rows * columns > 64:
        raise UserError(f"{place}: {key} has no sensible rows and cols")
    values = numbers(entry.get("data"), place, key).ravel()
    if rows < 1 or columns < 1 or len(values) != rows * columns:
        raise UserError(f"{place}: {key} does not hold rows times cols numbers")
    if shape is None:
        return values
    if shape == (3, 1) and (rows, columns) == (1, 3):
        rows, columns = 3, 1
    return shaped(values.reshape(rows, columns), shape, place, key)
