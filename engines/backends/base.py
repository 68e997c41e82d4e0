"""The interface behind which every engine runs: named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # torch takes seconds to import, and most back ends do without it
    from torch import Tensor

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and type of one input or output; None in ``shape`` is a free dimension."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[np.generic]


class Backend(Protocol):
    """One loaded network. It belongs to one thread at a time."""

    @property
    def provider(self) -> str:
        """One line: engine, version, device and precision, e.g. ``ONNX Runtime 1.32, CPU``."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs in the network's order."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs in the network's order."""
        ...

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the network on host arrays.

        Args:
            inputs: every input by name, C-contiguous, of the declared type and shape.

        Returns:
            Every output by name, in arrays that the caller owns.

        Raises:
            ValueError: an input is missing, unknown, or of the wrong type or shape.
        """
        ...

    def warm_up(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Runs once on zeros of the given shapes so that the first real call is not slow."""
        ...

    def close(self) -> None:
        """Frees the network."""
        ...


class DescribedBackend(Backend, Protocol):
    """A back end that also says what its network file says of itself, and runs on tensors.

    With an engine on the GPU, ``run_tensors`` takes and gives tensors there, so that pictures and
    features never come down.
    """

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's text pairs, e.g. ``dsvt.joints``: ``coco17``."""
        ...

    @property
    def device(self) -> str:
        """Where ``run_tensors`` takes and gives tensors, as torch names it: ``cpu``, ``cuda:0``."""
        ...

    def run_tensors(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs the network on tensors that lie on ``device``.

        Args:
            inputs: every input by name, contiguous, of the declared type and shape.

        Returns:
            Every output by name, on ``device``; the next run may overwrite them.

        Raises:
            ValueError: an input is missing, unknown, or of the wrong type, shape or device.
        """
        ...
