"""Batch normalisation folded into convolutions: fewer layers, the same answers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from engines.networks.folding import fold_norms
from tools.bench.sample_networks import make_sample


@pytest.mark.parametrize("name", ["detector", "pose2d", "lifter", "yolov3-tiny", "cpn50-256x192"])
def test_a_folded_network_gives_the_same(name: str) -> None:
    network = make_sample(name)
    generator = torch.Generator().manual_seed(3)
    inputs = [torch.rand(port.sized(2), generator=generator) for port in network.info.inputs]
    with torch.no_grad():
        expected = [value.clone() for value in network(*inputs)]
    before = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    folded = fold_norms(network, [torch.zeros(port.sized(1)) for port in network.info.inputs])
    left = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert left == before - folded
    # What is left of a CPN's are GlobalNet's own predictions, which only training computes.
    assert left == (8 if "cpn" in name or name == "pose2d" else 0)
    assert folded > 0 or name == "lifter"
    with torch.no_grad():
        for value, want in zip(network(*inputs), expected, strict=True):
            assert (value - want).abs().max() <= 2e-5 * want.abs().max()


def test_a_norm_that_reads_something_else_stays() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
            self.norm, self.last = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.norm(self.one(x) + self.other(x))
            z: torch.Tensor = self.last(self.one(y[:, :3]))
            return z

    torch.manual_seed(0)
    network = Sum().eval()
    for norm in (network.norm, network.last):
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    plain = copy.deepcopy(network)
    x = torch.rand(1, 3, 5, 5)
    # One convolution is run twice, and only one of its answers is normalised: it must stay.
    assert fold_norms(network, [x]) == 0
    assert torch.equal(network(x), plain(x))
