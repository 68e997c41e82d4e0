"""Stochastic depth: whole residual branches left out in training (Huang et al., ECCV 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Drops a sample's branch with a given probability and scales the others up."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Drops rows of (N, ...) in training; does nothing otherwise."""
        if not self.training or self.share == 0.0:
            return x
        kept = 1.0 - self.share
        shape = (x.shape[0],) + (1,) * (x.dim() - 1)
        return x * torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(kept) / kept
