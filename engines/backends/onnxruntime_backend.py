"""ONNX Runtime: the engine of machines without a GPU, and of GPUs without TensorRT."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import onnxruntime

from engines.backends.base import Array, TensorSpec
from engines.backends.device import find_gpu, torch_obstacle
from engines.backends.validation import (
    check_inputs,
    check_tensors,
    default_threads,
    thread_words,
    zeros_for,
)
from engines.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Provider = Literal["cpu", "cuda", "tensorrt", "tensorrt_rtx"]

_PROVIDER_NAMES: Final[dict[Provider, str]] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_PLUGIN_PACKAGE: Final = "onnxruntime_ep_nv_tensorrt_rtx"
_PROVIDER_TITLES: Final[dict[Provider, str]] = {
    "cpu": "CPU",
    "cuda": "CUDA",
    "tensorrt": "TensorRT provider",
    "tensorrt_rtx": "TensorRT for RTX provider",
}
_log = logging.getLogger(__name__)

_NUMPY_TYPES: Final[dict[str, type[np.generic]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


def available_providers() -> tuple[Provider, ...]:
    """The providers that the installed ONNX Runtime can use here."""
    built_in = onnxruntime.get_available_providers()
    present: list[Provider] = [short for short, name in _PROVIDER_NAMES.items() if name in built_in]
    if _plugin_devices():
        present.append("tensorrt_rtx")
    return tuple(present)


@cache
def _plugin_devices() -> tuple[Any, ...]:
    """The GPUs of the plug-in provider "TensorRT for RTX"; it is registered on the first call."""
    if find_gpu() is None or importlib.util.find_spec(_PLUGIN_PACKAGE) is None:
        return ()
    try:
        plugin = importlib.import_module(_PLUGIN_PACKAGE)
        name = plugin.get_ep_name()
        onnxruntime.register_execution_provider_library(name, plugin.get_library_path())
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        _log.warning("the provider TensorRT for RTX does not load: %s", error)
        return ()
    return tuple(device for device in onnxruntime.get_ep_devices() if device.ep_name == name)


class OnnxRuntimeBackend:
    """Runs one ONNX file with ONNX Runtime.

    Args:
        path: the ``.onnx`` file.
        threads: threads within an operator on the CPU; None takes the cores of this process.
        provider: where it runs. The one asked for is the one used: when it cannot be had, that is
            an error and not a reason for another.

    Raises:
        UserError: the file is missing, unreadable or no ONNX model, or the provider is absent.
    """

    def __init__(self, path: Path, threads: int | None = None, provider: Provider = "cpu") -> None:
        threads = default_threads() if threads is None else threads
        if threads < 1:
            raise UserError(f"ONNX Runtime threads must be at least 1, not {threads}")
        self._path = path
        self._session = _open_session(path, threads, provider)
        self._inputs = tuple(_spec(path, node) for node in self._session.get_inputs())
        self._outputs = tuple(_spec(path, node) for node in self._session.get_outputs())
        self._output_names = [spec.name for spec in self._outputs]
        # Tensors on the GPU are torch's: without its CUDA build the arrays go up in every run.
        on_gpu = provider == "cuda" and torch_obstacle() is None
        self._device = "cuda:0" if on_gpu else "cpu"
        self._metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        precision = self._metadata.get("dsvt.precision", "fp32")
        on_cpu = f"CPU, {thread_words(threads)}"
        where = on_cpu if provider == "cpu" else _PROVIDER_TITLES[provider]
        self._provider = f"ONNX Runtime {onnxruntime.__version__}, {where}, {precision}"

    @property
    def provider(self) -> str:
        """Engine, version, device and precision in one line."""
        return self._provider

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs in the network's order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs in the network's order."""
        return self._outputs

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the file says of itself."""
        return self._metadata

    @property
    def device(self) -> str:
        """Where ``run_tensors`` takes and gives tensors.

        The GPU with the CUDA provider where torch can use it, too; all others take host memory.
        """
        return self._device

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the network on host arrays.

        Args:
            inputs: every input by name, of the declared type and shape.

        Returns:
            Every output by name; the arrays belong to the caller.

        Raises:
            ValueError: an input is missing, unknown, or of the wrong type or shape.
        """
        check_inputs(self._inputs, inputs)
        results = self._session.run(self._output_names, dict(inputs))
        return dict(zip(self._output_names, results, strict=True))

    def run_tensors(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs the network on tensors on ``device``; see ``DescribedBackend``.

        Raises:
            ValueError: an input is missing, unknown, or of the wrong type, shape or device.
        """
        import torch

        check_tensors(self._inputs, inputs, self._device)
        if self._device == "cpu":
            results = self._session.run(
                self._output_names, {name: value.numpy() for name, value in inputs.items()}
            )
            return {
                name: torch.from_numpy(value)
                for name, value in zip(self._output_names, results, strict=True)
            }
        return self._run_bound(inputs)

    def _run_bound(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Runs on CUDA tensors in place, without a copy over the bus."""
        import torch

        binding = self._session.io_binding()
        sizes = {  # the free dimensions by name; outputs use the same names
            name: size
            for node in self._session.get_inputs()
            for name, size in zip(node.shape, inputs[node.name].shape, strict=True)
            if isinstance(name, str)
        }
        # The binding knows addresses alone: what lies there must live until the run has ended.
        kept = [inputs[spec.name].contiguous() for spec in self._inputs]
        for spec, value in zip(self._inputs, kept, strict=True):
            binding.bind_input(
                spec.name, "cuda", 0, spec.dtype.type, tuple(value.shape), value.data_ptr()
            )
        outputs: dict[str, Tensor] = {}
        for spec, node in zip(self._outputs, self._session.get_outputs(), strict=True):
            shape = tuple(s if isinstance(s, int) else sizes[s] for s in node.shape)
            kind = getattr(torch, str(spec.dtype))
            outputs[spec.name] = torch.empty(shape, dtype=kind, device=self._device)
            binding.bind_output(
                spec.name, "cuda", 0, spec.dtype.type, shape, outputs[spec.name].data_ptr()
            )
        # ONNX Runtime works on a stream of its own.
        torch.cuda.current_stream().synchronize()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return outputs

    def warm_up(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Runs once on zeros of the given shapes."""
        self.run(zeros_for(self._inputs, shapes))

    def close(self) -> None:
        """Frees the session; the back end cannot run afterwards."""
        self._session = None


def _open_session(path: Path, threads: int, provider: Provider) -> Any:
    if not path.is_file():
        raise UserError(f"network not found: {path} (check the path, or fetch or export it first)")
    if provider not in available_providers():
        raise UserError(
            f"ONNX Runtime {onnxruntime.__version__} here has no {_PROVIDER_TITLES[provider]}: "
            "requirements-gpu.txt says how to install it; or choose another engine"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The cores are shared with captures and the viewer: a pool that spins between two runs takes
    # from them, and loses several times its own speed when the cores are busy.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Not session.set_denormal_as_zero: it changes the caller's thread for the rest of the process
    # (nothing below 2.2e-308 exists any more, and 0 passes as greater than 0), and gains nothing.
    options.log_severity_level = 3
    try:
        if provider == "tensorrt_rtx":  # a plug-in provider: chosen by device, not by name
            name = str(_plugin_devices()[0].ep_name)
            options.add_provider_for_devices(list(_plugin_devices()[:1]), {})
            session = onnxruntime.InferenceSession(path, sess_options=options)
        else:
            name = _PROVIDER_NAMES[provider]
            if provider != "cpu":  # CUDA's libraries lie in packages, where nothing looks for them
                onnxruntime.preload_dlls()
            # Single precision means single precision, as with the other engines.
            exact = {"use_tf32": "0"} if provider == "cuda" else {}
            session = onnxruntime.InferenceSession(
                path, sess_options=options, providers=[(name, exact)]
            )
    except Exception as error:  # ONNX Runtime's exceptions share no base class
        reason = " ".join(str(error).split())
        raise UserError(f"ONNX Runtime cannot load {path}: {reason[:300]}") from error
    # When a provider's libraries fail to load, ONNX Runtime goes on with the CPU and only logs it.
    if name not in session.get_providers():
        raise UserError(
            f"ONNX Runtime could not start its {_PROVIDER_TITLES[provider]} for {path}: "
            "its libraries do not load; run 'python -m tools.doctor'"
        )
    return session


def _spec(path: Path, node: Any) -> TensorSpec:
    if node.type not in _NUMPY_TYPES:
        raise UserError(f"{path}: '{node.name}' is of type {node.type}, which is not supported")
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(node.name, shape, np.dtype(_NUMPY_TYPES[node.type]))
