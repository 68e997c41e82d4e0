"""Other places where a joint may be: found alike on the host and on the device, and told."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.front_ends.yolo_cpn import host_operations, rivals, tensor_heat
from engines.front_ends.yolo_cpn.rivals import APART, LEAST_SHARE, RIVAL_CHANNELS, rival_features
from engines.pose_conversion import coco_rivals_to_h36m, coco_to_h36m

Floats = npt.NDArray[np.float32]
ROWS, COLUMNS = 56, 40


def _find(kind: str, heatmaps: Floats, peak: float) -> Floats:
    if kind == "host":
        return host_operations.find_rivals(heatmaps, peak)
    return tensor_heat.find_rivals(torch.from_numpy(heatmaps), peak).numpy()


def _peak(x: float, y: float, height: float) -> Floats:
    across = np.arange(COLUMNS, dtype=np.float32) - x
    down = np.arange(ROWS, dtype=np.float32)[:, None] - y
    return np.asarray(height * np.exp(-(across**2 + down**2) / 8), np.float32)


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_further_peaks_are_found_highest_first(kind: str) -> None:
    heat = _peak(10, 20, 0.8) + _peak(30, 40, 0.5) + _peak(11, 48, 0.3) + _peak(35, 6, 0.2)
    found = _find(kind, heat[None, None] * 255, 255.0)[0, 0]
    assert found == pytest.approx(np.array([(30, 40, 0.5), (11, 48, 0.3)]), abs=0.01)


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_a_lonely_peak_and_an_empty_map_have_no_rivals(kind: str) -> None:
    heat = np.stack((_peak(17.4, 22.6, 0.9), np.zeros((ROWS, COLUMNS), np.float32)))
    assert not _find(kind, heat[None], 1.0).any()


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 300.0))
@settings(max_examples=40, deadline=None)
def test_host_and_torch_agree_and_keep_rivals_apart(seed: int, peak: float) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.2, (2, 17, 16, 12)).astype(np.float32)
    heatmaps = (noise * np.float32(peak)).astype(np.float32)
    one, other = (_find(kind, heatmaps, peak) for kind in ("host", "torch"))
    assert one == pytest.approx(other, abs=1e-5)
    heat = one[..., 2]
    assert ((heat == 0) | (heat >= np.float32(LEAST_SHARE) * 0.999)).all()
    assert (heat[..., 1] <= heat[..., 0]).all()
    best = heatmaps.reshape(2, 17, -1).argmax(-1)
    places = np.concatenate((np.stack((best % 12, best // 12), -1)[..., None, :], one[..., :2]), 2)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        there = (heat[..., a - 1] > 0 if a else True) & (heat[..., b - 1] > 0)
        apart = np.abs(places[..., a, :] - places[..., b, :]).max(-1)
        assert (apart[there] > APART).all()


def test_rivals_are_told_from_the_joint_in_tenths_of_the_crop() -> None:
    places = np.full((1, 17, 2), (100, 50), np.float32)
    found = np.zeros((1, 17, rivals.RIVALS, 3), np.float32)
    found[0, 3, 0] = 122.4, 27.6, 0.4
    told = rival_features(places, found, 224)
    assert told.shape == (1, 17, RIVAL_CHANNELS)
    assert told[0, 3] == pytest.approx((1, -1, 0.4, 0, 0, 0), abs=1e-6)
    assert not np.delete(told, 3, 1).any()


def test_coco_rivals_go_where_their_joints_go() -> None:
    random = np.random.default_rng(3)
    joints = random.uniform(1, 9, (2, 17, 3)).astype(np.float32)
    converted = coco_rivals_to_h36m(np.stack((joints, joints + 1), 2))
    limbs = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16]
    expected = coco_to_h36m(joints)[:, limbs]
    assert converted[:, limbs, 0] == pytest.approx(expected)
    assert converted[:, limbs, 1] == pytest.approx(expected + 1)
    assert not np.delete(converted, limbs, 1).any(), "a constructed joint has none"
