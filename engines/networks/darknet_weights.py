"""Reads and writes Darknet ``.weights`` files.

Format: int32 major, minor, revision; images seen in training (8 bytes from version 0.2 on, else
4); then for each convolution in the cfg's order its bias (with batch normalisation: bias, scale,
mean, variance) and its kernel, all float32 little-endian.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from engines.errors import UserError
from engines.networks.darknet import ConvolutionLayer, Darknet
from engines.networks.darknet_cfg import read_cfg
from engines.networks.darknet_plan import Convolution, plan_layers
from engines.networks.darknet_sizes import check_sizes

Floats = npt.NDArray[np.float32]


def load_darknet(cfg: Path, weights: Path) -> Darknet:
    """Builds the network of a cfg and fills it from a ``.weights`` file.

    Returns:
        The network in evaluation mode.

    Raises:
        UserError: a file is missing, or the weights do not fit the cfg to the last float, or are
            not finite; the text names the layer.
    """
    config = read_cfg(cfg)
    plans = plan_layers(config)
    check_sizes(config, plans)
    convolutions = [p for p in plans if isinstance(p, Convolution)]
    values = _read_floats(weights)
    # Checked before the network is built, so that a hostile cfg cannot take the memory.
    end = 0
    for number, plan in enumerate(convolutions):
        end += plan.float_count
        if end > len(values):
            raise UserError(
                f"{weights} ends within convolution {number} ({plan.where}): it has "
                f"{len(values)} floats, {config.name} needs more; is it cut short or for another "
                "cfg?"
            )
    if end != len(values):
        last = convolutions[-1]
        raise UserError(
            f"{weights} has {len(values) - end} floats left after the last convolution "
            f"({last.where}): it belongs to another cfg than {config.name}"
        )
    network = Darknet(config)
    _fill(network, values, weights)
    return network.eval()


def save_darknet(network: Darknet, path: Path, images_seen: int = 0) -> None:
    """Writes the network's parameters as a ``.weights`` file of version 0.2.5."""
    parts: list[Floats] = []
    for layer in _convolution_layers(network):
        bias = layer.conv.bias if layer.norm is None else layer.norm.bias
        assert bias is not None
        parts.append(_floats(bias))
        if layer.norm is not None:
            assert layer.norm.running_mean is not None and layer.norm.running_var is not None
            parts += [
                _floats(layer.norm.weight),
                _floats(layer.norm.running_mean),
                _floats(layer.norm.running_var),
            ]
        parts.append(_floats(layer.conv.weight))
    with path.open("wb") as file:
        file.write(np.array([0, 2, 5], "<i4").tobytes())
        file.write(np.array([images_seen], "<i8").tobytes())
        for part in parts:
            file.write(part.astype("<f4").tobytes())


def _read_floats(path: Path) -> Floats:
    if not path.is_file():
        raise UserError(f"Darknet weights not found: {path}")
    data = path.read_bytes()
    version = np.frombuffer(data[:12], "<i4") if len(data) >= 12 else np.zeros(0, "<i4")
    if len(version) != 3 or not (0 <= version[0] < 10 and 0 <= version[1] < 1000):
        raise UserError(f"{path} is not a Darknet weights file (no version at its start)")
    header = 20 if int(version[0]) * 10 + int(version[1]) >= 2 else 16
    body = len(data) - header
    if body < 0 or body % 4:
        raise UserError(
            f"{path} is cut short or no Darknet weights file: {len(data)} bytes are not a header "
            f"of {header} bytes and whole floats"
        )
    return np.frombuffer(data, "<f4", offset=header)


def _fill(network: Darknet, values: Floats, path: Path) -> None:
    plans = [plan for plan in network.plans if isinstance(plan, Convolution)]
    position = 0

    def take(target: torch.Tensor) -> None:
        nonlocal position
        part = values[position : position + target.numel()]
        position += target.numel()
        target.copy_(torch.from_numpy(part.copy()).view_as(target))

    with torch.no_grad():
        for plan, layer in zip(plans, _convolution_layers(network), strict=True):
            start = position
            if layer.norm is None:
                assert layer.conv.bias is not None
                take(layer.conv.bias)
            else:
                assert layer.norm.running_mean is not None
                assert layer.norm.running_var is not None
                take(layer.norm.bias)
                take(layer.norm.weight)
                take(layer.norm.running_mean)
                take(layer.norm.running_var)
                if bool((layer.norm.running_var < 0).any()):
                    raise UserError(f"{path}: negative variance in the layer at {plan.where}")
            take(layer.conv.weight)
            if not np.isfinite(values[start:position]).all():
                raise UserError(f"{path}: values that are not finite in the layer at {plan.where}")


def _convolution_layers(network: Darknet) -> list[ConvolutionLayer]:
    return [layer for layer in network.layers if isinstance(layer, ConvolutionLayer)]


def _floats(tensor: torch.Tensor | nn.Parameter) -> Floats:
    return np.asarray(tensor.detach().cpu().numpy(), np.float32).ravel()
