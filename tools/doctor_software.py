"""The checks of ``python -m tools.doctor`` that look at what is installed.

What a check needs is imported within it: where a package is missing, the other checks still run.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engines.backends.device import (
    find_gpu,
    find_tensorrt,
    tensorrt_obstacle,
    torch_cuda_version,
    torch_obstacle,
)
from engines.errors import UserError
from tools.doctor_finding import Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_REPOSITORY: Final = Path(__file__).resolve().parents[1]
_PYTHONS: Final = ((3, 10), (3, 12))
_STAND_INS: Final = {"onnxruntime": ("onnxruntime-gpu",)}
"""What is as good as a package that is asked for (requirements-gpu.txt)."""
_LIBRARIES: Final = {
    "libusb-1.0.so.0": "libusb-1.0-0",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libX11.so.6": "libx11-6",
    "libgomp.so.1": "libgomp1",
}


def check_python() -> Finding:
    """The Python version."""
    found = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    found += " in an environment of its own" if sys.prefix != sys.base_prefix else ""
    if _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return Finding("Python", "good", found)
    return Finding("Python", "broken", found, "3.10, 3.11 or 3.12 is needed (Open3D has no other)")


def check_packages(requirements: Path = _REPOSITORY / "requirements.txt") -> Finding:
    """The packages of requirements.txt."""
    wanted = _requirements(requirements)
    wrong: list[str] = []
    for requirement in wanted:
        version = _version_of(requirement.name, *_STAND_INS.get(requirement.name, ()))
        if version is None:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    if not wrong:
        return Finding("Packages", "good", f"all {len(wanted)} of {requirements.name}")
    return Finding(
        "Packages", "broken", "; ".join(wrong), f"run python -m pip install -r {requirements.name}"
    )


def _version_of(*names: str) -> str | None:
    """Of the first of some packages that is installed."""
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return None


def check_libraries() -> Finding:
    """The system libraries that Open3D and OpenCV load (Linux)."""
    if sys.platform != "linux":
        return Finding("Libraries", "good", "not needed on this system")
    missing = [package for library, package in _LIBRARIES.items() if not _loads(library)]
    if not missing:
        return Finding("Libraries", "good", "what Open3D and OpenCV load from the system")
    packages = " ".join(missing)
    return Finding(
        "Libraries",
        "broken",
        f"{packages} not found",
        f"the viewer cannot start; run sudo apt-get install {packages}",
    )


def check_onnxruntime() -> Finding:
    """ONNX Runtime and its providers."""
    from engines.backends.onnxruntime_backend import available_providers

    version = _version("onnxruntime") or _version("onnxruntime-gpu")
    found = f"{version}, providers: {', '.join(available_providers())}"
    if find_gpu() is not None and available_providers() == ("cpu",):
        cost = "without TensorRT the GPU stands idle; see requirements-gpu.txt"
        return Finding("ONNX Runtime", "lacking", found, cost)
    return Finding("ONNX Runtime", "good", found)


def check_tensorrt() -> Finding:
    """TensorRT, which is not loaded for it."""
    obstacle = tensorrt_obstacle()
    if obstacle is None:
        from engines.backends.tensorrt_cache import engine_folder

        count = len(list(engine_folder().glob("*.engine")))
        package = find_tensorrt()
        assert package is not None  # or there were an obstacle
        found = f"{package.title} {package.version}, {count} engines built"
        if count:
            return Finding("TensorRT", "good", found)
        return Finding("TensorRT", "lacking", found, "run python -m tools.build_engines --config …")
    costs = {
        "no NVIDIA GPU": "nothing lost: it runs on GPUs only",
        "neither tensorrt nor tensorrt-rtx is installed": (
            "the GPU runs several times slower; run python -m pip install -r requirements-gpu.txt"
        ),
    }
    advice = costs.get(obstacle, "run python -m pip install -r requirements-gpu.txt")
    return Finding("TensorRT", "lacking", f"cannot run ({obstacle})", advice)


def check_torch() -> Finding:
    """The torch build: for the CPU or for CUDA."""
    version = _version("torch")
    if version is None:
        return Finding("torch", "broken", "not installed", "no training, no import, no export")
    cuda = torch_cuda_version()
    if cuda is not None:
        found = f"{version}, CUDA {cuda}"
        obstacle = torch_obstacle() if find_gpu() is not None else None
        if obstacle is None:
            return Finding("torch", "good", found)
        advice = "nothing of torch runs on the GPU: another driver, or another build of torch"
        return Finding("torch", "lacking", f"{found}; {obstacle}", advice)
    if find_gpu() is None:
        return Finding("torch", "good", f"{version}, for the CPU")
    return Finding(
        "torch", "lacking", f"{version}, for the CPU", "TensorRT needs the CUDA build beside it"
    )


def check_weights() -> Finding:
    """Which networks are ready."""
    from tools.weights_registry import condition, read_registry

    states = {name: condition(name, entry).state for name, entry in read_registry().items()}
    ready = [name for name, state in states.items() if state == "ready"]
    found = f"ready: {', '.join(ready) or 'none'}"
    costs: list[str] = []
    missing = [name for name, state in states.items() if state == "missing"]
    bad = [name for name, state in states.items() if state == "damaged"]
    bad += [name for name in missing if name == "lifter"]  # nothing runs without it
    if bad:
        verify = f"python -m tools.weights verify {' '.join(bad)}"
        costs.append(f"{', '.join(bad)} damaged or missing, see {verify}")
    if set(missing) - set(bad):
        names = ", ".join(name for name in missing if name not in bad)
        costs.append(f"{names} not in this checkout: yolo_cpn needs networks named for it")
    if any(state == "fetch it" and name.startswith("blazepose") for name, state in states.items()):
        costs.append("the first run with blazepose fetches it, so it needs a network")
    if costs:
        return Finding("Weights", "broken" if bad else "lacking", found, "; ".join(costs))
    return Finding("Weights", "good", found)


def _requirements(path: Path) -> list[Requirement]:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    wanted: list[Requirement] = []
    for line in lines:
        text = line.split("#", 1)[0].strip()
        if not text or text.startswith("-"):
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise UserError(f"{path}: '{text}' is no requirement") from error
        if requirement.marker is None or requirement.marker.evaluate():
            wanted.append(requirement)
    return wanted


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
