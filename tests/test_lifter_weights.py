"""Lifter weights go on in a network that reads more context than they did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engines.errors import UserError
from engines.networks.rig_lifter import RigLifter, RigLifterConfig
from tools.training.lifter_weights import fill_lifter

SMALL = RigLifterConfig(frames=6, width=32, depth=1, context_channels=5, context_width=16)
WIDER = replace(SMALL, context_channels=9)


def _lively(config: RigLifterConfig, seed: int) -> RigLifter:
    torch.manual_seed(seed)
    network = RigLifter(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # also those that start silent
    return network.eval()


def _saved(network: RigLifter, path: Path) -> Path:
    save_file(network.state_dict(), path)
    return path


def test_new_channels_are_not_listened_to_at_first_but_learn(tmp_path: Path) -> None:
    known, wider = _lively(SMALL, 0), _lively(WIDER, 1)
    assert fill_lifter(wider, _saved(known, tmp_path / "known.safetensors"))
    keypoints = torch.rand(2, 6, 3, 17, 3)
    mask, context_mask = torch.ones(2, 3), torch.ones(2, 6, 3)
    context = torch.randn(2, 6, 3, 17, 9)
    with torch.no_grad():
        before, sure = known(keypoints, mask, context[..., :5], context_mask)
        after, also = wider(keypoints, mask, context, context_mask)
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(also, sure)
    wider(keypoints, mask, context, context_mask)[0].square().sum().backward()
    gradient = wider.context_stream.embed.weight.grad
    assert gradient is not None
    assert (gradient.reshape(16, 3, 9)[..., 5:].abs().amax((0, 1)) > 0).all()


def test_fewer_channels_than_the_weights_read_are_refused(tmp_path: Path) -> None:
    path = _saved(_lively(WIDER, 0), tmp_path / "wide.safetensors")
    with pytest.raises(UserError, match="does not fit the preset's network"):
        fill_lifter(_lively(SMALL, 1), path)
