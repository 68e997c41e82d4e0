"""Plain torch: it runs every network file as it is, without an export or a build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engines.backends.base import Array, TensorSpec
from engines.backends.cuda_graphs import CudaGraphs
from engines.backends.single_precision import without_tf32
from engines.backends.validation import (
    check_inputs,
    check_tensors,
    default_threads,
    thread_words,
    zeros_for,
)
from engines.networks.catalog import load_network
from engines.networks.engine_network import EngineNetwork, Port
from engines.networks.folding import fold_norms


class TorchBackend:
    """Runs a module of the catalogue: eagerly on the CPU, as CUDA graphs on a GPU.

    Args:
        network: with its weights; it moves to the device and into the precision asked for, and on
            a GPU its batch normalisations are folded into the convolutions before them.
        threads: CPU threads of torch in this process; None takes the cores of this process.
        device: ``cpu`` or ``cuda:0``.
        half: half precision inside (on a GPU only); else single precision, without TF32.
        channels_last: lay pictures out with the channels last, which convolutions prefer; off, it
            is the plain network, to compare with.
        graphs: on a GPU, record what the network does for each shape of inputs and replay it; off,
            every operation is launched by itself.

    Raises:
        ValueError: half precision on the CPU.
    """

    def __init__(
        self,
        network: EngineNetwork,
        threads: int | None = None,
        device: str = "cpu",
        half: bool = False,
        channels_last: bool = True,
        graphs: bool = True,
    ) -> None:
        if half and device == "cpu":
            raise ValueError("half precision needs a GPU")
        threads = default_threads() if threads is None else threads
        torch.set_num_threads(threads)
        # (torch declares this overload of ``to`` for tensors only)
        module: Any = network.eval()
        if device != "cpu" and _as_loaded(network):
            fold_norms(network, [torch.zeros(port.sized(1)) for port in network.info.inputs])
        layout = torch.channels_last if channels_last else torch.preserve_format
        self._network: EngineNetwork = module.to(device, memory_format=layout)
        if half:
            # What autocast would make of them in every run, made once.
            for layer in network.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    layer.half()
        self._device = device
        self._half = half
        name = network.info.network
        self._graphs = CudaGraphs(self._forward, name) if graphs and device != "cpu" else None
        info = network.info
        self._inputs = tuple(_spec(port) for port in info.inputs)
        self._outputs = tuple(_spec(port) for port in info.outputs)
        precision = "fp16" if half else "fp32"
        self._metadata = {**info.metadata(), "dsvt.precision": precision}
        on_cpu = f"CPU, {thread_words(threads)}"
        where = on_cpu if device == "cpu" else torch.cuda.get_device_name(device)
        layout_name = ", channels last" if channels_last else ""
        self._provider = f"torch {torch.__version__}, {where}, {precision}{layout_name}"

    @classmethod
    def from_file(
        cls, path: Path, threads: int | None = None, device: str = "cpu", half: bool = False
    ) -> TorchBackend:
        """Reads a network file.

        Raises:
            UserError: the file is missing, damaged or not one of ours.
        """
        return cls(load_network(path), threads, device, half)

    @property
    def provider(self) -> str:
        """Engine, version, device and precision in one line; and CUDA graphs once in use."""
        replays = self._graphs is not None and self._graphs.in_use
        return f"{self._provider}, CUDA graphs" if replays else self._provider

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the file says of itself."""
        return self._metadata

    @property
    def device(self) -> str:
        """Where ``run_tensors`` takes and gives tensors."""
        return self._device

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
            # torch wants to be allowed to write, which read-only pictures do not allow
            name: torch.from_numpy(np.require(value, requirements=("C", "W"))).to(self._device)
            for name, value in inputs.items()
        }
        # On the CPU the arrays share the outputs' memory, which belongs to nobody else.
        return {name: value.cpu().numpy() for name, value in self.run_tensors(tensors).items()}

    @torch.inference_mode()
    def run_tensors(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs the network on tensors on ``device``.

        Raises:
            ValueError: an input is missing, unknown, or of the wrong type, shape or device.
        """
        check_tensors(self._inputs, inputs, self._device)
        ordered = [inputs[spec.name] for spec in self._inputs]
        results = self._forward(*ordered) if self._graphs is None else self._graphs(*ordered)
        return {spec.name: value for spec, value in zip(self._outputs, results, strict=True)}

    def warm_up(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Runs once on zeros of the given shapes."""
        self.run(zeros_for(self._inputs, shapes))

    def close(self) -> None:
        """Frees the network's memory on the GPU."""
        if self._graphs is not None:
            self._graphs.close()
        if self._device != "cpu":
            self._network.to("cpu")
            torch.cuda.empty_cache()

    def _forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        # A graph would go on reading what autocast's cache has long let go of.
        with (
            torch.autocast("cuda", torch.float16, enabled=self._half, cache_enabled=False),
            _fastest_convolutions(self._graphs is not None),
            without_tf32(),
        ):
            results = self._network(*inputs)
        return tuple(value.float().contiguous() for value in results)


@contextmanager
def _fastest_convolutions(wanted: bool) -> Iterator[None]:
    """Lets cuDNN time its kernels for each shape, once; a recorded graph keeps the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or wanted
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _as_loaded(network: EngineNetwork) -> bool:
    """Whether a network is on the CPU and in single precision, not another back end's already."""
    return all(
        value.device.type == "cpu" and value.dtype == torch.float32
        for value in network.parameters()
    )


def _spec(port: Port) -> TensorSpec:
    shape = tuple(None if size < 0 else size for size in port.shape)
    return TensorSpec(port.name, shape, np.dtype(np.float32))
