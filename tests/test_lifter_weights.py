"""Lifter weights go on in a network that reads more context than they did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engines.errors import UserError
from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS
from engines.networks.joint_context import JOINT_CHANNELS
from engines.networks.rig_lifter import RigLifter, RigLifterConfig
from tools.training.lifter_weights import fill_lifter

CHANNELS = JOINT_CHANNELS + RIVAL_CHANNELS
SMALL = RigLifterConfig(frames=6, width=32, depth=1, context_channels=CHANNELS, context_width=16)
WIDER = replace(SMALL, context_channels=CHANNELS + 4)
EMBEDDING, POINTED = "context_stream.embed.weight", "context_stream.embed_pointed.weight"


def _lively(config: RigLifterConfig, seed: int) -> RigLifter:
    torch.manual_seed(seed)
    network = RigLifter(config)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # also those that start silent
    return network.eval()


def _saved(network: RigLifter, path: Path) -> Path:
    save_file(network.state_dict(), path)
    return path


def test_new_numbers_are_not_listened_to_at_first_but_learn(tmp_path: Path) -> None:
    """They stand between those told before and the rivals."""
    known, wider = _lively(SMALL, 0), _lively(WIDER, 1)
    assert fill_lifter(wider, _saved(known, tmp_path / "known.safetensors"))
    keypoints = torch.rand(2, 6, 3, 17, 3)
    mask, context_mask = torch.ones(2, 3), torch.ones(2, 6, 3)
    context = torch.randn(2, 6, 3, 17, CHANNELS + 4)
    old = torch.cat((context[..., :JOINT_CHANNELS], context[..., -RIVAL_CHANNELS:]), -1)
    with torch.no_grad():
        before, sure = known(keypoints, mask, old, context_mask)
        after, also = wider(keypoints, mask, context, context_mask)
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(also, sure)
    wider(keypoints, mask, context, context_mask)[0].square().sum().backward()
    gradient = wider.context_stream.embed.weight.grad
    assert gradient is not None
    new = gradient.reshape(16, 3, -1)[..., JOINT_CHANNELS:-RIVAL_CHANNELS]
    assert new.shape[-1] == 4 and (new.abs().amax((0, 1)) > 0).all()


def test_weights_that_knew_no_pointed_joints_go_on(tmp_path: Path) -> None:
    """Those with seven numbers told of each joint, which shipped before."""
    network = _lively(SMALL, 0)
    state = network.state_dict()
    del state[POINTED]
    narrow = state[EMBEDDING].reshape(16, 3, -1)
    kept = [*range(7), *range(JOINT_CHANNELS, CHANNELS)]
    state[EMBEDDING] = narrow[..., kept].reshape(16, -1).contiguous()
    save_file(state, tmp_path / "old.safetensors")
    grown = _lively(SMALL, 1)
    assert fill_lifter(grown, tmp_path / "old.safetensors")
    assert (grown.state_dict()[POINTED] == 0).all()
    embedding = grown.state_dict()[EMBEDDING].reshape(16, 3, -1)
    assert torch.equal(embedding[..., kept], narrow[..., kept])
    assert (embedding[..., 7:JOINT_CHANNELS] == 0).all()


def test_fewer_channels_than_the_weights_read_are_refused(tmp_path: Path) -> None:
    path = _saved(_lively(WIDER, 0), tmp_path / "wide.safetensors")
    with pytest.raises(UserError, match="does not fit the preset's network"):
        fill_lifter(_lively(SMALL, 1), path)
