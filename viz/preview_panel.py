"""The column with the cameras' pictures and their 2D joints."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from app.messages import PreviewPart, View
from viz.layout import Rect, fit, tiles
from viz.overlay import draw_box, draw_skeleton_2d
from viz.palette import ALARM, GOOD, PANEL, TEXT, TEXT_DIM, TILE, WARNING, Colour
from viz.text import draw_text, fit_text, text_width
from viz.viewer_state import Inbox, Preview

Image = npt.NDArray[np.uint8]

USUAL_ASPECT: Final = 4 / 3
"""Width / height of a preview of which nothing is known yet."""

_NAME_SIZE: Final = 13
_STATES: Final[dict[str, Colour]] = {"streaming": GOOD, "opening": WARNING, "frozen": WARNING}

_MISSING_AFTER_NS: Final = 500_000_000
"""A camera that is missing in a single set is nothing to show."""

_WHY_MISSING: Final = {"streaming": "no picture in time", "frozen": "frozen", "ended": "over"}


class PreviewPanel:
    """Draws the panel; it is redrawn only when something in it changed."""

    def __init__(
        self, width: int, height: int, cameras: tuple[str, ...], preview_width: int
    ) -> None:
        """Prepares an empty panel.

        Args:
            width: of the panel in pixels.
            height: of the panel in pixels.
            cameras: identifiers, in the order in which they are shown.
            preview_width: of one preview in pixels, at most.
        """
        self._preview_width = preview_width
        self._cameras = cameras
        self._image: Image = np.zeros((height, width, 3), np.uint8)
        self._drawn: tuple[Preview | None, tuple[tuple[str, str], ...]] | None = None
        self._last: dict[str, Image] = {}
        self._last_ns: dict[str, int] = {}

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self._image.shape[1])

    def draw(self, inbox: Inbox) -> Image:
        """The panel as (height, width, 3) uint8 BGR; overwritten by the next call."""
        states = tuple(
            (status.state, status.detail) if (status := inbox.cameras.get(name)) else ("", "")
            for name in self._cameras
        )
        drawn = self._drawn
        if drawn is None or drawn[0] is not inbox.previews or drawn[1] != states:
            self._redraw(inbox, states)
            # Kept, not named by its id(): that of a freed one is given to the next.
            self._drawn = inbox.previews, states
        return self._image

    def _redraw(self, inbox: Inbox, states: tuple[tuple[str, str], ...]) -> None:
        self._image[:] = PANEL
        parts: dict[str, PreviewPart] = {}
        views: dict[str, View] = {}
        pixels = memoryview(b"")
        time_ns = 0
        if inbox.previews is not None:
            message, pixels = inbox.previews.message, inbox.previews.pixels
            time_ns = message.time_ns
            parts = {part.camera: part for part in message.parts}
            views = {view.camera: view for view in message.joints2d.views if view is not None}
        aspects = [inbox.aspects.get(name, USUAL_ASPECT) for name in self._cameras]
        height, width = self._image.shape[:2]
        places = tiles(Rect(0, 0, width, height), aspects, self._preview_width)
        for name, tile, aspect, state in zip(self._cameras, places, aspects, states, strict=True):
            place = fit(tile, aspect)
            if part := parts.get(name):
                self._picture(place, part, pixels, views.get(name))
                self._last[name] = _slice(self._image, place).copy()
                self._last_ns[name] = time_ns
            elif state[0] == "streaming" and self._seen_lately(name, place, time_ns):
                _slice(self._image, place)[:] = self._last[name]
            else:
                self._missing(place, name)
                told = state[1] if state[0] in ("lost", "opening", "ended") else ""
                self._lines(place, told or _WHY_MISSING.get(state[0], "no picture"))
            self._name(place, name, state[0], missing=name not in parts)

    def _seen_lately(self, name: str, place: Rect, time_ns: int) -> bool:
        last = self._last.get(name)
        if last is None or last.shape[:2] != (place.height, place.width):
            return False
        return time_ns - self._last_ns[name] < _MISSING_AFTER_NS

    def _picture(
        self, place: Rect, part: PreviewPart, pixels: memoryview, view: View | None
    ) -> None:
        begin, size = part.offset, part.width * part.height * 3
        source = np.frombuffer(pixels[begin : begin + size], np.uint8)
        target = _slice(self._image, place)
        source = source.reshape(part.height, part.width, 3)
        scaled = cv2.resize(source, (place.width, place.height), interpolation=cv2.INTER_LINEAR)
        # Dimmed a little, so that the skeleton and the names stand out.
        cv2.convertScaleAbs(scaled, dst=scaled, alpha=0.88)
        target[:] = scaled
        if view is None:
            return
        scale = part.scale * place.width / part.width
        if view.box is not None:
            draw_box(target, view.box, TEXT_DIM, scale=scale)
        if view.keypoints is not None:
            draw_skeleton_2d(target, view.keypoints, scale=scale)

    def _missing(self, place: Rect, name: str) -> None:
        """The last picture, too dark to be taken for a new one, or none."""
        target, last = _slice(self._image, place), self._last.get(name)
        if last is not None and last.shape == target.shape:
            cv2.convertScaleAbs(last, dst=target, alpha=0.25)
        else:
            target[:] = TILE

    def _name(self, place: Rect, name: str, state: str, *, missing: bool) -> None:
        shown = fit_text(name, _NAME_SIZE, place.width - 30)
        width = text_width(shown, _NAME_SIZE) + 26
        chip = _slice(self._image, Rect(place.x, place.y, min(width, place.width), 20))
        cv2.convertScaleAbs(chip, dst=chip, alpha=0.35)
        colour = _STATES.get(state, ALARM if state or missing else GOOD)
        cv2.circle(self._image, (place.x + 10, place.y + 10), 4, colour, -1, cv2.LINE_AA)
        draw_text(self._image, (place.x + 19, place.y + 2), shown, _NAME_SIZE, TEXT)

    def _lines(self, place: Rect, text: str) -> None:
        shown = fit_text(text, 12, place.width - 16)
        at = (place.x + place.width // 2, place.y + place.height // 2 - 8)
        draw_text(self._image, at, shown, 12, TEXT, "centre")


def _slice(image: Image, place: Rect) -> Image:
    return image[place.y : place.y + place.height, place.x : place.x + place.width]
