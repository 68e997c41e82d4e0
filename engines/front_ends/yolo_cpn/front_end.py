"""The ``yolo_cpn`` front end: one track a view, both networks batched over the views."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Final, cast

import numpy as np

from engines.backends.base import DescribedBackend
from engines.backends.select import EngineName, open_backend
from engines.errors import UserError
from engines.front_ends.base import Box, Image, StageTime, View2D
from engines.front_ends.tracking import Candidate, PersonTrack
from engines.front_ends.yolo_cpn.host_operations import HostOperations
from engines.front_ends.yolo_cpn.joint_finder import JointFinder, without_guesses
from engines.front_ends.yolo_cpn.network_facts import network_name
from engines.front_ends.yolo_cpn.operations import Floats, Operations
from engines.front_ends.yolo_cpn.person_finder import PersonFinder
from engines.front_ends.yolo_cpn.person_recogniser import PersonRecogniser
from engines.front_ends.yolo_cpn.regions import box_of_joints, is_plausible, likely_boxes
from engines.front_ends.yolo_cpn.settings import YoloCpnSettings
from engines.model_files import Precision

_LOG = logging.getLogger("front end")
_STAGES: Final = ("pictures", "detect", "pose", "context")


class YoloCpnFrontEnd:
    """YOLO and CPN on every view; see ``engines.front_ends.base.FrontEnd``.

    Args:
        detector: finds people.
        pose: finds joints in crops.
        views: number of views.
        settings: how it works.
        operations: the steps around the networks; None takes those for the engines' device.

    Raises:
        UserError: a back end runs the wrong kind of network, or the two are on different devices.
    """

    def __init__(
        self,
        detector: DescribedBackend,
        pose: DescribedBackend,
        views: int,
        settings: YoloCpnSettings | None = None,
        operations: Operations | None = None,
    ) -> None:
        if views < 1:
            raise ValueError(f"views must be at least 1, not {views}")
        if detector.device != pose.device:
            raise UserError(
                f"the detector runs on {detector.device} and the pose network on {pose.device}: "
                "run both on the same engine"
            )
        settings = settings or YoloCpnSettings()
        self._settings = settings
        self._backends = (detector, pose)
        self._operations = operations or _operations(detector.device)
        self._people = PersonFinder(
            detector, self._operations, settings.faint_score, settings.overlap
        )
        self._joints = JointFinder(pose, self._operations, settings.context, settings.flip_test)
        self._recogniser = PersonRecogniser(self._joints, settings)
        every = settings.track.check_every
        self._tracks = tuple(
            PersonTrack[Floats](settings.track, phase=view * every // views)
            for view in range(views)
        )
        self._seconds = dict.fromkeys(_STAGES, 0.0)

    @property
    def name(self) -> str:
        """``yolo_cpn``."""
        return "yolo_cpn"

    @property
    def description(self) -> str:
        """Networks, input sizes, engines."""
        return "YOLO + CPN: " + " + ".join(network_name(backend) for backend in self._backends)

    @property
    def context_channels(self) -> int:
        """Channels of the pose network's features, or 0."""
        return self._joints.context_channels

    @property
    def context_source(self) -> str:
        """The pose network's weights, as its file names them; empty where it does not."""
        return self._joints.context_source

    def warm_up(self, height: int, width: int) -> None:
        """Runs every network once on blank pictures, for all views and for one."""
        views = len(self._tracks)
        blank = [np.zeros((height, width, 3), np.uint8)] * views
        whole = np.array((0, 0, width, height), np.float32)
        self._operations.take(blank)
        for count in {views, 1}:
            self._people.find(blank, range(count))
            self._joints.find([(view, whole) for view in range(count)], self._note)

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
        self._seconds = dict.fromkeys(_STAGES, 0.0)
        start = perf_counter()
        self._operations.take(images)
        self._note("pictures", perf_counter() - start)
        for track, image in zip(self._tracks, images, strict=True):
            if image is None:
                track.skip()
            else:
                track.next_picture()
        results: list[View2D | None] = [None] * len(images)
        waiting = [view for view, image in enumerate(images) if image is not None]
        detected: set[int] = set()
        doubted: set[int] = set()
        others: dict[int, list[Candidate[Floats]]] = {}
        while waiting:
            asked = self._to_detect([view for view in waiting if view not in detected])
            if asked:
                others |= self._detect(images, asked, doubted)
            detected.update(asked)
            people = [
                (view, box) for view in waiting if (box := self._tracks[view].region) is not None
            ]
            waiting = []
            for view, result in self._look(people, doubted):
                if self._follow(view, result, cast(Image, images[view])):
                    results[view] = without_guesses(result)
                elif view not in detected:
                    # The track has just turned out to be lost: a second round looks for it.
                    waiting.append(view)
                elif found := others.pop(view, None):
                    # So has one that was being checked: the person may be whom the check found.
                    self._tracks[view].start(found, *cast(Image, images[view]).shape[:2])
                    waiting.append(view)
        return tuple(results)

    def stage_times(self) -> tuple[StageTime, ...]:
        """What the stages of the last ``process`` call took."""
        return tuple(StageTime(stage, 1e3 * s) for stage, s in self._seconds.items())

    def close(self) -> None:
        """Frees the networks."""
        for backend in self._backends:
            backend.close()

    def _note(self, stage: str, seconds: float) -> None:
        self._seconds[stage] += seconds

    def _to_detect(self, views: Sequence[int]) -> list[int]:
        """Those whose track has just been lost, and the most overdue one of the others.

        The others are to be searched once more, or to be checked. Several of them in one set would
        hold it up by as many times a set's own work. While nobody is followed in any view, there is
        nothing to hold up: then all are searched.
        """
        followed = any(track.region is not None for track in self._tracks)
        lost = [view for view in views if self._tracks[view].wants_search(followed)]
        if not followed:
            return lost
        urgent = [view for view in lost if self._tracks[view].searches == 0]
        overdue = {
            view: self._tracks[view].search_overdue for view in lost if view not in urgent
        } | {view: self._tracks[view].overdue for view in views if self._tracks[view].wants_check()}
        return urgent + sorted(overdue, key=lambda view: -overdue[view])[:1]

    def _detect(
        self, images: Sequence[Image | None], views: Sequence[int], doubted: set[int]
    ) -> dict[int, list[Candidate[Floats]]]:
        """Starts or checks the tracks of some views.

        Args:
            images: one a view.
            views: whose tracks.
            doubted: takes up the views with a new or doubtful box.

        Returns:
            Whom it found in views whose track stays where it was.
        """
        start = perf_counter()
        found = self._people.find(images, views)
        self._note("detect", perf_counter() - start)
        others: dict[int, list[Candidate[Floats]]] = {}
        for view, people in zip(views, found, strict=True):
            height, width = cast(Image, images[view]).shape[:2]
            track = self._tracks[view]
            before = track.region
            likely = self._recogniser.recognise(view, people, height, width, self._note)
            if before is None:
                track.start(likely, height, width)
            else:
                least = self._settings.score
                faint = [person for person in people if person.score < least]
                track.check(likely, height, width, faint)
            if track.region is not before or track.unsure:
                doubted.add(view)
            if before is not None and track.region is before:
                others[view] = likely
        return others

    def _look(
        self, people: Sequence[tuple[int, Floats]], doubted: Collection[int]
    ) -> Iterator[tuple[int, View2D]]:
        """The joints of each view's person; where its box is in doubt, in the crop that fits."""
        trusted = [(view, box) for view, box in people if view not in doubted]
        views = (view for view, _ in trusted)
        yield from zip(views, self._joints.find(trusted, self._note), strict=True)
        for view, box in people:
            if view in doubted:
                # One view at a time: engines take at most eight crops at once.
                tried = self._joints.find(
                    [(view, each) for each in likely_boxes(box)], self._note, loose=True
                )
                yield view, max(tried, key=lambda result: float(result.keypoints[:, 2].mean()))

    def _follow(self, view: int, result: View2D, image: Image) -> bool:
        """Moves the track to where the joints are; false where there is no person."""
        track = self._tracks[view]
        confidence = float(result.keypoints[:, 2].mean())
        box = box_of_joints(result.keypoints)
        height, width = image.shape[:2]
        if (
            box is None
            or confidence < self._settings.confidence
            or not is_plausible(box, height, width)
        ):
            track.lose()
            return False
        track.follow(box, box, confidence)
        return True


