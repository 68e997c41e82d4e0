"""A light person detector for CPUs: YOLOv3's two-head design on a depthwise backbone.

It is described by a Darknet cfg and goes through the same path as YOLOv3; only the cfg is ours.
One class (person), heads at strides 32 and 16 as in YOLOv3-tiny: people nearer than about 10 m fill
more than two cells of the finer one.
"""

from __future__ import annotations

from typing import Final

HEIGHT: Final = 288
WIDTH: Final = 384
"""The input in pixels: a webcam's picture fills it, and no work goes into bars."""

_ANCHORS: Final = ((12, 28), (22, 60), (36, 104), (60, 150), (88, 206), (150, 230))
"""Widths and heights of people in pixels of the input, three for each head.

Whatever the input's size: weights that learned on one size do better on another with anchors of as
many pixels.
"""

_REACH: Final = 2
"""``scale_x_y``: boxes reach half a cell beyond their own, so that neighbours can answer, too."""

_STAGES: Final = ((24, 2), (48, 4), (96, 6), (160, 4))
"""Channels and inverted residuals at strides 4, 8, 16 and 32."""

_EXPANSION: Final = 3
_HEAD_EXPANSION: Final = 2


def light_detector_cfg(height: int = HEIGHT, width: int = WIDTH) -> str:
    """The cfg text of the light detector.

    Args:
        height: of the input in pixels, a multiple of 32.
        width: of the input in pixels, a multiple of 32.
    """
    cfg = _Cfg(["[net]", f"width={width}", f"height={height}", "channels=3"])
    anchors = ", ".join(f"{w},{h}" for w, h in _ANCHORS)
    cfg.convolution(16, 3, stride=2)
    channels = 16
    fine = 0
    for stage, (wider, blocks) in enumerate(_STAGES):
        for block in range(blocks):
            # Wide maps at 1/2 would cost as much as everything behind them.
            expansion = 1 if stage == block == 0 else _EXPANSION
            cfg.inverted_residual(channels, wider, 2 if block == 0 else 1, expansion)
            channels = wider
        if stage == 2:
            fine = cfg.last_layer
    cfg.separable(channels, 128)
    cfg.inverted_residual(128, 128, 1, _HEAD_EXPANSION)
    coarse = cfg.last_layer
    cfg.separable(128, 128)
    cfg.head("3,4,5", anchors)
    cfg.section("route", layers=coarse)
    cfg.convolution(64, 1)
    cfg.section("upsample", stride=2)
    cfg.section("route", layers=f"-1,{fine}")
    cfg.separable(64 + _STAGES[2][0], 128)
    cfg.inverted_residual(128, 128, 1, _HEAD_EXPANSION)
    cfg.separable(128, 128)
    cfg.head("0,1,2", anchors)
    return cfg.text()


class _Cfg:
    """Collects the lines and counts the layers."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self.last_layer = -1

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def section(self, kind: str, **options: int | str) -> None:
        self._lines.append(f"[{kind}]")
        self._lines += [f"{key}={value}" for key, value in options.items()]
        self.last_layer += 1

    def convolution(
        self, filters: int, size: int, stride: int = 1, groups: int = 1, activation: str = "leaky"
    ) -> None:
        self.section(
            "convolutional",
            batch_normalize=1,
            filters=filters,
            size=size,
            stride=stride,
            groups=groups,
            pad=1,
            activation=activation,
        )

    def separable(self, channels: int, filters: int) -> None:
        self.convolution(channels, 3, groups=channels)
        self.convolution(filters, 1)

    def inverted_residual(self, channels: int, filters: int, stride: int, expansion: int) -> None:
        inner = channels * expansion
        if expansion > 1:
            self.convolution(inner, 1)
        self.convolution(inner, 3, stride=stride, groups=inner)
        self.convolution(filters, 1, activation="linear")
        if stride == 1 and channels == filters:
            self.section("shortcut", **{"from": -4}, activation="linear")

    def head(self, mask: str, anchors: str) -> None:
        self.section("convolutional", filters=18, size=1, stride=1, pad=1, activation="linear")
        self.section("yolo", mask=mask, anchors=anchors, classes=1, scale_x_y=_REACH)
