"""The process that finds the cameras from the moving person (``python -m app.rig_process``)."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from app.bus import Publisher, Subscriber
from app.clock import now_ns
from app.messages import Command, Evidence, RigUpdate
from app.process import ProcessContext, run_process
from app.topics import Topic
from engines.errors import UserError
from engines.rig.estimator import RigEstimator
from engines.rig.exchange import load_rig, match_cameras, save_rig
from engines.rig.monitor import RigMonitor
from engines.rig.priors import focal_of_fov
from engines.rig.rig_file import rig_to_json
from engines.rig.triangulation import cameras_of
from engines.rig.types import KnownCamera, Observation, Rig, RigCamera
from engines.skeleton import JOINT_COUNT

_LOG = logging.getLogger("rig")
_SAY_NS = 1_000_000_000
_CHECK_SETS = 10


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


class RigFinder:
    """Collects evidence, estimates, watches, and says what is known."""

    def __init__(self, context: ProcessContext) -> None:
        """Waits for the first pictures: their sizes are part of the answer.

        Args:
            context: of the process.

        Raises:
            UserError: the rig file that was given cannot be used.
        """
        self._config = context.spec.config
        self._names = [camera.id for camera in self._config.cameras]
        self._save_to = context.spec.save_rig
        self._sizes: list[tuple[int, int] | None] = [None for _ in self._names]
        self._estimator: RigEstimator | None = None
        self._monitor: RigMonitor | None = None
        self._rig: Rig | None = None
        self._trusted = False
        self._checked = 0
        self._version = 0
        self._update = RigUpdate(at_ns=now_ns(), version=0, reason="waiting for a person")
        self._next_estimate_ns = 0
        if context.spec.rig is not None:
            loaded, notes = load_rig(context.spec.rig, body_height_m=self._config.body_height_m)
            for note in notes:
                _LOG.warning("%s: %s", context.spec.rig, note)
            self._rig = match_cameras(loaded, self._names, str(context.spec.rig))

    @property
    def update(self) -> RigUpdate:
        """What is known now."""
        return self._update

    def add(self, evidence: Evidence) -> None:
        """Takes one set."""
        for v, view in enumerate(evidence.views):
            if view is not None and self._sizes[v] is None:
                self._sizes[v] = (view.width, view.height)
        if self._estimator is None and not self._make_estimator(evidence):
            return
        assert self._estimator is not None
        observation = observation_of(evidence)
        self._estimator.add(observation)
        if self._rig is not None:
            self._watch(observation)

    def work(self) -> bool:
        """Estimates anew when it is time; True when something changed."""
        if self._estimator is None or now_ns() < self._next_estimate_ns:
            return False
        began = now_ns()
        result = self._estimator.estimate()
        pause_s = self._config.calibration.every_s / (1 if self._trusted else 3)
        # It rests at least as long as it worked: the cores belong to the live pipeline.
        self._next_estimate_ns = now_ns() + max(int(pause_s * 1e9), now_ns() - began)
        if result.rig is not None:
            self._accept(result.rig)
        rig = self._rig if self._trusted else None
        self._update = RigUpdate(
            at_ns=now_ns(),
            version=self._version if rig is not None else 0,
            rig=rig_to_json(rig).decode() if rig is not None else "",
            quality=rig.quality if rig is not None else "searching",
            expected_error_mm=rig.expected_error_mm if rig is not None else None,
            reason=result.reason,
            warnings=result.warnings,
            moved=self._update.moved if rig is not None else (),
            seconds=result.seconds,
        )
        return True

    def restart(self) -> None:
        """Forgets everything: the user has moved the cameras."""
        if self._estimator is not None:
            self._estimator.restart()
        self._drop("looking for the cameras anew")
        self._next_estimate_ns = 0

    def save(self) -> None:
        """Keeps the rig, where the user asked for it."""
        if self._save_to is None or self._rig is None or not self._trusted:
            return
        save_rig(self._rig, self._save_to)
        _LOG.info("rig saved to %s", self._save_to)

    def _make_estimator(self, evidence: Evidence) -> bool:
        """Once every camera has shown a picture (or ten sets have passed) the sizes are known."""
        self._checked += 1
        if any(size is None for size in self._sizes) and self._checked < 3 * _CHECK_SETS:
            return False
        known_sizes = [size for size in self._sizes if size is not None]
        sizes = [size or known_sizes[0] for size in self._sizes]
        known = [
            KnownCamera(focal=focal_of_fov(c.horizontal_fov_deg) if c.horizontal_fov_deg else None)
            for c in self._config.cameras
        ]
        self._estimator = RigEstimator(
            self._names, sizes, evidence.body_unit_m, self._config.body_height_m, known
        )
        self._aspects = np.array([height / width for width, height in sizes])
        self._checked = 0
        if self._rig is not None:
            self._monitor = RigMonitor(cameras_of(self._rig), self._aspects)
        return True

    def _accept(self, rig: Rig) -> None:
        if self._rig is not None and self._trusted:
            missing = [
                name
                for name, old, new in zip(self._names, self._rig.cameras, rig.cameras, strict=True)
                if old is not None and new is None
            ]
            for name in missing:
                _LOG.info("%s is not part of the rig at present", name)
        self._rig = rig
        self._trusted = True
        self._version += 1
        self._monitor = RigMonitor(cameras_of(rig), self._aspects)
        found = {c.id for c in rig.cameras if c is not None}
        self._update = _without_moved(self._update, found)

    def _watch(self, observation: Observation) -> None:
        """Notices bumped cameras, and decides whether a rig from a file is to be trusted."""
        if self._monitor is None or self._rig is None:
            return
        check = self._monitor.update(observation.time_s, observation.keypoints)
        if not self._trusted:
            self._checked += 1
            seen = sum(word != "unseen" for word in check.verdicts)
            if check.lost or check.moved:
                self._rig = None
                self._monitor = None
                self._update = RigUpdate(
                    at_ns=now_ns(),
                    version=0,
                    reason="the rig file does not fit what is seen; finding the cameras anew",
                )
            elif seen >= 2 and self._checked >= _CHECK_SETS:
                self._accept(self._rig)
                self._next_estimate_ns = min(self._next_estimate_ns, now_ns())
            return
        if check.lost:
            self._forget(range(len(self._names)), observation.time_s)
            self._drop("the cameras were moved; looking for them anew")
        elif check.moved:
            self._leave_out(check.moved, observation.time_s)

    def _leave_out(self, moved: tuple[int, ...], time_s: float) -> None:
        assert self._rig is not None
        cameras: list[RigCamera | None] = list(self._rig.cameras)
        moved = tuple(v for v in moved if cameras[v] is not None)
        if not moved:
            return
        for v in moved:
            cameras[v] = None
        self._forget(moved, time_s)
        left = replace(self._rig, cameras=tuple(cameras))
        names = tuple(self._names[v] for v in moved)
        _LOG.warning("moved: %s", ", ".join(names))
        if len(left.known) < 2:
            self._drop(f"{', '.join(names)} was moved; looking for it anew")
            return
        self._rig = left
        self._version += 1
        self._monitor = RigMonitor(cameras_of(left), self._aspects)
        self._update = RigUpdate(
            at_ns=now_ns(),
            version=self._version,
            rig=rig_to_json(left).decode(),
            quality=left.quality,
            expected_error_mm=left.expected_error_mm,
            reason=f"{', '.join(names)} was moved and is left out until it is found again",
            moved=(*self._update.moved, *names),
            seconds=self._update.seconds,
        )

    def _forget(self, views: range | tuple[int, ...], time_s: float) -> None:
        if self._estimator is not None:
            for v in views:
                # What it saw up to now was from the old place, or on the way to the new one.
                self._estimator.forget_view(v, -np.inf, time_s)

    def _drop(self, reason: str) -> None:
        self._rig = None
        self._monitor = None
        self._trusted = False
        self._update = RigUpdate(at_ns=now_ns(), version=0, reason=reason)


def _without_moved(update: RigUpdate, found: set[str]) -> RigUpdate:
    return RigUpdate(
        at_ns=update.at_ns,
        version=update.version,
        moved=tuple(name for name in update.moved if name not in found),
    )


def main(context: ProcessContext) -> None:
    """Runs until it is stopped."""
    finder = RigFinder(context)
    with (
        Subscriber[Evidence](context.run_dir, Topic.EVIDENCE) as evidence,
        Subscriber[Command](context.run_dir, Topic.COMMANDS, ("viewer",)) as commands,
        Publisher[RigUpdate](context.run_dir, Topic.RIG) as publisher,
    ):
        context.ready()
        next_say = 0
        said: RigUpdate | None = None
        while not context.stop.is_set():
            first = evidence.receive(100)
            if first is not None:
                for received in (first, *evidence.drain()):
                    finder.add(received.message)
            if any(c.message.action == "recalibrate" for c in commands.drain()):
                finder.restart()
            finder.work()
            if finder.update is not said or now_ns() >= next_say:
                said = finder.update
                next_say = now_ns() + _SAY_NS
                publisher.send(said)
        try:
            finder.save()
        except UserError as error:
            _LOG.error("%s", error)


if __name__ == "__main__":
    run_process(main)
