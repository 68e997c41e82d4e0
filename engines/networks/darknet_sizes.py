"""Works out how large every map of a Darknet network is, before anything is computed.

A cfg that asks for more than any real network, or whose layers do not fit each other, is refused
here in one line that names the layer.
"""

from __future__ import annotations

from typing import Final

from engines.errors import UserError
from engines.networks.darknet_cfg import NetworkConfig, Section
from engines.networks.darknet_plan import (
    Convolution,
    LayerPlan,
    MaxPool,
    Route,
    Shortcut,
    Upsample,
    YoloHead,
)

_MAX_MAP: Final = 1 << 27
"""Floats of one map (half a GiB): YOLOv3 at 1280×1280 has 52 million in its largest."""

_MAX_BOXES: Final = 1 << 18
"""Boxes of all heads: YOLOv3 at 1280×1280 has 100,800."""


def check_sizes(config: NetworkConfig, plans: tuple[LayerPlan, ...]) -> None:
    """Checks that every layer gets a map that it can work on, and that none is absurdly large.

    Args:
        config: the cfg.
        plans: its layers, from ``plan_layers``.

    Raises:
        UserError: the text names file and line.
    """
    sizes: list[tuple[int, int]] = []
    size = (config.height, config.width)
    _check_map(config.layers[0], config.channels, size)
    boxes = 0
    for section, plan in zip(config.layers, plans, strict=True):
        channels = 1
        if isinstance(plan, Convolution):
            size = _shrunk(section, size, 2 * plan.padding, plan.kernel, plan.stride)
            channels = plan.out_channels
        elif isinstance(plan, MaxPool):
            size = _shrunk(section, size, plan.padding, plan.size, plan.stride)
        elif isinstance(plan, Upsample):
            size = (size[0] * plan.stride, size[1] * plan.stride)
        elif isinstance(plan, Route | Shortcut):
            joined = {sizes[layer] for layer in plan.layers}
            if isinstance(plan, Shortcut):
                joined.add(size)
            if len(joined) != 1:
                shown = ", ".join(f"{width}×{height}" for height, width in sorted(joined))
                raise UserError(
                    f"{section.where}: [{section.kind}] joins maps of different sizes ({shown}); "
                    "are width and height multiples of 32?"
                )
            size = joined.pop()
        elif isinstance(plan, YoloHead):
            boxes += size[0] * size[1] * len(plan.anchors)
        _check_map(section, channels, size)
        sizes.append(size)
    if boxes > _MAX_BOXES:
        raise UserError(f"{config.name} gives {boxes} boxes a picture: its input is too large")


def _shrunk(
    section: Section, size: tuple[int, int], padding: int, window: int, stride: int
) -> tuple[int, int]:
    height, width = ((side + padding - window) // stride + 1 for side in size)
    if min(height, width) < 1:
        raise UserError(
            f"{section.where}: [{section.kind}] looks at {window}×{window} pixels of a map of only "
            f"{size[1]}×{size[0]}"
        )
    return height, width


def _check_map(section: Section, channels: int, size: tuple[int, int]) -> None:
    if channels * size[0] * size[1] > _MAX_MAP:
        raise UserError(
            f"{section.where}: [{section.kind}] makes a map of {channels}×{size[1]}×{size[0]}, "
            "more than any detector needs"
        )
