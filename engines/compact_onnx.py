"""Stores what half precision can hold exactly in half precision inside an ONNX file.

The network stays one in single precision: a Cast behind each such tensor gives the very values
that were there. ONNX Runtime folds these casts when it loads a file; for TensorRT, which wants the
weights of a layer as constants, and for whatever changes a network, ``expand`` takes them out.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

_LEAST_SIZE: Final = 256
"""Smaller tensors are not worth a node."""

_STORED: Final = ".stored_half"


def compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which tensors that lose nothing by it are stored in half precision.

    Args:
        model: In single precision.

    Returns:
        The same function, to the bit.
    """
    smaller = onnx.ModelProto.FromString(model.SerializeToString())
    graph = smaller.graph
    casts: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        halved = _halved(tensor)
        if halved is None:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(halved, name + _STORED))
        casts.append(
            onnx.helper.make_node(
                "Cast", [tensor.name], [name], name=name + ".cast", to=onnx.TensorProto.FLOAT
            )
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return smaller


def expand(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every tensor that ``compact`` stored in half precision is as it was.

    Args:
        model: Any; one that ``compact`` did not change comes back alike.

    Returns:
        The same function, to the bit.
    """
    larger = onnx.ModelProto.FromString(model.SerializeToString())
    graph = larger.graph
    stored = {t.name: t for t in graph.initializer if t.name.endswith(_STORED)}
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type == "Cast" and node.input[0] in stored:
            tensor = stored[node.input[0]]
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, node.output[0]))
        else:
            graph.node.append(node)
    return larger


def _halved(tensor: onnx.TensorProto) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]] | None:
    """A tensor's values in half precision, or None where they would be others, or few."""
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return None
    values = numpy_helper.to_array(tensor)
    if values.size < _LEAST_SIZE:
        return None
    with np.errstate(over="ignore"):
        halved = values.astype(np.float16)
    return halved if np.array_equal(halved.astype(np.float32), values) else None
