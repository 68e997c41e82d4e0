"""Asks Video4Linux devices what they are and which modes they have, without opening a stream.

Structures and request numbers are those of ``linux/videodev2.h``
(https://docs.kernel.org/userspace-api/media/v4l/user-func.html).
"""

from __future__ import annotations

import errno
import os
import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_QUERYCAP: Final = 0x80685600
_ENUM_FMT: Final = 0xC0405602
_ENUM_FRAMESIZES: Final = 0xC02C564A
_ENUM_FRAMEINTERVALS: Final = 0xC034564B

_CAPABILITY: Final = struct.Struct("16s32s32sIII12x")
_FORMAT: Final = struct.Struct("III32sI16x")
_FRAME_SIZE: Final = struct.Struct("III6I8x")
_FRAME_INTERVAL: Final = struct.Struct("IIIII6I8x")

_CAPTURE: Final = 0x00000001
_CAPTURE_PLANES: Final = 0x00001000
_HAS_DEVICE_CAPABILITIES: Final = 0x80000000
_BUFFER_CAPTURE: Final = 1
_BUFFER_CAPTURE_PLANES: Final = 9
_DISCRETE: Final = 1
_USUAL_SIZE: Final = (640, 480)
_USUAL_RATE: Final = 30.0
_MOST: Final = 256  # a driver that never ends its lists must not hang us


@dataclass(frozen=True, slots=True)
class Mode:
    """One thing that a camera can do: pixel format, size in pixels, pictures per second."""

    fourcc: str
    width: int
    height: int
    fps: float


@dataclass(frozen=True, slots=True)
class VideoDevice:
    """One video device.

    Attributes:
        path: its device file.
        stable_path: a name that stays with the USB port over restarts, or ``path``.
        name: what the camera calls itself.
        modes: what it can do; empty where it could not be asked.
        problem: why it cannot be used and what to do, or empty.
    """

    path: Path
    stable_path: Path
    name: str
    modes: tuple[Mode, ...]
    problem: str


def find_devices(dev: Path = Path("/dev"), sys_class: Path | None = None) -> list[VideoDevice]:
    """Lists the cameras of this machine (Linux), by device number.

    Devices that take no pictures (metadata, outputs, codecs) are left out.

    Args:
        dev: folder of the device files.
        sys_class: folder where the kernel describes video devices.
    """
    described = sys_class or Path("/sys/class/video4linux")
    numbered = [
        (int(match[1]), path)
        for path in dev.glob("video*")
        if (match := re.fullmatch(r"video(\d+)", path.name))
    ]
    links = _stable_links(dev / "v4l" / "by-path")
    found: list[VideoDevice] = []
    for _, path in sorted(numbered):
        name = _read_name(described / path.name / "name") or path.name
        stable = links.get(path.resolve(), path)
        try:
            device = _ask(path, stable, name)
        except PermissionError:
            group = "run 'sudo usermod -aG video $USER', then log out and in again"
            device = VideoDevice(path, stable, name, (), f"no permission; {group}")
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno == errno.EBUSY:
                reason = "in use by another program; close it"
            elif error.errno in (errno.ENOTTY, errno.EINVAL):
                reason = "not a video device"
            device = VideoDevice(path, stable, name, (), reason)
        if device is not None:
            found.append(device)
    return found


def _ask(path: Path, stable: Path, name: str) -> VideoDevice | None:
    """The device, or None where it takes no pictures."""
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        answer = _request(descriptor, _QUERYCAP, bytes(_CAPABILITY.size))
        driver, card, capabilities = parse_capability(answer)
        if not capabilities & (_CAPTURE | _CAPTURE_PLANES):
            return None
        planes = not capabilities & _CAPTURE
        buffer = _BUFFER_CAPTURE_PLANES if planes else _BUFFER_CAPTURE
        modes = tuple(_modes(descriptor, buffer))
        return VideoDevice(path, stable, card or name or driver, modes, "")
    finally:
        os.close(descriptor)


def parse_capability(answer: bytes) -> tuple[str, str, int]:
    """Driver, card and the capabilities of the opened node, of a ``v4l2_capability``."""
    driver, card, _, _, capabilities, of_node = _CAPABILITY.unpack(answer)
    if capabilities & _HAS_DEVICE_CAPABILITIES:
        capabilities = of_node
    return _text(driver), _text(card), capabilities


