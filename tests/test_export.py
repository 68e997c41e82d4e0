"""ONNX export: every engine can read it, any number of views, and it says what torch says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnxruntime.transformers.float16 import convert_float_to_float16

from engines import export
from engines.backends.onnxruntime_backend import OnnxRuntimeBackend
from engines.errors import UserError
from engines.export import save_onnx, to_half
from engines.networks.engine_network import EngineNetwork
from engines.onnx_rules import TENSORRT_OPERATORS, problems_of
from exported import exported, make

NETWORKS = (
    "light-detector",
    "light-cpn-224x160",
    "cpn-small",
    "dsvtformer-small",
    "rig-lifter-small",
)

Arrays = Mapping[str, npt.NDArray[np.float32]]


def _inputs(network: EngineNetwork, views: int) -> dict[str, npt.NDArray[np.float32]]:
    generator = np.random.default_rng(views)
    made = {
        port.name: generator.uniform(0, 1, port.sized(views)).astype(np.float32)
        for port in network.info.inputs
    }
    for mask in ("view_mask", "context_mask"):
        if mask in made:
            made[mask] = np.ones_like(made[mask])
    return made


def _torch(network: EngineNetwork, inputs: Arrays) -> dict[str, npt.NDArray[np.float32]]:
    with torch.no_grad():
        results = network(*(torch.from_numpy(value) for value in inputs.values()))
    return {
        port.name: value.numpy() for port, value in zip(network.info.outputs, results, strict=True)
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_export_holds_only_what_tensorrt_documents(name: str) -> None:
    model = onnx.load(exported(name))
    onnx.checker.check_model(model, full_check=True)
    assert {node.op_type for node in model.graph.node} <= TENSORRT_OPERATORS
    assert all(node.domain in ("", "ai.onnx") for node in model.graph.node)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [18]
    assert problems_of(model) == []
    assert problems_of(onnx.load(exported(name, "fp16"))) == []


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("views", [1, 3, 4, 8])
def test_single_precision_agrees_with_torch(name: str, views: int) -> None:
    network = make(name)
    inputs = _inputs(network, views)
    expected = _torch(network, inputs)
    found = OnnxRuntimeBackend(exported(name), 1).run(inputs)
    for output, value in expected.items():
        assert found[output].shape == value.shape
        # relative to the size of the values: random weights make them large
        scale = max(1.0, float(np.abs(value).max()))
        assert np.abs(found[output] - value).max() <= 1e-3 * scale, output
        assert np.ptp(value) > 0


def test_casts_that_an_older_converter_makes_twice_are_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ONNX Runtime before 1.32, the newest for GPUs at the time, made one for each reader."""

    def older(model: onnx.ModelProto, **options: object) -> onnx.ModelProto:
        converted: onnx.ModelProto = convert_float_to_float16(model, **options)
        casts = [node for node in converted.graph.node if node.op_type == "Cast"]
        assert casts
        for cast in casts:
            twin = converted.graph.node.add()
            twin.CopyFrom(cast)
        return converted

    single = onnx.load(exported("light-cpn-224x160"))
    expected = to_half(single)
    monkeypatch.setattr(export, "convert_float_to_float16", older)
    model = to_half(single)
    assert not problems_of(model)
    assert len(model.graph.node) == len(expected.graph.node)


def test_half_precision_keeps_detections_within_a_pixel() -> None:
    network = make("light-detector")
    inputs = _inputs(network, 2)
    expected = _torch(network, inputs)
    found = OnnxRuntimeBackend(exported("light-detector", "fp16"), 1).run(inputs)
    size = expected["boxes"][..., 2:].max(-1)
    plausible = size < 128  # as large as half the picture
    assert plausible.mean() > 0.3
    off = np.abs(found["boxes"] - expected["boxes"]).max(-1)[plausible]
    # Random weights make boxes of any size; a large one's side is the exponential of what is off.
    assert (off < np.maximum(1.0, 0.015 * size[plausible])).all()
    assert np.quantile(off, 0.95) < 0.5
    assert np.abs(found["scores"] - expected["scores"]).max() < 0.02


