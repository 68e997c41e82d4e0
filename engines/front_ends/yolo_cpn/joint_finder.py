"""Stage 2: the pose network on crops of people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Literal

import numpy as np

from engines.backends.base import DescribedBackend
from engines.front_ends.base import View2D
from engines.front_ends.yolo_cpn.network_facts import check_kind, input_size, pose_facts
from engines.front_ends.yolo_cpn.operations import Floats, Operations, Patch, PoseAnswer
from engines.front_ends.yolo_cpn.regions import crop_region
from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS, rival_features

ContextKind = Literal["sampled", "pooled", "none"]


class JointFinder:
    """Crops people, finds their joints in all crops at once, and reads the image context.

    Args:
        backend: runs the pose network.
        operations: the steps around it.
        context: features sampled at each joint and the heatmap's rivals, the features' mean over
            the crop for every joint, or none.
        flip_test: see ``PoseFacts.reading``.

    Raises:
        UserError: the network is no pose network.
    """

    def __init__(
        self,
        backend: DescribedBackend,
        operations: Operations,
        context: ContextKind,
        flip_test: bool | None = None,
    ) -> None:
        check_kind(backend, "pose2d")
        self._backend = backend
        self._operations = operations
        self._context = context
        self._facts = pose_facts(backend)
        self._reading = self._facts.reading(flip_test, rivals=context == "sampled")
        self._height, self._width = input_size(backend)

    @property
    def context_channels(self) -> int:
        """C of the context; 0 where there is none."""
        if self._context == "none":
            return 0
        return self._facts.channels + (RIVAL_CHANNELS if self._context == "sampled" else 0)

    @property
    def context_source(self) -> str:
        """Which weights the context comes from; empty where it is not sampled or not said."""
        return self._facts.weights if self._context == "sampled" else ""

    def find(
        self, people: Sequence[tuple[int, Floats]], note: Callable[[str, float], None]
    ) -> list[View2D]:
        """Finds the joints of one person a view.

        Args:
            people: view and box (4,) of each.
            note: told how many seconds each stage took.

        Returns:
            One answer a person, in the same order.
        """
        if not people:
            return []
        start = perf_counter()
        patches = [Patch(view, crop_region(box, self._height, self._width)) for view, box in people]
        answer = self._operations.find_joints(self._backend, patches, self._reading)
        joints, rivals = self._facts.found(answer)
        middle = perf_counter()
        note("pose", middle - start)
        context = self._read_context(answer, joints, rivals)
        note("context", perf_counter() - middle)
        views: list[View2D] = []
        for index, patch in enumerate(patches):
            placed = patch.region.to_picture(joints[index, :, :2], self._height, self._width)
            keypoints = np.concatenate((placed, joints[index, :, 2:]), 1).astype(np.float32)
            own = None if context is None else np.ascontiguousarray(context[index])
            views.append(View2D(keypoints, patch.region.box, own))
        return views

    def _read_context(self, answer: PoseAnswer, joints: Floats, rivals: Floats) -> Floats | None:
        if self._context == "none":
            return None
        if self._context == "sampled":
            places = np.ascontiguousarray(joints[..., :2])
            sampled = self._operations.sample(answer, places, self._height, self._width)
            return np.concatenate((sampled, rival_features(places, rivals, self._height)), 2)
        pooled = self._operations.pool(answer)[:, None]
        return np.repeat(pooled, joints.shape[1], axis=1)
