"""``engine: auto`` where an engine is listed and does not run: the next one does, and it is told.

No GPU is needed: one is made out to be there, and the engines' own checks say that it is not.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from engines.backends import device, select
from engines.backends.device import Gpu, find_gpu, has_kernels_for, torch_obstacle
from engines.backends.onnxruntime_backend import available_providers
from engines.backends.select import open_backend
from engines.errors import UserError
from exported import exported

NAME = "light-cpn-224x160"
without_gpu = pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU, and it may run")


def card(driver_cuda: tuple[int, int] = (13, 0)) -> Gpu:
    return Gpu("card", (8, 9), 8 << 30, driver_cuda)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU, and an ``onnxruntime-gpu`` that lists CUDA although its libraries do not load."""
    monkeypatch.setattr(select, "find_gpu", card)
    monkeypatch.setattr(select, "available_providers", lambda: (*available_providers(), "cuda"))


@without_gpu
@pytest.mark.usefixtures("listed")
def test_a_provider_that_does_not_start_is_told_and_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        backend = open_backend(exported(NAME), "auto", 1)
    assert "CPU, 1 thread" in backend.provider
    (message,) = caplog.messages
    assert "here has no CUDA" in message and "trying ONNX Runtime on the CPU" in message
    backend.warm_up({"images": (1, 3, 224, 160)})


@without_gpu
@pytest.mark.usefixtures("listed")
def test_weights_alone_reach_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """ONNX Runtime is listed and has nothing to run."""
    weights = tmp_path / "lone.safetensors"
    shutil.copy(exported(NAME).with_suffix(".safetensors"), weights)
    monkeypatch.setattr(select, "torch_obstacle", lambda: None)
    with caplog.at_level(logging.WARNING):
        assert open_backend(weights, "auto", 1).provider.startswith("torch ")
    assert caplog.messages == []


@without_gpu
@pytest.mark.usefixtures("listed")
def test_a_network_that_one_engine_refuses_runs_on_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = tmp_path / "net.onnx"
    shutil.copy(exported(NAME), network)
    network.with_suffix(".safetensors").write_bytes(b"broken")
    monkeypatch.setattr(select, "torch_obstacle", lambda: None)
    with caplog.at_level(logging.WARNING):
        assert open_backend(network, "auto", 1).provider.startswith("ONNX Runtime")
    assert ["trying torch" in message for message in caplog.messages] == [True, False]
    assert "is no safetensors file or is damaged" in caplog.messages[1]


@without_gpu
@pytest.mark.usefixtures("listed")
def test_when_none_runs_the_last_says_why(tmp_path: Path) -> None:
    network = tmp_path / "net.onnx"
    network.write_bytes(b"broken")
    with pytest.raises(UserError, match=r"ONNX Runtime cannot load .*net\.onnx"):
        open_backend(network, "auto", 1)


@without_gpu
def test_torch_by_name_is_an_error_where_it_cannot_use_the_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (device, select):
        monkeypatch.setattr(module, "find_gpu", lambda: card((11, 8)))
        monkeypatch.setattr(module, "torch_cuda_version", lambda: "12.8")
    with pytest.raises(UserError, match="engine 'torch' cannot run here: torch is built with CUDA"):
        open_backend(exported(NAME), "torch", 1)


@without_gpu
@pytest.mark.parametrize(
    ("gpu", "cuda", "words"),
    [
        (None, "13.0", "no NVIDIA GPU"),
        (card(), None, "torch is a build without CUDA"),
        (
            card((12, 9)),
            "13.0",
            "torch is built with CUDA 13.0, and the driver runs CUDA 12.9 at most",
        ),
        # An older driver of the same major version will do: what torch itself says comes next.
        (card((13, 0)), "13.2", "torch finds no GPU that it can use"),
        (card((13, 1)), "12.8", "torch finds no GPU that it can use"),
    ],
)
def test_what_keeps_torch_off_the_gpu_is_told(
    gpu: Gpu | None, cuda: str | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "find_gpu", lambda: gpu)
    monkeypatch.setattr(device, "torch_cuda_version", lambda: cuda)
    assert torch_obstacle() == words


@pytest.mark.parametrize(
    ("capability", "built", "fits"),
    [
        ((8, 6), ("sm_75", "sm_86"), True),
        ((8, 9), ("sm_75", "sm_86"), True),  # later within 8
        ((8, 0), ("sm_75", "sm_86"), False),
        ((9, 0), ("sm_75", "sm_86"), False),
        ((9, 0), ("sm_75", "compute_86"), True),  # compiled when it first runs
        ((6, 1), ("sm_75", "compute_75"), False),
        ((9, 0), ("sm_90a",), True),
        ((10, 3), ("sm_100",), True),
        ((10, 3), ("sm_100a",), False),
        ((10, 3), ("sm_100f",), True),
        ((12, 0), ("compute_100f",), False),
        ((12, 0), ("compute_100",), True),
        ((12, 0), ("gfx1100", ""), False),
    ],
)
def test_code_for_one_gpu_runs_on_others(
    capability: tuple[int, int], built: tuple[str, ...], fits: bool
) -> None:
    assert has_kernels_for(capability, built) is fits


@pytest.mark.skipif(torch_obstacle() is not None, reason=f"no GPU for torch: {torch_obstacle()}")
def test_a_gpu_that_torch_was_built_for_is_taken() -> None:
    assert open_backend(exported(NAME), "torch", 1).device == "cuda:0"
