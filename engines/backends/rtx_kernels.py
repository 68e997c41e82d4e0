"""What TensorRT for RTX has of its own: kernels that it compiles when an engine first runs.

The full TensorRT has them in the engine. TensorRT for RTX compiles them for the GPU at hand when a
context is made and when a shape is first seen, which takes seconds.
https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/performance/best-practices.html
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from engines.backends import tensorrt_cache
from engines.backends.tensorrt_cache import EngineKey
from engines.errors import UserError

_log = logging.getLogger(__name__)


def for_turing(rtx: Any, config: Any) -> None:
    """Lets an engine be built for compute capability 7.5, which it is not unasked.

    https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html

    Args:
        rtx: the module ``tensorrt_rtx``.
        config: an ``IBuilderConfig``.
    """
    config.num_compute_capabilities = 1
    if not config.set_compute_capability(rtx.ComputeCapability.SM75, 0):
        raise RuntimeError("TensorRT for RTX cannot build for Turing")


class RtxKernels:
    """Makes the contexts of one engine, and keeps their kernels for the next start.

    Args:
        rtx: the module ``tensorrt_rtx``.
        engine: the engine.
        network: the file that it was built from.
        key: the engine's key.
    """

    def __init__(self, rtx: Any, engine: Any, network: Path, key: EngineKey) -> None:
        self._network, self._key = network, key
        self._engine = engine
        self._config = engine.create_runtime_config()
        # At once, also for shapes within a range: what runs first must be what is recorded.
        strategies = rtx.DynamicShapesKernelSpecializationStrategy
        self._config.dynamic_shapes_kernel_specialization_strategy = strategies.EAGER
        self._config.cuda_graph_strategy = rtx.CudaGraphStrategy.DISABLED  # we record them
        self._cache = self._config.create_runtime_cache()
        stored = tensorrt_cache.find(network, key, "kernels")
        self._stored = b"" if stored is None else stored.plan
        if self._stored and not self._cache.deserialize(self._stored):
            _log.info("%s: the kept kernels are of another driver; compiling anew", network.name)
            self._stored = b""
        self._config.set_runtime_cache(self._cache)

    def make_context(self) -> Any:
        """A context that takes its kernels from those kept, and adds what it compiles."""
        return self._engine.create_execution_context(self._config)

    def keep(self) -> None:
        """Writes the kernels down where there are new ones; not being able to loses nothing."""
        content = bytes(self._cache.serialize())
        if content == self._stored:
            return
        try:
            tensorrt_cache.store(self._network, self._key, content, {}, "kernels")
        except UserError as error:
            _log.warning("%s; they are compiled again at the next start", error)
            return
        self._stored = content
