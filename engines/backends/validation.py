"""Checks of what is given to a back end, the same for every engine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from engines.backends.base import Array, TensorSpec

if TYPE_CHECKING:
    from torch import Tensor


def default_threads() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def thread_words(threads: int) -> str:
    """``1 thread``, ``2 threads``: for the line that says what runs."""
    return f"{threads} thread{'' if threads == 1 else 's'}"


def check_names(specs: Iterable[TensorSpec], names: Iterable[str]) -> None:
    """Checks that exactly the declared inputs are there.

    Raises:
        ValueError: an input is missing or unknown; the text names it and what is expected.
    """
    expected = [spec.name for spec in specs]
    given = list(names)
    for name in expected:
        if name not in given:
            raise ValueError(f"input '{name}' is missing (expected {', '.join(expected)})")
    for name in given:
        if name not in expected:
            raise ValueError(f"unknown input '{name}' (expected {', '.join(expected)})")


def check_shape(spec: TensorSpec, shape: tuple[int, ...]) -> None:
    """Checks one input's shape against its declaration.

    Raises:
        ValueError: the number of dimensions or a fixed dimension differs.
    """
    matches = len(shape) == len(spec.shape) and all(
        want is None or want == got for want, got in zip(spec.shape, shape, strict=True)
    )
    if not matches:
        wanted = ", ".join("any" if size is None else str(size) for size in spec.shape)
        raise ValueError(f"input '{spec.name}' has shape {shape}, expected ({wanted})")


def check_inputs(specs: tuple[TensorSpec, ...], inputs: Mapping[str, Array]) -> None:
    """Checks names, types and shapes of host inputs.

    Raises:
        ValueError: an input is missing, unknown, or of the wrong type or shape.
    """
    check_names(specs, inputs)
    for spec in specs:
        value = inputs[spec.name]
        if value.dtype != spec.dtype:
            raise ValueError(f"input '{spec.name}' is {value.dtype}, expected {spec.dtype}")
        check_shape(spec, value.shape)


def check_tensors(specs: tuple[TensorSpec, ...], inputs: Mapping[str, Tensor], device: str) -> None:
    """Checks names, types, shapes and place of tensor inputs.

    Raises:
        ValueError: an input is missing, unknown, or of the wrong type, shape or device.
    """
    check_names(specs, inputs)
    for spec in specs:
        value = inputs[spec.name]
        if str(value.dtype) != f"torch.{spec.dtype}":
            kind = str(value.dtype).removeprefix("torch.")
            raise ValueError(f"input '{spec.name}' is {kind}, expected {spec.dtype}")
        if value.device.type != device.partition(":")[0]:
            raise ValueError(f"input '{spec.name}' is on {value.device}, expected on {device}")
        check_shape(spec, tuple(value.shape))


def zeros_for(
    specs: tuple[TensorSpec, ...], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Array]:
    """Makes zeros of the given shapes and the declared types, for a warm-up run."""
    check_names(specs, shapes)
    return {spec.name: np.zeros(shapes[spec.name], spec.dtype) for spec in specs}
