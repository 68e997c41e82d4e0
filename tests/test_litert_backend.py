"""LiteRT behind the common interface, on the real BlazePose networks."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest

from engines.backends.litert_backend import LiteRtBackend
from engines.errors import UserError
from engines.front_ends.blazepose import models
from fetched import fetched


@pytest.fixture(scope="module")
def content() -> bytes:
    return fetched(models.DETECTOR)


@pytest.fixture
def backend(content: bytes) -> LiteRtBackend:
    return LiteRtBackend(content, models.DETECTOR.name)


def test_it_describes_itself(backend: LiteRtBackend) -> None:
    assert backend.provider.startswith("LiteRT ")
    assert "CPU" in backend.provider
    assert [spec.shape for spec in backend.inputs] == [(1, 224, 224, 3)]
    assert [spec.shape for spec in backend.outputs] == [(1, 2254, 12), (1, 2254, 1)]
    assert all(spec.dtype == np.float32 for spec in (*backend.inputs, *backend.outputs))


def test_outputs_belong_to_the_caller(backend: LiteRtBackend) -> None:
    name = backend.inputs[0].name
    rng = np.random.default_rng(0)
    first = backend.run({name: rng.random((1, 224, 224, 3), np.float32)})
    kept = {key: value.copy() for key, value in first.items()}
    second = backend.run({name: rng.random((1, 224, 224, 3), np.float32)})
    for key, value in first.items():
        np.testing.assert_array_equal(value, kept[key])
        assert not np.array_equal(value, second[key])


def test_thread_counts_agree(content: bytes) -> None:
    picture = np.random.default_rng(1).random((1, 224, 224, 3), np.float32)
    results = []
    for threads in (1, 2):
        backend = LiteRtBackend(content, "detector", threads)
        results.append(backend.run({backend.inputs[0].name: picture}))
    for key, value in results[0].items():
        difference = np.asarray(value, np.float32) - np.asarray(results[1][key], np.float32)
        assert np.abs(difference).max() < 2e-3


def test_instances_run_side_by_side(content: bytes) -> None:
    picture = np.random.default_rng(2).random((1, 224, 224, 3), np.float32)
    backends = [LiteRtBackend(content, "detector") for _ in range(3)]
    name = backends[0].inputs[0].name
    expected = backends[0].run({name: picture})
    results: list[dict[str, np.ndarray]] = []

    def work(backend: LiteRtBackend) -> None:
        for _ in range(4):
            results.append(backend.run({name: picture}))

    threads = [threading.Thread(target=work, args=(backend,)) for backend in backends]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 12
    for result in results:
        for key, value in expected.items():
            np.testing.assert_array_equal(result[key], value)


def test_warm_up_runs_the_network(backend: LiteRtBackend) -> None:
    backend.warm_up({backend.inputs[0].name: (1, 224, 224, 3)})
    with pytest.raises(ValueError, match="must be"):
        backend.warm_up({backend.inputs[0].name: (1, 100, 100, 3)})


def test_wrong_inputs_are_refused(backend: LiteRtBackend) -> None:
    name = backend.inputs[0].name
    right = np.zeros((1, 224, 224, 3), np.float32)
    with pytest.raises(ValueError, match="inputs are"):
        backend.run({})
    with pytest.raises(ValueError, match="inputs are"):
        backend.run({name: right, "other": right})
    with pytest.raises(ValueError, match="must be"):
        backend.run({name: right[0]})
    with pytest.raises(ValueError, match="must be"):
        backend.run({name: right.astype(np.float64)})


def test_a_closed_network_refuses_to_run(backend: LiteRtBackend) -> None:
    backend.close()
    with pytest.raises(ValueError, match="closed"):
        backend.run({backend.inputs[0].name: np.zeros((1, 224, 224, 3), np.float32)})


@pytest.mark.parametrize(
    "model",
    [b"", b"TFL3", pickle.dumps({"a": 1}), b"\x1c\0\0\0TFL3" + bytes(range(256)) * 8],
    ids=["empty", "short", "pickle", "garbage"],
)
def test_other_files_are_refused_in_one_line(model: bytes) -> None:
    with pytest.raises(UserError) as caught:
        LiteRtBackend(model, "some.tflite")
    assert "some.tflite" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [100, 10_000, 1_000_000])
def test_a_truncated_network_is_refused_in_one_line(content: bytes, kept: int) -> None:
    with pytest.raises(UserError) as caught:
        LiteRtBackend(content[:kept], "some.tflite")
    assert "\n" not in str(caught.value)
