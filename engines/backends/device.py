"""Which GPU there is, asked of the driver alone.

Nothing heavier is touched to find out: without a driver TensorRT's runtime can crash the process,
and importing torch takes seconds.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

_CAPABILITY_MAJOR: Final = 75
_CAPABILITY_MINOR: Final = 76


@dataclass(frozen=True, slots=True)
class Gpu:
    """The first NVIDIA GPU.

    Attributes:
        name: as the driver gives it.
        capability: compute capability, e.g. (8, 9).
        memory_bytes: of the whole card.
        driver_cuda: newest CUDA that the driver runs, e.g. (12, 8).
    """

    name: str
    capability: tuple[int, int]
    memory_bytes: int
    driver_cuda: tuple[int, int]


@cache
def find_gpu() -> Gpu | None:
    """The first NVIDIA GPU that this process may use, or None."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return None
    try:
        count = ctypes.c_int()
        device = ctypes.c_int()
        if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
            return None
        if cuda.cuDeviceGet(ctypes.byref(device), 0):
            return None
        name = ctypes.create_string_buffer(256)
        major, minor, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        memory = ctypes.c_size_t()
        failed = (
            cuda.cuDeviceGetName(name, 256, device)
            or cuda.cuDeviceGetAttribute(ctypes.byref(major), _CAPABILITY_MAJOR, device)
            or cuda.cuDeviceGetAttribute(ctypes.byref(minor), _CAPABILITY_MINOR, device)
            or cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
            or cuda.cuDriverGetVersion(ctypes.byref(version))
        )
    except AttributeError:  # a library of that name without the driver's functions
        return None
    if failed:
        return None
    return Gpu(
        name=name.value.decode(errors="replace"),
        capability=(major.value, minor.value),
        memory_bytes=memory.value,
        driver_cuda=(version.value // 1000, version.value % 1000 // 10),
    )


TensorRtModule = Literal["tensorrt", "tensorrt_rtx"]


@dataclass(frozen=True, slots=True)
class TensorRtPackage:
    """An installed TensorRT.

    Attributes:
        module: what to import: the full TensorRT, or TensorRT for RTX, which has the same
            interface, comes from PyPI alone, and compiles its kernels when an engine first runs.
        title: its name.
        version: exact.
    """

    module: TensorRtModule
    title: str
    version: str


_TENSORRT_TITLES: Final[dict[TensorRtModule, str]] = {
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT for RTX",
}
"""In the order of preference: the full one times its kernels and so finds faster ones."""


def find_tensorrt() -> TensorRtPackage | None:
    """The installed TensorRT, or None; it is not imported to find out."""
    for module, title in _TENSORRT_TITLES.items():
        if importlib.util.find_spec(module) is None:
            continue
        name = module.replace("_", "-")
        for distribution in (name, f"{name}-cu13", f"{name}-cu12"):
            try:
                return TensorRtPackage(module, title, importlib.metadata.version(distribution))
            except importlib.metadata.PackageNotFoundError:
                continue
    return None


def torch_cuda_version() -> str | None:
    """The CUDA version that the installed torch was built with; None for a CPU build."""
    if importlib.util.find_spec("torch") is None:
        return None
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
    if version.endswith("+cpu"):
        return None
    import torch

    return torch.version.cuda


def _runs_rtx(gpu: Gpu) -> bool:
    """Whether TensorRT for RTX has code for a card, as of 1.7: not for Hopper's 9.0, say."""
    return gpu.capability in ((7, 5), (8, 0), (8, 6), (8, 9)) or gpu.capability >= (12, 0)


def tensorrt_obstacle() -> str | None:
    """Why TensorRT cannot run here, in a few words; None where it can.

    Nothing of TensorRT is loaded to find out.
    """
    gpu, package = find_gpu(), find_tensorrt()
    if gpu is None:
        return "no NVIDIA GPU"
    if package is None:
        return "neither tensorrt nor tensorrt-rtx is installed"
    if package.module == "tensorrt_rtx" and not _runs_rtx(gpu):
        major, minor = gpu.capability
        return (
            f"TensorRT for RTX does not run on {gpu.name} (compute capability {major}.{minor}); "
            "the full TensorRT does"
        )
    if torch_cuda_version() is None:
        return "torch is a build without CUDA"
    return None
