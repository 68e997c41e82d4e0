"""Networks with weights good enough to measure with: the shipped ones, or life-like random ones.

Random weights are scaled so that values keep their size from layer to layer, as trained ones do;
otherwise everything would fade to zero, and all engines would agree. Residual branches count for
less than what they are added to, or values would double from block to block and leave the range of
half precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch import nn

from engines.model_files import SHIPPED_FOLDER
from engines.networks.catalog import build_named, load_network
from engines.networks.cpn import Bottleneck
from engines.networks.darknet import ConvolutionLayer, Darknet
from engines.networks.darknet_plan import Shortcut
from engines.networks.engine_network import EngineNetwork
from engines.networks.light_cpn import InvertedResidual

SHIPPED: Final = {
    "detector": "light-detector",
    "pose2d": "light-cpn-224x160",
    "lifter": "rig-lifter",
}
"""Names of the networks that ship, and what stands in, with random weights, where one does not."""

_BRANCH: Final = 0.2
"""How much a residual branch counts."""


def make_sample(name: str) -> EngineNetwork:
    """A network of the catalogue, or one of ``SHIPPED``, in evaluation mode.

    Raises:
        UserError: there is no such network.
    """
    if name in SHIPPED:
        weights = SHIPPED_FOLDER / f"{name}.safetensors"
        if weights.is_file():
            return load_network(weights)
        name = SHIPPED[name]
    torch.manual_seed(0)
    return enliven(build_named(name))


def enliven(network: EngineNetwork) -> EngineNetwork:
    """Gives a network random weights that keep values at a sensible size."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if isinstance(module, nn.Linear) and not bool(module.weight.any()):
            nn.init.normal_(module.weight, std=0.02, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.7, 1.3, generator=generator)
            if not bool(module.weight.any()):
                nn.init.ones_(module.weight)
    with torch.no_grad():
        for norm in _branch_norms(network):
            norm.weight.mul_(_BRANCH)
    network.eval()
    if isinstance(network.inner, Darknet):
        _tame(network.inner, torch.rand(network.info.inputs[0].sized(1), generator=generator))
    return network


def _branch_norms(network: EngineNetwork) -> Iterator[nn.BatchNorm2d]:
    """The last normalisation of every residual branch of CPNs and Darknets."""
    for module in network.modules():
        if isinstance(module, Bottleneck):
            yield module.bn3
        elif isinstance(module, InvertedResidual) and module.residual:
            norm = module.project[-1]
            assert isinstance(norm, nn.BatchNorm2d)
            yield norm
    if isinstance(network.inner, Darknet):
        for index, plan in enumerate(network.inner.plans):
            before = network.inner.layers[index - 1]
            if isinstance(plan, Shortcut) and isinstance(before, ConvolutionLayer):
                assert before.norm is not None  # only what feeds a head goes without
                yield before.norm


def _tame(network: Darknet, images: torch.Tensor) -> None:
    """Scales the convolutions before the heads so that exp() of what they give stays sensible."""
    with torch.no_grad():
        sizes = [float(head.std()) for head in network(images)]
        last = [
            layer.conv
            for layer in network.layers
            if isinstance(layer, ConvolutionLayer) and layer.norm is None
        ]
        for convolution, size in zip(last, sizes, strict=True):
            convolution.weight /= size
