"""A picture's number and time, drawn into the picture so that a machine can read them back.

Tests and benchmarks use it to prove which picture arrived and how late. It survives JPEG.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SEQUENCE_BITS = 32
_TIME_BITS = 64
_CHECK_BITS = 16
_BITS = _SEQUENCE_BITS + _TIME_BITS + _CHECK_BITS
_DARK, _BRIGHT = 16, 235
_LARGEST_CELL = 8


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the barcode holds: the picture's number and its time in nanoseconds."""

    sequence: int
    time_ns: int


def draw_barcode(pixels: NDArray[np.uint8], stamp: Stamp) -> None:
    """Writes the barcode into the top rows of a picture.

    Args:
        pixels: (height, width, 3) uint8, at least 16×16.
        stamp: sequence below 2³², time_ns below 2⁶⁴.
    """
    cell, columns, rows = _layout(pixels)
    value = (stamp.sequence << _TIME_BITS) | stamp.time_ns
    code = value.to_bytes((_SEQUENCE_BITS + _TIME_BITS) // 8, "big")
    code += _check(code).to_bytes(_CHECK_BITS // 8, "big")
    bits = np.unpackbits(np.frombuffer(code, np.uint8))
    grid = np.zeros(rows * columns, np.uint8)
    grid[:_BITS] = bits
    levels = np.where(grid.reshape(rows, columns) == 1, _BRIGHT, _DARK).astype(np.uint8)
    big = levels.repeat(cell, axis=0).repeat(cell, axis=1)
    pixels[: rows * cell, : columns * cell] = big[:, :, None]


def read_barcode(pixels: NDArray[np.uint8]) -> Stamp | None:
    """Reads the barcode of a picture.

    Args:
        pixels: (height, width, 3) uint8 of the size that it was drawn at.

    Returns:
        What it holds, or None where there is no readable one.
    """
    cell, columns, rows = _layout(pixels)
    area = pixels[: rows * cell, : columns * cell, 1].astype(np.float32)
    means = area.reshape(rows, cell, columns, cell).mean(axis=(1, 3))
    bits = (means > (_DARK + _BRIGHT) / 2).astype(np.uint8).ravel()[:_BITS]
    code = np.packbits(bits).tobytes()
    body, check = code[: -_CHECK_BITS // 8], code[-_CHECK_BITS // 8 :]
    if _check(body) != int.from_bytes(check, "big"):
        return None
    value = int.from_bytes(body, "big")
    return Stamp(value >> _TIME_BITS, value & ((1 << _TIME_BITS) - 1))


def _layout(pixels: NDArray[np.uint8]) -> tuple[int, int, int]:
    height, width = pixels.shape[:2]
    cell = max(1, min(_LARGEST_CELL, width // 16, height // 16))
    columns = min(width // cell, _BITS)
    return cell, columns, -(-_BITS // columns)


def _check(code: bytes) -> int:
    # Not a plain sum of the bits: an all-black or all-white area must not read as a barcode.
    value = 0xACE1
    for byte in code:
        value = ((value * 31) + byte + 1) & 0xFFFF
    return value
