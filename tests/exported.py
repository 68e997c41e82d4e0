"""Networks exported once a test run, because an export takes seconds."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Final

import torch
from filelock import FileLock

from engines.export import save_onnx, to_half, to_onnx
from engines.model_files import Precision
from engines.networks.catalog import build, save_network
from engines.networks.engine_network import EngineNetwork
from tools.bench.sample_networks import enliven, make_sample

EXPORTS_VARIABLE: Final = "DSVT_TEST_EXPORTS"
"""Names the folder of a test run's exports, which all of its processes share."""

# Small versions of the big networks: the same layers and operators, fewer or narrower of them.
SMALL = {
    "cpn-small": ("cpn", {"depth": 50, "height": 64, "width": 64}),
    "dsvtformer-small": (
        "dsvtformer",
        {"frames": 3, "pose_ratio": 8, "image_ratio": 8, "depth": 1},
    ),
    "rig-lifter-small": (
        "rig_lifter",
        {"context": True, "frames": 3, "width": 32, "depth": 1, "context_channels": 17},
    ),
}


@cache
def make(name: str) -> EngineNetwork:
    """A network whose outputs have a life-like size, always with the same weights."""
    if name in SMALL:
        torch.manual_seed(0)
        return enliven(build(*SMALL[name]))
    return make_sample(name)


def exported(name: str, precision: Precision = "fp32") -> Path:
    """The network's ``.onnx`` file; its ``.safetensors`` file lies beside it."""
    return _exported(name, precision)


@cache
def _exported(name: str, precision: Precision) -> Path:
    path = Path(os.environ[EXPORTS_VARIABLE]) / f"{name}-{precision}.onnx"
    if precision == "fp16":
        exported(name)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            _write(name, precision, path)
    return path


def _write(name: str, precision: Precision, path: Path) -> None:
    if precision == "fp16":
        import onnx

        save_onnx(to_half(onnx.load(exported(name))), path)
    else:
        save_network(make(name), path.with_suffix(".safetensors"))
        save_onnx(to_onnx(make(name)), path)
