"""The rig-agnostic lifter: sets of views, masks, shapes, the image stream, the shipped weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.networks.rig_lifter import RigLifter, RigLifterConfig, person_box
from tools.training.lifter_weights import fill_lifter

TINY = RigLifterConfig(frames=6, width=32, joint_width=16, depth=2, joint_depth=1)
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"


def tiny(seed: int = 0) -> RigLifter:
    torch.manual_seed(seed)
    network = RigLifter(TINY)
    with torch.no_grad():  # answers start near zero, where differences would not show
        for parameter in (network.answer.weight, network.answer_wide.weight):
            parameter.normal_(std=0.3)
    return network.eval()


def windows(batch: int, views: int, frames: int = 6, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    xy = torch.rand(batch, frames, views, 17, 2, generator=random) - 0.5
    confidence = 0.5 + 0.5 * torch.rand(batch, frames, views, 17, 1, generator=random)
    return torch.cat([xy, confidence], -1)


@pytest.mark.parametrize("views", [1, 2, 5, 8])
def test_any_number_of_views(views: int) -> None:
    joints, log_sigma = tiny()(windows(2, views), torch.ones(2, views))
    assert joints.shape == (2, 6, views, 17, 3)
    assert log_sigma.shape == (2, 6, views, 17)
    assert torch.isfinite(joints).all() and torch.isfinite(log_sigma).all()
    assert (joints[..., 0, :] == 0).all()


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(4)), masked=st.integers(-1, 3))
def test_views_are_a_set(order: list[int], masked: int) -> None:
    network, points, mask = tiny(), windows(1, 4), torch.ones(1, 4)
    if masked >= 0:
        mask[0, masked] = 0
    with torch.inference_mode():
        plain = network(points, mask)
        shuffled = network(points[:, :, order], mask[:, order])
    for a, b in zip(plain, shuffled, strict=True):
        assert torch.allclose(a[:, :, order], b, atol=1e-5)


def test_a_masked_view_is_as_good_as_absent() -> None:
    network, points = tiny(), windows(2, 4)
    mask = torch.tensor([[1.0, 1, 1, 0], [1, 1, 1, 0]])
    with torch.inference_mode():
        masked, _ = network(points, mask)
        without, _ = network(points[:, :, :3], torch.ones(2, 3))
    assert torch.allclose(masked[:, :, :3], without, atol=1e-5)
    assert (masked[:, :, 3] == 0).all()


def test_the_place_of_missing_joints_is_ignored() -> None:
    network, points = tiny(), windows(1, 3)
    points[:, 2:, 1, :, 2] = 0
    points[:, :, :, 5, 2] = 0
    wild = torch.where(points[..., 2:] > 0, points, points.new_tensor([1e6, torch.nan, 0.0]))
    with torch.inference_mode():
        kept, _ = network(points, torch.ones(1, 3))
        moved, _ = network(wild, torch.ones(1, 3))
    assert torch.equal(kept, moved)


def test_nothing_seen_at_all_gives_finite_answers() -> None:
    joints, log_sigma = tiny()(torch.zeros(1, 6, 3, 17, 3), torch.ones(1, 3))
    assert torch.isfinite(joints).all() and torch.isfinite(log_sigma).all()


def test_context_without_mask_changes_nothing() -> None:
    network, points, mask = tiny(), windows(1, 3), torch.ones(1, 3)
    for cross in (network.context_stream.to_pose_joints, *network.context_stream.to_pose):
        torch.nn.init.normal_(cross.out.weight)
    context = torch.randn(1, 6, 3, 17, TINY.context_channels)
    with torch.inference_mode():
        plain, plain_sigma = network(points, mask)
        hidden, hidden_sigma = network(points, mask, context, torch.zeros(1, 6, 3))
        shown, _ = network(points, mask, context, torch.ones(1, 6, 3))
    assert torch.equal(plain, hidden) and torch.equal(plain_sigma, hidden_sigma)
    assert not torch.allclose(plain, shown, atol=1e-4)


def test_a_fresh_image_stream_is_silent() -> None:
    network, points, mask = tiny(), windows(1, 3), torch.ones(1, 3)
    context = torch.randn(1, 6, 3, 17, TINY.context_channels)
    with torch.inference_mode():
        plain, _ = network(points, mask)
        shown, _ = network(points, mask, context, torch.ones(1, 6, 3))
    assert torch.equal(plain, shown)


def test_learning_the_error_leaves_the_answer_alone() -> None:
    network = tiny().train()
    _, log_sigma = network(windows(1, 2), torch.ones(1, 2))
    log_sigma.sum().backward()
    touched = {
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
    }
    assert touched
    assert all(name.startswith("sigma_") for name in touched)


def test_the_box_shrugs_off_stray_joints() -> None:
    points = windows(1, 1, frames=6)
    confidence = torch.ones(1, 1, 6, 17, 1)
    xy = points[..., :2].transpose(1, 2)
    centre, size = person_box(xy, confidence)
    stray = xy.clone()
    stray[0, 0, 2, 3] = torch.tensor([9.0, -9.0])
    stray[0, 0, 4, 8] = torch.tensor([-9.0, 5.0])
    moved_centre, moved_size = person_box(stray, confidence)
    assert float((centre - moved_centre).norm()) < 0.05
    assert float((moved_size / size - 1).abs()) < 0.15


def test_windows_must_divide_into_tokens() -> None:
    with pytest.raises(ValueError, match="multiple"):
        RigLifter(RigLifterConfig(frames=10, merge=3))


def shipped() -> tuple[dict[str, object], onnxruntime.InferenceSession]:
    card = json.loads((WEIGHTS / "lifter.json").read_text(encoding="utf-8"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(WEIGHTS / "lifter.onnx"), options, providers=["CPUExecutionProvider"]
    )
    return card, session


def test_shipped_files_belong_together() -> None:
    card, _ = shipped()
    for key, name in (("sha256", "lifter.onnx"), ("sha256_safetensors", "lifter.safetensors")):
        content = (WEIGHTS / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == card[key]
        assert b"/networks/" not in content, "holds source paths of the machine it was made on"
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) <= 40_000_000
    assert card["frames"] == 27 and card["rate_hz"] == 30
    pose = json.loads((WEIGHTS / "pose2d.json").read_text(encoding="utf-8"))
    assert card["context_of"] == pose["weights_digest"], "the image stream knows another network"
    assert 1.6 < float(str(card["stature_body_units"])) < 1.9


@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize(("batch", "views"), [(1, 1), (1, 3), (1, 4), (1, 8)])
def test_shipped_onnx_equals_shipped_torch(batch: int, views: int, looks: bool) -> None:
    card, session = shipped()
    size = card["network"]
    assert isinstance(size, dict)
    network = RigLifter(RigLifterConfig(**size)).eval()
    assert fill_lifter(network, WEIGHTS / "lifter.safetensors"), "has no image stream"
    points, mask = windows(batch, views, frames=27), torch.ones(batch, views)
    points[:, 5:9, 0, :, 2] = 0
    points[:, :, -1, 3:7, 2] = 0
    if views > 2:
        mask[0, 1] = 0
    channels = network.config.context_channels
    context = torch.randn(
        batch, 27, views, 17, channels, generator=torch.Generator().manual_seed(3)
    )
    context_mask = torch.full((batch, 27, views), float(looks))
    context_mask[:, 11:14] = 0
    with torch.inference_mode():
        wanted = network(points, mask, context, context_mask)
        blind = network(points, mask)
    assert (float((wanted[0] - blind[0]).abs().max()) > 1e-3) == looks
    feed = {
        "keypoints": points.numpy(),
        "view_mask": mask.numpy(),
        "context": context.numpy(),
        "context_mask": context_mask.numpy(),
    }
    for ours, theirs in zip(wanted, session.run(["joints", "log_sigma"], feed), strict=True):
        assert float(np.abs(ours.numpy() - theirs).max()) < 1e-4
