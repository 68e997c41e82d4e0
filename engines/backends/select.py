"""Chooses the engine for a network: the one asked for, or the best one present."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from engines.backends.base import DescribedBackend
from engines.backends.device import find_gpu, tensorrt_obstacle, torch_cuda_version
from engines.backends.onnxruntime_backend import OnnxRuntimeBackend, available_providers
from engines.errors import UserError
from engines.model_files import Precision, check_shipped, export_of

EngineName = Literal["auto", "onnxruntime", "torch", "tensorrt"]

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
            torch on the GPU, else ONNX Runtime on the CPU. Which one it is stands in ``provider``.
        threads: CPU threads within an operator; None takes the cores of this process.
        precision: of the inside on a GPU (with TensorRT and ONNX Runtime where ``python -m
            tools.build_engines`` has made the half-precision export); a CPU always runs single
            precision.

    Raises:
        UserError: the file cannot be loaded, or the engine asked for is missing.
    """
    if engine == "torch":
        return _open_torch(path, threads, half=precision == "fp16")
    onnx = _beside(path, ".onnx")
    if engine == "tensorrt":
        from engines.backends.tensorrt_backend import TensorRtBackend

        return TensorRtBackend(export_of(onnx, precision))
    if engine == "auto":
        missing = tensorrt_obstacle()
        if missing is None:
            missing = "no engine has been built for this network: run python -m tools.build_engines"
            try:
                built = _built_engine(export_of(onnx, precision))
            except UserError as error:  # e.g. TensorRT's libraries do not load
                built, missing = None, str(error)
            if built is not None:
                return built
        _log.info("%s: not on TensorRT (%s)", path.name, missing)
        if find_gpu() is not None:
            on_gpu = _without_tensorrt(path, onnx, threads, precision)
            if on_gpu is not None:
                return on_gpu
    elif engine != "onnxruntime":
        raise UserError(f"unknown engine '{engine}' (known: auto, onnxruntime, torch, tensorrt)")
    return OnnxRuntimeBackend(onnx, threads)


def _built_engine(onnx: Path) -> DescribedBackend | None:
    from engines.backends.tensorrt_backend import TensorRtBackend

    return TensorRtBackend.if_built(onnx)


def _without_tensorrt(
    path: Path, onnx: Path, threads: int | None, precision: Precision
) -> DescribedBackend | None:
    """The best engine on the GPU besides TensorRT; None where there is none."""
    present = available_providers()
    for provider in ("cuda", "tensorrt_rtx"):
        if provider in present:
            half = export_of(onnx, precision)
            return OnnxRuntimeBackend(half if half.is_file() else onnx, threads, provider)
    if torch_cuda_version() is not None and _beside(path, ".safetensors").is_file():
        return _open_torch(path, threads, half=precision == "fp16")
    return None


def _open_torch(path: Path, threads: int | None, half: bool = False) -> DescribedBackend:
    network = _beside(path, ".safetensors")
    if not network.is_file():
        raise UserError(
            f"engine 'torch' needs {network}, which is not there: "
            "use engine onnxruntime, or import the weights with python -m tools.weights import"
        )
    from engines.backends.torch_backend import TorchBackend

    if _describes_torch_file(network.with_suffix(".json")):
        check_shipped(network)
    device = "cuda:0" if find_gpu() is not None and torch_cuda_version() is not None else "cpu"
    return TorchBackend.from_file(network, threads, device, half and device != "cpu")


def _describes_torch_file(card: Path) -> bool:
    """Whether a description beside a network says what its torch file must be."""
    try:
        return "sha256_safetensors" in card.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def _beside(path: Path, suffix: str) -> Path:
    """The same network in the other format."""
    return path.with_suffix(suffix) if path.suffix in (".onnx", ".safetensors") else path
