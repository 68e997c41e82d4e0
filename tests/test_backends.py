"""The back ends: one interface, the same answers, clear errors, and the choice among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engines.backends.base import DescribedBackend
from engines.backends.cuda_graphs import record
from engines.backends.device import find_gpu, tensorrt_obstacle
from engines.backends.onnxruntime_backend import OnnxRuntimeBackend, available_providers
from engines.backends.select import open_backend
from engines.backends.torch_backend import TorchBackend
from engines.errors import UserError
from engines.networks.catalog import build_named, load_network, save_network
from exported import exported, make

NAME = "light-cpn-224x160"
SHAPE = (2, 3, 224, 160)


@pytest.fixture(params=["onnxruntime", "torch"])
def backend(request: pytest.FixtureRequest) -> DescribedBackend:
    return open_backend(exported(NAME), request.param, 1)


def test_every_engine_gives_torchs_answer(backend: DescribedBackend) -> None:
    images = np.random.default_rng(0).uniform(-0.5, 0.5, SHAPE).astype(np.float32)
    images.flags.writeable = False
    found = backend.run({"images": images})
    with torch.no_grad():
        heatmaps, features = make(NAME)(torch.from_numpy(images.copy()))
    assert list(found) == ["heatmaps", "features"]
    for name, value in (("heatmaps", heatmaps), ("features", features)):
        assert found[name].dtype == np.float32
        scale = max(1.0, float(value.abs().max()))
        assert np.abs(found[name] - value.numpy()).max() <= 1e-3 * scale


def test_tensors_and_arrays_give_the_same(backend: DescribedBackend) -> None:
    images = np.random.default_rng(1).uniform(-0.5, 0.5, SHAPE).astype(np.float32)
    arrays = backend.run({"images": images})
    tensors = backend.run_tensors({"images": torch.from_numpy(images)})
    for name, value in arrays.items():
        np.testing.assert_allclose(tensors[name].numpy(), value, atol=1e-5)


def test_outputs_belong_to_the_caller(backend: DescribedBackend) -> None:
    images = np.ones(SHAPE, np.float32)
    first = backend.run({"images": images})["heatmaps"]
    kept = first.copy()
    backend.run({"images": -images})
    np.testing.assert_array_equal(first, kept)
    first += 1  # may be written


def test_specs_and_provider(backend: DescribedBackend) -> None:
    (images,) = backend.inputs
    assert (images.name, images.shape) == ("images", (None, 3, 224, 160))
    assert images.dtype == np.float32
    assert [spec.shape for spec in backend.outputs] == [(None, 17, 56, 40), (None, 187, 28, 20)]
    assert "CPU, 1 thread, fp32" in backend.provider
    assert "\n" not in backend.provider
    assert backend.device == "cpu"
    backend.warm_up({"images": (1, 3, 224, 160)})


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "input 'images' is missing"),
        ({"images": np.zeros(SHAPE, np.float32), "more": np.zeros(1)}, "unknown input 'more'"),
        ({"images": np.zeros(SHAPE)}, "is float64, expected float32"),
        ({"images": np.zeros((2, 3, 224, 161), np.float32)}, r"expected \(any, 3, 224, 160\)"),
        ({"images": np.zeros((3, 224, 160), np.float32)}, "has shape"),
    ],
    ids=["missing", "unknown", "type", "size", "rank"],
)
def test_wrong_inputs_are_named(backend: DescribedBackend, inputs, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=words):
        backend.run(inputs)
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    with pytest.raises(ValueError, match=words):
        backend.run_tensors(tensors)


def test_wrong_warm_up_is_named(backend: DescribedBackend) -> None:
    with pytest.raises(ValueError, match="missing"):
        backend.warm_up({})


# --- ONNX Runtime ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"PK\x03\x04" + bytes(200), b"\x08\x08" * 500, bytes(range(256)) * 8],
    ids=["empty", "text", "zip", "protobuf", "noise"],
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        OnnxRuntimeBackend(path, 1)
    assert "ONNX Runtime cannot load" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_truncated_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    content = exported(NAME).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="ONNX Runtime cannot load"):
        OnnxRuntimeBackend(path, 1)


def test_a_missing_network_is_named(tmp_path: Path) -> None:
    for engine in ("auto", "onnxruntime"):
        with pytest.raises(UserError, match=r"network not found: .*no\.onnx"):
            open_backend(tmp_path / "no.onnx", engine, 1)  # type: ignore[arg-type]


def test_threads_must_be_positive() -> None:
    with pytest.raises(UserError, match="at least 1"):
        OnnxRuntimeBackend(exported(NAME), 0)


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "tensorrt_rtx"])
def test_a_missing_provider_is_an_error_and_no_fallback(provider: str) -> None:
    if provider in available_providers():
        pytest.skip(f"{provider} is installed")
    with pytest.raises(UserError, match="requirements-gpu"):
        OnnxRuntimeBackend(exported(NAME), 1, provider)  # type: ignore[arg-type]


# --- torch -------------------------------------------------------------------------------------


def test_half_precision_on_the_cpu_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a GPU"):
        TorchBackend(make(NAME), 1, half=True)


def test_single_precision_has_no_tf32_and_the_process_keeps_its_settings() -> None:
    """cuDNN reads these when a convolution runs or is recorded; torch's default lets it round."""
    network = build_named(NAME)
    seen: list[tuple[bool, bool]] = []

    def look(*_: object) -> None:
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))

    next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d)).register_forward_hook(look)
    backend = TorchBackend(network, 1)
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    kept = (cudnn.allow_tf32, matmul.allow_tf32)
    try:
        for convolutions, products in ((True, False), (True, True), (False, False)):
            cudnn.allow_tf32, matmul.allow_tf32 = convolutions, products
            backend.warm_up({"images": (1, 3, 224, 160)})
            assert (cudnn.allow_tf32, matmul.allow_tf32) == (convolutions, products)
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = kept
    assert seen == [(False, False)] * 3


