"""What an ONNX file may hold so that every engine can read it."""

from __future__ import annotations

from typing import Final

import onnx

TENSORRT_OPERATORS: Final = frozenset(
    """
    Abs Add And ArgMax AveragePool BatchNormalization Cast Ceil Clip Concat Constant
    ConstantOfShape Conv ConvTranspose Cos CumSum Div Einsum Elu Equal Erf Exp Expand Flatten
    Floor Gather GatherElements GatherND Gemm GlobalAveragePool Greater GreaterOrEqual
    HardSigmoid HardSwish Identity InstanceNormalization IsNaN LayerNormalization LeakyRelu Less
    LessOrEqual Log MatMul Max MaxPool Min Mul Neg Not Or PRelu Pad Pow Range Reciprocal
    ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Resize Round ScatterElements ScatterND
    Shape Sigmoid Sign Sin Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tanh Tile TopK
    Transpose Trilu Unsqueeze Where
    """.split()  # noqa: SIM905
)
"""Operators that an export may hold: documented for TensorRT 10's ONNX parser (operators.md)."""

_RESIZE_MODES: Final = ("nearest", "linear")
_RESIZE_PLACES: Final = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")


def problems_of(model: onnx.ModelProto) -> list[str]:
    """What keeps some engine from reading a model; empty when nothing does.

    Checked are ONNX's own checker, the operators and the modes that TensorRT documents, and that
    the number of views is free in every input and output.
    """
    problems: list[str] = []
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        problems.append(f"the ONNX checker refuses it: {' '.join(str(error).split())[:200]}")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in TENSORRT_OPERATORS:
            problems.append(f"operator {node.domain or 'ai.onnx'}.{node.op_type}")
        options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Resize":
            mode = options.get("mode", b"nearest").decode()
            place = options.get("coordinate_transformation_mode", b"half_pixel").decode()
            if mode not in _RESIZE_MODES or place not in _RESIZE_PLACES:
                problems.append(f"Resize with mode {mode} and {place}")
            if options.get("antialias", 0):
                problems.append("Resize with antialiasing")
        if node.op_type in ("MaxPool", "AveragePool"):
            if any(size != 1 for size in options.get("dilations", [])):
                problems.append(f"{node.op_type} with dilations")
            if len(node.output) > 1:
                problems.append(f"{node.op_type} with an index output")
    for value in (*model.graph.input, *model.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        free = [d.dim_param for d in dimensions if d.dim_param]
        if not free or not set(free) <= {"views", "batch"}:
            problems.append(f"'{value.name}' has free dimensions {free}, expected views or batch")
    return problems
