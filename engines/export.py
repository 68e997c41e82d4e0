"""Exports networks as ONNX files that every engine can read."""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from engines.compact_onnx import expand
from engines.errors import UserError
from engines.model_files import SOURCE_KEY, Precision
from engines.networks.engine_network import BATCH, MAX_VIEWS, VIEWS, EngineNetwork
from engines.onnx_rules import problems_of
from engines.onnx_translations import onnx_translations

MAX_BATCH: Final = 64

OPSET: Final = 18
"""Within what the parsers of TensorRT 10.0 (9–20) and of every later one read."""

_FP32_ISLANDS: Final = ("LayerNormalization", "Softmax", "Exp", "Erf", "Pow", "ReduceMean", "Sqrt")
"""Operators that lose too much, or overflow, in half precision."""

_HEAVY: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def export_onnx(
    network: EngineNetwork, path: Path, precision: Precision = "fp32", source: Path | None = None
) -> None:
    """Writes a network as ONNX with the number of views (or windows) free.

    Inputs and outputs stay float32 in both precisions; with ``fp16`` the inside is half precision
    but for the operators that cannot bear it and for whatever follows the last convolution or
    matrix product (decoding).

    Args:
        network: in evaluation mode.
        path: the file to write.
        precision: of the inside.
        source: the file that the network was read from, which the export shall name by its hash.

    Raises:
        UserError: the result is not what every engine can read, or cannot be written.
    """
    model = to_onnx(network)
    model = to_half(model) if precision == "fp16" else model
    if source is not None:
        note_source(model, source)
    save_onnx(model, path)


def export_half(single: Path, path: Path) -> None:
    """Writes an exported network in half precision; it names the file it was made from by its hash.

    Args:
        single: the ``.onnx`` file in single precision.
        path: the file to write.

    Raises:
        UserError: the file is no ONNX file, or the result is not what every engine can read or
            cannot be written.
    """
    try:
        model = onnx.load(single)
    except (OSError, ValueError, DecodeError) as error:
        raise UserError(f"{single} is no readable ONNX file: {error}") from error
    half = to_half(model)
    note_source(half, single)
    save_onnx(half, path)


def note_source(model: onnx.ModelProto, source: Path) -> None:
    """Puts into a model, by its hash, the file that it was made from; see ``SOURCE_KEY``.

    Raises:
        UserError: that file cannot be read.
    """
    try:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror}") from error
    kept = {pair.key: pair.value for pair in model.metadata_props}
    _describe(model, {**kept, SOURCE_KEY: digest})


def save_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Checks a model and writes it; the file appears only once it is whole.

    Raises:
        UserError: it is not what every engine can read, or cannot be written.
    """
    problems = problems_of(model)
    if problems:
        raise UserError(f"{path} is not exported: {problems[0]}")
    scratch = path.with_name(path.name + ".part")
    try:
        onnx.save(model, scratch)
        scratch.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    finally:
        scratch.unlink(missing_ok=True)


def to_onnx(network: EngineNetwork) -> onnx.ModelProto:
    """Exports a network in memory, in single precision."""
    info = network.info
    free = {
        VIEWS: torch.export.Dim("views", min=1, max=MAX_VIEWS),
        BATCH: torch.export.Dim("batch", min=1, max=MAX_BATCH),
    }
    examples = tuple(torch.zeros(port.sized(2, 2)) for port in info.inputs)
    shapes = tuple(
        {axis: free[size] for axis, size in enumerate(port.shape) if size < 0}
        for port in info.inputs
    )
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            network.eval(),
            examples,
            input_names=[port.name for port in info.inputs],
            output_names=[port.name for port in info.outputs],
            dynamic_shapes=(shapes,),
            opset_version=OPSET,
            custom_translation_table=dict(onnx_translations()),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _strip(model)
    _describe(model, {**info.metadata(), "dsvt.precision": "fp32"})
    return model


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of an exported model in half precision; see ``export_onnx``."""
    model = expand(model)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
    metadata = {pair.key: pair.value for pair in model.metadata_props}
    converted: onnx.ModelProto = convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=list(_FP32_ISLANDS),
        node_block_list=_tail(model),
    )
    del converted.graph.value_info[:]  # the types noted there are those before the conversion
    _drop_twins(converted.graph)
    _join_islands(converted.graph)
    OnnxModel.graph_topological_sort(converted.graph)  # the converter adds its casts at the end
    _describe(converted, {**metadata, "dsvt.precision": "fp16"})
    return converted


def _drop_twins(graph: onnx.GraphProto) -> None:
    """Of casts that give the same name, which ONNX Runtime's converter made before 1.32, one stays.

    It made one for each reader of a value.
    """
    made: set[str] = set()
    for node in list(graph.node):
        if node.op_type == "Cast" and node.output[0] in made:
            graph.node.remove(node)
        made.update(node.output)


def _strip(model: onnx.ModelProto) -> None:
    """Removes what the exporter notes of this machine: source paths and stack traces."""
    model.doc_string = ""
    model.graph.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        value.doc_string = ""
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        tensor.doc_string = ""
        del tensor.metadata_props[:]


def _describe(model: onnx.ModelProto, metadata: Mapping[str, str]) -> None:
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)


def _join_islands(graph: onnx.GraphProto) -> None:
    """Takes out the halving between neighbours that both run in float32.

    The converter puts a cast to half behind, and one to single in front of, each node that it
    leaves in single precision, also between two of them; that loses the precision they are for.
    """
    halving = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Cast"
        and (node.name.endswith("_cast_to_fp16_node") or node.name.startswith("graph_input_cast"))
    }
    original = {
        node.output[0]: halving[node.input[0]]
        for node in graph.node
        if node.op_type == "Cast"
        and node.name.endswith("_cast_to_fp32_node")
        and node.input[0] in halving
    }
    for node in graph.node:
        for place, name in enumerate(node.input):
            if node.name.startswith("graph_output_cast") and name in halving:
                node.input[place] = halving[name]
            elif name in original:
                node.input[place] = original[name]
    for _ in range(2):  # the second pass takes the casts that only a cast still used
        used = {name for node in graph.node for name in node.input}
        used.update(value.name for value in graph.output)
        kept = [n for n in graph.node if n.op_type != "Cast" or n.output[0] in used]
        del graph.node[:]
        graph.node.extend(kept)


def _tail(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes after the last heavy operator on every path: decoding."""
    users: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    leads_to_heavy: dict[str, bool] = {}
    for node in reversed(model.graph.node):  # a graph's nodes are in topological order
        leads_to_heavy[node.name] = any(
            user.op_type in _HEAVY or leads_to_heavy[user.name]
            for name in node.output
            for user in users.get(name, [])
        )
    return [
        node.name
        for node in model.graph.node
        if not leads_to_heavy[node.name] and node.op_type not in _HEAVY
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's notes on optional packages and its traces; its errors still raise."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.__trace")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
