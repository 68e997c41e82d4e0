"""Text with smooth edges on BGR pictures; each piece of text is rasterised once."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from viz.palette import Colour

Anchor = Literal["left", "centre", "right"]


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    # Pillow carries this font (Aileron) in itself, so that pictures are the same everywhere.
    return ImageFont.load_default(size)


@lru_cache(maxsize=512)
def _mask(text: str, size: int) -> npt.NDArray[np.float32]:
    """(h, w, 1) coverage 0…1; all text of one size has the same height and base line."""
    font = _font(size)
    width = max(1, int(np.ceil(font.getlength(text))) + 2)
    canvas = PillowImage.new("L", (width, round(size * 1.3)), 0)
    ImageDraw.Draw(canvas).text((1, 0), text, fill=255, font=font)
    return (np.asarray(canvas, dtype=np.float32) / 255.0)[:, :, None]


def text_width(text: str, size: int) -> int:
    """Width in pixels of ``text`` at ``size`` pixels."""
    return int(_mask(text, size).shape[1])


def fit_text(text: str, size: int, width: int) -> str:
    """Cuts ``text`` to ``width`` pixels, with an ellipsis where something is lost."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def draw_text(
    image: npt.NDArray[np.uint8],
    at: tuple[int, int],
    text: str,
    size: int,
    colour: Colour,
    anchor: Anchor = "left",
) -> int:
    """Writes one line of text.

    Args:
        image: (H, W, 3) uint8 BGR picture, drawn on in place; text is clipped at its edges.
        at: x of the anchor and y of the top of the line.
        text: what is written.
        size: of the font, in pixels.
        colour: BGR.
        anchor: which end of the text is at x.

    Returns:
        The width of the text in pixels.
    """
    if not text:
        return 0
    mask = _mask(text, size)
    height, width = int(mask.shape[0]), int(mask.shape[1])
    shift = {"left": 0, "centre": width // 2, "right": width}[anchor]
    x, y = at[0] - shift, at[1]
    left, top = max(0, x), max(0, y)
    right, bottom = min(image.shape[1], x + width), min(image.shape[0], y + height)
    if right > left and bottom > top:
        part = image[top:bottom, left:right]
        cover = mask[top - y : bottom - y, left - x : right - x]
        part[:] = (part + (np.asarray(colour, np.float32) - part) * cover + 0.5).astype(np.uint8)
    return width
