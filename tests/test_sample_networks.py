"""Random networks to measure with: their values neither fade nor leave half precision's range."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engines.networks.catalog import build_named
from tools.bench.sample_networks import enliven

_HALF_LARGEST = 65_504.0


@pytest.mark.parametrize("name", ["yolov3", "light-detector", "cpn50-256x192", "light-cpn-224x160"])
def test_values_keep_their_size(name: str) -> None:
    network = enliven(build_named(name))
    largest: list[float] = []

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            largest.append(float(output.abs().max()))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(note)
    images = torch.rand(network.info.inputs[0].sized(2), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        outputs = network(images)
    assert 1.0 < max(largest) < _HALF_LARGEST / 100
    for output in outputs:
        assert output.std() > 0.01, "all would agree on what is all but nothing"
        assert (output[0] - output[1]).abs().max() > 0.01, "it depends on the picture"
