"""What the light CPN tells of each joint, read by the front end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.operations import FeatureLayout
from engines.front_ends.yolo_cpn.tensor_operations import TensorOperations
from engines.networks.joint_context import (
    ACROSS,
    BONE,
    DEPTH,
    JOINT_CHANNELS,
    NEIGHBOURS,
    TOWARDS,
)
from engines.skeleton import MIRROR, PARENTS, mirrored

HEIGHT, WIDTH = 64, 48


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_host_and_torch_read_the_same(seed: int, by_joint: bool) -> None:
    random = np.random.default_rng(seed)
    channels = 17 * JOINT_CHANNELS if by_joint else 5
    features = random.normal(size=(3, channels, HEIGHT // 8, WIDTH // 8)).astype(np.float32)
    places = random.uniform(-4, (WIDTH + 4, HEIGHT + 4), (3, 17, 2)).astype(np.float32)
    layout = FeatureLayout(HEIGHT, WIDTH, by_joint)
    host = HostOperations().sample(features, places, layout)
    device = TensorOperations("cpu").sample(torch.from_numpy(features), places, layout)
    assert host.shape == (3, 17, JOINT_CHANNELS if by_joint else 5)
    np.testing.assert_allclose(device, host, atol=1e-5)


@pytest.mark.parametrize("kind", ["host", "torch"])
def test_each_joint_reads_its_own_maps(kind: str) -> None:
    maps = torch.arange(17 * JOINT_CHANNELS, dtype=torch.float32).reshape(1, -1, 1, 1)
    features = maps.repeat(2, 1, 4, 3)
    places = np.random.default_rng(0).uniform(0, (WIDTH, HEIGHT), (2, 17, 2)).astype(np.float32)
    layout = FeatureLayout(HEIGHT, WIDTH, by_joint=True)
    if kind == "host":
        read = HostOperations().sample(features.numpy(), places, layout)
    else:
        read = TensorOperations("cpu").sample(features, places, layout)
    wanted = np.arange(17 * JOINT_CHANNELS, dtype=np.float32).reshape(17, JOINT_CHANNELS)
    np.testing.assert_allclose(read, np.broadcast_to(wanted, read.shape), rtol=1e-6)


def test_the_mirrored_body_has_the_mirrored_neighbours() -> None:
    for joint, neighbours in enumerate(NEIGHBOURS):
        assert NEIGHBOURS[MIRROR[joint]] == tuple(MIRROR[other] for other in neighbours)
        assert joint not in neighbours and len(set(neighbours)) == 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_told_of_the_mirrored_person(seed: int) -> None:
    random = np.random.default_rng(seed)
    joints = random.normal(size=(17, 2)).astype(np.float32)
    depth = random.normal(size=17).astype(np.float32)

    def told(places: np.ndarray, depths: np.ndarray) -> np.ndarray:
        around = places[np.array(NEIGHBOURS)] - places[:, None]
        told = np.zeros((17, JOINT_CHANNELS), np.float32)
        told[:, DEPTH], told[:, TOWARDS] = depths, around.reshape(17, 4)
        told[1:, BONE] = depths[1:] - depths[list(PARENTS[1:])]
        return told

    sides = list(MIRROR)
    other = told((joints * (-1, 1))[sides].astype(np.float32), depth[sides])
    np.testing.assert_allclose(mirrored(told(joints, depth), ACROSS), other, atol=1e-6)
    np.testing.assert_array_equal(mirrored(mirrored(other, ACROSS), ACROSS), other)
