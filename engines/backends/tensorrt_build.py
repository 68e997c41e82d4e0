"""Builds TensorRT engines from ONNX: one code path for TensorRT 10, 11 and TensorRT for RTX.

Networks are strongly typed: the precision is that of the ONNX file. TensorRT 11 and TensorRT for
RTX know nothing else, and TensorRT 10 takes the same flag.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engines.backends import tensorrt_cache
from engines.backends.device import find_gpu
from engines.backends.rtx_kernels import for_turing
from engines.backends.tensorrt_runtime import (
    engine_key,
    load_tensorrt,
    make_logger,
    read_network,
)
from engines.errors import UserError
from engines.networks.engine_network import MAX_VIEWS, USUAL_VIEWS

if TYPE_CHECKING:
    import tensorrt as trt  # for the annotations that tests check against the documented API

Progress = Callable[[str, float], None]
"""Told what the builder does, and how far that is, 0…1."""

_log = logging.getLogger(__name__)

_WORKSPACE_BYTES: Final = 4 << 30
_OPTIMIZATION_LEVEL: Final = 4


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """Where an engine lies and whether it had to be built."""

    path: Path
    built: bool
    megabytes: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What TensorRT built.

    Attributes:
        content: the engine, serialised.
        timing: all that has been measured up to now; None where nothing is.
    """

    content: bytes
    timing: bytes | None


def build_engine(
    network: Path, progress: Progress | None = None, force: bool = False
) -> BuiltEngine:
    """Builds the engine of an ONNX file unless the right one is there already.

    Args:
        network: the ``.onnx`` file.
        progress: told how far it is; a build takes minutes.
        force: build even where the right one is there.

    Raises:
        UserError: TensorRT cannot run here, or cannot read or build the network.
    """
    tensorrt = load_tensorrt()
    content, metadata = read_network(network)
    key = engine_key(content, metadata.get("dsvt.precision", "fp32"))
    if not force:
        stored = tensorrt_cache.find(network, key)
        if stored is not None:
            path = tensorrt_cache.engine_path(network, key)
            return BuiltEngine(path, False, len(stored.plan) / 2**20)
    # TensorRT for RTX times nothing.
    timing = tensorrt_cache.find_timing() if tensorrt.__name__ == "tensorrt" else None
    gpu = find_gpu()
    capability = None if gpu is None else gpu.capability
    built = build_plan(tensorrt, content, network, progress, timing, capability)
    path = tensorrt_cache.store(network, key, built.content, metadata)
    if built.timing is not None:
        keep_timing(built.timing)
    return BuiltEngine(path, True, len(built.content) / 2**20)


def keep_timing(content: bytes) -> None:
    """Keeps what a build has measured; not being able to loses nothing but time."""
    try:
        tensorrt_cache.store_timing(content)
    except UserError as error:
        _log.warning("%s; the next build times its kernels again", error)


def build_plan(
    tensorrt: Any,
    content: bytes,
    path: Path,
    progress: Progress | None = None,
    timing: bytes | None = None,
    capability: tuple[int, int] | None = None,
) -> Plan:
    """Builds and serialises an engine; ``build_engine`` is what keeps and finds them.

    Args:
        tensorrt: the module ``tensorrt`` or ``tensorrt_rtx``; the second needs no GPU for this.
        content: of the ONNX file.
        path: of the ONNX file, for messages.
        progress: told how far it is.
        timing: what the full TensorRT has measured in earlier builds; None measures anew, and
            keeps nothing.
        capability: of the GPU that shall run it; None is any that TensorRT for RTX takes unasked.

    Returns:
        The engine, and what was measured for it.

    Raises:
        UserError: TensorRT cannot read or build the network.
    """
    logger: trt.ILogger = make_logger(tensorrt)
    builder: trt.Builder = tensorrt.Builder(logger)
    strongly_typed = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network: trt.INetworkDefinition = builder.create_network(strongly_typed)
    parser: trt.OnnxParser = tensorrt.OnnxParser(network, logger)
    if not parser.parse(_one_window(content)):
        problem: trt.ParserError | None = parser.get_error(0) if parser.num_errors else None
        reason = "no reason given"
        if problem is not None:
            reason = f"{problem.desc()} (operator {problem.node_operator()})"
        raise UserError(f"TensorRT cannot read {path}: {' '.join(reason.split())[:300]}")
    config: trt.IBuilderConfig = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    config.builder_optimization_level = _OPTIMIZATION_LEVEL
    config.clear_flag(tensorrt.BuilderFlag.TF32)  # single precision means single precision
    if tensorrt.__name__ == "tensorrt_rtx" and capability == (7, 5):
        for_turing(tensorrt, config)
    for least, most in ((USUAL_VIEWS, USUAL_VIEWS), (1, MAX_VIEWS)):
        config.add_optimization_profile(_profile(builder, network, least, most))
    if progress is not None:
        config.progress_monitor = _monitor(tensorrt, progress)
    cache: trt.ITimingCache | None = None
    if timing is not None:
        cache = _timing_cache(config, timing)
        config.set_timing_cache(cache, False)
    plan: trt.IHostMemory | None = builder.build_serialized_network(network, config)
    if plan is None:
        raise UserError(f"TensorRT could not build {path}: see its messages above")
    return Plan(bytes(plan), None if cache is None else bytes(cache.serialize()))


def _one_window(content: bytes) -> bytes:
    """The same network for exactly one window where the batch of windows is free: live it is one.

    The only dimension left free is then the number of views. Weights become constants in single
    precision, however they are stored.
    """
    import onnx

    from engines.compact_onnx import expand

    model = expand(onnx.load_model_from_string(content))
    for value in (*model.graph.input, *model.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == "batch":
                dimension.dim_value = 1
    return bytes(model.SerializeToString())


def _profile(
    builder: trt.Builder, network: trt.INetworkDefinition, least: int, most: int
) -> trt.IOptimizationProfile:
    """A profile for ``least`` to ``most`` views, tuned for the usual number."""
    profile: trt.IOptimizationProfile = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor: trt.ITensor = network.get_input(index)
        shape = tuple(tensor.shape)
        sizes: list[tuple[int, ...]] = [
            tuple(views if size < 0 else size for size in shape)
            for views in (least, USUAL_VIEWS, most)
        ]
        profile.set_shape(tensor.name, *sizes)
    return profile


def _timing_cache(config: trt.IBuilderConfig, measured: bytes) -> trt.ITimingCache:
    """What earlier builds measured, where that is usable; TensorRT checks that it fits."""
    cache: trt.ITimingCache | None = config.create_timing_cache(measured)
    return cache if cache is not None else config.create_timing_cache(b"")


def _monitor(tensorrt: Any, progress: Progress) -> Any:
    class Monitor(tensorrt.IProgressMonitor):  # type: ignore[misc]  # its type is unknown
        """Reports the outermost phase."""

        def __init__(self) -> None:
            tensorrt.IProgressMonitor.__init__(self)
            self._phases: dict[str, tuple[str | None, int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = (parent_phase, num_steps)
            if parent_phase is None:
                progress(phase_name, 0.0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            parent, steps = self._phases.get(phase_name, (None, 0))
            if parent is None and steps:
                progress(phase_name, min(1.0, (step + 1) / steps))
            return True

        def phase_finish(self, phase_name: str) -> None:
            if self._phases.pop(phase_name, ("", 0))[0] is None:
                progress(phase_name, 1.0)

    return Monitor()
