"""Which GPU there is, asked of the driver alone.

Nothing heavier is touched to find out: without a driver TensorRT's runtime can crash the process,
and importing torch takes seconds.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable
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


def torch_obstacle() -> str | None:
    """Why torch cannot run on the GPU here, in a few words; None where it can.

    Besides what can be compared, one small kernel is run: what else is wrong shows there, and not
    only in the middle of a network.
    """
    gpu, cuda = find_gpu(), torch_cuda_version()
    if gpu is None:
        return "no NVIDIA GPU"
    if cuda is None:
        return "torch is a build without CUDA"
    # Within a major version an older driver runs what a newer CUDA has built.
    if int(cuda.partition(".")[0]) > gpu.driver_cuda[0]:
        newest = ".".join(map(str, gpu.driver_cuda))
        return f"torch is built with CUDA {cuda}, and the driver runs CUDA {newest} at most"
    import torch

    if not torch.cuda.is_available():
        return "torch finds no GPU that it can use"
    built = torch.cuda.get_arch_list()
    if built and not has_kernels_for(gpu.capability, built):
        major, minor = gpu.capability
        return (
            f"torch has no kernels for {gpu.name} (compute capability {major}.{minor}), only for "
            f"{', '.join(built)}"
        )
    try:
        works = float((torch.ones(8, device="cuda:0") * 2).sum()) == 16
    except RuntimeError as error:  # what CUDA says takes many lines
        return f"torch cannot compute on {gpu.name}: {' '.join(str(error).split())[:200]}"
    return None if works else f"torch computes nonsense on {gpu.name}"


def has_kernels_for(capability: tuple[int, int], built: Iterable[str]) -> bool:
    """Whether a GPU runs what a library was built for.

    Args:
        capability: compute capability of the GPU.
        built: as torch lists it: ``sm_86`` is code for 8.6 and what comes after within 8, with an
            ``a`` behind it for exactly that; ``compute_86`` is compiled for 8.6 and all after it
            when it first runs. An ``f`` behind either keeps it within the major version.
    """
    for name in built:
        parts = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name)
        if parts is None:
            continue
        code, only = parts[1], parts[4]
        target = (int(parts[2]), int(parts[3]))
        if only == "a":
            fits = capability == target
        elif code == "sm" or only == "f":
            fits = capability[0] == target[0] and capability >= target
        else:
            fits = capability >= target
        if fits:
            return True
    return False


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
