"""Opens cameras side by side, for a look at them."""

from __future__ import annotations

import math
import os
import re
import socket
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from app.clock import now_ns
from app.config import CameraConfig
from capture.grabber import Ended, Failed, Grabber, Lost, Opened
from capture.rate import RateMeter
from capture.sources import Picture, make_source
from capture.turning import upright
from engines.errors import UserError

_TILE: Final = (480, 360)
_TITLE: Final = "cameras (q closes)"
_SETTLE_S: Final = 1.5  # automatic exposure and white balance need some pictures
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


class WatchedCamera:
    """One open camera: its newest picture, and what it says of itself.

    Attributes:
        id: identifier of the camera.
        picture: (height, width, 3) uint8, the newest, or None.
        detail: its real mode.
        trouble: why it gives no more pictures, or empty.
    """

    def __init__(self, camera: CameraConfig) -> None:
        """Starts to open the camera.

        Args:
            camera: its configuration.
        """
        self.id = camera.id
        self._turn = camera.rotate
        self.picture: NDArray[np.uint8] | None = None
        self.detail = "opening"
        self.trouble = ""
        self.first_ns = 0
        self._rate = RateMeter()
        self._grabber = Grabber(make_source(camera), lossless=False)
        self._grabber.begin(now_ns())

    @property
    def fps(self) -> float:
        """Measured rate."""
        return self._rate.rate(now_ns())

    def update(self) -> None:
        """Takes what came since the last call."""
        while (event := self._grabber.take(0)) is not None:
            if isinstance(event, Picture):
                self.picture = upright(event.pixels, self._turn)
                self._rate.add(now_ns())
                self.first_ns = self.first_ns or now_ns()
            elif isinstance(event, Opened):
                self.detail = event.detail
            elif isinstance(event, Lost):
                self.trouble = event.reason
            elif isinstance(event, Failed):
                self.trouble = str(event.error)
            elif isinstance(event, Ended):
                self.trouble = "the file is over"

    def close(self) -> None:
        """Lets the camera go."""
        self._grabber.abandon()


def take_snapshots(cameras: Sequence[CameraConfig], folder: Path, timeout_s: float) -> list[str]:
    """Writes one picture of each camera.

    Args:
        cameras: what to look at.
        folder: where ``ID.png`` goes; existing files are kept and numbers added.
        timeout_s: how long a camera may take.

    Returns:
        One line a camera that gave no picture.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made: {error.strerror}") from error
    watched = [WatchedCamera(camera) for camera in cameras]
    deadline = time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline and not all(_settled(item) for item in watched):
            for item in watched:
                item.update()
            time.sleep(0.02)
    finally:
        for item in watched:
            item.close()
    failures: list[str] = []
    for item in watched:
        if item.picture is None:
            failures.append(f"{item.id}: {item.trouble or f'no picture within {timeout_s:g} s'}")
        elif not cv2.imwrite(str(path := _free_name(folder, item.id)), item.picture):
            raise UserError(f"{path}: cannot be written; is the disk full, or not yours?")
    return failures


def show_preview(cameras: Sequence[CameraConfig], seconds: float | None) -> None:
    """Shows the cameras in one window until it is closed.

    Args:
        cameras: what to look at.
        seconds: closes it after so long, or None.

    Raises:
        UserError: there is no display.
    """
    missing = why_no_window()
    if missing:
        raise UserError(f"{missing}; use --snapshot FOLDER instead")
    watched = [WatchedCamera(camera) for camera in cameras]
    until = math.inf if seconds is None else time.monotonic() + seconds
    cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    sheet = contact_sheet(watched)
    cv2.resizeWindow(_TITLE, sheet.shape[1], sheet.shape[0])
    try:
        while time.monotonic() < until:
            for item in watched:
                item.update()
            cv2.imshow(_TITLE, contact_sheet(watched))
            if cv2.waitKey(30) & 0xFF in (ord("q"), 27):
                return
            if cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) < 1:
                return
    finally:
        for item in watched:
            item.close()
        cv2.destroyAllWindows()


def contact_sheet(watched: Sequence[WatchedCamera]) -> NDArray[np.uint8]:
    """All cameras in one picture, (height, width, 3) uint8, each with its name and rate."""
    columns = math.ceil(math.sqrt(len(watched)))
    rows = math.ceil(len(watched) / columns)
    width, height = _TILE
    sheet = np.full((rows * height, columns * width, 3), 32, np.uint8)
    for index, item in enumerate(watched):
        row, column = divmod(index, columns)
        tile = sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
        if item.picture is not None:
            _fit(item.picture, tile)
        text = item.trouble or f"{item.fps:.0f} fps  {item.detail}"
        _write(tile, f"{item.id}: {text}")
    return sheet


def why_no_window() -> str:
    """Why no window can be opened, or an empty string.

    OpenCV's window library ends the whole process where it finds no X server, so this is asked
    before.
    """
    if sys.platform != "linux":
        return ""
    display = os.environ.get("DISPLAY", "")
    if not display:
        return "no display (DISPLAY is not set)"
    match = re.fullmatch(r"(?:unix)?([^:]*):(\d+)(?:\.\d+)?", display)
    if match is None:
        return f"DISPLAY is '{display}', which names no display"
    host, number = match[1], int(match[2])
    addresses: list[str | tuple[str, int]] = (
        [(host, 6000 + number)]
        if host
        else [f"/tmp/.X11-unix/X{number}", f"\0/tmp/.X11-unix/X{number}"]
    )
    for address in addresses:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.settimeout(2)
            try:
                probe.connect(address)
            except OSError:
                continue
            return ""
    return f"the display '{display}' does not answer"


def _settled(item: WatchedCamera) -> bool:
    return bool(item.trouble) or (
        item.first_ns > 0 and now_ns() - item.first_ns > round(_SETTLE_S * 1e9)
    )


def _free_name(folder: Path, stem: str) -> Path:
    path, number = folder / f"{stem}.png", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.png", number + 1
    return path


def _fit(picture: NDArray[np.uint8], tile: NDArray[np.uint8]) -> None:
    """Puts a picture into the middle of a tile, as large as it fits."""
    scale = min(tile.shape[0] / picture.shape[0], tile.shape[1] / picture.shape[1])
    size = (max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    y, x = (tile.shape[0] - size[1]) // 2, (tile.shape[1] - size[0]) // 2
    tile[y : y + size[1], x : x + size[0]] = small


def _write(tile: NDArray[np.uint8], text: str) -> None:
    # OpenCV's fonts know only ASCII.
    plain = text.replace("×", "x").encode("ascii", "replace").decode()
    for row, line in enumerate(textwrap.wrap(plain, 62)[:4]):
        for color, thickness in ((_BLACK, 3), (_WHITE, 1)):
            place = (8, 20 + 18 * row)
            cv2.putText(tile, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, color, thickness)
