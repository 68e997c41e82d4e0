"""From the pipeline's messages to what the rig estimator takes."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from app.messages import Evidence
from engines.rig.types import Floats, Observation
from engines.skeleton import JOINT_COUNT


def observation_of(evidence: Evidence) -> Observation:
    """The estimator's form of a message; seconds of the monotonic clock."""
    views = evidence.views
    keypoints = np.zeros((len(views), JOINT_COUNT, 3))
    times = np.full(len(views), evidence.time_ns * 1e-9)
    lifted = np.zeros((len(views), JOINT_COUNT, 3))
    sigma = np.full((len(views), JOINT_COUNT), np.inf)
    for v, view in enumerate(views):
        if view is None:
            continue
        times[v] = view.capture_ns * 1e-9
        keypoints[v] = view.keypoints
        if view.lifted is not None and view.sigma is not None:
            lifted[v] = view.lifted
            sigma[v] = view.sigma
    return Observation(evidence.time_ns * 1e-9, times, keypoints, lifted, sigma)


_LONGEST_WAIT_S: Final = 2.0
"""After the first sighting, a camera that has shown nothing yet is not waited for any longer."""
_KEPT_S: Final = 10.0


class PictureSizes:
    """Learns how large each camera's pictures are, which is part of where it is."""

    def __init__(self, views: int) -> None:
        """Knows of no picture."""
        self._sizes: list[tuple[int, int] | None] = [None] * views
        self._waiting: deque[Evidence] = deque()
        self._first_ns: int | None = None

    def learn(self, evidence: Evidence) -> tuple[int, ...]:
        """Takes a set; the views in which somebody is seen for the first time in it."""
        new: list[int] = []
        for v, view in enumerate(evidence.views):
            if view is not None:
                if self._sizes[v] is None:
                    new.append(v)
                self._sizes[v] = (view.width, view.height)
        return tuple(new)

    def wait(self, evidence: Evidence) -> tuple[Evidence, ...]:
        """Keeps a set, if it shows somebody, until every camera has, or has been waited for.

        Returns:
            The sets of the last seconds, once the estimation can begin; before that none.
        """
        if any(view is not None for view in evidence.views):
            self._waiting.append(evidence)
            self._first_ns = evidence.time_ns if self._first_ns is None else self._first_ns
        if self._first_ns is None:
            return ()
        while self._waiting and (evidence.time_ns - self._waiting[0].time_ns) * 1e-9 > _KEPT_S:
            self._waiting.popleft()
        known = sum(size is not None for size in self._sizes)
        waited_s = (evidence.time_ns - self._first_ns) * 1e-9
        if known == len(self._sizes) or (known >= 2 and waited_s >= _LONGEST_WAIT_S):
            kept = tuple(self._waiting)
            self._waiting.clear()
            return kept
        return ()

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) a camera; those that have shown nothing are taken to be as others."""
        seen = [size for size in self._sizes if size is not None]
        return [size or seen[0] for size in self._sizes]

    @property
    def aspects(self) -> Floats:
        """(V,) height over width."""
        return np.array([h / w for w, h in (size or (4, 3) for size in self._sizes)])