def test_torch_needs_the_network_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"engine 'torch' needs .*lone\.safetensors"):
        open_backend(tmp_path / "lone.onnx", "torch", 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here it can be recorded")
def test_what_cannot_be_recorded_is_told_and_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    stream: Any = None
    assert record(lambda: None, stream, "engine") is None
    (message,) = caplog.messages
    assert message.startswith("engine: no CUDA graph can be recorded, so it runs slower (")
    assert "\n" not in message


# --- network files -----------------------------------------------------------------------------


def test_network_files_hold_everything(tmp_path: Path) -> None:
    network = build_named("light-detector")
    save_network(network, tmp_path / "detector.safetensors")
    again = load_network(tmp_path / "detector.safetensors")
    assert again.info == network.info
    images = torch.rand(1, 3, 288, 384)
    with torch.no_grad():
        for one, other in zip(network(images), again(images), strict=True):
            assert torch.equal(one, other)
    assert [path.name for path in tmp_path.iterdir()] == ["detector.safetensors"]


def test_the_shipped_lifter_runs_on_every_engine() -> None:
    path = Path(__file__).resolve().parents[1] / "weights" / "lifter.onnx"
    generator = np.random.default_rng(0)
    keypoints = generator.uniform(-0.5, 0.5, (1, 27, 3, 17, 3)).astype(np.float32)
    backend = open_backend(path, "onnxruntime", 1)
    channels = {spec.name: spec.shape for spec in backend.inputs}["context"][-1]
    assert channels is not None
    inputs = {
        "keypoints": keypoints,
        "view_mask": np.ones((1, 3), np.float32),
        "context": generator.uniform(0, 1, (1, 27, 3, 17, channels)).astype(np.float32),
        "context_mask": np.ones((1, 27, 3), np.float32),
    }
    one = backend.run(inputs)
    other = open_backend(path, "torch", 1).run(inputs)
    for name in ("joints", "log_sigma"):
        assert np.abs(one[name] - other[name]).max() < 1e-3


def test_wrong_network_files_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    network = build_named(NAME)
    save_network(network, good)
    metadata = network.info.metadata()
    tensors = dict(network.inner.state_dict())
    name = "stem.0.weight"
    cases = {
        "no safetensors file": good.read_bytes()[:5000],
        "no safetensors file or": b"\xff" * 200,
        "does not say which network": (tensors, {}),
        "unknown kind of network": (tensors, {**metadata, "dsvt.network": "resnext"}),
        "options are not JSON": (tensors, {**metadata, "dsvt.options": "{"}),
        "options are not a table": (tensors, {**metadata, "dsvt.options": "[1]"}),
        "cannot be built": (tensors, {**metadata, "dsvt.options": '{"heigth": 256}'}),
        "'light_cpn' cannot be built": (tensors, {**metadata, "dsvt.options": '{"pyramid": -1}'}),
        "built from {'stages'": (tensors, {**metadata, "dsvt.options": '{"stages": [24]}'}),
        "not plain numbers": ({**tensors, name: tensors[name].to(torch.float8_e5m2)}, metadata),
        f"lacks '{name}'": ({k: v for k, v in tensors.items() if k != name}, metadata),
        "has unknown 'extra'": ({**tensors, "extra": torch.zeros(1)}, metadata),
        "has shape (1,), expected": ({**tensors, name: torch.zeros(1)}, metadata),
        "not finite": ({**tensors, name: tensors[name] * torch.nan}, metadata),
    }
    for words, content in cases.items():
        path = tmp_path / "bad.safetensors"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            save_file(content[0], path, metadata=content[1])
        with pytest.raises(UserError) as error:
            load_network(path)
        assert words in str(error.value)
        assert "\n" not in str(error.value)


# --- the choice --------------------------------------------------------------------------------


def test_auto_says_which_engine_it_took() -> None:
    provider = open_backend(exported(NAME), "auto", 1).provider
    assert provider.startswith("TensorRT" if tensorrt_obstacle() is None else "ONNX Runtime")


def test_either_file_name_will_do() -> None:
    onnx = exported(NAME)
    assert open_backend(onnx.with_suffix(".safetensors"), "onnxruntime", 1).outputs
    assert open_backend(onnx, "torch", 1).provider.startswith("torch")


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(UserError, match="unknown engine 'openvino'"):
        open_backend(exported(NAME), "openvino", 1)  # type: ignore[arg-type]


def test_no_gpu_means_none() -> None:
    if Path("/dev/nvidiactl").exists():
        assert find_gpu() is not None
    else:
        assert find_gpu() is None
        assert tensorrt_obstacle() == "no NVIDIA GPU"


def test_the_callers_floating_point_stays_as_it_was(backend: DescribedBackend) -> None:
    # Some engines flush subnormal numbers to zero, and leave the thread so that opened or ran them.
    backend.run({"images": np.ones(SHAPE, np.float32)})
    assert np.nextafter(0, 1) * np.float64(1) > 0
    assert np.nextafter(np.float32(0), np.float32(1)) * np.float32(1) > 0
