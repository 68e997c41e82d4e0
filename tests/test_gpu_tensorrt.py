"""On an NVIDIA GPU with TensorRT, full or for RTX: engines give the answers of the CPU.

Everything here skips without one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.backends import tensorrt_cache
from engines.backends.base import Array, DescribedBackend
from engines.backends.device import find_tensorrt, tensorrt_obstacle
from engines.backends.torch_backend import TorchBackend
from engines.device_chain import DeviceChain
from engines.errors import UserError
from engines.front_ends.yolo_cpn.front_end import YoloCpnFrontEnd
from engines.networks.engine_network import EngineNetwork
from gpu_machine import (
    DEVICE,
    FULL_SIZE,
    LIGHT,
    assert_chains_agree,
    assert_close,
    assert_people_agree,
    close_all,
)
from tools.bench.engine_candidates import exports, sample_inputs
from tools.bench.sample_networks import make_sample

pytestmark = pytest.mark.skipif(
    tensorrt_obstacle() is not None, reason=f"TensorRT cannot run here: {tensorrt_obstacle()}"
)


def built(name: str, half: bool, network: EngineNetwork | None = None) -> DescribedBackend:
    """The engine of a sample network, built where it is not there yet."""
    from engines.backends.tensorrt_backend import TensorRtBackend
    from engines.backends.tensorrt_build import build_engine

    path = exports(name, make_sample(name) if network is None else network)[half]
    build_engine(path)
    assert not build_engine(path).built  # it is found again
    return TensorRtBackend(path)


@pytest.mark.parametrize("name", [*LIGHT, *FULL_SIZE])
def test_engines_agree_with_the_cpu(name: str) -> None:
    network = make_sample(name)
    single, half = (built(name, fp16, network) for fp16 in (False, True))
    package = find_tensorrt()
    assert package is not None
    assert single.provider.startswith(f"{package.title} {package.version}")
    assert half.provider.endswith("fp16")
    on_cpu = TorchBackend(network)
    for views in (4, 1, 3, 8) if name in LIGHT else (4, 1):
        for seed in (0, 1):
            inputs = sample_inputs(network, views, seed)
            expected = on_cpu.run(inputs)
            found: dict[str, Array] = single.run(inputs)
            assert_close(found, expected, 1e-3)
            assert_close(single.run(inputs), found, 1e-6)  # recorded and replayed
            assert_close(half.run(inputs), expected, 2e-2)
    close_all(single, half, on_cpu)


def test_tensors_stay_on_the_gpu() -> None:
    backend = built("pose2d", half=True)
    (images,) = sample_inputs(make_sample("pose2d"), 2).values()
    answer = backend.run_tensors({"images": torch.from_numpy(images).to(DEVICE)})
    assert {str(value.device) for value in answer.values()} == {DEVICE}
    with pytest.raises(ValueError, match="is on cpu"):
        backend.run_tensors({"images": torch.from_numpy(images)})
    backend.close()


def test_half_precision_moves_a_person_by_less_than_a_pixel() -> None:
    """Against single precision in torch."""
    detector, pose = (TorchBackend(make_sample(n), None, DEVICE) for n in ("detector", "pose2d"))
    assert_people_agree(
        YoloCpnFrontEnd(detector, pose, 4),
        YoloCpnFrontEnd(built("detector", half=True), built("pose2d", half=True), 4),
    )


def test_the_whole_chain_agrees_with_the_cpu() -> None:
    engines = [built(name, half=False) for name in LIGHT]
    references = [TorchBackend(make_sample(name)) for name in LIGHT]
    assert_chains_agree(
        DeviceChain(engines[0], engines[1], engines[2], 4),
        DeviceChain(references[0], references[1], references[2], 4),
    )
    close_all(*engines, *references)


def test_a_foreign_or_damaged_engine_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engines.backends.tensorrt_backend import TensorRtBackend
    from engines.backends.tensorrt_build import build_engine

    path = exports("detector", make_sample("detector"))[1]
    monkeypatch.setenv("DSVT_CACHE", str(tmp_path / "cache"))
    assert TensorRtBackend.if_built(path) is None
    with pytest.raises(UserError, match="no TensorRT engine has been built"):
        TensorRtBackend(path)
    engine = build_engine(path).path
    backend = TensorRtBackend(path)
    inputs = sample_inputs(make_sample("detector"), 4)
    expected = {key: value.copy() for key, value in backend.run(inputs).items()}
    backend.close()
    kept = [*tensorrt_cache.engine_folder().glob("*.kernels")]
    package = find_tensorrt()
    assert package is not None
    assert len(kept) == (package.module == "tensorrt_rtx")
    for kernels in kept:  # the hash tells: they are compiled again
        kernels.write_bytes(kernels.read_bytes()[:-1])
    backend = TensorRtBackend(path)
    assert_close(backend.run(inputs), expected, 1e-6)
    backend.close()
    content = bytearray(engine.read_bytes())
    content[len(content) // 2] ^= 1
    engine.write_bytes(content)
    assert TensorRtBackend.if_built(path) is None
    assert build_engine(path).built
    backend = TensorRtBackend(path)
    assert_close(backend.run(inputs), expected, 1e-6)
    backend.close()
