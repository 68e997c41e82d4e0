"""On an NVIDIA GPU: networks give the answers of the CPU, in single and in half precision.

Everything here skips without one. Reference answers of the full-size networks are computed on
the CPU for as few views as they take.
"""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.backends.base import Array
from engines.backends.cuda_graphs import CudaGraphs, record
from engines.backends.onnxruntime_backend import (
    OnnxRuntimeBackend,
    Provider,
    available_providers,
)
from engines.backends.torch_backend import TorchBackend
from engines.front_ends.yolo_cpn.front_end import YoloCpnFrontEnd
from gpu_machine import (
    DEVICE,
    FULL_SIZE,
    LIGHT,
    assert_close,
    assert_people_agree,
    close_all,
    needs_gpu,
)
from tools.bench.engine_candidates import exports, sample_inputs
from tools.bench.sample_networks import make_sample

pytestmark = needs_gpu


@pytest.mark.parametrize("name", [*LIGHT, *FULL_SIZE])
def test_torch_on_the_gpu_agrees_with_the_cpu(name: str) -> None:
    network = make_sample(name)
    # (two numbers of views come twice, with another in between: a recording is found again)
    cases = [
        (views, seed) for views in ((1, 4, 3, 8, 1) if name in LIGHT else (1,)) for seed in (0, 1)
    ]
    on_cpu = TorchBackend(network)
    references: dict[tuple[int, int], dict[str, Array]] = {}
    for case in cases:
        if case not in references and (case[0] != 8 or case[1] == 0):
            references[case] = on_cpu.run(sample_inputs(network, *case))
    eager = TorchBackend(network, None, DEVICE, graphs=False)
    replayed = TorchBackend(network, None, DEVICE)
    for case in cases:
        inputs = sample_inputs(network, *case)
        once = eager.run(inputs)
        first = replayed.run(inputs)
        kept = {key: value.copy() for key, value in first.items()}
        again = replayed.run(inputs)
        assert_close(first, once, 1e-4)
        assert_close(again, kept, 1e-4)
        if case in references:
            assert_close(first, references[case], 1e-3)
        other = replayed.run(sample_inputs(network, case[0], 2))
        for key, value in other.items():
            gap = float(np.abs(np.subtract(value, first[key])).max())
            assert gap > 1e-3 * float(np.abs(value).max()), f"{key} does not depend on the input"
            np.testing.assert_array_equal(first[key], kept[key])  # it belongs to the caller
    assert replayed.provider.endswith(", CUDA graphs")
    assert "CUDA graphs" not in eager.provider
    close_all(eager, replayed)


@pytest.mark.parametrize("name", [*LIGHT, *FULL_SIZE])
def test_half_precision_stays_finite(name: str) -> None:
    network = make_sample(name)
    eager = TorchBackend(network, None, DEVICE, half=True, graphs=False)
    replayed = TorchBackend(network, None, DEVICE, half=True)
    for seed in (0, 1, 0):
        inputs = sample_inputs(network, 4, seed)
        assert_close(replayed.run(inputs), eager.run(inputs), 2e-2)
    assert "fp16" in replayed.provider
    assert replayed.provider.endswith(", CUDA graphs")
    close_all(eager, replayed)


def test_tensors_on_the_gpu_stay_there() -> None:
    network = make_sample("pose2d")
    backend = TorchBackend(network, None, DEVICE)
    (images,) = sample_inputs(network, 2, 0).values()
    answer = backend.run_tensors({"images": torch.from_numpy(images).to(DEVICE)})
    assert {str(value.device) for value in answer.values()} == {DEVICE}
    assert all(value.is_contiguous() and value.dtype == torch.float32 for value in answer.values())
    with pytest.raises(ValueError, match="is on cpu"):
        backend.run_tensors({"images": torch.from_numpy(images)})
    backend.close()


def test_half_precision_moves_a_person_by_less_than_a_pixel() -> None:
    front_ends = []
    for half in (False, True):
        detector, pose = (
            TorchBackend(make_sample(name), None, DEVICE, half) for name in ("detector", "pose2d")
        )
        front_ends.append(YoloCpnFrontEnd(detector, pose, 4))
    assert_people_agree(*front_ends)


