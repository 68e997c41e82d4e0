"""Pre-norm transformer blocks over short token sets, with masked keys.

Attention is that of Vaswani et al. (NeurIPS 2017), the block order that of ViT (Dosovitskiy et
al., ICLR 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def key_bias(valid: Tensor) -> Tensor:
    """Turns "which tokens may be looked at" into a term added to attention scores.

    A token may always look at itself, so that no row is left without any key.

    Args:
        valid: (N, n) bool, true where a token holds something worth looking at.

    Returns:
        (N, 1, n, n) float32: 0 where looking is allowed, a large negative number elsewhere.
    """
    n = valid.shape[-1]
    eye = torch.eye(n, dtype=torch.bool, device=valid.device)
    allowed = valid[:, None, None, :] | eye
    # A finite number, not -inf: half precision and every ONNX back end survive it.
    return torch.where(allowed, 0.0, -1e4)


class SelfAttention(nn.Module):
    """Multi-head self-attention over the second to last axis."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Mixes tokens.

        Args:
            x: (N, n, width).
            bias: (N, 1, n, n) from `key_bias`, or None.

        Returns:
            (N, n, width).
        """
        n, width = x.shape[1], x.shape[2]
        qkv = self.qkv(x).reshape(-1, n, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if bias is not None:
            bias = bias.to(q.dtype)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(-1, n, width))
        return out


class CrossAttention(nn.Module):
    """Multi-head attention from one token set to another of the same length.

    Args:
        width: Width of the tokens that ask.
        source_width: Width of the tokens that are read.
        heads: Attention heads.
        inner: Width of queries, keys and values; None makes it ``width``.
    """

    def __init__(self, width: int, source_width: int, heads: int, inner: int | None = None) -> None:
        super().__init__()
        inner = inner or width
        if inner % heads:
            raise ValueError(f"width {inner} is not a multiple of {heads} heads")
        self.heads, self.inner = heads, inner
        self.q = nn.Linear(width, inner)
        self.kv = nn.Linear(source_width, 2 * inner)
        self.out = nn.Linear(inner, width)

    def forward(self, x: Tensor, source: Tensor, bias: Tensor | None = None) -> Tensor:
        """Reads from ``source`` into ``x``.

        Args:
            x: (N, n, width) tokens that ask.
            source: (N, n, source_width) tokens that are read.
            bias: (N, 1, n, n) from `key_bias`, or None.

        Returns:
            (N, n, width), to be added to ``x``.
        """
        n = x.shape[1]
        shape = (-1, n, self.heads, self.inner // self.heads)
        q = self.q(x).reshape(shape).transpose(1, 2)
        k, v = (part.reshape(shape).transpose(1, 2) for part in self.kv(source).chunk(2, dim=-1))
        if bias is not None:
            bias = bias.to(q.dtype)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(-1, n, self.inner))
        return out


class TransformerBlock(nn.Module):
    """Self-attention and an MLP, each normalised before and added after."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = round(width * mlp_ratio)
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Same shapes as `SelfAttention.forward`."""
        x = x + self.attention(self.norm1(x), bias)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out
