"""The ``blazepose`` front end: one track a view, views spread over worker threads."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Final

import numpy as np

from engines.backends.litert_backend import LiteRtBackend
from engines.front_ends.base import Box, Image, StageTime, View2D
from engines.front_ends.blazepose import models
from engines.front_ends.blazepose.detector import PersonDetector
from engines.front_ends.blazepose.joints import to_view
from engines.front_ends.blazepose.landmarks import BodyLandmarks, LandmarkFinder
from engines.front_ends.blazepose.region import Region
from engines.front_ends.tracking import Candidate, PersonTrack, TrackSettings

_MIN_PRESENCE: Final = 0.5
_TRIES: Final = 2
"""So many of the people that the detector finds are tried, the most prominent first."""


@dataclass(frozen=True, slots=True)
class _Worker:
    """The networks of one thread."""

    detector: PersonDetector
    landmarks: LandmarkFinder


@dataclass(frozen=True, slots=True)
class _Outcome:
    view: View2D | None
    detect_s: float = 0.0
    landmarks_s: float = 0.0


class BlazePoseFrontEnd:
    """BlazePose on every view; see ``engines.front_ends.base.FrontEnd``.

    Args:
        views: number of views.
        threads: CPU threads for the networks. Views run side by side, one thread each, which
            uses cores better than several threads in one network.

    Raises:
        UserError: the networks cannot be had or do not load.
    """

    def __init__(self, views: int, threads: int = 2) -> None:
        if views < 1 or threads < 1:
            raise ValueError(f"views and threads must be at least 1, not {views} and {threads}")
        settings = TrackSettings()
        self._tracks = tuple(
            PersonTrack[Region](settings, phase=view * settings.check_every // views)
            for view in range(views)
        )
        workers = min(views, threads)
        detector, landmarks = models.fetched(models.DETECTOR), models.fetched(models.LANDMARKS)
        self._backends: list[LiteRtBackend] = []
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for _ in range(workers):
            pair = [
                LiteRtBackend(content, file.name, threads // workers)
                for content, file in ((detector, models.DETECTOR), (landmarks, models.LANDMARKS))
            ]
            self._backends += pair
            self._idle.put(_Worker(PersonDetector(pair[0]), LandmarkFinder(pair[1])))
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="blazepose")
        self._times: tuple[StageTime, ...] = ()

    @property
    def name(self) -> str:
        """``blazepose``."""
        return "blazepose"

    @property
    def description(self) -> str:
        """Networks, weights, engine, precision."""
        networks = f"{models.DETECTOR.name} + {models.LANDMARKS.name}"
        return f"BlazePose full ({networks}), {self._backends[0].provider} x {self._workers}"

    @property
    def context_channels(self) -> int:
        """0: there is no image context."""
        return 0

    @property
    def context_source(self) -> str:
        """Empty: there is no image context."""
        return ""

    def warm_up(self, height: int, width: int) -> None:
        """Runs every network once on a blank picture."""
        blank = np.zeros((height, width, 3), np.uint8)
        whole = Region(width / 2, height / 2, float(max(height, width)), 0.0)
        workers = [self._idle.get() for _ in range(self._workers)]
        for worker in workers:
            worker.detector.detect(blank)
            worker.landmarks.find(blank, whole)
            self._idle.put(worker)

    def expect(self, boxes: Sequence[Box | None]) -> None:
        """Says where the person should be; see ``FrontEnd.expect``."""
        for track, box in zip(self._tracks, boxes, strict=True):
            track.expect(box)

    def process(self, images: Sequence[Image | None]) -> tuple[View2D | None, ...]:
        """Finds the person in each view's newest picture; see ``FrontEnd.process``.

        Raises:
            ValueError: the number of pictures is not the number of views.
        """
        if len(images) != len(self._tracks):
            raise ValueError(f"expected {len(self._tracks)} pictures, not {len(images)}")
        followed = any(track.region is not None for track in self._tracks)
        outcomes = list(self._pool.map(partial(self._process_view, followed), self._tracks, images))
        self._times = (
            StageTime("detect", 1e3 * sum(outcome.detect_s for outcome in outcomes)),
            StageTime("landmarks", 1e3 * sum(outcome.landmarks_s for outcome in outcomes)),
        )
        return tuple(outcome.view for outcome in outcomes)

    def stage_times(self) -> tuple[StageTime, ...]:
        """What the stages of the last call took, added up over views and threads."""
        return self._times

    def close(self) -> None:
        """Frees the networks and threads."""
        self._pool.shutdown()
        for backend in self._backends:
            backend.close()

    def _process_view(
        self, followed: bool, track: PersonTrack[Region], image: Image | None
    ) -> _Outcome:
        if image is None:
            track.skip()
            return _Outcome(None)
        track.next_picture()
        if track.region is None and not track.wants_search(followed):
            return _Outcome(None)
        worker = self._idle.get()
        try:
            return _follow(worker, track, image)
        finally:
            self._idle.put(worker)


def _follow(worker: _Worker, track: PersonTrack[Region], image: Image) -> _Outcome:
    """Tracks where there is a track, and detects where there is none or it has just been lost."""
    height, width = image.shape[:2]
    detect_s = landmarks_s = 0.0
    people: list[Candidate[Region]] | None = None
    if track.wants_check():
        start = perf_counter()
        track.check(_detect(worker, image), height, width)
        detect_s += perf_counter() - start
    for _ in range(1 + _TRIES):
        if track.region is None:
            if people is None:
                start = perf_counter()
                people = _detect(worker, image)
                detect_s += perf_counter() - start
            chosen = track.start(people, height, width)
            people = [person for person in people if person is not chosen]
        region = track.region
        if region is None:
            break
        start = perf_counter()
        body = worker.landmarks.find(image, region)
        landmarks_s += perf_counter() - start
        view = to_view(body, region, height, width)
        if _is_person(body, view, height, width):
            confidence = float(view.keypoints[:, 2].mean())
            track.follow(body.next_region, body.next_region.box, confidence)
            return _Outcome(view, detect_s, landmarks_s)
        track.lose()
    return _Outcome(None, detect_s, landmarks_s)


def _detect(worker: _Worker, image: Image) -> list[Candidate[Region]]:
    height, width = image.shape[:2]
    return [
        Candidate(person.region, person.region.box, person.score)
        for person in worker.detector.detect(image)
        if person.region.is_plausible(height, width)
    ]


def _is_person(body: BodyLandmarks, view: View2D, height: int, width: int) -> bool:
    """Whether the landmarks are a person's, at a place where the track may go on."""
    seen = view.keypoints[:, 2] > 0
    return (
        body.presence >= _MIN_PRESENCE
        and int(seen.sum()) >= 4
        and body.next_region.is_plausible(height, width)
    )
