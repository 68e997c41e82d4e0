"""CUDA graphs of a function on tensors: one launch for each run instead of hundreds of small ones.

A GPU finishes the kernels of a small batch sooner than Python can launch them. A recorded graph
launches all of them at once; what it reads and writes lies at fixed places in memory.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

Run = Callable[..., tuple[Tensor, ...]]

_MOST_SHAPES: Final = 8
"""So many graphs are kept; the one that has not been used for longest goes first."""

_WARM_UPS: Final = 3
"""Runs before a recording: libraries choose their kernels and take their memory in the first."""

recording_lock: Final = threading.Lock()
"""CUDA records one graph at a time in a process."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Recording:
    """A graph, and where it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class CudaGraphs:
    """Replays a function, recorded once for each combination of input shapes.

    What cannot be recorded runs as it is from then on, and a warning says so once.

    Args:
        run: takes tensors on the GPU and gives tensors there. Of the inputs only the shapes may
            differ between two calls; what it does may depend on those shapes, never on values.
            Outputs are no views of inputs.
        title: what to call it in the warning.
    """

    def __init__(self, run: Run, title: str) -> None:
        self._run = run
        self._title = title
        self._recordings: dict[tuple[torch.Size, ...], _Recording] = {}
        self._stream: torch.cuda.Stream | None = None
        # The graphs share their scratch memory: no two of them run at the same time.
        self._pool: Any = None
        self._refused = False

    @property
    def in_use(self) -> bool:
        """Whether graphs are replayed: something has been recorded, and nothing has failed."""
        return bool(self._recordings)

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Runs the function on the current stream.

        Args:
            *inputs: on the GPU; they are copied.

        Returns:
            What the function gives, in memory that the next call may overwrite.
        """
        if self._refused:
            return self._run(*inputs)
        shapes = tuple(value.shape for value in inputs)
        recording = self._recordings.pop(shapes, None)
        if recording is None:
            try:
                with recording_lock:
                    recording = self._record(inputs)
            except Exception as error:  # whatever is wrong beyond recording, running will tell
                self._refuse(error)
                return self._run(*inputs)
        self._recordings[shapes] = recording  # the newest is the last
        for buffer, value in zip(recording.inputs, inputs, strict=True):
            buffer.copy_(value, non_blocking=True)
        recording.graph.replay()
        return recording.outputs

    def close(self) -> None:
        """Frees the graphs and their memory; the next call would record anew."""
        if self._recordings:
            torch.cuda.synchronize()
        self._recordings.clear()
        self._pool = None
        self._stream = None

    def _record(self, inputs: tuple[Tensor, ...]) -> _Recording:
        if self._stream is None:
            self._stream = torch.cuda.Stream(inputs[0].device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()
        stream = self._stream
        if len(self._recordings) >= _MOST_SHAPES:
            torch.cuda.synchronize()  # it may still be running
            del self._recordings[next(iter(self._recordings))]
        buffers = tuple(value.clone(memory_format=torch.contiguous_format) for value in inputs)
        current = torch.cuda.current_stream()
        stream.wait_stream(current)
        graph = torch.cuda.CUDAGraph()
        # Around all of it: a recording that fails leaves its stream the current one.
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._run(*buffers)
            # Other threads may use the GPU meanwhile, which only concerns their own streams.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"
            ):
                outputs = self._run(*buffers)
        current.wait_stream(stream)
        return _Recording(graph, buffers, outputs)

    def _refuse(self, error: Exception) -> None:
        self._refused = True
        self._recordings.clear()
        _tell(self._title, error)


def record(
    run: Callable[[], None], stream: torch.cuda.Stream, title: str
) -> torch.cuda.CUDAGraph | None:
    """Records what a function launches, where it keeps its inputs and outputs itself.

    Args:
        run: launches on the stream; it has run before.
        stream: not the default one; nothing is running on it.
        title: what to call it in the warning.

    Returns:
        The graph, to be replayed on the stream; None, and a warning, where it cannot be recorded.
    """
    try:
        graph = torch.cuda.CUDAGraph()
        # Around all of it: a recording that fails leaves its stream the current one. Other threads
        # may use the GPU meanwhile, which only concerns their own streams.
        with (
            recording_lock,
            torch.cuda.stream(stream),
            torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
        ):
            run()
    except Exception as error:  # whatever is wrong beyond recording, running will tell
        _tell(title, error)
        return None
    return graph


def _tell(title: str, error: Exception) -> None:
    reason = " ".join(str(error).split())[:200]
    _log.warning("%s: no CUDA graph can be recorded, so it runs slower (%s)", title, reason)
