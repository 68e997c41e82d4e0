"""From drawn light to a webcam's picture: lens, exposure, sensor; and the labels beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import moderngl
import numpy as np
import numpy.typing as npt

from tools.studio.camera import Camera, Window
from tools.studio.gpu import set_uniforms, source

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture and what is where in it.

    Attributes:
        picture: (h, w, 3) RGB.
        people: (h, w, 3) float16, how much of a pixel each of the first three people fills, 0..1.
        depth: (h, w) float16, metres in front of the camera.
    """

    picture: Image
    people: npt.NDArray[np.float16]
    depth: npt.NDArray[np.float16]


class Developer:
    """Develops pictures of one size."""

    def __init__(self, context: Any, size: tuple[int, int]) -> None:
        self._context, self._size = context, size
        self._posts = [
            context.program(
                source("quad.vert"), source("post.frag", f"#define EARLIER {earlier}\n")
            )
            for earlier in range(2)
        ]
        self._quads = [context.vertex_array(post, []) for post in self._posts]
        self._linear, self._labels, self._earlier, self._spare = (
            context.texture(size, 4, dtype="f2") for _ in range(4)
        )
        self._now = context.framebuffer([self._linear, self._labels])
        self._before = context.framebuffer([self._earlier, self._spare])
        self._final = context.framebuffer(
            [context.renderbuffer(size, 3), context.renderbuffer(size, 4, dtype="f2")]
        )

    def keep_earlier(self, drawn: Any) -> None:
        """Keeps what was drawn as the first part of the exposure."""
        self._context.copy_framebuffer(self._before, drawn)

    def develop(
        self,
        drawn: Any,
        camera: Camera,
        window: Window,
        drawn_window: Window,
        frame_seed: int,
        earlier_share: float,
    ) -> Shot:
        """Makes the picture.

        Args:
            drawn: framebuffer with light and labels, without distortion.
            camera: lens and sensor.
            window: what the picture shows.
            drawn_window: what was drawn.
            frame_seed: seeds the sensor's noise.
            earlier_share: weight of what ``keep_earlier`` kept.
        """
        self._context.copy_framebuffer(self._now, drawn)
        self._final.use()
        self._context.disable(moderngl.DEPTH_TEST)
        for unit, texture in enumerate((self._linear, self._earlier, self._labels)):
            texture.use(unit)
        sensor, K = camera.sensor, camera.K
        which = int(earlier_share > 0.0)
        set_uniforms(
            self._posts[which],
            {
                "picture": 0,
                "earlier": 1,
                "labels": 2,
                "earlier_share": earlier_share,
                "texel": (1.0 / self._size[0], 1.0 / self._size[1]),
                "window": (window.left, window.top, window.width, window.height),
                "drawn": (
                    drawn_window.left,
                    drawn_window.top,
                    drawn_window.width,
                    drawn_window.height,
                ),
                "size": (float(camera.width), float(camera.height)),
                "lens": (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])),
                "k1": camera.k1,
                "gains": sensor.gains,
                "vignette": sensor.vignette,
                "blur": sensor.blur,
                "noise_level": sensor.noise,
                "contrast": sensor.contrast,
                "frame_seed": frame_seed,
            },
        )
        self._quads[which].render(moderngl.TRIANGLES, vertices=3)
        width, height = self._size
        pixels = np.frombuffer(self._final.read(components=3, alignment=1), np.uint8)
        labels = np.frombuffer(
            self._final.read(components=4, attachment=1, dtype="f2"), np.float16
        ).reshape(height, width, 4)[::-1]
        picture = np.ascontiguousarray(pixels.reshape(height, width, 3)[::-1])
        return Shot(picture, labels[..., :3], labels[..., 3])
