"""``python -m tools.build_engines`` on a machine without TensorRT, and the benchmark of engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.backends.device import Gpu, find_gpu, tensorrt_obstacle
from engines.backends.onnxruntime_backend import OnnxRuntimeBackend, available_providers
from engines.errors import UserError
from engines.export import save_onnx, to_onnx
from engines.model_files import SHIPPED_FOLDER, check_shipped, export_of
from engines.networks.catalog import save_network
from engines.networks.engine_network import EngineNetwork
from marker_networks import marker_detector
from tools.bench import engine_candidates
from tools.bench.engines import measure
from tools.build_engines import exported_file

REPOSITORY = Path(__file__).resolve().parents[1]
without_tensorrt = pytest.mark.skipif(tensorrt_obstacle() is None, reason="TensorRT can run here")


def run(module: str, *arguments: str | Path, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "DSVT_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@without_tensorrt
def test_weights_are_exported_and_timed(tmp_path: Path) -> None:
    weights = tmp_path / "weights" / "marker.safetensors"
    weights.parent.mkdir()
    save_network(marker_detector(), weights)
    done = run("tools.build_engines", "--network", "marker", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "TensorRT cannot run here" in done.stdout
    assert "exported" in done.stdout and "ONNX Runtime" in done.stdout
    assert weights.with_suffix(".onnx").is_file()
    again = run("tools.build_engines", "--network", "marker", cache=tmp_path)
    assert "as it is" in again.stdout


@without_tensorrt
def test_the_demos_networks_are_ready(tmp_path: Path) -> None:
    done = run("tools.build_engines", "--config", "configs/demo.yaml", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ONNX Runtime" in done.stdout


@without_tensorrt
def test_asking_for_tensorrt_without_it_is_an_error(tmp_path: Path) -> None:
    config = tmp_path / "trt.yaml"
    demo = (REPOSITORY / "configs" / "demo.yaml").read_text(encoding="utf-8")
    kept = [line for line in demo.splitlines() if not line.startswith("engine:")]
    config.write_text("\n".join([*kept, "engine: tensorrt"]) + "\n", encoding="utf-8")
    done = run("tools.build_engines", "--config", config, cache=tmp_path)
    assert done.returncode == 2
    assert "asks for engine tensorrt, but there is" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say what to build"),
        (("--network", "yolov9"), "network 'yolov9' is neither in"),
        (("--network", "no/such.onnx"), "network not found: no/such.onnx"),
        (("--network", "lifter", "--precision", "int4"), "--precision must be fp16 or fp32"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run("tools.build_engines", *arguments, cache=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_benchmark_reports_every_engine(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    arguments = ("engines", "--network", "lifter", "--repeats", "3", "--json", report)
    done = run("tools.bench", *arguments, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    data = json.loads(report.read_text(encoding="utf-8"))
    engines = [row["engine"] for row in data["figures"]]
    assert any(name.startswith("torch") for name in engines)
    assert any(name.startswith("ONNX Runtime") for name in engines)
    for row in data["figures"]:
        assert row["ms"] > 0 and row["gmac"] > 0.01
        if row["precision"] == "fp32":
            assert row["difference"] <= 1e-3


@pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU, and the provider may start")
def test_an_engine_that_does_not_open_leaves_the_others_to_be_measured(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``onnxruntime-gpu`` lists its TensorRT provider, also where TensorRT is not installed."""
    listed = (*available_providers(), "tensorrt")
    monkeypatch.setattr(engine_candidates, "available_providers", lambda: listed)
    monkeypatch.setattr(engine_candidates, "find_gpu", lambda: Gpu("card", (8, 9), 1, (13, 0)))
    report = measure(["lifter"], 4, 1, 1, lambda _: None)
    assert any(row.engine.startswith("torch") for row in report.figures)
    assert any(row.engine.startswith("ONNX Runtime") for row in report.figures)
    failed = [line for line in report.missing if "tensorrt provider with lifter (" in line]
    assert len(failed) == 2  # one a precision
    assert all("here has no TensorRT provider" in line and "\n" not in line for line in failed)


def test_the_benchmark_names_unknown_networks(tmp_path: Path) -> None:
    done = run("tools.bench", "engines", "--network", "resnet", cache=tmp_path)
    assert done.returncode == 2
    assert "unknown network 'resnet' (known: detector, " in done.stderr


def test_the_training_benchmark_compares_both_ways(tmp_path: Path) -> None:
    done = run("tools.bench", "training", "--batch", "2", "--repeats", "1", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if "light-" in line]
    assert len(rows) == 4
    for row in rows:
        quick, plain, ratio = (float(word) for word in row if word.replace(".", "").isdigit())
        assert quick > 0 and plain > 0 and ratio == pytest.approx(quick / plain, rel=0.1)


