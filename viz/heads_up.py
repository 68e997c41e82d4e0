"""The figures and hints that stand over the 3D scene."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from app.messages import Pose, RigUpdate
from viz.orbit_camera import View
from viz.palette import ALARM, AXES, BACKGROUND, GOOD, TEXT, TEXT_DIM, WARNING, Colour
from viz.text import draw_text, fit_text, text_width
from viz.viewer_state import Inbox

Image = npt.NDArray[np.uint8]

KEYS: Final = (
    ("L", "the person stands upright now: level"),
    ("F", "the person faces the front at the origin now"),
    ("R", "start or stop recording"),
    ("C", "find the cameras anew"),
    ("V", "reset the view"),
    ("S", "save a picture"),
    ("H", "show or hide this help"),
    ("Space", "replay: pause, go on"),
    ("N", "replay: the next pose"),
    ("A", "replay: again from the beginning"),
    ("Q", "quit"),
)
"""The keys and what they do."""

_MOUSE: Final = (
    ("left drag", "turn"),
    ("right drag", "move"),
    ("wheel", "nearer, farther"),
)
_LABEL: Final = 12
_VALUE: Final = 21
_MARGIN: Final = 18
_BAND: Final = 84  # rows
_RECORDER_SILENT_S: Final = 3.0  # it speaks twice a second


def draw_heads_up(image: Image, inbox: Inbox, pose: Pose | None, cameras: int, now_ns: int) -> None:
    """Writes rate, latency, views, stage and the recording mark.

    Args:
        image: (H, W, 3) uint8 BGR picture of the scene, drawn on in place.
        inbox: what is known.
        pose: the pose that is shown, or None.
        cameras: how many cameras are configured.
        now_ns: on the run's clock.
    """
    _darken_top(image)
    status = inbox.pipeline
    known = status is not None and status.poses > 0
    columns: list[tuple[str, str, Colour]] = []
    if status is not None and known:
        columns.append(("RATE", f"{status.rate_hz:.1f} Hz", TEXT))
        columns.append(("LATENCY P50", f"{status.latency_ms_p50:.0f} ms", TEXT))
        columns.append(("P99", f"{status.latency_ms_p99:.0f} ms", TEXT))
    if pose is not None:
        seen = len(pose.cameras)
        views = TEXT if seen == cameras else WARNING
        columns.append(("VIEWS", f"{seen} / {cameras}", views))
        columns.append(("STAGE", "rig" if pose.stage == "rig" else "lifter", TEXT))
        if pose.expected_error_mm is not None:
            error = pose.expected_error_mm
            colour = GOOD if error < 50 else TEXT if error < 100 else WARNING
            columns.append(("EXPECTED ERROR", f"{error:.0f} mm", colour))
    if inbox.rig_update is not None:
        columns.append(_cameras_found(inbox.rig_update))
    x = _MARGIN
    for label, value, colour in columns:
        width = max(text_width(label, _LABEL), text_width(value, _VALUE))
        if x + width > image.shape[1] - _MARGIN:
            break
        draw_text(image, (x, _MARGIN - 4), label, _LABEL, TEXT_DIM)
        draw_text(image, (x, _MARGIN + 12), value, _VALUE, colour)
        x += width + 26
    _recording(image, inbox, now_ns)
    if not _trouble(image, inbox):
        _advice(image, inbox.rig_update)
    if pose is None:
        middle = (image.shape[1] // 2, image.shape[0] // 2 - 20)
        draw_text(image, middle, _why_nobody(inbox), 18, TEXT_DIM, "centre")


def draw_axes(image: Image, view: View) -> None:
    """Draws the directions of x, y and z in the lower left corner."""
    rotation = view.extrinsic()[:3, :3]
    centre = np.array([_MARGIN + 34.0, image.shape[0] - _MARGIN - 34.0])
    for axis in np.argsort(rotation[2])[::-1]:  # the farthest first
        direction = rotation[:2, axis]
        tip = centre + direction * 30
        colour = AXES[axis]
        _stroke(image, centre, tip, colour)
        at = centre + direction * 42
        draw_text(image, (round(at[0]), round(at[1]) - 8), "xyz"[axis], 13, colour, "centre")


def draw_scale(image: Image) -> None:
    """Says how wide the grid's squares are, right of the axes."""
    at = (_MARGIN + 92, image.shape[0] - _MARGIN - 14)
    draw_text(image, at, "grid 0.5 m", 12, TEXT_DIM)