def test_half_precision_keeps_real_detections_within_a_pixel(
    shared_dir: Path, tmp_path: Path
) -> None:
    """Yolo-Fastest on the reference picture, through half precision."""
    from engines.export import to_half, to_onnx
    from engines.networks.catalog import darknet_detector
    from engines.networks.darknet_weights import load_darknet

    name = "yolo-fastest-1.1_body"
    cfg = shared_dir / "data" / "yolo_fastest" / f"{name}.cfg"
    network = load_darknet(cfg, cfg.with_suffix(".weights"))
    model = to_onnx(darknet_detector(network, cfg.read_text(encoding="utf-8")))
    save_onnx(model, tmp_path / "single.onnx")
    save_onnx(to_half(model), tmp_path / "half.onnx")
    reference = np.load(shared_dir / "reference" / "yolo_fastest.npz", allow_pickle=False)
    picture = reference[f"{name}/input"][..., ::-1].transpose(2, 0, 1)[None]
    inputs = {"images": np.ascontiguousarray(picture, np.float32) / 255}
    single = OnnxRuntimeBackend(tmp_path / "single.onnx", 1).run(inputs)
    half = OnnxRuntimeBackend(tmp_path / "half.onnx", 1).run(inputs)
    sure = single["scores"] > 0.25
    assert sure.sum() >= 3
    assert np.abs(half["boxes"] - single["boxes"])[sure].max() < 1
    assert np.abs(half["scores"] - single["scores"]).max() < 0.02


@pytest.mark.parametrize("name", ["light-cpn-224x160", "cpn-small"])
def test_half_precision_moves_the_peaks_by_less_than_half_a_pixel(name: str) -> None:
    from engines.front_ends.yolo_cpn.host_operations import decode

    network = make(name)
    inputs = _inputs(network, 2)
    expected = _torch(network, inputs)["heatmaps"]
    found = OnnxRuntimeBackend(exported(name, "fp16"), 1).run(inputs)["heatmaps"]
    size = float(np.abs(expected).max())
    assert np.abs(found - expected).max() < 0.02 * size
    # Random weights have no clear peaks, so both are pressed onto one that is clear.
    rows, columns = expected.shape[2:]
    y, x = np.mgrid[:rows, :columns]
    peak = np.exp(-((x - columns / 2 - 0.3) ** 2 + (y - rows / 2 + 0.2) ** 2) / 8)
    one, _ = decode((peak * size + 0.1 * expected).astype(np.float32), "log_parabola", size)
    other, _ = decode((peak * size + 0.1 * found).astype(np.float32), "log_parabola", size)
    assert np.abs(one - other).max() * 4 < 0.5


@pytest.mark.parametrize("name", ["dsvtformer-small", "rig-lifter-small"])
def test_half_precision_lifts_within_millimetres(name: str) -> None:
    network = make(name)
    inputs = _inputs(network, 4)
    expected = _torch(network, inputs)
    found = OnnxRuntimeBackend(exported(name, "fp16"), 1).run(inputs)
    for output, value in expected.items():
        scale = max(1.0, float(np.abs(value).max()))
        assert np.abs(found[output] - value).max() < 0.01 * scale


def test_the_shipped_lifter_is_readable_by_every_engine() -> None:
    path = Path(__file__).resolve().parents[1] / "weights" / "lifter.onnx"
    assert problems_of(onnx.load(path)) == []


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_nothing_of_this_machine_is_in_the_file(name: str, precision: str) -> None:
    content = exported(name, precision).read_bytes()  # type: ignore[arg-type]
    for trace in (b"site-packages", b"/engines/", str(Path.home()).encode() + b"/", b"stack_trace"):
        assert trace not in content


def test_metadata_says_what_the_network_is() -> None:
    backend = OnnxRuntimeBackend(exported("light-cpn-224x160", "fp16"), 1)
    assert backend.metadata["dsvt.kind"] == "pose2d"
    assert backend.metadata["dsvt.joints"] == "h36m17"
    assert backend.metadata["dsvt.precision"] == "fp16"
    assert backend.provider.endswith("fp16")


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        (helper.make_node("Det", ["x"], ["y"]), "operator ai.onnx.Det"),
        (
            helper.make_node("Attention", ["x"], ["y"], domain="com.foreign"),
            "com.foreign.Attention",
        ),
        (
            helper.make_node("Resize", ["x", "", "s"], ["y"], mode="cubic"),
            "Resize with mode cubic",
        ),
        (
            helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2]),
            "MaxPool with dilations",
        ),
    ],
    ids=["unknown", "foreign", "cubic", "dilated"],
)
def test_what_some_engine_cannot_read_is_not_written(
    tmp_path: Path, node: onnx.NodeProto, problem: str
) -> None:
    shape = ["views", 3, 8, 8]
    graph = helper.make_graph(
        [node],
        "bad",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["views", None, None, None])],
        [helper.make_tensor("s", TensorProto.FLOAT, [4], [1, 1, 2, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    assert any(problem in text for text in problems_of(model))
    with pytest.raises(UserError, match="is not exported"):
        save_onnx(model, tmp_path / "bad.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_fixed_number_of_views_is_a_problem() -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "fixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    assert any("free dimensions" in text for text in problems_of(model))