def parse_frame_size(answer: bytes) -> list[tuple[int, int]]:
    """The sizes of a ``v4l2_frmsizeenum``: one, or of a range the ends and the usual one."""
    _, _, kind, *numbers = _FRAME_SIZE.unpack(answer)
    if kind == _DISCRETE:
        return [(numbers[0], numbers[1])]
    smallest, largest = (numbers[0], numbers[3]), (numbers[1], numbers[4])
    width, height = (
        _within(wanted, *numbers[start : start + 3])
        for wanted, start in zip(_USUAL_SIZE, (0, 3), strict=True)
    )
    return list(dict.fromkeys((smallest, (width, height), largest)))


def parse_frame_interval(answer: bytes) -> list[float]:
    """The rates of a ``v4l2_frmivalenum``: one, or of a range the ends and the usual one."""
    _, _, _, _, kind, *numbers = _FRAME_INTERVAL.unpack(answer)
    fractions = [(numbers[0], numbers[1])]
    if kind != _DISCRETE:
        fractions.append((numbers[2], numbers[3]))
    # An interval is seconds as numerator and denominator; the rate is its inverse.
    rates = [denominator / numerator for numerator, denominator in fractions if numerator]
    if kind != _DISCRETE and len(rates) == 2 and min(rates) < _USUAL_RATE < max(rates):
        rates.insert(1, _USUAL_RATE)
    return rates


def _within(wanted: int, least: int, most: int, step: int) -> int:
    """The size nearest to a wanted one among ``least``, ``least + step`` … ``most``."""
    steps = round((min(max(wanted, least), most) - least) / max(step, 1))
    return min(least + steps * max(step, 1), most)


def _modes(descriptor: int, buffer: int) -> Iterator[Mode]:
    for code in _pixel_formats(descriptor, buffer):
        fourcc = struct.pack("<I", code).decode("latin-1").rstrip("\0")
        for width, height in _sizes(descriptor, code):
            for fps in _rates(descriptor, code, width, height) or [0.0]:
                yield Mode(fourcc, width, height, round(fps, 2))


def _pixel_formats(descriptor: int, buffer: int) -> Iterator[int]:
    for index in range(_MOST):
        ask = _FORMAT.pack(index, buffer, 0, b"", 0)
        answer = _next(descriptor, _ENUM_FMT, ask)
        if answer is None:
            return
        yield _FORMAT.unpack(answer)[4]


def _sizes(descriptor: int, code: int) -> Iterator[tuple[int, int]]:
    for index in range(_MOST):
        ask = _FRAME_SIZE.pack(index, code, 0, *[0] * 6)
        answer = _next(descriptor, _ENUM_FRAMESIZES, ask)
        if answer is None:
            return
        yield from parse_frame_size(answer)
        if _FRAME_SIZE.unpack(answer)[2] != _DISCRETE:
            return


def _rates(descriptor: int, code: int, width: int, height: int) -> list[float]:
    rates: list[float] = []
    for index in range(_MOST):
        ask = _FRAME_INTERVAL.pack(index, code, width, height, 0, *[0] * 6)
        answer = _next(descriptor, _ENUM_FRAMEINTERVALS, ask)
        if answer is None:
            break
        rates += parse_frame_interval(answer)
        if _FRAME_INTERVAL.unpack(answer)[4] != _DISCRETE:
            break
    return rates


def _next(descriptor: int, request: int, ask: bytes) -> bytes | None:
    """The next entry of a list, None after its end."""
    try:
        return _request(descriptor, request, ask)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTTY):  # the end; or no such list
            return None
        raise


def _request(descriptor: int, request: int, ask: bytes) -> bytes:
    if sys.platform != "linux":
        raise OSError(errno.ENOTTY, "only Linux has video devices of this kind")
    import fcntl

    answer = bytearray(ask)
    fcntl.ioctl(descriptor, request, answer)
    return bytes(answer)


def _stable_links(folder: Path) -> dict[Path, Path]:
    if not folder.is_dir():
        return {}
    # Newer systems name each port twice (usb- and usbv2-); the shorter name sorts first.
    return {link.resolve(): link for link in sorted(folder.iterdir(), reverse=True)}


def _read_name(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", errors="replace").strip()
