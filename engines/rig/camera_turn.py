"""Whether one small turn of a camera explains why it no longer fits with the others.

Each joint that two cameras see leaves an epipolar residual, whose derivative by a small turn of
either camera is known. So the turn that makes a camera fit best follows from a few robust least
squares (iteratively reweighted, Holland & Welsch 1977). After a knock it takes nearly all of the
misfit away; errors of the 2D detector, however large, agree on no turn. A knock's shift looks like
a turn too, as long as the person stays about where they are for a second.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from engines.rig.epipolar import PairResiduals
from engines.rig.types import Bools, Floats

_WINDOW_S: Final = 1.0
_EVERY_S: Final = 0.12
_LEARN_EVERY_S: Final = 0.4
_SETS: Final = 5
_SIGHTINGS: Final = 60
"""Joints seen by a camera and another one in the window, at least."""
_PRIOR: Final = 0.1
"""Standard deviation of a turn, radians: more is no small turn."""
_ROUNDS: Final = 6
_CAUCHY: Final = 2.5
_SPREAD: Final = 1.4826
"""Median of absolute values to standard deviation."""
_EXPLAINED: Final = 1.75
"""The misfit is so many times larger without the turn than with it. On 60 simulated takes and runs
of the built-in clip nothing but a knock got there for half a second; twelve of twelve knocks of 3°
and 5 cm did within three seconds."""
_MATTERS: Final = 0.4
"""In sigmas: what is off by less than this does no harm."""
_AS_BEFORE: Final = 1.6
"""With the turn the camera fits as it used to, or nearly."""
_LEAST_USUAL: Final = 0.3


class TurnTest:
    """Watches each camera of a rig for a turn."""

    def __init__(self, known: Bools) -> None:
        """Starts watching.

        Args:
            known: (V,) which cameras the rig has.
        """
        self._known = known
        self._recent: deque[tuple[float, PairResiduals]] = deque()
        self._levels: list[list[float]] = [[] for _ in known]
        self._next_s = -np.inf
        self._turned: tuple[int, ...] = ()

    def learn(self, time_s: float, residuals: PairResiduals) -> None:
        """Takes a set in which no camera was turned."""
        if not self._take(time_s, residuals, _LEARN_EVERY_S):
            return
        for view in np.flatnonzero(self._known):
            fit = self._fit(int(view))
            if fit is not None:
                self._levels[view].append(fit[1])

    def update(self, time_s: float, residuals: PairResiduals) -> tuple[int, ...]:
        """Takes one set.

        Args:
            time_s: its time, ascending.
            residuals: of its pairs.

        Returns:
            The camera whose turn explains what has not fitted over the last second, if any; the
            last answer where it is too early for another.
        """
        if self._take(time_s, residuals, _EVERY_S):
            best, most = -1, _EXPLAINED
            for view in np.flatnonzero(self._known):
                fit = self._fit(int(view))
                if fit is None:
                    continue
                before, after = fit
                # When a camera is turned, the others seem to be as well, but less clearly so.
                if before > max(most * after, _MATTERS):
                    best, most = int(view), before / after
                    usual = float(np.median(self._levels[view])) if self._levels[view] else 1.0
                    if after > _AS_BEFORE * max(usual, _LEAST_USUAL):
                        best = -1
            self._turned = () if best < 0 else (best,)
        return self._turned

    def _take(self, time_s: float, residuals: PairResiduals, every_s: float) -> bool:
        """Whether there is enough, and it is time, for an answer."""
        if self._recent and time_s <= self._recent[-1][0]:
            return False
        self._recent.append((time_s, residuals))
        while self._recent[0][0] < time_s - _WINDOW_S:
            self._recent.popleft()
        if time_s < self._next_s or len(self._recent) < _SETS:
            return False
        self._next_s = time_s + every_s
        return True

    def _fit(self, view: int) -> tuple[float, float] | None:
        """A camera's spread of residuals in sigmas without and with its best turn."""
        offs, turns = [], []
        for _, found in self._recent:
            for pair, slopes in (
                (found.first == view, found.turn_first),
                (found.second == view, found.turn_second),
            ):
                known = found.known[pair]
                offs.append(found.off[pair][known])
                turns.append(slopes[pair][known])
        off, turn = np.concatenate(offs), np.concatenate(turns)
        if len(off) < _SIGHTINGS:
            return None
        before = _SPREAD * float(np.median(np.abs(off)))
        best = _robust_turn(off, turn)
        after = _SPREAD * float(np.median(np.abs(off + turn @ best)))
        return before, max(after, 1e-6)


def _robust_turn(off: Floats, turn: Floats) -> Floats:
    """(3,) the turn in radians that makes (N,) residuals with (N, 3) slopes smallest."""
    best = np.zeros(3)
    prior = np.eye(3) / _PRIOR**2
    for _ in range(_ROUNDS):
        left = off + turn @ best
        # The scale falls with the rounds: what a turn explains must not be cut off as outlying.
        scale = max(_SPREAD * float(np.median(np.abs(left))), 1.0)
        weighted = turn / (1 + (left / (_CAUCHY * scale)) ** 2)[:, None]
        best = np.asarray(-np.linalg.solve(weighted.T @ turn + prior, weighted.T @ off))
    return best