def open_yolo_cpn(
    views: int,
    detector: Path,
    pose: Path,
    engine: EngineName = "auto",
    threads: int | None = None,
    settings: YoloCpnSettings | None = None,
    precision: Precision = "fp32",
) -> YoloCpnFrontEnd:
    """Opens both networks on an engine and makes the front end.

    Args:
        views: number of views.
        detector: the detector's ``.onnx`` file.
        pose: the pose network's ``.onnx`` file.
        engine: which engine runs them.
        threads: CPU threads; None takes the cores of this process.
        settings: how it works.
        precision: of the inside on a GPU.

    Raises:
        UserError: a file cannot be loaded or is the wrong kind of network, or the engine is
            missing.
    """
    paths = (detector, pose)
    backends = [open_backend(path, engine, threads, precision) for path in paths]
    if engine == "auto" and backends[0].device != backends[1].device:
        # The engine of one has been built and that of the other has not; pictures go up once or
        # not at all.
        _LOG.warning(
            "detector and pose network would run on different devices (%s, %s), so both run on "
            "ONNX Runtime; build the engine that is missing: python -m tools.build_engines",
            *(backend.provider for backend in backends),
        )
        for backend in backends:
            backend.close()
        backends = [open_backend(path, "onnxruntime", threads) for path in paths]
    return YoloCpnFrontEnd(backends[0], backends[1], views, settings)


def _operations(device: str) -> Operations:
    if device == "cpu":
        return HostOperations()
    from engines.front_ends.yolo_cpn.tensor_operations import TensorOperations

    return TensorOperations(device)
