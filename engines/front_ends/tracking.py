"""When to detect and whom to follow: one person track a view, free of any network.

A view is detected only while its track is lost, and now and then to confirm that the track still
sits on a person. One that nobody is in is searched less and less often, so that it does not hold up
the others. Whom to start with, and when to change over, is decided by prominence: people who
are large and near the middle of the picture before those in the background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from engines.front_ends.base import Box

RegionT = TypeVar("RegionT")


@dataclass(frozen=True, slots=True)
class Candidate(Generic[RegionT]):
    """A person that a detector found.

    Attributes:
        region: what the pose network needs to look there; whatever the front end uses.
        box: the same as an upright box.
        score: 0…1.
    """

    region: RegionT
    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class TrackSettings:
    """How patient a track is; counts are pictures of that view.

    Attributes:
        keep_without_picture: the track outlives so many sets in which the view has no picture.
        check_every: a sure track is confirmed by the detector this often.
        check_every_unsure: an unsure one this often…
        known_after_checks: …and half as often when so many checks in a row have found it where it
            is: of who sits at a desk half of the joints are never seen.
        sure_confidence: mean joint confidence from which a track is sure.
        lost_after_checks: the track is dropped when so many checks in a row find nobody where it
            sits, and either it is unsure or they find somebody else.
        same_person_overlap: a detection with this intersection over union is the tracked person.
        takeover_prominence: somebody so many times as prominent takes the track over…
        takeover_checks: …when so many checks in a row agree.
        expected_within: somebody whose middle is so near that of where the person should be, by
            the other views, in sides of that box, is whom they see…
        elsewhere_from: …and a track that is so far away, or farther, follows somebody else.
        search_every: a view in which nobody was found is searched again in the next picture, then
            after 2, 3, … and at last after so many, as long as other views follow somebody.
    """

    keep_without_picture: int = 15
    check_every: int = 60
    check_every_unsure: int = 10
    known_after_checks: int = 2
    sure_confidence: float = 0.5
    lost_after_checks: int = 2
    same_person_overlap: float = 0.3
    takeover_prominence: float = 3.0
    takeover_checks: int = 2
    expected_within: float = 0.25
    elsewhere_from: float = 0.45
    search_every: int = 4


class PersonTrack(Generic[RegionT]):
    """Follows one person through the pictures of one view.

    Args:
        settings: how patient it is.
        phase: shifts the checks, so that not all views are checked in the same set.
    """

    def __init__(self, settings: TrackSettings, phase: int = 0) -> None:
        self._settings = settings
        self._phase = phase
        self._current: Candidate[RegionT] | None = None
        self._expected: Box | None = None
        self._since_check = 0
        self._without_picture = 0
        self._confirmed = 0
        self._unconfirmed = 0
        self._outshone = 0
        self._unsure = False
        self._searches = 0
        self._since_search = 0

    @property
    def region(self) -> RegionT | None:
        """Where to look in the next picture; None while the track is lost."""
        return None if self._current is None else self._current.region

    @property
    def unsure(self) -> bool:
        """Whether the joints were faint, or the last check spoke against the track."""
        return self._unsure

    @property
    def searches(self) -> int:
        """In so many pictures the person was looked for since they were followed last."""
        return self._searches

    def next_picture(self) -> None:
        """Takes note of a new picture, before anything is asked."""
        self._since_search += 1

    def wants_search(self, followed_elsewhere: bool) -> bool:
        """Whether the detector should look for the person in this picture.

        Args:
            followed_elsewhere: other views follow somebody, so that this one may wait.
        """
        return self._current is None and (not followed_elsewhere or self.search_overdue >= 0)

    @property
    def search_overdue(self) -> int:
        """For how many pictures a lost person should have been looked for; below 0 it may wait."""
        return self._since_search - min(self._searches, self._settings.search_every)

    def wants_check(self) -> bool:
        """Whether the detector should confirm the track in the next picture."""
        return self._current is not None and self.overdue >= 0

    def expect(self, box: Box | None) -> None:
        """Takes note of where the person should be by what other views see; None for no idea."""
        self._expected = box

    @property
    def _astray(self) -> bool:
        """Whether the other views see the person somewhere else."""
        if self._current is None or self._expected is None:
            return False
        return middles_apart(self._current.box, self._expected) >= self._settings.elsewhere_from

    def _meant(self, found: Sequence[Candidate[RegionT]]) -> Sequence[Candidate[RegionT]]:
        """Of the people found those whom the other views see, or all where nobody is there."""
        if self._expected is None:
            return found
        most, box = self._settings.expected_within, self._expected
        return [person for person in found if middles_apart(person.box, box) <= most] or found

    @property
    def overdue(self) -> int:
        """For how many pictures the detector should have confirmed it; below 0 there is time."""
        settings = self._settings
        every = settings.check_every
        if self._astray:
            every = settings.check_every_unsure
        if self._unsure:
            known = self._confirmed >= settings.known_after_checks
            every = min(every, settings.check_every_unsure * (2 if known else 1))
        return self._since_check - every

    def start(
        self, found: Sequence[Candidate[RegionT]], height: int, width: int
    ) -> Candidate[RegionT] | None:
        """Starts on whom the other views see, or else on the most prominent of the people found.

        Returns:
            That person, None where there is nobody.
        """
        self.lose()
        if self._since_search or not self._searches:
            self._searches += 1  # a front end may start on several people of one picture in turn
        self._since_search = 0
        self._current = max(
            self._meant(found),
            key=lambda person: prominence(person, height, width),
            default=None,
        )
        self._since_check = self._phase
        return self._current

    def check(
        self,
        found: Sequence[Candidate[RegionT]],
        height: int,
        width: int,
        faint: Sequence[Candidate[RegionT]] = (),
    ) -> None:
        """Compares the track with what the detector finds in the same picture.

        Args:
            found: people.
            height: of the picture in pixels.
            width: of the picture in pixels.
            faint: what may be people: enough to stay with who crouches, and for nothing else.
        """
        current = self._current
        if current is None:
            return
        settings = self._settings
        self._since_check = 0
        own = [
            person
            for person in found
            if overlap(person.box, current.box) >= settings.same_person_overlap
        ]
        others = [person for person in found if all(person is not mine for mine in own)]
        # Nobody found at all says little about a sure track: detectors miss people whom the pose
        # network still sees.
        there = own or any(
            overlap(person.box, current.box) >= settings.same_person_overlap for person in faint
        )
        doubtful = not there and (bool(others) or current.score < settings.sure_confidence)
        self._unconfirmed = self._unconfirmed + 1 if doubtful else 0
        best = max((prominence(person, height, width) for person in others), default=0.0)
        mine = max(
            (prominence(person, height, width) for person in own),
            default=prominence(current, height, width),
        )
        outshone = best > settings.takeover_prominence * mine
        if self._expected is not None:
            meant = self._meant(others)
            # Whom the other views see is meant, however small; who is there already, even more so.
            outshone = (self._astray and meant is not others) or (
                outshone and middles_apart(current.box, self._expected) > settings.expected_within
            )
        self._outshone = self._outshone + 1 if outshone else 0
        self._confirmed = self._confirmed + 1 if own and not outshone else 0
        if (
            self._unconfirmed >= settings.lost_after_checks
            or self._outshone >= settings.takeover_checks
        ):
            self.start(others, height, width)
        elif self._unconfirmed or self._outshone:
            # Ask again soon rather than after a full period.
            self._unsure = True

    def follow(self, region: RegionT, box: Box, confidence: float) -> None:
        """Takes note of where the pose network saw the person and where to look next.

        Args:
            region: where to look in the next picture.
            box: the same as an upright box.
            confidence: mean joint confidence, 0…1.
        """
        self._current = Candidate(region, box, confidence)
        self._since_check += 1
        self._without_picture = self._searches = 0
        self._unsure = (
            confidence < self._settings.sure_confidence
            or self._unconfirmed > 0
            or self._outshone > 0
        )

    def skip(self) -> None:
        """Takes note of a set in which the view has no picture."""
        self._without_picture += 1
        if self._without_picture > self._settings.keep_without_picture:
            self.lose()

    def lose(self) -> None:
        """Drops the track."""
        self._current = None
        self._without_picture = self._confirmed = self._unconfirmed = self._outshone = 0
        self._unsure = False


def prominence(person: Candidate[RegionT], height: int, width: int) -> float:
    """How much a person looks like the one who is meant: area, nearness to the middle, score.

    Args:
        person: the person.
        height: of the picture in pixels.
        width: of the picture in pixels.

    Returns:
        Fraction of the picture that the box fills, at most 1, times the score, halved when the
        person stands at the left or right edge of the picture.
    """
    size = np.clip(person.box[2:] - person.box[:2], 0, None)
    area = min(1.0, float(size.prod()) / (height * width))
    aside = abs(float(person.box[0] + person.box[2]) / width - 1.0)
    return area * person.score * (1.0 - 0.5 * min(1.0, aside))


def middles_apart(box: Box, expected: Box) -> float:
    """How far two boxes' middles are apart, over the longer side of the second.

    Unlike the overlap this takes a tight box and a generous one of the same person for the same.
    """
    distance = 0.5 * float(np.hypot(*((box[:2] + box[2:]) - (expected[:2] + expected[2:]))))
    return distance / max(float((expected[2:] - expected[:2]).max()), 1e-6)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    common = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    if common.min() <= 0:
        return 0.0
    shared = float(common.prod())
    return shared / float((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - shared)