def draw_hint(image: Image, *, interactive: bool, message: str) -> None:
    """Writes the line at the foot: a passing message, or how to get help."""
    text = message or ("H  help" if interactive else "")
    at = (image.shape[1] - _MARGIN, image.shape[0] - _MARGIN - 14)
    draw_text(image, at, text, 13, TEXT if message else TEXT_DIM, "right")


def draw_help(image: Image) -> None:
    """Covers the scene with the list of keys."""
    cv2.addWeighted(image, 0.22, np.full_like(image, BACKGROUND), 0.78, 0, dst=image)
    rows = (*KEYS, ("", ""), *_MOUSE)
    x = max(_MARGIN, image.shape[1] // 2 - 190)
    y = max(_MARGIN, image.shape[0] // 2 - 14 * len(rows) - 30)
    draw_text(image, (x, y), "Keys and mouse", 24, TEXT)
    for row, (key, meaning) in enumerate(rows):
        top = y + 48 + 28 * row
        draw_text(image, (x + 74, top), key, 17, GOOD, "right")
        draw_text(image, (x + 96, top), meaning, 17, TEXT)


def _darken_top(image: Image) -> None:
    """Lets the figures be read where the skeleton stands behind them."""
    band = image[:_BAND]
    cv2.multiply(band, _ramp(len(band), band.shape[1]), dst=band, scale=1 / 255)


@lru_cache(maxsize=2)
def _ramp(rows: int, columns: int) -> Image:
    shares = np.linspace(0.35 * 255, 255, rows).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(shares[:, None, None], (rows, columns, 3)))


def _recording(image: Image, inbox: Inbox, now_ns: int) -> None:
    status = inbox.recorder
    if status is None or not (status.recording or status.detail):
        return
    right = image.shape[1] - _MARGIN
    if not status.recording:
        draw_text(image, (right, _MARGIN), status.detail, 13, WARNING, "right")
        return
    silent_s = (now_ns - status.at_ns) * 1e-9
    if silent_s > _RECORDER_SILENT_S:
        text = f"the recorder has not answered for {silent_s:.0f} s: slow or full disk?"
        draw_text(image, (right, _MARGIN), text, 13, WARNING, "right")
        return
    text = f"REC  {status.bytes / 1e6:.1f} MB"
    width = draw_text(image, (right, _MARGIN), text, 15, TEXT, "right")
    cv2.circle(image, (right - width - 13, _MARGIN + 10), 6, ALARM, -1, cv2.LINE_AA)


def _cameras_found(update: RigUpdate) -> tuple[str, str, Colour]:
    """The quality of the found cameras: one word and one number."""
    word = update.quality
    if update.expected_error_mm is None:
        return "CAMERAS", word, TEXT_DIM
    colour = {"good": GOOD, "fair": TEXT}.get(word, WARNING)
    return "CAMERAS", f"{word}, {update.expected_error_mm:.0f} mm", colour


def _advice(image: Image, update: RigUpdate | None) -> None:
    """What would help to find the cameras, or which was moved."""
    if update is None:
        return
    text = update.reason or (update.warnings[0] if update.warnings else "")
    if text:
        shown = fit_text(text, 14, image.shape[1] - 2 * _MARGIN)
        colour = WARNING if update.moved else TEXT_DIM
        draw_text(image, (_MARGIN, _MARGIN + 44), shown, 14, colour)


def _trouble(image: Image, inbox: Inbox) -> bool:
    """Names the processes that should run and do not; False where all do."""
    if inbox.health is None:
        return False
    down = [
        row.process for row in inbox.health.processes if not row.running and row.state != "finished"
    ]
    if down and (inbox.run is None or inbox.run.phase == "running"):
        shown = fit_text(f"not running: {', '.join(down)}", 14, image.shape[1] - 2 * _MARGIN)
        draw_text(image, (_MARGIN, _MARGIN + 44), shown, 14, WARNING)
        return True
    return False


def _why_nobody(inbox: Inbox) -> str:
    if inbox.run is None or inbox.run.phase == "starting":
        return "starting …"
    if inbox.run.phase == "stopping":
        return "stopping …"
    if inbox.pose is None:
        return "waiting for the first pose …"
    return "no person seen"


def _stroke(
    image: Image, start: npt.NDArray[np.float64], end: npt.NDArray[np.float64], colour: Colour
) -> None:
    if math.dist(start, end) < 1:
        return
    first = (round(start[0] * 16), round(start[1] * 16))
    last = (round(end[0] * 16), round(end[1] * 16))
    cv2.line(image, first, last, colour, 2, cv2.LINE_AA, 4)
