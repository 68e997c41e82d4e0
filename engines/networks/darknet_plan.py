"""Turns a Darknet cfg into a checked list of layers with all channel counts worked out.

Everything that can be wrong with a cfg is found here, before any memory is taken for weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from engines.errors import UserError
from engines.networks.darknet_cfg import NetworkConfig, Section

ACTIVATIONS: Final = ("linear", "leaky", "relu", "logistic", "mish", "swish")


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution, with or without batch normalisation, and its activation.

    ``where`` names it in messages.
    """

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    padding: int
    groups: int
    batch_normalize: bool
    activation: str
    where: str

    @property
    def weight_count(self) -> int:
        """Floats in the kernel."""
        return self.out_channels * (self.in_channels // self.groups) * self.kernel**2

    @property
    def float_count(self) -> int:
        """Floats that the layer has in a ``.weights`` file."""
        return self.weight_count + self.out_channels * (4 if self.batch_normalize else 1)


@dataclass(frozen=True, slots=True)
class MaxPool:
    """A maximum over ``size``×``size`` pixels; ``padding`` pixels of -inf in all per axis."""

    size: int
    stride: int
    padding: int


@dataclass(frozen=True, slots=True)
class Route:
    """Joins the channels of earlier layers, or takes group ``group`` of ``groups`` of each."""

    layers: tuple[int, ...]
    groups: int
    group: int


@dataclass(frozen=True, slots=True)
class Shortcut:
    """Adds earlier layers to the previous one, then applies an activation."""

    layers: tuple[int, ...]
    activation: str


@dataclass(frozen=True, slots=True)
class Upsample:
    """Repeats every pixel ``stride`` times in both directions."""

    stride: int


@dataclass(frozen=True, slots=True)
class Identity:
    """A layer that only matters in training (dropout)."""


@dataclass(frozen=True, slots=True)
class YoloHead:
    """How one output map is read (YOLOv3, Redmon and Farhadi 2018, section 2.1).

    Attributes:
        anchors: (width, height) in input pixels of this head's boxes.
        classes: number of classes.
        scale_xy: ``scale_x_y`` of YOLOv4: stretches the centre's sigmoid about 0.5.
    """

    anchors: tuple[tuple[float, float], ...]
    classes: int
    scale_xy: float


LayerPlan = Convolution | MaxPool | Route | Shortcut | Upsample | Identity | YoloHead


def plan_layers(config: NetworkConfig) -> tuple[LayerPlan, ...]:
    """Works out every layer.

    Raises:
        UserError: an unknown section, a reference to a layer that does not exist, or channels
            that do not fit; the text names file and line.
    """
    plans: list[LayerPlan] = []
    channels: list[int] = []
    for section in config.layers:
        previous = channels[-1] if channels else config.channels
        plan, out_channels = _plan(section, previous, channels)
        plans.append(plan)
        channels.append(out_channels)
    if not any(isinstance(plan, YoloHead) for plan in plans):
        raise UserError(f"{config.name} has no [yolo] layer, so it is no detector")
    return tuple(plans)


def _plan(section: Section, previous: int, channels: list[int]) -> tuple[LayerPlan, int]:
    if section.kind == "convolutional":
        convolution = _convolution(section, previous)
        return convolution, convolution.out_channels
    if section.kind == "maxpool":
        size = section.integer("size", least=1)
        stride = section.integer("stride", default=1, least=1)
        return MaxPool(
            size, stride, section.integer("padding", default=size - 1, least=0)
        ), previous
    if section.kind == "route":
        return _route(section, channels)
    if section.kind == "shortcut":
        layers = _layers(section, "from", len(channels))
        if any(channels[layer] != previous for layer in layers):
            counts = ", ".join(str(channels[layer]) for layer in layers)
            raise UserError(f"{section.where}: [shortcut] adds {counts} channels to {previous}")
        return Shortcut(layers, _activation(section, "linear")), previous
    if section.kind == "upsample":
        return Upsample(section.integer("stride", default=2, least=1)), previous
    if section.kind == "dropout":
        return Identity(), previous
    if section.kind == "yolo":
        return _yolo(section, previous), previous
    raise UserError(f"{section.where}: layers of kind [{section.kind}] are not supported")


def _convolution(section: Section, previous: int) -> Convolution:
    kernel = section.integer("size", default=1, least=1)
    groups = section.integer("groups", default=1, least=1)
    filters = section.integer("filters", default=1, least=1)
    padding = section.integer("padding", default=0, least=0)
    if section.integer("pad", default=0):
        padding = kernel // 2
    if previous % groups or filters % groups:
        raise UserError(
            f"{section.where}: [convolutional] {previous} and {filters} channels do not divide "
            f"into {groups} groups"
        )
    return Convolution(
        in_channels=previous,
        out_channels=filters,
        kernel=kernel,
        stride=section.integer("stride", default=1, least=1),
        padding=padding,
        groups=groups,
        batch_normalize=bool(section.integer("batch_normalize", default=0)),
        activation=_activation(section, "logistic"),
        where=section.where,
    )


def _route(section: Section, channels: list[int]) -> tuple[Route, int]:
    layers = _layers(section, "layers", len(channels))
    groups = section.integer("groups", default=1, least=1)
    group = section.integer("group_id", default=0, least=0)
    if group >= groups or any(channels[layer] % groups for layer in layers):
        raise UserError(f"{section.where}: [route] cannot take group {group} of {groups}")
    return Route(layers, groups, group), sum(channels[layer] // groups for layer in layers)


def _yolo(section: Section, previous: int) -> YoloHead:
    numbers = section.numbers("anchors")
    anchors = tuple(zip(numbers[0::2], numbers[1::2], strict=False))
    mask = section.integers("mask") if "mask" in section.options else range(len(anchors))
    if any(not 0 <= index < len(anchors) for index in mask):
        raise UserError(f"{section.where}: [yolo] mask names an anchor that is not there")
    classes = section.integer("classes", least=1)
    head = YoloHead(
        anchors=tuple(anchors[index] for index in mask),
        classes=classes,
        scale_xy=section.numbers("scale_x_y")[0] if "scale_x_y" in section.options else 1.0,
    )
    wanted = len(head.anchors) * (5 + classes)
    if previous != wanted:
        raise UserError(
            f"{section.where}: [yolo] needs {wanted} channels before it, not {previous}"
        )
    return head


def _layers(section: Section, key: str, index: int) -> tuple[int, ...]:
    layers = tuple(n if n >= 0 else index + n for n in section.integers(key))
    if any(not 0 <= layer < index for layer in layers):
        raise UserError(
            f"{section.where}: [{section.kind}] {key}={section.options[key]} names a layer that "
            f"does not come before it"
        )
    return layers


def _activation(section: Section, default: str) -> str:
    name = section.text("activation", default)
    if name not in ACTIVATIONS:
        raise UserError(
            f"{section.where}: activation '{name}' is not supported ({', '.join(ACTIVATIONS)})"
        )
    return name
