"""Figures and pictures that tools write: refused before the work, one line where it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from app.given_files import check_writable
from engines.errors import UserError
from engines.rig.rig_file import save_bytes

_PICTURES: Final = (".png", ".jpg", ".jpeg")


def check_outputs(*paths: Path | None) -> None:
    """Refuses files that could not be written once the work is done.

    Args:
        paths: files to write, or replace; None for none.

    Raises:
        UserError: one is a folder, or in a place that may not be written to.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise UserError(f"{path}: is a folder; name a file")
        check_writable(path)


def check_picture(path: Path | None) -> None:
    """The same for a picture, whose ending tells its format.

    Raises:
        UserError: it cannot be written, or has another ending.
    """
    check_outputs(path)
    if path is not None and path.suffix.lower() not in _PICTURES:
        known = ", ".join(_PICTURES)
        raise UserError(f"{path}: the ending tells the format, and is one of {known}")


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all, and its folder where there is none.

    Raises:
        UserError: it cannot be written.
    """
    save_bytes(path, text.encode())


def write_picture(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Writes a picture whole or not at all, and its folder where there is none.

    Args:
        path: whose ending ``check_picture`` lets pass.
        image: (H, W, 3) uint8 BGR.

    Raises:
        UserError: it cannot be written.
    """
    made, data = cv2.imencode(path.suffix.lower(), image)
    if not made:
        raise UserError(f"{path}: the picture cannot be made")
    save_bytes(path, data.tobytes())
