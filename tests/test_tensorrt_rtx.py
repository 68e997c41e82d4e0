"""Our TensorRT code with a real TensorRT: the one for RTX, which builds engines without a GPU.

Its libraries are loaded in processes of their own. Running what is built takes a GPU
(``test_gpu_tensorrt.py``).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from engines.backends import device
from engines.backends.device import Gpu, TensorRtPackage, find_tensorrt, tensorrt_obstacle
from engines.export import export_half, export_onnx
from engines.model_files import SHIPPED_FOLDER
from exported import exported
from test_tensorrt_api import _used
from tools.bench.sample_networks import make_sample

ROOT = Path(__file__).resolve().parents[1]
RTX_NAMES = (
    "ICudaEngine.create_runtime_config",
    "ICudaEngine.create_execution_context",
    "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
    "IRuntimeConfig.cuda_graph_strategy",
    "IRuntimeConfig.create_runtime_cache",
    "IRuntimeConfig.set_runtime_cache",
    "IRuntimeCache.deserialize",
    "IRuntimeCache.serialize",
    "DynamicShapesKernelSpecializationStrategy.EAGER",
    "CudaGraphStrategy.DISABLED",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "ComputeCapability.SM75",
)
"""What ``rtx_kernels.py`` uses beyond the names that TensorRT has, too."""

installed = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="tensorrt-rtx is not installed: there are wheels for Linux on x86-64 and Windows only",
)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


@installed
@pytest.mark.timeout(400)
def test_every_network_becomes_an_engine(tmp_path: Path) -> None:
    files: list[Path] = []
    for name in ("detector", "pose2d", "lifter"):
        files += [SHIPPED_FOLDER / f"{name}.onnx", tmp_path / f"{name}.fp16.onnx"]
        export_half(*files[-2:])
    files.append(tmp_path / "yolov3-tiny.fp16.onnx")
    export_onnx(make_sample("yolov3-tiny"), files[-1], "fp16")
    files += [exported(name, "fp16") for name in ("cpn-small", "dsvtformer-small")]
    done = run(ROOT / "tests" / "rtx_builds.py", *files, "7.5", files[0])
    lines = [line.split("|")[1:] for line in done.stdout.splitlines() if line[:7] == "engine|"]
    assert [line[0] for line in lines] == [path.name for path in (*files, files[0])], done.stdout
    for path, (_, size, phases) in zip((*files, files[0]), lines, strict=True):
        assert int(size) > 0.8 * path.stat().st_size  # its weights are in it
        assert phases and all(phase.endswith("=1") for phase in phases.split(","))


@installed
def test_what_it_cannot_read_is_one_line(tmp_path: Path) -> None:
    node = helper.make_node("NoSuchOperator", ["images"], ["boxes"])
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["views", 3])
        for name in ("images", "boxes")
    ]
    graph = helper.make_graph([node], "strange", ends[:1], ends[1:])
    path = tmp_path / "strange.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    onnx.load(path)
    lines = run(ROOT / "tests" / "rtx_builds.py", path).stdout.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: TensorRT cannot read {path}: ")
    assert "NoSuchOperator" in lines[0]


@installed
def test_every_name_exists_there() -> None:
    script = (
        "import json, sys, tensorrt_rtx\n"
        "def has(name):\n"
        "    held = tensorrt_rtx\n"
        "    for part in name.split('.'):\n"
        "        if not hasattr(held, part): return False\n"
        "        held = getattr(held, part)\n"
        "    return True\n"
        "print(json.dumps([n for n in json.loads(sys.argv[1]) if not has(n)]))\n"
    )
    names = sorted({*_used(), *RTX_NAMES})
    assert json.loads(run("-c", script, json.dumps(names)).stdout) == []


@pytest.mark.parametrize(
    ("capability", "module", "words"),
    [
        ((9, 0), "tensorrt_rtx", "does not run on card (compute capability 9.0)"),
        ((6, 1), "tensorrt_rtx", "does not run on card (compute capability 6.1)"),
        ((9, 0), "tensorrt", None),
        ((8, 9), "tensorrt_rtx", None),
        ((12, 0), "tensorrt_rtx", None),
        ((7, 5), "tensorrt_rtx", None),
    ],
)
def test_cards_that_it_does_not_run_on_are_told(
    capability: tuple[int, int], module: str, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a Hopper card it says so itself, when an engine is loaded; this says it before."""
    package = TensorRtPackage(module, "TensorRT", "1.7")  # type: ignore[arg-type]
    monkeypatch.setattr(device, "find_gpu", lambda: Gpu("card", capability, 8 << 30, (13, 0)))
    monkeypatch.setattr(device, "find_tensorrt", lambda: package)
    monkeypatch.setattr(device, "torch_cuda_version", lambda: "13.0")
    obstacle = tensorrt_obstacle()
    assert obstacle is None if words is None else words in str(obstacle)


@installed
def test_the_package_is_found_without_being_imported() -> None:
    done = run(
        "-c",
        "import sys\n"
        "from engines.backends.device import find_tensorrt\n"
        "print(find_tensorrt())\n"
        "print([name for name in sys.modules if name.startswith('tensorrt')])\n",
    )
    assert done.stdout.splitlines()[1] == "[]"
    package = find_tensorrt()
    assert package is not None
    if importlib.util.find_spec("tensorrt") is None:
        assert (package.module, package.title) == ("tensorrt_rtx", "TensorRT for RTX")
