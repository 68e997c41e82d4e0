"""Chooses the engine for a network: the one asked for, or the best one present."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, Literal

from engines.backends.base import DescribedBackend
from engines.backends.device import (
    find_gpu,
    tensorrt_obstacle,
    torch_cuda_version,
    torch_obstacle,
)
from engines.backends.onnxruntime_backend import OnnxRuntimeBackend, Provider, available_providers
from engines.errors import UserError
from engines.model_files import Precision, check_shipped, export_of

EngineName = Literal["auto", "onnxruntime", "torch", "tensorrt"]

_ON_GPU: Final[tuple[Provider, ...]] = ("cuda", "tensorrt_rtx")
"""ONNX Runtime's providers that ``auto`` takes, in its order."""

_NOT_BUILT: Final = "no engine has been built for this network: run python -m tools.build_engines"

_log = logging.getLogger(__name__)


def open_backend(
    path: Path,
    engine: EngineName = "auto",
    threads: int | None = None,
    precision: Precision = "fp32",
) -> DescribedBackend:
    """Opens a network on an engine.

    A network is an ``.onnx`` file or a ``.safetensors`` file of the same stem beside it: torch runs
    the second, the other engines the first; either name may be given.

    Args:
        path: the network.
        engine: the engine that must run it, or ``auto`` for the best one present: TensorRT where
            an engine has been built for this network and GPU, else ONNX Runtime on the GPU, else
            torch on the GPU, else ONNX Runtime on the CPU. One that is there but fails is told and
            passed over. Which one it is stands in ``provider``.
        threads: CPU threads within an operator; None takes the cores of this process.
        precision: of the inside on a GPU (with TensorRT and ONNX Runtime where ``python -m
            tools.build_engines`` has made the half-precision export); a CPU always runs single
            precision.

    Raises:
        UserError: the file cannot be loaded, or the engine asked for is missing.
    """
    if engine == "auto":
        return _open_best(path, threads, precision)
    if engine == "torch":
        return _open_torch(path, threads, precision)
    if engine == "tensorrt":
        from engines.backends.tensorrt_backend import TensorRtBackend

        return TensorRtBackend(export_of(_beside(path, ".onnx"), precision))
    if engine != "onnxruntime":
        raise UserError(f"unknown engine '{engine}' (known: auto, onnxruntime, torch, tensorrt)")
    return OnnxRuntimeBackend(_beside(path, ".onnx"), threads)


def _open_best(path: Path, threads: int | None, precision: Precision) -> DescribedBackend:
    """The first engine in the order of ``auto`` that opens the network.

    One that is there and fails is told, and the next is tried: who asks for ``auto`` wants a run.

    Raises:
        UserError: none opens it; what the last one said.
    """
    last: UserError | None = None
    for title, open_it in _candidates(path, threads, precision):
        if last is not None:
            _log.warning("%s: %s; trying %s", path.name, last, title)
        try:
            backend = open_it()
        except UserError as error:
            last = error
            continue
        if backend is not None:
            return backend
        _log.info("%s: not on %s (%s)", path.name, title, _NOT_BUILT)
        last = None
    assert last is not None  # the last candidate either opens or says why not
    raise last


Opener = Callable[[], DescribedBackend | None]
"""Opens an engine; gives None where there is nothing of it to be opened."""


def _candidates(
    path: Path, threads: int | None, precision: Precision
) -> Iterator[tuple[str, Opener]]:
    """The engines that may run a network here, best first, each with its name."""
    onnx = _beside(path, ".onnx")
    if find_gpu() is not None:
        without_torch = torch_obstacle()
        missing = tensorrt_obstacle() or without_torch  # torch holds what TensorRT reads
        if missing is not None:
            _log.info("%s: not on TensorRT (%s)", path.name, missing)
        if onnx.is_file():
            if missing is None:
                yield "TensorRT", lambda: _built_engine(export_of(onnx, precision))
            present = available_providers()
            for provider in _ON_GPU:
                if provider in present:
                    yield (
                        f"ONNX Runtime's provider {provider}",
                        partial(_open_onnx_on_gpu, onnx, threads, precision, provider),
                    )
        if without_torch is not None:
            _log.info("%s: not on torch (%s)", path.name, without_torch)
        elif _beside(path, ".safetensors").is_file():
            yield "torch", lambda: _open_torch(path, threads, precision)
    yield "ONNX Runtime on the CPU", lambda: OnnxRuntimeBackend(onnx, threads)


def _built_engine(onnx: Path) -> DescribedBackend | None:
    from engines.backends.tensorrt_backend import TensorRtBackend

    return TensorRtBackend.if_built(onnx)


def _open_onnx_on_gpu(
    onnx: Path, threads: int | None, precision: Precision, provider: Provider
) -> DescribedBackend:
    exported = export_of(onnx, precision)
    return OnnxRuntimeBackend(exported if exported.is_file() else onnx, threads, provider)


def _open_torch(path: Path, threads: int | None, precision: Precision) -> DescribedBackend:
    """The network on torch: on the GPU where there is one that torch was built for.

    Raises:
        UserError: the network is not there or is not as described, or torch is for GPUs and does
            not run on the one that is here, which is no reason for the CPU.
    """
    network = _beside(path, ".safetensors")
    if not network.is_file():
        raise UserError(
            f"engine 'torch' needs {network}, which is not there: "
            "use engine onnxruntime, or import the weights with python -m tools.weights import"
        )
    from engines.backends.torch_backend import TorchBackend

    if _describes_torch_file(network.with_suffix(".json")):
        check_shipped(network)
    if find_gpu() is None or torch_cuda_version() is None:
        return TorchBackend.from_file(network, threads)
    obstacle = torch_obstacle()
    if obstacle is not None:
        raise UserError(
            f"engine 'torch' cannot run here: {obstacle}; "
            "install another driver or build of torch, or use engine auto"
        )
    return TorchBackend.from_file(network, threads, "cuda:0", precision == "fp16")


def _describes_torch_file(card: Path) -> bool:
    """Whether a description beside a network says what its torch file must be."""
    try:
        return "sha256_safetensors" in card.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _beside(path: Path, suffix: str) -> Path:
    """The same network in the other format."""
    return path.with_suffix(suffix) if path.suffix in (".onnx", ".safetensors") else path
