"""What building and running TensorRT engines share: loading it safely, its key, its log."""

from __future__ import annotations

import hashlib
import importlib
import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from engines.backends.device import find_gpu, find_tensorrt, tensorrt_obstacle
from engines.backends.tensorrt_cache import EngineKey
from engines.errors import UserError
from engines.networks.engine_network import MAX_VIEWS, USUAL_VIEWS

STATIC_PROFILE: Final = 0
"""Profile for exactly the usual number of views: the fastest kernels."""

DYNAMIC_PROFILE: Final = 1
"""Profile for any number from 1 to 8."""

_log = logging.getLogger(__name__)


def load_tensorrt() -> Any:
    """Imports TensorRT, or TensorRT for RTX, whose names are the same.

    Only where there is a GPU: the runtime can crash without one.

    Raises:
        UserError: there is no GPU, or TensorRT or torch's CUDA build is missing or does not load.
    """
    obstacle = tensorrt_obstacle()
    if obstacle is not None:
        raise UserError(
            f"engine 'tensorrt' cannot run here: {obstacle}; "
            "install requirements-gpu.txt on a machine with a GPU, or use engine auto"
        )
    package = find_tensorrt()
    assert package is not None  # or there were an obstacle
    try:
        return importlib.import_module(package.module)
    except ImportError as error:
        raise UserError(f"{package.title} is installed but does not load: {error}") from error


def engine_key(onnx: bytes, precision: str) -> EngineKey:
    """The key of a network's engine on this machine; there must be a GPU and TensorRT."""
    gpu = find_gpu()
    package = find_tensorrt()
    assert gpu is not None and package is not None
    return EngineKey(
        onnx_sha256=hashlib.sha256(onnx).hexdigest(),
        tensorrt=f"{package.module} {package.version}",
        gpu=gpu.name,
        capability=f"{gpu.capability[0]}.{gpu.capability[1]}",
        platform=f"{platform.system()} {platform.machine()}",
        views=f"{USUAL_VIEWS};1-{USUAL_VIEWS}-{MAX_VIEWS}",
        precision=precision,
    )


def read_network(path: Path) -> tuple[bytes, Mapping[str, str]]:
    """Reads an ONNX file and what it says of itself.

    Raises:
        UserError: it is missing or no ONNX file.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise UserError(f"{path} is no ONNX file") from error
    return content, {pair.key: pair.value for pair in model.metadata_props}


def make_logger(trt: Any) -> Any:
    """TensorRT's messages from warnings upwards, into Python's logging."""
    levels = {
        trt.ILogger.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.ERROR: logging.ERROR,
        trt.ILogger.WARNING: logging.WARNING,
        trt.ILogger.INFO: logging.DEBUG,
        trt.ILogger.VERBOSE: logging.DEBUG,
    }

    class PythonLogger(trt.ILogger):  # type: ignore[misc]  # its type is unknown
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            _log.log(levels.get(severity, logging.DEBUG), "TensorRT: %s", message)

    return PythonLogger()
