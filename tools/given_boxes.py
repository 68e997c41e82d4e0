"""The pose network alone: a front end whose boxes lie around joints that are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.backends.select import open_backend
from engines.front_ends.base import Image, StageTime, View2D
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.joint_finder import JointFinder
from engines.front_ends.yolo_cpn.network_facts import network_name
from engines.front_ends.yolo_cpn.regions import box_of_joints


class GivenBoxes:
    """See ``engines.front_ends.base.FrontEnd``; every call takes the next set.

    Args:
        pose: the pose network's file.
        joints: (N, V, 17, 3) x, y in pixels and confidence, of every set; NaN where nobody is.
        threads: CPU threads.

    Raises:
        UserError: the network cannot be read.
    """

    def __init__(self, pose: Path, joints: npt.NDArray[np.floating], threads: int) -> None:
        self._backend = open_backend(pose, "onnxruntime", threads)
        self._operations = HostOperations()
        self._finder = JointFinder(self._backend, self._operations, "none")
        self._sets = iter(np.nan_to_num(joints.astype(np.float32)))

    @property
    def name(self) -> str:
        """``given_boxes``."""
        return "given_boxes"

    @property
    def description(self) -> str:
        """The network and its engine."""
        return f"CPN around given joints: {network_name(self._backend)}"

    @property
    def context_channels(self) -> int:
        """None."""
        return 0

    @property
    def context_source(self) -> str:
        """None."""
        return ""

    def warm_up(self, height: int, width: int) -> None:
        """Nothing: nobody waits."""

    def process(self, images: Sequence[Image | None]) -> tuple[View2D | None, ...]:
        """Finds the joints within the next set's boxes."""
        self._operations.take(images)
        people = [
            (view, box)
            for view, (joints, image) in enumerate(zip(next(self._sets), images, strict=True))
            if image is not None and (box := box_of_joints(joints)) is not None
        ]
        answers = self._finder.find(people, lambda stage, seconds: None)
        found = {view: answer for (view, _), answer in zip(people, answers, strict=True)}
        return tuple(found.get(view) for view in range(len(images)))

    def stage_times(self) -> tuple[StageTime, ...]:
        """None."""
        return ()

    def close(self) -> None:
        """Frees the network."""
        self._backend.close()
