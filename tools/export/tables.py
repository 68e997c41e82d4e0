"""Motion as text tables: CSV for everybody, TRC for OpenSim and its kin."""

from __future__ import annotations

import csv
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from tools.export.motion import Motion, y_up


def write_csv(motion: Motion, path: Path) -> None:
    """Writes one row an instant: time, then x, y, z in metres and confidence of each joint.

    z is up. Cells of joints that are not known are empty, their confidence is 0.

    Args:
        motion: evenly spaced or not.
        path: a new file.

    Raises:
        OSError: it cannot be written.
    """
    head = ["time_s", "utc"]
    for name in motion.names:
        head += [f"{name}_x_m", f"{name}_y_m", f"{name}_z_m", f"{name}_confidence"]
    with path.open("x", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(head)
        for time_s, joints, confidence in zip(
            motion.times_s, motion.placed, motion.confidence, strict=True
        ):
            cells = [f"{time_s:.6f}", _utc(motion.start_ns + round(float(time_s) * 1e9))]
            for place, sure in zip(joints, confidence, strict=True):
                # Of a place that is not known nothing can be sure.
                cells += [*_cells(place, 5), f"{sure * np.isfinite(place).all():.3f}"]
            rows.writerow(cells)


def write_trc(motion: Motion, path: Path) -> None:
    """Writes a TRC file: markers in millimetres, y up, as OpenSim expects them.

    The file's x is ours, its y our z, its z our -y: a quarter turn about x. Cells of joints that
    are not known are empty. Format: OpenSim documentation, "Marker (.trc) Files".

    Args:
        motion: evenly spaced.
        path: a new file.

    Raises:
        OSError: it cannot be written.
        ValueError: the motion is not evenly spaced.
    """
    turned = y_up(motion.placed, 1000.0)
    rate, count = f"{motion.even_rate_hz('TRC'):.6g}", len(motion.times_s)
    labels = (
        "DataRate CameraRate NumFrames NumMarkers Units OrigDataRate OrigDataStartFrame "
        "OrigNumFrames"
    )
    values = (rate, rate, count, len(motion.names), "mm", rate, 1, count)
    numbers = range(1, len(motion.names) + 1)
    with path.open("x", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream, delimiter="\t", lineterminator="\r\n")
        rows.writerow(["PathFileType", "4", "(X/Y/Z)", path.name])
        rows.writerow(labels.split())
        rows.writerow(values)
        rows.writerow(
            ["Frame#", "Time", *(cell for name in motion.names for cell in (name, "", ""))]
        )
        rows.writerow(["", "", *(f"{axis}{number}" for number in numbers for axis in "XYZ")])
        rows.writerow([])
        for frame, (time_s, joints) in enumerate(zip(motion.times_s, turned, strict=True), 1):
            places = (cell for place in joints for cell in _cells(place, 2))
            rows.writerow([frame, f"{time_s:.6f}", *places])


def _cells(place: np.ndarray, digits: int) -> list[str]:
    return [f"{value:.{digits}f}" if np.isfinite(value) else "" for value in place]


def _utc(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    whole = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{rest // 1_000_000:03d}Z"
