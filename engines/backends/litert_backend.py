"""Runs TensorFlow Lite networks on the CPU with LiteRT and its XNNPACK kernels."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from engines.backends.base import Array, TensorSpec
from engines.backends.validation import thread_words
from engines.errors import UserError

_MAGIC: Final = b"TFL3"


class LiteRtBackend:
    """A TensorFlow Lite network in LiteRT; see ``engines.backends.base.Backend``.

    The interpreter gives up Python's lock while it runs, so several instances on several threads
    run at the same time.

    Args:
        model: content of the ``.tflite`` file, already checked to be the file that is meant.
        name: its file name, for messages.
        threads: how many threads one run uses.

    Raises:
        UserError: the content is no TensorFlow Lite network, or LiteRT is not installed.
    """

    def __init__(self, model: bytes, name: str, threads: int = 1) -> None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise UserError(
                f"cannot run {name}: LiteRT does not load ({error}); "
                "install it with 'pip install ai-edge-litert'"
            ) from None
        if model[4:8] != _MAGIC:
            raise UserError(f"{name} is not a TensorFlow Lite file")
        try:
            interpreter: Any = Interpreter(model_content=model, num_threads=threads)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{name} is damaged or not supported: {reason}") from None
        self._interpreter: Any = interpreter
        self._threads = threads
        input_details = interpreter.get_input_details()
        output_details = interpreter.get_output_details()
        self._input_index = {str(detail["name"]): int(detail["index"]) for detail in input_details}
        self._output_index = {
            str(detail["name"]): int(detail["index"]) for detail in output_details
        }
        self._inputs = tuple(_spec(detail) for detail in input_details)
        self._outputs = tuple(_spec(detail) for detail in output_details)

    @property
    def provider(self) -> str:
        """Engine, version, device and precision."""
        threads = thread_words(self._threads)
        return f"LiteRT {version('ai-edge-litert')}, CPU (XNNPACK), {threads}, float32"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs in the network's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs in the network's order."""
        return self._outputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the network on host arrays; see ``Backend.run``.

        Raises:
            ValueError: an input is missing, unknown, or of the wrong type or shape.
        """
        interpreter = self._interpreter
        if interpreter is None:
            raise ValueError("the network has been closed")
        if inputs.keys() != self._input_index.keys():
            raise ValueError(f"inputs are {sorted(self._input_index)}, not {sorted(inputs)}")
        for spec in self._inputs:
            array = inputs[spec.name]
            if array.dtype != spec.dtype or array.shape != spec.shape:
                raise ValueError(
                    f"input {spec.name} must be {spec.dtype} {spec.shape}, "
                    f"not {array.dtype} {array.shape}"
                )
        for spec in self._inputs:
            interpreter.set_tensor(self._input_index[spec.name], inputs[spec.name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in self._output_index.items()}

    def warm_up(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Runs once on zeros of the given shapes."""
        types = {spec.name: spec.dtype for spec in self._inputs}
        self.run({name: np.zeros(shape, types.get(name)) for name, shape in shapes.items()})

    def close(self) -> None:
        """Frees the network."""
        self._interpreter = None


def _spec(detail: dict[str, Any]) -> TensorSpec:
    shape = tuple(int(size) for size in detail["shape"])
    return TensorSpec(str(detail["name"]), shape, np.dtype(detail["dtype"]))
