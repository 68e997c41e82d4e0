"""The checks of ``python -m tools.doctor``, in the order of its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from tools.doctor_finding import Finding
from tools.doctor_machine import (
    check_cameras,
    check_disk,
    check_display,
    check_gpu,
    check_processor,
    check_shared_memory,
)
from tools.doctor_software import (
    check_libraries,
    check_onnxruntime,
    check_packages,
    check_python,
    check_tensorrt,
    check_torch,
    check_weights,
)

CHECKS: Final[Sequence[Callable[[], Finding]]] = (
    check_python,
    check_packages,
    check_libraries,
    check_processor,
    check_gpu,
    check_onnxruntime,
    check_tensorrt,
    check_torch,
    check_weights,
    check_cameras,
    check_display,
    check_shared_memory,
    check_disk,
)


def examine(check: Callable[[], Finding]) -> Finding:
    """Runs a check; where it cannot run for lack of a package, that is its finding."""
    try:
        return check()
    except ImportError as error:
        area = check.__name__.removeprefix("check_").replace("_", " ")
        package = error.name or "a package"
        return Finding(
            area,
            "broken",
            f"{package} does not load",
            "run python -m pip install -r requirements.txt",
        )
