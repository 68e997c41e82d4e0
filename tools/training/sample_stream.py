"""Endless batches of samples, each sample a pure function of its own seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

SampleT = TypeVar("SampleT")

_SEEDS = 2**62


class _Draws(Dataset[SampleT], Generic[SampleT]):
    """Makes a sample from each seed."""

    def __init__(self, draw: Callable[[np.random.Generator], SampleT]) -> None:
        self._draw = draw

    def __getitem__(self, seed: int) -> SampleT:
        return self._draw(np.random.default_rng(seed))


class _Seeds(Sampler[list[int]]):
    """Endless lists of seeds, one list a batch."""

    def __init__(self, batch: int, seed: int) -> None:
        self._batch, self._seed = batch, seed

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            yield torch.randint(_SEEDS, (self._batch,), generator=generator).tolist()


class SampleStream(Generic[SampleT]):
    """Batches of samples, made here or by processes of their own.

    Args:
        draw: Makes one sample; a named tuple of arrays.
        batch: Samples of a batch.
        workers: Processes that make samples ahead of time; 0 makes them in this one, which is
            best where training itself fills the cores.
        generator: Where the stream's seed comes from.
        pin: Put batches where they go up to a GPU fastest.
    """

    def __init__(
        self,
        draw: Callable[[np.random.Generator], SampleT],
        batch: int,
        workers: int,
        generator: torch.Generator,
        pin: bool = False,
    ) -> None:
        device = generator.device
        seed = int(torch.randint(_SEEDS, (1,), generator=generator, device=device))
        self._batches = iter(
            DataLoader(
                _Draws(draw),
                batch_sampler=_Seeds(batch, seed),
                num_workers=workers,
                worker_init_fn=_one_thread,
                pin_memory=pin,
                prefetch_factor=4 if workers else None,
                # A fork of a process whose engines have threads of their own may hang for ever.
                multiprocessing_context="spawn" if workers else None,
            )
        )

    def draw(self) -> SampleT:
        """The next batch: the sample's named tuple, of tensors with a leading batch axis."""
        return cast(SampleT, next(self._batches))


def _one_thread(worker: int) -> None:
    cv2.setNumThreads(1)
