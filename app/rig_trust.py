"""Doubts: whether a rig from a file fits what is seen, and whether a camera was moved."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from app.config import AppConfig
from app.tracks import MAX_AHEAD_S
from engines.rig.exchange import guess_format, load_rig, match_cameras
from engines.rig.exchanged import exchanged_cameras
from engines.rig.monitor import RigCheck, RigMonitor, between_sets
from engines.rig.triangulation import Cameras, cameras_of
from engines.rig.types import Floats, Observation, Rig, RigCamera

_PERSIST_S: Final = 1.5
"""An alarm that does not last so long is none: people hide behind chairs, and squat."""
_MOSTLY: Final = 0.7
_TURNED_S: Final = 0.8
_TURNED_MOSTLY: Final = 0.8
"""Of one turn of a camera: a test that heeds clear misfits alone, and so may be believed sooner."""
_CHECK_SETS: Final = 10
"""Sets in which a rig file must have fitted before it is trusted."""
_KEPT_SETS: Final = 40


class RigWatch:
    """Watches the rig in use for cameras that were moved."""

    def __init__(
        self, cameras: Cameras, aspects: Floats, recent: Sequence[Observation] = ()
    ) -> None:
        """Starts watching.

        Args:
            cameras: of the rig.
            aspects: (V,) height over width of the pictures.
            recent: sets up to now, in which the rig fitted.
        """
        self._monitor = RigMonitor(cameras, aspects)
        self._monitor.learn(recent)
        self._known = tuple(int(v) for v in np.flatnonzero(cameras.known))
        self._recent: deque[tuple[float, frozenset[int], frozenset[int]]] = deque()

    @property
    def suspicious(self) -> bool:
        """Whether something looks wrong, but not for long enough yet to be sure."""
        return bool(self._recent) and any(self._recent[-1][1:])

    def look(self, observation: Observation) -> tuple[int, ...] | None:
        """Takes one set.

        Returns:
            Cameras that were moved (all, if no two fit any more), once that is sure; else None.
        """
        check = self._monitor.observe(observation)
        now = observation.time_s
        suspects = frozenset(self._known if check.lost else check.moved)
        self._recent.append((now, suspects, frozenset(check.turned)))
        while now - self._recent[0][0] > _PERSIST_S + 0.5 and len(self._recent) > 1:
            self._recent.popleft()
        # A verdict may waver at its limit: most of the time is enough.
        suspected = [s for at, s, _ in self._recent if now - at <= _PERSIST_S]
        turned = [t for at, _, t in self._recent if now - at <= _TURNED_S]
        age = now - self._recent[0][0]
        moved = tuple(
            v
            for v in self._known
            if (age >= _PERSIST_S and _share(v, suspected) >= _MOSTLY)
            or (age >= _TURNED_S and _share(v, turned) >= _TURNED_MOSTLY)
        )
        return moved or None


def _share(view: int, sets: Sequence[frozenset[int]]) -> float:
    return sum(view in named for named in sets) / len(sets)


def late_cameras(rig: Rig) -> tuple[str, ...]:
    """What to know of cameras whose pictures say too late when they were taken, one line each.

    The newest instant is shown, which such a camera has not told of yet.
    """
    cameras = [camera for camera in rig.cameras if camera is not None]
    newest_s = max((camera.time_offset_s for camera in cameras), default=0.0)
    return tuple(
        f"{camera.id}: its time stamps are {1000 * late_s:.0f} ms behind those of other cameras, "
        "too late for the joints that are shown; a quicker connection would help"
        for camera in cameras
        if (late_s := newest_s - camera.time_offset_s) > MAX_AHEAD_S
    )


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What came out of checking a rig file.

    Attributes:
        rig: the rig to be used, or None where the file does not fit.
        moved: cameras that are not where the file has them.
        notes: what the user should know, one line each.
    """

    rig: Rig | None
    moved: tuple[str, ...]
    notes: tuple[str, ...]


class FileRig:
    """A rig from a file, not to be trusted before it has fitted what is seen for a while.

    Attributes:
        keep: it is exact enough to be kept as it is, once it fits.
    """

    def __init__(self, path: Path, config: AppConfig) -> None:
        """Reads the file.

        Raises:
            UserError: it cannot be used with these cameras.
        """
        self._names = [camera.id for camera in config.cameras]
        self._path = path
        loaded, self._notes = load_rig(path, body_height_m=config.body_height_m)
        self._rig = match_cameras(loaded, self._names, str(path))
        self.keep = guess_format(path) != "own" or loaded.quality == "good"
        self._aspects = np.full(len(self._names), 0.75)
        self._monitor: RigMonitor | None = None
        self._recent: deque[Observation] = deque(maxlen=_KEPT_SETS)
        self._wrong_since: float | None = None
        self._fitted = 0
        self._reordered = False

    def begin(self, aspects: Floats) -> None:
        """The pictures' shapes are known: (V,) height over width."""
        self._aspects = aspects
        self._monitor = RigMonitor(cameras_of(self._rig), aspects)

    def look(self, observation: Observation) -> Verdict | None:
        """Takes one set; answers once it is sure."""
        if self._monitor is None:
            return None
        self._recent.append(observation)
        check = self._monitor.observe(observation)
        if check.lost or check.moved or check.turned:
            self._fitted = 0
            if self._wrong_since is None:
                self._wrong_since = observation.time_s
            if observation.time_s - self._wrong_since < _PERSIST_S:
                return None
            return self._contradicted(check)
        self._wrong_since = None
        self._fitted += check.verdicts.count("fits") >= 2
        if self._fitted < _CHECK_SETS:
            return None
        return Verdict(self._rig, (), self._notes)

    def _contradicted(self, check: RigCheck) -> Verdict | None:
        """The file does not fit: cameras exchanged, some moved, or another room altogether."""
        order = None if self._reordered else self._exchange()
        if order is not None:
            self._reordered = True
            said = ", ".join(
                f"{name} is its {camera.id}"
                for name, v in zip(self._names, order, strict=True)
                if (camera := self._rig.cameras[v]) is not None and camera.id != name
            )
            self._notes = (*self._notes, f"{self._path}: cameras are exchanged: {said}")
            self._rig = _in_order(self._rig, order, self._names)
            self._wrong_since, self._fitted = None, 0
            self.begin(self._aspects)
            return None
        fitting = check.verdicts.count("fits")
        if check.lost or fitting < 2:
            text = f"{self._path}: does not fit what is seen; finding the cameras anew"
            return Verdict(None, (), (*self._notes, text))
        wrong = {*check.moved, *check.turned}
        moved = tuple(self._names[v] for v in sorted(wrong))
        cameras = tuple(None if v in wrong else c for v, c in enumerate(self._rig.cameras))
        text = f"{self._path}: {', '.join(moved)} not where the file says; left out until found"
        return Verdict(replace(self._rig, cameras=cameras), moved, (*self._notes, text))

    def _exchange(self) -> tuple[int, ...] | None:
        cameras = cameras_of(self._rig)
        sets = [
            between_sets(a, b, np.zeros(len(self._names)))[1] for a, b in pairwise(self._recent)
        ]
        if not sets or not cameras.known.all():
            return None
        return exchanged_cameras(cameras, np.stack(sets), self._aspects)


def _in_order(rig: Rig, order: tuple[int, ...], names: list[str]) -> Rig:
    """The rig with its cameras in another order, under the configuration's names."""
    cameras: list[RigCamera | None] = []
    for v, name in zip(order, names, strict=True):
        camera = rig.cameras[v]
        cameras.append(None if camera is None else replace(camera, id=name))
    return replace(rig, cameras=tuple(cameras))
