"""Training on small pictures first: most is learned there, in a fraction of the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch

from tools.training.sample_stream import SampleStream, SampleT


@dataclass(frozen=True, slots=True)
class PictureStage:
    """A part of training with pictures of one size.

    Attributes:
        until: The share of the budget at which it ends.
        height: Of the pictures in pixels, a multiple of 32.
        width: Of the pictures in pixels, a multiple of 32 (of crops: 16).
    """

    until: float
    height: int
    width: int


Draw = Callable[[np.random.Generator], SampleT]


class StagedStream(Generic[SampleT]):
    """Batches of samples whose size follows the stages.

    Args:
        stages: One or more.
        source_of: Opens a stage's source: what makes one of its samples.
        batch: Samples of a batch.
        workers: Processes that make samples ahead; see `SampleStream`.
        device: Where the batches go.
    """

    def __init__(
        self,
        stages: Sequence[PictureStage],
        source_of: Callable[[PictureStage], Draw[SampleT]],
        batch: int,
        workers: int,
        device: torch.device,
    ) -> None:
        self._stages, self._source_of = stages, source_of
        self._batch, self._workers, self._device = batch, workers, device
        self.stage = stages[0]
        self._draw = source_of(self.stage)
        self._stream: SampleStream[SampleT] | None = None

    def advance(self, progress: float) -> bool:
        """Goes on to the stage of a share of the budget, 0..1; whether that is another one."""
        stages = self._stages
        stage = next((stage for stage in stages if progress < stage.until), stages[-1])
        if stage == self.stage:
            return False
        self.stage, self._stream = stage, None
        self._draw = self._source_of(stage)
        return True

    def draw(self, generator: torch.Generator) -> SampleT:
        """The next batch, as `SampleStream.draw`; a stage's stream is seeded by the generator."""
        if self._stream is None:
            self._stream = SampleStream(
                self._draw, self._batch, self._workers, generator, self._device.type == "cuda"
            )
        return self._stream.draw()
