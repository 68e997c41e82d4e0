"""Runs TensorRT engines: persistent buffers, a stream of its own, CUDA graph replay.

Written against the documented API that TensorRT 10 and 11 share, and TensorRT for RTX with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from engines.backends import tensorrt_cache
from engines.backends.base import Array, TensorSpec
from engines.backends.cuda_graphs import record
from engines.backends.device import find_gpu, find_tensorrt
from engines.backends.rtx_kernels import RtxKernels
from engines.backends.tensorrt_cache import StoredEngine
from engines.backends.tensorrt_runtime import (
    DYNAMIC_PROFILE,
    STATIC_PROFILE,
    engine_key,
    load_tensorrt,
    make_logger,
    read_network,
)
from engines.backends.validation import check_inputs, check_tensors, zeros_for
from engines.errors import UserError
from engines.networks.engine_network import MAX_VIEWS, USUAL_VIEWS

if TYPE_CHECKING:
    import tensorrt as trt  # for the annotations that tests check against the documented API


@dataclass(slots=True)
class _Lane:
    """Everything for one number of views: a context, its buffers, its graph where there is one."""

    context: trt.IExecutionContext
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    graph: torch.cuda.CUDAGraph | None = None


class TensorRtBackend:
    """Runs the engine that was built for a network.

    Args:
        network: the ``.onnx`` file that it was built from.

    Raises:
        UserError: TensorRT cannot run here, or no engine has been built for this network, GPU and
            TensorRT version.
    """

    def __init__(self, network: Path) -> None:
        stored = _stored(network)
        if stored is None:
            raise UserError(
                f"no TensorRT engine has been built from {network} for this GPU and TensorRT "
                "version: run python -m tools.build_engines"
            )
        self._open(network, stored)

    @classmethod
    def if_built(cls, network: Path) -> TensorRtBackend | None:
        """Opens the engine of a network; None where there is none that can be trusted."""
        stored = _stored(network)
        if stored is None:
            return None
        backend = cls.__new__(cls)
        backend._open(network, stored)
        return backend

    def _open(self, network: Path, stored: StoredEngine) -> None:
        tensorrt = load_tensorrt()
        self._logger = make_logger(tensorrt)  # TensorRT keeps a bare pointer to it
        self._runtime: trt.Runtime = tensorrt.Runtime(self._logger)
        engine: trt.ICudaEngine | None = self._runtime.deserialize_cuda_engine(stored.plan)
        if engine is None:
            raise UserError(f"TensorRT cannot load the engine of {network}: build it again")
        self._engine: trt.ICudaEngine = engine
        package = find_tensorrt()
        assert package is not None  # it has just been loaded
        self._kernels = (
            RtxKernels(tensorrt, engine, network, stored.key)
            if package.module == "tensorrt_rtx"
            else None
        )
        # Never the default stream: it waits for everything.
        self._stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._lanes: dict[int, _Lane] = {}
        self._recordable = True
        self._metadata = dict(stored.metadata)
        inputs: list[TensorSpec] = []
        outputs: list[TensorSpec] = []
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            is_input = self._engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT
            shape = tuple(
                None if size < 0 else int(size) for size in self._engine.get_tensor_shape(name)
            )
            kind = np.dtype(tensorrt.nptype(self._engine.get_tensor_dtype(name)))
            (inputs if is_input else outputs).append(TensorSpec(name, shape, kind))
        self._inputs, self._outputs = tuple(inputs), tuple(outputs)
        gpu = find_gpu()
        precision = self._metadata.get("dsvt.precision", "fp32")
        card = "GPU" if gpu is None else gpu.name
        self._provider = f"{package.title} {package.version}, {card}, {precision}"

    @property
    def provider(self) -> str:
        """Engine, version, device and precision in one line."""
        return self._provider

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the network file says of itself."""
        return self._metadata

    @property
    def device(self) -> str:
        """Where ``run_tensors`` takes and gives tensors."""
        return "cuda:0"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs in the network's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs in the network's order."""
        return self._outputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the network on host arrays.

        Raises:
            ValueError: an input is missing, unknown, or of the wrong type or shape.
        """
        check_inputs(self._inputs, inputs)
        tensors = {
            name: torch.from_numpy(np.require(value, requirements=("C", "W"))).to(self.device)
            for name, value in inputs.items()
        }
        return {name: value.cpu().numpy() for name, value in self.run_tensors(tensors).items()}

    @torch.inference_mode()
    def run_tensors(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs the network on tensors on the GPU; see ``DescribedBackend``.

        Raises:
            ValueError: an input is missing, unknown, or of the wrong type, shape or device.
        """
        check_tensors(self._inputs, inputs, self.device)
        views = self._views({name: tuple(value.shape) for name, value in inputs.items()})
        lane = self._lanes.get(views)
        if lane is None:
            lane = self._lanes[views] = self._make_lane(views)
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for name, buffer in lane.inputs.items():
                buffer.copy_(inputs[name], non_blocking=True)
                inputs[name].record_stream(self._stream)
            if lane.graph is None:
                self._enqueue(lane)
            else:
                lane.graph.replay()
        current.wait_stream(self._stream)
        return dict(lane.outputs)

    def warm_up(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Makes the buffers, records the graph and runs once on zeros of the given shapes."""
        self.run(zeros_for(self._inputs, shapes))
        torch.cuda.synchronize()

    def close(self) -> None:
        """Frees the engine and its memory."""
        torch.cuda.synchronize()
        self._lanes.clear()
        self._kernels = None
        del self._engine, self._runtime

    def _views(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """The number of views: what all free dimensions must agree on; the usual if none is."""
        counts = {
            size
            for spec in self._inputs
            for want, size in zip(spec.shape, shapes[spec.name], strict=True)
            if want is None
        }
        if not counts:
            return USUAL_VIEWS
        if len(counts) != 1 or not 1 <= min(counts) <= MAX_VIEWS:
            raise ValueError(f"the inputs must agree on 1 to {MAX_VIEWS} views, not {counts}")
        return counts.pop()

    def _make_lane(self, views: int) -> _Lane:
        context: trt.IExecutionContext = (
            self._engine.create_execution_context()
            if self._kernels is None
            else self._kernels.make_context()
        )
        profile = STATIC_PROFILE if views == USUAL_VIEWS else DYNAMIC_PROFILE
        with torch.cuda.stream(self._stream):
            if not context.set_optimization_profile_async(profile, self._stream.cuda_stream):
                raise RuntimeError(f"TensorRT refuses the profile for {views} views")
            lane = _Lane(context, {}, {})
            for spec in self._inputs:
                shape = tuple(views if size is None else size for size in spec.shape)
                if not context.set_input_shape(spec.name, shape):
                    raise RuntimeError(f"TensorRT refuses shape {shape} of input '{spec.name}'")
                lane.inputs[spec.name] = self._buffer(context, spec, shape)
            for spec in self._outputs:
                shape = output_shape(context, spec.name)
                lane.outputs[spec.name] = self._buffer(context, spec, shape)
            self._enqueue(lane)  # a graph may only be recorded after one ordinary run
        self._stream.synchronize()
        if self._recordable:
            lane.graph = record(lambda: self._enqueue(lane), self._stream, self._provider)
            self._recordable = lane.graph is not None  # it is told once, and not tried again
        if self._kernels is not None:
            self._kernels.keep()
        return lane

    def _buffer(
        self, context: trt.IExecutionContext, spec: TensorSpec, shape: tuple[int, ...]
    ) -> Tensor:
        buffer = torch.zeros(shape, dtype=getattr(torch, str(spec.dtype)), device=self.device)
        if not context.set_tensor_address(spec.name, buffer.data_ptr()):
            raise RuntimeError(f"TensorRT refuses the memory of '{spec.name}'")
        return buffer

    def _enqueue(self, lane: _Lane) -> None:
        context: trt.IExecutionContext = lane.context
        if not context.execute_async_v3(self._stream.cuda_stream):
            raise RuntimeError("TensorRT could not run the network: see its messages above")


def output_shape(context: trt.IExecutionContext, name: str) -> tuple[int, ...]:
    """The shape of an output, once those of all inputs are set.

    Raises:
        RuntimeError: TensorRT does not know it before it runs the network.
    """
    shape = tuple(int(size) for size in context.get_tensor_shape(name))
    if any(size < 0 for size in shape):
        raise RuntimeError(f"the shape of output '{name}' is not fixed by the inputs: {shape}")
    return shape


def _stored(network: Path) -> StoredEngine | None:
    load_tensorrt()
    if not network.is_file():  # the export in this precision is made when its engine is built
        return None
    content, metadata = read_network(network)
    key = engine_key(content, metadata.get("dsvt.precision", "fp32"))
    return tensorrt_cache.find(network, key)
