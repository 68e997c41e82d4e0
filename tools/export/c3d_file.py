"""Motion as a C3D file, the exchange format of motion laboratories."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

import numpy as np

from engines.errors import UserError
from tools.export.motion import Motion

_UNKNOWN: Final = -1.0
"""The residual of a point that was not measured (C3D user guide, "3D point residuals")."""

_MOST_FRAMES: Final = 65_535
"""The header counts frames in 16 bits, and not every reader knows the parameters that go beyond."""


def write_c3d(motion: Motion, path: Path) -> None:
    """Writes the joints as points, in millimetres, z up.

    Points that are not known are marked as the format has it, with a residual of -1.

    Args:
        motion: evenly spaced.
        path: a new file.

    Raises:
        OSError: it cannot be written, or not wholly.
        UserError: the take has more frames than the format's header counts.
        ValueError: the motion is not evenly spaced.
    """
    rate_hz = motion.even_rate_hz("C3D")
    if len(motion.times_s) > _MOST_FRAMES:
        raise UserError(
            f"{path}: {len(motion.times_s)} frames, and C3D takes {_MOST_FRAMES}; "
            "export at a lower --rate, or to .trc or .csv"
        )
    import ezc3d  # takes a while

    file = ezc3d.c3d()
    points = np.moveaxis(motion.placed * 1000.0, 0, -1)  # (17, 3, N)
    known = np.isfinite(points).all(axis=1)
    homogeneous = np.ones((4, len(motion.names), len(motion.times_s)))
    homogeneous[:3] = np.moveaxis(points, 1, 0)
    file["data"]["points"] = homogeneous
    file["data"]["meta_points"]["residuals"] = np.where(known, 0.0, _UNKNOWN)[None]
    point = file["parameters"]["POINT"]
    point["RATE"]["value"] = [rate_hz]
    point["LABELS"]["value"] = list(motion.names)
    point["UNITS"]["value"] = ["mm"]
    file.add_parameter("POINT", "X_SCREEN", ["+X"])
    file.add_parameter("POINT", "Y_SCREEN", ["+Z"])
    file.add_parameter("MANUFACTURER", "SOFTWARE", ["DSVT Live"])
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))  # never over another file
    file.write(str(path))
    _check_whole(path, len(motion.names), len(motion.times_s))


def _check_whole(path: Path, points: int, frames: int) -> None:
    """Notices a full disk, of which the library says nothing.

    The header's ninth word is the first block of the points, which have four floats each.
    """
    with path.open("rb") as stream:
        start = 512 * (int.from_bytes(stream.read(18)[16:], "little") - 1)
    if start < 512 or path.stat().st_size < start + 16 * points * frames:
        raise OSError(errno.ENOSPC, "the file is not whole; is the disk full?")
