"""How two operations are written in ONNX so that engines recognise and fuse them.

The exporter's own way of writing them is as right, but ONNX Runtime knows GELU only as
x·(1 + erf(x/√2))·0.5, and the exporter's attention transposes keys by way of a dozen shape
computations. Both cost the small lifter a third of its time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch


def onnx_translations() -> Mapping[Callable[..., Any], Callable[..., Any]]:
    """The table for ``torch.onnx.export(custom_translation_table=…)``; opset 18."""
    from onnxscript import opset18 as op

    def gelu(x: Any, approximate: str = "none") -> Any:
        if approximate != "none":
            raise NotImplementedError(f"GELU with the approximation '{approximate}'")
        error = op.Erf(op.Div(x, op.Constant(value_float=math.sqrt(2.0))))
        return op.Mul(
            op.Mul(x, op.Add(error, op.Constant(value_float=1.0))), op.Constant(value_float=0.5)
        )

    def attention(
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        if dropout_p or is_causal or enable_gqa:
            raise NotImplementedError("attention with dropout, causality or grouped queries")
        if scale is None:
            scale = 1.0 / math.sqrt(int(query.shape[-1]))
        scores = op.MatMul(query, op.Transpose(key, perm=[0, 1, 3, 2]))
        scores = op.Mul(scores, op.Constant(value_float=scale))
        if attn_mask is not None:
            scores = op.Add(scores, attn_mask)
        return op.MatMul(op.Softmax(scores, axis=-1), value)

    return {
        torch.ops.aten.gelu.default: gelu,
        torch.ops.aten.scaled_dot_product_attention.default: attention,
    }
