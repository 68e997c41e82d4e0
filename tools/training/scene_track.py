"""Where to look for the person of a rendered sequence next, as the live front end would."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.front_ends.base import View2D
from engines.front_ends.tracking import overlap
from engines.front_ends.yolo_cpn.regions import box_of_joints, is_plausible

Floats = npt.NDArray[np.float32]

MOST_LAG: Final = 3
"""Live, the box is that of the last set; on a slow machine that is so many pictures ago."""

_CHECK_EVERY: Final = 15
_SAME_PERSON: Final = 0.3
_LEAST_CONFIDENCE: Final = 0.2
_DETECTOR_SIGMA: Final = 0.03
"""By how much of the box's size a detector's edges err."""


@dataclass(slots=True)
class SceneTrack:
    """The person of one view.

    Attributes:
        boxes: of the last pictures, oldest first; the oldest is looked at next.
        since_check: pictures since the detector was last asked.
    """

    boxes: deque[Floats] = field(default_factory=deque)
    since_check: int = 0

    def needs_start(self, true_box: Floats) -> bool:
        """Whether the detector would be asked, and its answer taken."""
        if not self.boxes:
            return True
        if self.since_check < _CHECK_EVERY or not np.isfinite(true_box).all():
            return False
        self.since_check = 0
        return overlap(self.boxes[-1], true_box) < _SAME_PERSON

    def start(self, true_box: Floats, random: np.random.Generator) -> None:
        """Begins where a detector finds the person; nowhere if nothing of them is to be seen."""
        self.boxes.clear()
        self.since_check = 0
        size = np.tile(true_box[2:] - true_box[:2], 2)
        if np.isfinite(true_box).all() and size.min() > 2:
            jitter = random.normal(0.0, _DETECTOR_SIGMA, 4) * size
            self.boxes.append((true_box + jitter).astype(np.float32))

    def follow(self, answer: View2D, lag: int, height: int, width: int) -> bool:
        """Moves to where the joints are; false, and lost, where there is no person.

        Args:
            answer: of the picture.
            lag: so many pictures later the new box is looked at.
            height: of the picture.
            width: of the picture.
        """
        box = box_of_joints(answer.keypoints)
        sure = float(answer.keypoints[:, 2].mean()) >= _LEAST_CONFIDENCE
        if box is None or not sure or not is_plausible(box, height, width):
            self.boxes.clear()
            return False
        self.boxes.append(box)
        while len(self.boxes) > lag:
            self.boxes.popleft()
        self.since_check += 1
        return True