@pytest.mark.parametrize("name", [*LIGHT, "cpn50-384x288"])
@pytest.mark.parametrize("provider", ["cuda", "tensorrt_rtx"])
def test_onnx_runtime_on_the_gpu_agrees_with_the_cpu(provider: Provider, name: str) -> None:
    if provider not in available_providers():
        pytest.skip(f"ONNX Runtime has no provider {provider} here")
    network = make_sample(name)
    paths = exports(name, network)
    on_cpu = OnnxRuntimeBackend(paths[0])
    for path, share in zip(paths, (1e-3, 2e-2), strict=True):
        backend = OnnxRuntimeBackend(path, None, provider)
        # The plug-in may use TF32 where it sees fit.
        share = max(share, 1e-2) if provider == "tensorrt_rtx" else share
        for views in (4, 1, 8):
            inputs = sample_inputs(network, views)
            expected = on_cpu.run(inputs)
            assert_close(backend.run(inputs), expected, share)
            tensors = {key: torch.from_numpy(value).clone() for key, value in inputs.items()}
            given = backend.run_tensors({k: v.to(backend.device) for k, v in tensors.items()})
            assert {str(value.device) for value in given.values()} == {backend.device}
            assert_close({k: v.cpu().numpy() for k, v in given.items()}, expected, share)
        backend.close()
    on_cpu.close()


def test_only_the_newest_graphs_are_kept() -> None:
    def run(x: Tensor) -> tuple[Tensor, ...]:
        return (x.cumsum(0) * 2,)

    graphs = CudaGraphs(run, "sums")
    for size in (*range(1, 12), *range(11, 0, -1)):
        x = torch.rand(size, 3, device=DEVICE)
        assert torch.allclose(graphs(x)[0], x.cumsum(0) * 2)
    assert len(graphs._recordings) == 8
    assert graphs.in_use
    graphs.close()
    assert not graphs.in_use
    x = torch.rand(5, 3, device=DEVICE)
    assert torch.allclose(graphs(x)[0], x.cumsum(0) * 2)
    graphs.close()


def test_a_recorded_function_reads_and_writes_where_it_did() -> None:
    stream = torch.cuda.Stream()
    x, y = torch.ones(4, device=DEVICE), torch.zeros(4, device=DEVICE)
    torch.cuda.synchronize()
    graph = record(lambda: y.copy_(x * 2), stream, "doubling")  # type: ignore[arg-type,return-value]
    assert graph is not None
    x.fill_(5)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(y, torch.full_like(y, 10))


def test_what_cannot_be_recorded_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """The last one: what a failed recording leaves behind concerns nobody after it."""

    def run(x: Tensor) -> tuple[Tensor, ...]:
        return (x * 2 if float(x.sum()) > 0 else x * 3,)

    graphs = CudaGraphs(run, "picky")
    stream = torch.cuda.current_stream()
    x = torch.ones(4, device=DEVICE)
    with caplog.at_level(logging.WARNING):
        # (asking for a value waits for the GPU, which a recording may not)
        assert record(lambda: print(x.sum().item()), torch.cuda.Stream(), "asking") is None
        assert torch.cuda.current_stream() == stream
        for sign in (1, -1, 1):
            expected = x * sign * (2 if sign > 0 else 3)
            assert torch.equal(graphs(x * sign)[0], expected)
    assert not graphs.in_use
    assert sum("asking" in message for message in caplog.messages) == 1
    assert sum("picky" in message for message in caplog.messages) == 1
    assert torch.cuda.current_stream() == stream
    graphs.close()
    # Others can be recorded all the same.
    network = make_sample("pose2d")
    backend = TorchBackend(network, None, DEVICE)
    inputs = sample_inputs(network, 2, 0)
    assert_close(
        backend.run(inputs), TorchBackend(network, None, DEVICE, graphs=False).run(inputs), 1e-4
    )
    assert backend.provider.endswith(", CUDA graphs")
    backend.close()
