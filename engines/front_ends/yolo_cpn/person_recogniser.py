"""Which of the people that the detector found the pose network takes for people, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from engines.front_ends.tracking import Candidate, prominence
from engines.front_ends.yolo_cpn.joint_finder import JointFinder
from engines.front_ends.yolo_cpn.operations import Floats
from engines.front_ends.yolo_cpn.settings import YoloCpnSettings

_TRIED: Final = 4
"""Of several people found, so many of the most prominent are looked at."""

_TRIED_FAINT: Final = 2
"""Of those of whom the detector is not sure."""

People = Sequence[Candidate[Floats]]


class PersonRecogniser:
    """Lets the pose network judge where the detector leaves doubt.

    A coat that the detector takes for somebody large would otherwise keep the track from somebody
    small, or take it over. And who lies, crouches or is half hidden often has too low a score to be
    believed, but joints that can be seen well.

    Args:
        joints: the pose network.
        settings: which scores and confidences it takes.
    """

    def __init__(self, joints: JointFinder, settings: YoloCpnSettings) -> None:
        self._joints = joints
        self._settings = settings

    def recognise(
        self,
        view: int,
        people: People,
        height: int,
        width: int,
        note: Callable[[str, float], None],
    ) -> list[Candidate[Floats]]:
        """Leaves out those who are nobody.

        Args:
            view: whose picture the operations have taken.
            people: found in it, down to the faint score.
            height: of the picture in pixels.
            width: of the picture in pixels.
            note: told how many seconds the pose network took.

        Returns:
            Those who may be followed; where they were looked at, with scores multiplied by the
            joints' confidence.
        """
        settings = self._settings
        sure = [person for person in people if person.score >= settings.score]
        if len(sure) == 1:
            return sure  # the track looks at it anyway
        if sure:
            tried, least = _most_prominent(sure, _TRIED, height, width), settings.confidence
        else:
            tried = _most_prominent(people, _TRIED_FAINT, height, width)
            least = settings.faint_confidence
        boxes = [(view, person.box) for person in tried]
        looked_at = self._joints.find(boxes, note, loose=True)
        confidences = (float(result.keypoints[:, 2].mean()) for result in looked_at)
        return [
            Candidate(person.region, person.box, person.score * confidence)
            for person, confidence in zip(tried, confidences, strict=True)
            if confidence >= least
        ]


def _most_prominent(people: People, count: int, height: int, width: int) -> People:
    return sorted(people, key=lambda person: -prominence(person, height, width))[:count]
