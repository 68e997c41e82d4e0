"""Darknet networks as torch modules, built from their cfg."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from engines.networks.darknet_cfg import NetworkConfig
from engines.networks.darknet_plan import (
    Convolution,
    Identity,
    MaxPool,
    Route,
    Shortcut,
    Upsample,
    YoloHead,
    plan_layers,
)
from engines.networks.darknet_sizes import check_sizes
from engines.networks.strided_depthwise import depthwise_convolution

BATCH_NORM_EPSILON: Final = 1e-6
"""Darknet divides by sqrt(variance) + 1e-6."""


class Darknet(nn.Module):
    """The network of one cfg file.

    Args:
        config: the parsed cfg.

    Attributes:
        heads: how to read each output, in the order of the outputs.

    Raises:
        UserError: the cfg cannot be built; the text names file and line.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.plans = plan_layers(config)
        check_sizes(config, self.plans)
        self.layers = nn.ModuleList(
            ConvolutionLayer(plan) if isinstance(plan, Convolution) else nn.Identity()
            for plan in self.plans
        )
        self.heads = tuple(plan for plan in self.plans if isinstance(plan, YoloHead))
        self._kept = frozenset(
            layer
            for plan in self.plans
            if isinstance(plan, Route | Shortcut)
            for layer in plan.layers
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Runs the network.

        Args:
            images: (B, 3, H, W) RGB in 0…1; H and W multiples of the coarsest stride.

        Returns:
            For each head (B, anchors·(5 + classes), H/stride, W/stride), before any sigmoid.
        """
        outputs: list[Tensor] = []
        kept: dict[int, Tensor] = {}
        x = images
        for index, (plan, layer) in enumerate(zip(self.plans, self.layers, strict=True)):
            if isinstance(plan, Convolution):
                x = layer(x)
            elif isinstance(plan, MaxPool):
                x = _max_pool(x, plan)
            elif isinstance(plan, Route):
                parts = [kept[i].chunk(plan.groups, 1)[plan.group] for i in plan.layers]
                x = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
            elif isinstance(plan, Shortcut):
                for i in plan.layers:
                    x = x + kept[i]
                x = activate(x, plan.activation)
            elif isinstance(plan, Upsample):
                x = functional.interpolate(x, scale_factor=float(plan.stride), mode="nearest")
            elif isinstance(plan, YoloHead):
                outputs.append(x)
            else:
                assert isinstance(plan, Identity)
            if index in self._kept:
                kept[index] = x
        return tuple(outputs)


class ConvolutionLayer(nn.Module):
    """One ``[convolutional]`` section."""

    def __init__(self, plan: Convolution) -> None:
        super().__init__()
        self.conv = _convolution(plan)
        self.norm = (
            nn.BatchNorm2d(plan.out_channels, eps=BATCH_NORM_EPSILON)
            if plan.batch_normalize
            else None
        )
        self.activation = plan.activation

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, filters, H', W')."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return activate(x, self.activation)


def _convolution(plan: Convolution) -> nn.Conv2d:
    bias = not plan.batch_normalize
    depthwise = plan.groups == plan.in_channels == plan.out_channels
    if depthwise and plan.padding == plan.kernel // 2:
        return depthwise_convolution(plan.in_channels, plan.kernel, plan.stride, bias)
    return nn.Conv2d(
        plan.in_channels,
        plan.out_channels,
        plan.kernel,
        plan.stride,
        plan.padding,
        groups=plan.groups,
        bias=bias,
    )


_ACTIVATIONS: Final[dict[str, Callable[[Tensor], Tensor]]] = {
    "linear": lambda x: x,
    "leaky": lambda x: functional.leaky_relu(x, 0.1),
    "relu": functional.relu,
    "logistic": torch.sigmoid,
    "mish": functional.mish,
    "swish": functional.silu,
}


def activate(x: Tensor, name: str) -> Tensor:
    """Applies one of Darknet's activations by its name in the cfg."""
    return _ACTIVATIONS[name](x)


def _max_pool(x: Tensor, plan: MaxPool) -> Tensor:
    before, after = plan.padding // 2, plan.padding - plan.padding // 2
    # Padding that no window reaches is left out: YOLOv3-tiny's 2×2 stride-2 pools then need none.
    height, width = int(x.shape[2]), int(x.shape[3])
    reached = any(
        (size + plan.padding - plan.size) // plan.stride != (size - plan.size) // plan.stride
        for size in (height, width)
    )
    if reached or before:
        x = functional.pad(x, (before, after, before, after), value=float("-inf"))
    return functional.max_pool2d(x, plan.size, plan.stride)
