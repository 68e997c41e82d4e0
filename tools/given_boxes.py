"""The pose network alone: crops that lie around joints that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.backends.select import open_backend
from engines.front_ends.base import Image, View2D
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.joint_finder import JointFinder
from engines.front_ends.yolo_cpn.network_facts import network_name
from engines.front_ends.yolo_cpn.regions import box_of_joints

Look = Callable[[Sequence[Image]], tuple[View2D | None, ...]]
"""Finds the person in a set of pictures, one a view."""


class GivenBoxes:
    """Runs a pose network without a detector.

    Args:
        pose: the pose network's file.
        threads: CPU threads.

    Raises:
        UserError: the network cannot be read.
    """

    def __init__(self, pose: Path, threads: int) -> None:
        self._backend = open_backend(pose, "onnxruntime", threads)
        self._operations = HostOperations()
        self._finder = JointFinder(self._backend, self._operations, "none")

    @property
    def description(self) -> str:
        """The network and its engine."""
        return f"CPN around given joints: {network_name(self._backend)}"

    def around(self, joints: npt.NDArray[np.floating]) -> Look:
        """What looks at one set after the other.

        Args:
            joints: (N, V, 17, 3) x, y in pixels and confidence, of every set; NaN where nobody is.
        """
        sets = iter(np.nan_to_num(joints.astype(np.float32)))

        def look(images: Sequence[Image]) -> tuple[View2D | None, ...]:
            self._operations.take(images)
            boxes = enumerate(map(box_of_joints, next(sets)))
            people = [(view, box) for view, box in boxes if box is not None]
            answers = self._finder.find(people, lambda stage, seconds: None)
            found = {view: answer for (view, _), answer in zip(people, answers, strict=True)}
            return tuple(found.get(view) for view in range(len(images)))

        return look

    def close(self) -> None:
        """Frees the network."""
        self._backend.close()
