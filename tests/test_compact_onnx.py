"""ONNX files whose tensors are stored in half precision where that loses nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engines.backends.onnxruntime_backend import OnnxRuntimeBackend
from engines.backends.tensorrt_build import _one_window
from engines.compact_onnx import compact, expand
from engines.export import export_half, save_onnx
from engines.model_files import SOURCE_KEY
from engines.onnx_rules import problems_of
from exported import exported, make


def _stored_single(name: str) -> onnx.ModelProto:
    """A network's export whose matrices half precision can hold, all in single precision."""
    model = onnx.load(exported(name))
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            values = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model


def _tensors(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("name", ["rig-lifter-small", "light-cpn-224x160"])
def test_a_compact_network_answers_the_same_to_the_bit(name: str, tmp_path: Path) -> None:
    single = _stored_single(name)
    smaller = compact(single)
    assert not problems_of(smaller)
    save_onnx(single, tmp_path / "single.onnx")
    save_onnx(smaller, tmp_path / "compact.onnx")
    sizes = [(tmp_path / f"{kind}.onnx").stat().st_size for kind in ("compact", "single")]
    assert sizes[0] < 0.75 * sizes[1]
    torch.manual_seed(1)
    inputs = {port.name: torch.rand(port.sized(2, 2)).numpy() for port in make(name).info.inputs}
    answers = [
        OnnxRuntimeBackend(tmp_path / f"{kind}.onnx", 1).run(inputs)
        for kind in ("single", "compact")
    ]
    for port, wanted in answers[0].items():
        assert np.array_equal(answers[1][port], wanted), port


def test_what_needs_constants_gets_them_back(tmp_path: Path) -> None:
    single = _stored_single("rig-lifter-small")
    smaller = compact(single)
    assert sum(node.op_type == "Cast" for node in smaller.graph.node) > 10
    for model in (
        expand(smaller),
        onnx.load_model_from_string(_one_window(smaller.SerializeToString())),
    ):
        assert [node.name for node in model.graph.node] == [n.name for n in single.graph.node]
        wanted, found = _tensors(single), _tensors(model)
        assert wanted.keys() == found.keys()
        assert all(np.array_equal(wanted[key], found[key]) for key in wanted)
        assert all(wanted[key].dtype == found[key].dtype for key in wanted)
    assert expand(single) == single
    save_onnx(smaller, tmp_path / "compact.onnx")
    save_onnx(single, tmp_path / "single.onnx")
    for kind in ("compact", "single"):
        export_half(tmp_path / f"{kind}.onnx", tmp_path / f"{kind}.half.onnx")
    halves = [onnx.load(tmp_path / f"{kind}.half.onnx") for kind in ("compact", "single")]
    sources = []
    for half in halves:  # each says which file it is from, and is else the same
        sources += [pair.value for pair in half.metadata_props if pair.key == SOURCE_KEY]
        kept = [pair for pair in half.metadata_props if pair.key != SOURCE_KEY]
        del half.metadata_props[:]
        half.metadata_props.extend(kept)
    assert len(set(sources)) == 2
    assert halves[0] == halves[1]


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(width=16, allow_nan=False, allow_infinity=False), max_size=3),
    beyond=st.sampled_from([None, 1e-9, 70000.0, 1.0001]),
    size=st.sampled_from([255, 256, 400]),
)
def test_only_what_loses_nothing_is_stored_in_half_precision(
    values: list[float], beyond: float | None, size: int
) -> None:
    tensor = np.resize(np.array([*values, 0.5], np.float32), size)
    if beyond is not None:
        tensor[-1] = beyond
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"], name="add")],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size])],
        [numpy_helper.from_array(tensor, "w")],
    )
    model = helper.make_model(graph)
    smaller = compact(model)
    stored = smaller.graph.initializer[0]
    assert (stored.data_type == TensorProto.FLOAT16) == (beyond is None and size >= 256)
    assert np.array_equal(numpy_helper.to_array(stored).astype(np.float32), tensor)
    assert expand(smaller) == model
