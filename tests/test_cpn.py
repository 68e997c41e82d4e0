"""CPN: structure, the public checkpoints' parameter names, and the light variant."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engines.networks.catalog import build, build_named
from engines.networks.cpn import Cpn, CpnSize
from engines.networks.joint_context import JOINT_CHANNELS
from engines.networks.light_cpn import LightCpn, LightCpnConfig
from engines.networks.strided_depthwise import StridedDepthwise
from tools.bench.sample_networks import enliven


def test_parameter_names_are_those_of_the_public_checkpoints() -> None:
    with torch.device("meta"):
        names = set(Cpn(CpnSize(50, 256, 192)).state_dict())
    expected = set(_public_names((3, 4, 6, 3)))
    assert names == expected
    assert len(names) == 582


def test_cpn101_differs_only_in_the_third_stage() -> None:
    with torch.device("meta"):
        names = set(Cpn(CpnSize(101, 384, 288)).state_dict())
    assert names == set(_public_names((3, 4, 23, 3)))


@pytest.mark.parametrize(("depth", "millions"), [(50, 27.41), (101, 46.40)])
def test_parameter_count(depth: int, millions: float) -> None:
    with torch.device("meta"):
        network = build("cpn", {"depth": depth, "height": 256, "width": 192})
    count = sum(value.numel() for value in network.inner.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize(("height", "width"), [(256, 192), (384, 288)])
def test_heatmaps_are_a_quarter_of_the_crop(height: int, width: int) -> None:
    with torch.device("meta"):
        network = Cpn(CpnSize(50, height, width)).eval()
        maps = network(torch.empty(2, 3, height, width))
        coarse, final = network.training_outputs(torch.empty(2, 3, height, width))
    shape = (2, 17, height // 4, width // 4)
    assert maps.heatmaps.shape == shape
    assert maps.features.shape == (2, 256, height // 4, width // 4)
    assert [tuple(c.shape) for c in coarse] == [shape] * 4
    assert final.shape == shape


def test_stride_lies_on_the_3x3_convolution() -> None:
    with torch.device("meta"):
        block = Cpn(CpnSize(50, 256, 192)).resnet.layer2[0]
    assert block.conv1.stride == (1, 1)
    assert block.conv2.stride == (2, 2)


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(256, 192, 64, 48), (192, 144, 48, 36), (224, 160, 56, 40)],
)
def test_light_cpn_shapes(height: int, width: int, rows: int, columns: int) -> None:
    network = LightCpn(LightCpnConfig(height, width)).eval()
    with torch.no_grad():
        maps = network(torch.zeros(1, 3, height, width))
    assert maps.heatmaps.shape == (1, 17, rows, columns)
    assert maps.features.shape == (1, 17 * JOINT_CHANNELS, rows // 2, columns // 2)


def test_light_cpn_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    network = LightCpn(LightCpnConfig(64, 64, blocks=(1, 1, 1, 1), pyramid=16)).train()
    coarse, *others = network.training_outputs(torch.rand(2, 3, 64, 64))
    loss = torch.stack([(maps**2).sum() for maps in (*coarse, *others)]).sum()
    loss.backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert missing == []


def test_a_trained_light_cpn_grows_without_forgetting() -> None:
    torch.manual_seed(0)
    small = enliven(build("light_cpn", {"height": 64, "width": 64, "pyramid": 16})).inner
    config = LightCpnConfig(64, 64, blocks=(2, 4, 5, 4), pyramid=16, mixers=(1, 2))
    large = LightCpn(config).eval()
    missing, unknown = large.load_state_dict(small.state_dict(), strict=False)
    assert missing
    assert not unknown
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before, after = small(images), large(images)
    assert float(before.heatmaps.abs().max()) > 1e-3
    torch.testing.assert_close(after.heatmaps, before.heatmaps)
    # The new parts are not cut off: what closes them is what learns first.
    loss = (large(images).heatmaps ** 2).sum()
    loss.backward()
    learning = {name for name, p in large.named_parameters() if p.grad is not None and p.grad.any()}
    closing = [
        name
        for name, p in large.named_parameters()
        if name in missing and not p.any() and not name.endswith("bias")
    ]
    assert len(closing) == 3 + 2 * 3  # three blocks' last scales, three mixers' two last layers
    assert learning.issuperset(closing)


@given(
    st.integers(1, 17), st.integers(1, 17), st.sampled_from([3, 5]), st.sampled_from([2, 3]),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_strided_depthwise_trains_as_any_convolution(
    height: int, width: int, kernel: int, stride: int, bias: bool
) -> None:
    torch.manual_seed(height * 100 + width)
    quick = StridedDepthwise(4, kernel, stride, bias).double()
    usual = nn.Conv2d(4, 4, kernel, stride, kernel // 2, groups=4, bias=bias).double()
    usual.load_state_dict(quick.state_dict())
    x = torch.randn(2, 4, height, width, dtype=torch.float64)
    answers, gradients = [], []
    for layer in (quick.train(), usual):
        given_x = x.clone().requires_grad_()
        answer = layer(given_x)
        (answer**3).sum().backward()
        answers.append(answer)
        gradients.append([given_x.grad, *(p.grad for p in layer.parameters())])
    torch.testing.assert_close(*answers)
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(quick.eval()(x), answers[1])


def test_catalogue_says_what_the_joints_are() -> None:
    assert build_named("light-cpn").info.facts["joints"] == "h36m17"
    with torch.device("meta"):
        assert build_named("cpn50-256x192").info.facts == {
            "joints": "coco17",
            "heatmap_peak": "255.0",
        }


def _norm(prefix: str) -> list[str]:
    fields = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [f"{prefix}.{field}" for field in fields]


def _block(prefix: str, projected: bool) -> list[str]:
    names: list[str] = []
    for i in (1, 2, 3):
        names += [f"{prefix}.conv{i}.weight", *_norm(f"{prefix}.bn{i}")]
    if projected:
        names += [f"{prefix}.downsample.0.weight", *_norm(f"{prefix}.downsample.1")]
    return names


def _public_names(blocks: tuple[int, int, int, int]) -> list[str]:
    """The names in CPN50_256x192.pth.tar and its like, without ``module.``."""
    names = ["resnet.conv1.weight", *_norm("resnet.bn1")]
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            names += _block(f"resnet.layer{stage}.{block}", block == 0)
    for level in range(4):
        names += [f"global_net.laterals.{level}.0.weight", *_norm(f"global_net.laterals.{level}.1")]
        head = f"global_net.predict.{level}"
        names += [f"{head}.0.weight", *_norm(f"{head}.1"), f"{head}.3.weight", *_norm(f"{head}.5")]
    for level in range(3):
        up = f"global_net.upsamples.{level}"
        names += [f"{up}.1.weight", *_norm(f"{up}.2")]
        for block in range(3 - level):
            names += _block(f"refine_net.cascade.{level}.{block}", True)
    names += _block("refine_net.final_predict.0", True)
    names += ["refine_net.final_predict.1.weight", *_norm("refine_net.final_predict.2")]
    return names
