"""A network as an engine sees it: named inputs, named outputs, and what they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from torch import Tensor, nn

VIEWS: Final = -1
"""In a shape: the number of views, free from 1 to ``MAX_VIEWS``."""

BATCH: Final = -2
"""In a shape: the number of windows, free; live it is 1."""

MAX_VIEWS: Final = 8
USUAL_VIEWS: Final = 4

Kind = Literal["detector", "pose2d", "lifter"]


@dataclass(frozen=True, slots=True)
class Port:
    """One float32 input or output: its name and shape; ``VIEWS`` or ``BATCH`` where it is free."""

    name: str
    shape: tuple[int, ...]

    def sized(self, views: int, batch: int = 1) -> tuple[int, ...]:
        """The shape for a number of views and of windows."""
        free = {VIEWS: views, BATCH: batch}
        return tuple(free.get(size, size) for size in self.shape)


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """What one needs to know to feed a network and read its answer.

    Attributes:
        network: which module of the catalogue it is.
        options: what that module is built with; JSON values only.
        kind: what it does.
        inputs: in the order of its arguments.
        outputs: in the order of its results.
        facts: everything else that a front end must know of it, e.g. ``joints``: ``coco17``.
    """

    network: str
    options: Mapping[str, object]
    kind: Kind
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    facts: Mapping[str, str] = field(default_factory=dict)

    def metadata(self) -> dict[str, str]:
        """The same as text pairs, as they stand in ONNX and safetensors files."""
        return {
            "dsvt.network": self.network,
            "dsvt.options": json.dumps(dict(self.options), sort_keys=True),
            "dsvt.kind": self.kind,
            **{f"dsvt.{key}": value for key, value in self.facts.items()},
        }


class EngineNetwork(nn.Module):
    """Base of the catalogue's modules: tensors in and out in the order of ``info``.

    Attributes:
        info: names, shapes and meaning.
        inner: the network proper; its parameters are what a weights file holds.
    """

    info: NetworkInfo
    inner: nn.Module

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Runs the network."""
        raise NotImplementedError