def test_half_precision_is_exported_once_and_again_when_the_network_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSVT_CACHE", str(tmp_path / "cache"))
    elsewhere = tmp_path / "mine.safetensors"
    network = marker_detector()
    save_network(network, elsewhere)
    path, made = exported_file(str(elsewhere), "fp16")
    assert made and path == elsewhere.with_suffix(".onnx")
    half = export_of(path, "fp16")
    assert half.parent == tmp_path / "cache" / "weights"
    assert OnnxRuntimeBackend(half, 1).metadata["dsvt.precision"] == "fp16"
    assert OnnxRuntimeBackend(path, 1).metadata["dsvt.precision"] == "fp32"
    assert exported_file(str(path), "fp16") == (path, False)
    assert export_of(half, "fp16") == half and export_of(path, "fp32") == path
    for parameter in network.parameters():
        parameter.data.add_(0.5)
    save_onnx(to_onnx(network), path)
    assert export_of(path, "fp16") != half
    assert exported_file(str(path), "fp16") == (path, True)


def _agree(export: Path, network: EngineNetwork) -> bool:
    """Whether an export gives what a network gives."""
    pictures = torch.rand(
        network.info.inputs[0].sized(1), generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        expected = network(pictures)
    found = OnnxRuntimeBackend(export, 1).run({"images": pictures.numpy()})
    return all(
        np.allclose(one, other.numpy(), rtol=1e-2, atol=1e-2 * float(other.abs().max()))
        for one, other in zip(found.values(), expected, strict=True)
    )


def _changed(network: EngineNetwork, path: Path) -> None:
    """Changes a network's weights so that its answer changes, and writes them."""
    for parameter in network.parameters():
        parameter.data.mul_(0.9)
    save_network(network, path)


def test_an_export_of_other_weights_is_made_again(cache: Path, tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    network = marker_detector()
    save_network(network, weights)
    path, made = exported_file(str(weights), "fp16")
    assert made
    for name in (weights, path):
        assert exported_file(str(name), "fp16") == (path, False)
    old = (path.read_bytes(), export_of(path, "fp16"))
    assert _agree(path, network)
    _changed(network, weights)
    assert not _agree(path, network)
    assert exported_file(str(path), "fp16") == (path, True)
    assert path.read_bytes() != old[0] and export_of(path, "fp16") != old[1]
    assert _agree(path, network)
    assert exported_file(str(weights), "fp16") == (path, False)
    # One that says nothing of where it comes from, as those that ship, is a file of its own.
    save_onnx(to_onnx(network), path)
    _changed(network, weights)
    assert exported_file(str(path), "fp32") == (path, False)
    assert not _agree(path, network)


def test_half_precision_beside_an_imported_network_follows_it(cache: Path) -> None:
    """There its name does not hold the network's hash."""
    folder = cache / "weights"
    folder.mkdir(parents=True)
    weights = folder / "mine.safetensors"
    network = marker_detector()
    save_network(network, weights)
    path, _ = exported_file("mine", "fp16")
    half = folder / "mine.fp16.onnx"
    assert path.parent == half.parent and half.is_file()
    assert exported_file("mine", "fp16") == (path, False)
    assert exported_file(str(half), "fp16") == (half, False)
    _changed(network, weights)
    assert exported_file("mine", "fp32") == (path, True)  # which leaves the other as it is
    assert not _agree(half, network)
    assert exported_file("mine", "fp16") == (path, True)
    assert _agree(half, network)


def test_an_export_that_cannot_be_written_is_one_line(cache: Path, tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    save_network(marker_detector(), weights)
    cache.write_bytes(b"a file where the folder should be")
    with pytest.raises(UserError, match=r"cannot make the folder .*weights"):
        exported_file(str(weights), "fp16")
    # Where the file is written first, there is a link to nowhere.
    (tmp_path / "other.onnx.part").symlink_to(tmp_path / "nowhere" / "other")
    save_network(marker_detector(), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"cannot write .*other\.onnx: No such file"):
        exported_file(str(tmp_path / "other.safetensors"), "fp32")


def test_networks_that_ship_are_taken_as_they_are() -> None:
    for name in ("detector", "pose2d", "lifter"):
        path = SHIPPED_FOLDER / f"{name}.onnx"
        before = path.read_bytes()
        assert exported_file(name, "fp32") == (path, False)
        assert path.read_bytes() == before
        check_shipped(path)
