"""Joints are read from heatmaps, alike on the host and on the device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.front_ends.yolo_cpn.host_operations import decode
from engines.front_ends.yolo_cpn.operations import Decoding
from engines.front_ends.yolo_cpn.tensor_heat import TensorHeat

Floats = npt.NDArray[np.float32]
DECODINGS: tuple[Decoding, ...] = ("cpn", "log_parabola")


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_log_parabola_is_exact_for_gaussian_peaks(kind: str) -> None:
    truth = np.random.default_rng(1).uniform((3, 3), (44, 60), (2, 17, 2)).astype(np.float32)
    heatmaps = _peaks(truth, 64, 48) * 0.8
    places, confidence = _decode(kind, heatmaps, "log_parabola", 1.0)
    assert np.abs(places - truth).max() < 0.02
    assert confidence.min() > 0.7 and confidence.max() <= 0.8 + 1e-6


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_cpn_decoding_moves_a_quarter_cell_towards_the_second_maximum(kind: str) -> None:
    truth = np.full((1, 17, 2), (20.4, 30.0), np.float32)
    places, confidence = _decode(kind, 255 * _peaks(truth, 64, 48), "cpn", 255.0)
    assert places == pytest.approx(np.broadcast_to((20.25, 30.0), (1, 17, 2)), abs=1e-4)
    assert confidence.min() > 0.9


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_a_peak_that_noise_splits_is_read_alike_whichever_half_is_higher(kind: str) -> None:
    """Half precision decides such ties; the joint must not jump (it did, by 0.15 cells)."""
    truth = np.full((1, 17, 2), (20.4, 30.5), np.float32)
    smooth = _peaks(truth, 64, 48)
    noise = np.random.default_rng(5).normal(0, 0.03, (1, 17, 64, 48)).astype(np.float32)
    read = []
    for higher, lower in ((30, 31), (31, 30)):
        heatmaps = smooth + noise
        heatmaps[..., higher, 20] = heatmaps[..., 30:32, 20].max(-1) + 1e-4
        heatmaps[..., lower, 20] = heatmaps[..., higher, 20] - 2e-4
        read.append(_decode(kind, heatmaps, "log_parabola", 1.0)[0])
    assert np.abs(read[0] - read[1]).max() < 0.01


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_a_little_other_heat_moves_no_joint_far(seed: int) -> None:
    """Not even where another cell becomes the highest."""
    random = np.random.default_rng(seed)
    truth = random.uniform((8, 8), (40, 56), (4, 17, 2)).astype(np.float32)
    noise = random.normal(0, 0.03, (4, 17, 64, 48)).astype(np.float32)
    heatmaps = _peaks(truth, 64, 48) + noise
    places, _ = _decode("host", heatmaps, "log_parabola", 1.0)
    for _ in range(4):
        other = heatmaps + random.normal(0, 3e-4, heatmaps.shape).astype(np.float32)
        moved = np.abs(_decode("host", other, "log_parabola", 1.0)[0] - places)
        assert moved.max() < 0.01


def test_host_and_torch_read_noise_alike() -> None:
    heatmaps = np.random.default_rng(2).normal(0.1, 0.2, (40, 17, 32, 24)).astype(np.float32)
    for decoding in DECODINGS:
        one, sure = _decode("host", heatmaps, decoding, 1.0)
        other, also = _decode("torch", heatmaps, decoding, 1.0)
        assert np.abs(one - other).max() < 1e-3
        assert np.abs(sure - also).max() < 1e-5


def _decode(kind: str, heatmaps: Floats, decoding: Decoding, peak: float) -> tuple[Floats, Floats]:
    if kind == "host":
        return decode(heatmaps, decoding, peak)
    heat = TensorHeat("cpu")
    found = heat.decode(torch.from_numpy(heatmaps), decoding, peak)
    return found[..., :2].numpy(), found[..., 2].numpy()


def _peaks(places: Floats, rows: int, columns: int) -> Floats:
    x = np.arange(columns, dtype=np.float32) - places[..., 0, None]
    y = np.arange(rows, dtype=np.float32) - places[..., 1, None]
    return np.exp(-(x[..., None, :] ** 2 + y[..., :, None] ** 2) / 8).astype(np.float32)
