"""Where things stand in the viewer's picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

GAP: Final = 6
_PANEL_SHARE: Final = 0.36  # of the picture's width, at most


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle in pixels: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


def panel_width(width: int, height: int, preview_width: int, aspects: Sequence[float]) -> int:
    """Width of the column with the previews, no wider than they fill.

    Args:
        width: of the whole picture in pixels.
        height: of the whole picture in pixels.
        preview_width: of one preview in pixels, at most.
        aspects: width / height of each preview.

    Returns:
        Pixels; even, and 0 without previews.
    """
    if not aspects:
        return 0
    widest = int(width * _PANEL_SHARE)
    places = tiles(Rect(0, 0, widest, height), aspects, preview_width)
    columns: dict[int, int] = {}
    for place, aspect in zip(places, aspects, strict=True):
        columns[place.x] = max(columns.get(place.x, 0), fit(place, aspect).width)
    used = sum(columns.values()) + GAP * (len(columns) + 1)
    return min(widest, used) // 2 * 2


def tiles(panel: Rect, aspects: Sequence[float], widest: int) -> list[Rect]:
    """Divides the panel among the previews, in as many columns as make them largest.

    Args:
        panel: the column.
        aspects: width / height of each preview.
        widest: width of one preview in pixels, at most.

    Returns:
        One rectangle a preview, in order, from the top left; inside the panel and not
        overlapping.
    """
    count = len(aspects)
    if count == 0:
        return []
    best: list[Rect] = []
    best_area = -1.0
    for columns in range(1, count + 1):
        rows = -(-count // columns)
        width = min(widest, (panel.width - GAP * (columns + 1)) // columns)
        height = (panel.height - GAP * (rows + 1)) // rows
        if width < 1 or height < 1:
            continue
        area = sum(_fitted_area(width, height, aspect) for aspect in aspects)
        if area > best_area:
            best_area = area
            tallest = max(min(height, round(width / aspect)) for aspect in aspects)
            used = min(height, max(tallest, 1))
            best = [
                Rect(
                    panel.x + GAP + (index % columns) * (width + GAP),
                    panel.y + GAP + (index // columns) * (used + GAP),
                    width,
                    used,
                )
                for index in range(count)
            ]
    return best


def fit(tile: Rect, aspect: float) -> Rect:
    """The largest rectangle of an aspect (width / height) in the middle of ``tile``."""
    width = min(tile.width, max(1, round(tile.height * aspect)))
    height = min(tile.height, max(1, round(width / aspect)))
    return Rect(
        tile.x + (tile.width - width) // 2, tile.y + (tile.height - height) // 2, width, height
    )


def _fitted_area(width: int, height: int, aspect: float) -> float:
    fitted = min(float(width), height * aspect)
    return fitted * fitted / aspect
