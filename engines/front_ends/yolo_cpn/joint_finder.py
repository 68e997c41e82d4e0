"""Stage 2: the pose network on crops of people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Final, Literal

import numpy as np

from engines.backends.base import DescribedBackend
from engines.front_ends.base import View2D
from engines.front_ends.yolo_cpn.network_facts import check_kind, input_size, pose_facts
from engines.front_ends.yolo_cpn.operations import (
    FeatureLayout,
    Floats,
    Operations,
    Patch,
    PoseAnswer,
)
from engines.front_ends.yolo_cpn.regions import CPN_EXTENSION, crop_region
from engines.front_ends.yolo_cpn.rivals import RIVAL_CHANNELS, rival_features
from engines.networks.joint_context import ACROSS
from engines.skeleton import mirrored

ContextKind = Literal["sampled", "pooled", "none"]

LEAST_SURE: Final = 0.2
"""A joint of which the network is less sure is missing: it is a guess, mostly far off.

Of the light CPN's joints on rendered people never seen before (53,000), those of less than a tenth
lie 0.9 of the joints' spread from the true place in the median (about a quarter of the body's
height), those of one to two tenths 0.4, of two to three 0.25, of nine and more 0.03. Without the
first two the lifter errs no more where some joint is hidden for a moment, and much less where legs
are behind a desk all the time.
"""


def without_guesses(answer: View2D) -> View2D:
    """Leaves out joints that the network does not see."""
    keypoints = answer.keypoints.copy()
    keypoints[keypoints[:, 2] < LEAST_SURE] = 0
    return replace(answer, keypoints=keypoints)


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
        self._layout = FeatureLayout(self._height, self._width, self._facts.by_joint)

    @property
    def context_channels(self) -> int:
        """C of the context; 0 where there is none."""
        if self._context == "none":
            return 0
        if self._context == "pooled":
            return self._facts.channels
        return self._facts.joint_channels + RIVAL_CHANNELS

    @property
    def context_source(self) -> str:
        """Which weights the context comes from; empty where it is not sampled or not said."""
        return self._facts.weights if self._context == "sampled" else ""

    def find(
        self,
        people: Sequence[tuple[int, Floats]],
        note: Callable[[str, float], None],
        loose: bool = False,
    ) -> list[View2D]:
        """Finds the joints of one person a view.

        Args:
            people: view and box (4,) of each.
            note: told how many seconds each stage took.
            loose: the boxes may cut somebody's hands and feet off, as detectors' do.

        Returns:
            One answer a person, in the same order.
        """
        if not people:
            return []
        start = perf_counter()
        extension = CPN_EXTENSION if loose else self._facts.extension
        patches = [
            Patch(view, crop_region(box, self._height, self._width, extension))
            for view, box in people
        ]
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

    def _mirrored(self, places: Floats) -> Floats:
        """Joints (B, 17, C), x in pixels of the crop first, as in the mirrored crop."""
        turned = mirrored(places, (0,))
        turned[..., 0] += self._width
        return turned

    def _read_context(self, answer: PoseAnswer, joints: Floats, rivals: Floats) -> Floats | None:
        """The context (B, 17, C), if there is any."""
        if self._context == "none":
            return None
        if self._context == "pooled":
            pooled = self._operations.pool(answer)[:, None]
            return np.repeat(pooled, joints.shape[1], axis=1)
        told = self._sampled(answer.features, joints)
        if answer.mirrored is not None:
            # Both tell the same of the same joints; their mean errs less.
            turned = self._sampled(answer.mirrored, self._mirrored(joints))
            told = np.float32(0.5) * (told + mirrored(turned, ACROSS))
        return np.concatenate((told, rival_features(joints[..., :2], rivals, self._height)), 2)

    def _sampled(self, features: object, joints: Floats) -> Floats:
        places = np.ascontiguousarray(joints[..., :2])
        return self._operations.sample(features, places, self._layout)
