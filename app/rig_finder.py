"""Decides which rig is used: collects evidence, estimates, watches, and says what is known.

No sockets and no threads: messages in, one ``RigUpdate`` out; the clock is given.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from app.clock import now_ns
from app.config import AppConfig
from app.messages import Evidence, RigUpdate
from app.rig_evidence import PictureSizes, observation_of
from app.rig_knowledge import fixed_cameras, fixed_world_is_level, known_cameras
from app.rig_trust import FileRig, RigWatch, late_cameras
from app.rig_world import WorldAction, WorldWish, WorldWishes
from engines.errors import UserError
from engines.front_ends.joint_definitions import bone_share
from engines.rig.estimator import RigEstimator
from engines.rig.exchange import save_rig
from engines.rig.rig_file import rig_to_json
from engines.rig.triangulation import cameras_of
from engines.rig.types import KnownCamera, Observation, Rig, RigCamera, RigResult

_LOG = logging.getLogger("rig")

_RECENT_SETS: Final = 60
_FIRST_PAUSE_S: Final = 1.2
_PAUSE_SHARE: Final = 0.6
"""Of the motion seen so far: the more there is, the less a moment adds."""
_REST: Final = 3.0
"""It rests so many times as long as it worked: the cores belong to the live pipeline."""
_WORSE: Final = 1.15
_STUBBORN: Final = 3
"""Estimations in a row that must say the same before a rig gives way to a worse one."""


class RigFinder:
    """Finds, keeps and doubts the rig of one run."""

    def __init__(
        self,
        config: AppConfig,
        rig_file: Path | None = None,
        save_to: Path | None = None,
        clock: Callable[[], int] = now_ns,
        work_clock: Callable[[], int] = time.process_time_ns,
    ) -> None:
        """Waits for the first pictures: their sizes are part of the answer.

        Args:
            config: of the run.
            rig_file: a rig to begin with, to be checked before it is trusted.
            save_to: where the rig is kept.
            clock: nanoseconds, ascending.
            work_clock: the same of the work that was done: of a busy machine's time this process
                gets a small share anyway, and need not rest for what others took.

        Raises:
            UserError: a file that was given cannot be used.
        """
        self._config = config
        self._save_to = save_to
        self._clock, self._work_clock = clock, work_clock
        self._names = [camera.id for camera in config.cameras]
        self._file = None if rig_file is None else FileRig(rig_file, config)
        self._given = known_cameras(config)
        self._given_levelled = fixed_world_is_level(config)
        self._known, self._levelled = self._given, self._given_levelled
        self._sizes = PictureSizes(len(self._names))
        self._estimator: RigEstimator | None = None
        self._unit_m = 1.0
        self._watch: RigWatch | None = None
        self._rig: Rig | None = None
        self._result: RigResult | None = None
        self._against = 0
        self._recent: deque[Observation] = deque(maxlen=_RECENT_SETS)
        self._wishes = WorldWishes()
        self._moved: tuple[str, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._version = self._world = 0
        self._next_ns = 0
        self._update = self._say("waiting for a person")

    @property
    def update(self) -> RigUpdate:
        """What is known now; another object after every change."""
        return self._update

    @property
    def keyframes(self) -> int:
        """How many instants the estimation rests on."""
        return 0 if self._estimator is None else self._estimator.keyframes

    def add(self, evidence: Evidence) -> None:
        """Takes one set."""
        new = self._sizes.learn(evidence)
        if self._estimator is not None:
            for v in new:
                self._estimator.resize(v, self._sizes.sizes[v])
            self._add(observation_of(evidence))
            return
        waiting = self._sizes.wait(evidence)
        if not waiting:
            return
        self._unit_m = evidence.body_unit_m
        self._estimator = self._make_estimator(self._known)
        if self._file is not None:
            self._file.begin(self._sizes.aspects)
        for one in waiting:
            self._add(observation_of(one))

    def _add(self, observation: Observation) -> None:
        assert self._estimator is not None
        self._recent.append(observation)
        self._wishes.see(observation)
        self._estimator.add(observation)
        if self._file is not None:
            self._check_file(observation)
        elif self._watch is not None:
            alarm = self._watch.look(observation)
            if alarm is not None:
                self._cameras_moved(alarm, observation.time_s)

    def work(self) -> bool:
        """Estimates anew when it is time; True when it did."""
        if self._estimator is None or self._clock() < self._next_ns:
            return False
        if self._file is not None or (self._watch is not None and self._watch.suspicious):
            return False
        if self._rig is not None and not self._estimator.has_news:
            return False  # whoever does what they did before need not pay for it again
        began = self._work_clock()
        try:
            result = self._estimator.estimate()
        except np.linalg.LinAlgError as error:
            _LOG.warning("an estimation came to nothing: %s", error)
            self._next_ns = self._clock() + int(_FIRST_PAUSE_S * 1e9)
            return False
        self._result = result
        pause_s = _FIRST_PAUSE_S
        if result.rig is not None:
            pause_s = max(pause_s, _PAUSE_SHARE * result.seconds)
        pause_s = min(pause_s, self._config.calibration.every_s)
        rest_ns = int(_REST * (self._work_clock() - began))
        self._next_ns = self._clock() + max(int(pause_s * 1e9), rest_ns)
        if result.rig is not None and self._better(result.rig):
            self._accept(result.rig)
        self._update = self._say(result.reason)
        return True

    def set_world(self, action: WorldAction, at_ns: int) -> None:
        """The person stood upright, or faced the front at the origin.

        Args:
            action: which of the two.
            at_ns: when; while an estimation is at work they walk on.
        """
        wish = self._wishes.at(action, at_ns)
        if wish is None:
            return
        if self._rig is None:
            self._wishes.keep(wish)
        elif self._grant(wish):
            self._publish(self._update.reason)

    def restart(self) -> None:
        """Forgets everything: the user has moved the cameras."""
        self._file, self._moved, self._notes = None, (), ()
        self._wishes.take()
        self._known, self._levelled = self._given, self._given_levelled
        self._recent.clear()
        if self._estimator is not None:
            self._estimator = self._make_estimator(self._known)
        self._drop("looking for the cameras anew")

    def save(self) -> None:
        """Keeps the rig, where the user asked for it.

        While a camera is left out since it was moved, what was kept before stays.

        Raises:
            UserError: the file cannot be written.
        """
        if self._save_to is not None and self._rig is not None and not self._moved:
            save_rig(self._rig, self._save_to)

    def _make_estimator(self, known: list[KnownCamera]) -> RigEstimator:
        return RigEstimator(
            self._names,
            self._sizes.sizes,
            self._unit_m,
            self._config.body_height_m,
            known,
            bone_share=bone_share(self._config.front_end.kind),
            levelled=self._levelled,
        )

    def _check_file(self, observation: Observation) -> None:
        assert self._file is not None
        verdict = self._file.look(observation)
        if verdict is None:
            return
        self._notes = verdict.notes
        for note in verdict.notes:
            _LOG.warning("%s", note)
        rig, keep = verdict.rig, self._file.keep
        self._file = None
        if rig is None:
            self._update = self._say("")
            return
        if keep:  # it is better than what the body's size tells: only the rest is looked for
            self._known = fixed_cameras(rig, self._known)
            self._levelled = rig.levelled
            self._estimator = self._make_estimator(self._known)
        elif self._estimator is not None:
            self._estimator.pin(rig, rig.levelled)
        self._moved = verdict.moved
        self._accept(rig)
        self._update = self._say("")

    def _better(self, rig: Rig) -> bool:
        """Whether an estimated rig is to replace the one in use."""
        old = self._rig
        if old is None:
            return True
        wider = set(rig.known) - set(old.known)
        narrower = set(old.known) - set(rig.known)
        worse = rig.expected_error_mm > _WORSE * old.expected_error_mm
        if wider or not (narrower or worse):
            self._against = 0
            return True
        self._against += 1
        return self._against >= _STUBBORN

    def _accept(self, rig: Rig) -> None:
        self._rig = rig
        self._against = 0
        self._version += 1
        found = {c.id for c in rig.cameras if c is not None}
        self._moved = tuple(name for name in self._moved if name not in found)
        self._watch = RigWatch(cameras_of(rig), self._sizes.aspects, tuple(self._recent))
        for wish in self._wishes.take():
            self._grant(wish)
        try:
            self.save()
        except UserError as error:
            _LOG.error("%s", error)
            self._notes = (*self._notes, str(error))
            self._save_to = None

    def _grant(self, wish: WorldWish) -> bool:
        """Turns the world as a person asked; False where they were not seen at that moment."""
        assert self._rig is not None and self._estimator is not None
        turned = wish.grant(self._rig, self._sizes.aspects, self._unit_m)
        if turned is None:
            return False
        self._rig = turned
        self._estimator.pin(self._rig, wish.action == "level")
        self._world += 1
        return True

    def _publish(self, reason: str) -> None:
        """Says that the rig in use is another one now."""
        self._version += 1
        self._update = self._say(reason)

    def _cameras_moved(self, moved: tuple[int, ...], time_s: float) -> None:
        """Leaves cameras out that no longer fit; with fewer than two left it begins anew."""
        assert self._rig is not None and self._estimator is not None
        cameras: list[RigCamera | None] = list(self._rig.cameras)
        names = tuple(self._names[v] for v in moved)
        _LOG.warning("moved: %s", ", ".join(names))
        for v in moved:
            cameras[v] = None
            # What it saw up to now was from the old place, or on the way to the new one.
            self._estimator.forget_view(v, -np.inf, time_s)
            self._estimator.release(v)
        self._moved = (*(n for n in self._moved if n not in names), *names)
        left = replace(self._rig, cameras=tuple(cameras))
        was = "was" if len(names) == 1 else "were"
        if len(left.known) < 2:
            self._drop(f"{', '.join(names)} {was} moved: looking for the cameras anew")
            return
        self._rig = left
        self._watch = RigWatch(cameras_of(left), self._sizes.aspects, tuple(self._recent))
        self._next_ns = self._clock() + int(_FIRST_PAUSE_S * 1e9)
        self._publish(f"{', '.join(names)} {was} moved and is left out until it is found again")

    def _drop(self, reason: str) -> None:
        self._world += self._rig is not None  # what is found next has axes of its own
        self._rig, self._watch, self._result = None, None, None
        self._against = self._next_ns = 0
        self._update = self._say(reason)

    def _say(self, reason: str) -> RigUpdate:
        rig, result = self._rig, self._result
        return RigUpdate(
            at_ns=self._clock(),
            version=self._version if rig is not None else 0,
            world=self._world,
            rig=rig_to_json(rig).decode() if rig is not None else "",
            quality=rig.quality if rig is not None else "searching",
            expected_error_mm=rig.expected_error_mm if rig is not None else None,
            reason=reason,
            warnings=(
                *self._notes,
                *(late_cameras(rig) if rig is not None else ()),
                *(result.warnings if result is not None else ()),
            ),
            moved=self._moved,
            seconds=result.seconds if result is not None else 0.0,
        )
