"""Single precision that is single precision, also on tensor cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def without_tf32() -> Iterator[None]:
    """Keeps CUDA from multiplying in TF32, which has 10 bits of each factor instead of 23.

    torch lets cuDNN's convolutions do so unasked. A recorded graph keeps what held when it was
    recorded. What held before comes back at the end, for it holds for the whole process.
    """
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (convolutions.allow_tf32, products.allow_tf32)
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before
