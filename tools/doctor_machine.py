"""The checks of ``python -m tools.doctor`` that look at the machine.

What a check needs is imported within it: where a package is missing, the other checks still run.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from engines.backends.device import find_gpu
from tools.doctor_finding import Finding

_SHARED_MEMORY_MB: Final = 64
_DISK_GB: Final = 2.0


def check_processor() -> Finding:
    """Cores and memory."""
    import psutil

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    found = f"{cores} cores, {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GB free"
    if memory.available < 2 * 2**30:
        return Finding("Processor", "lacking", found, "under 2 GB the processes may be ended")
    return Finding("Processor", "good", found)


def check_gpu() -> Finding:
    """The GPU and its driver."""
    gpu = find_gpu()
    if gpu is None:
        return Finding(
            "GPU", "lacking", "no NVIDIA GPU", "networks run on the CPU: use the light ones"
        )
    version = f"{gpu.driver_cuda[0]}.{gpu.driver_cuda[1]}"
    found = f"{gpu.name}, {gpu.memory_bytes / 2**30:.0f} GB, driver for CUDA {version}"
    if gpu.driver_cuda[0] < 13:
        return Finding(
            "GPU", "lacking", found, "requirements-gpu.txt brings CUDA 13: renew the driver"
        )
    return Finding("GPU", "good", found)


def check_cameras() -> Finding:
    """Cameras and the right to use them."""
    if sys.platform != "linux":
        return Finding("Cameras", "good", "see python -m tools.cameras")
    from capture.v4l2 import find_devices

    devices = find_devices()
    usable = [device for device in devices if not device.problem]
    problems = [f"{device.path}: {device.problem}" for device in devices if device.problem]
    if problems:
        return Finding("Cameras", "lacking", f"{len(usable)} usable", "; ".join(problems))
    if not usable:
        cost = "only files, streams and the demo; plug cameras in, or pass --device /dev/video0"
        return Finding("Cameras", "lacking", "none", cost)
    return Finding("Cameras", "good", ", ".join(device.name for device in usable))


def check_display() -> Finding:
    """A screen for the viewer."""
    from app.display import has_display

    if has_display():
        name = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or "the system's own"
        return Finding("Display", "good", name)
    cost = "no window: demo and replay make a video, live does with --video FILE"
    return Finding("Display", "lacking", "none", cost)


def check_shared_memory(folder: Path = Path("/dev/shm")) -> Finding:
    """Shared memory, where pictures and torch's workers pass data."""
    if not folder.is_dir():
        return Finding("Shared memory", "good", "managed by this system")
    free = shutil.disk_usage(folder).free / 2**20
    if free < _SHARED_MEMORY_MB:
        cost = "training workers may fail; in Docker add --shm-size=1g"
        return Finding("Shared memory", "lacking", f"{free:.0f} MB free", cost)
    return Finding("Shared memory", "good", f"{free:.0f} MB free")


def check_disk(folder: Path | None = None) -> Finding:
    """Room for recordings and for weights, and the right to write there."""
    from engines.weights_cache import cache_folder

    here = folder or Path.cwd()
    kept = _existing(cache_folder())
    for place, purpose in ((here, "recordings"), (kept, "weights")):
        if not os.access(place, os.W_OK):
            cost = f"no {purpose} can be kept; set DSVT_CACHE or change the folder's rights"
            return Finding("Disk", "broken", f"{place} cannot be written", cost)
    rooms = [(place, shutil.disk_usage(place).free / 2**30) for place in (here, kept)]
    found = ", ".join(f"{room:.0f} GB free in {place}" for place, room in dict(rooms).items())
    if min(room for _, room in rooms) < _DISK_GB:
        return Finding("Disk", "lacking", found, "recordings of hours and large weights won't fit")
    return Finding("Disk", "good", found)


def _existing(path: Path) -> Path:
    """The nearest folder above that exists."""
    return next(parent for parent in (path, *path.parents) if parent.is_dir())
