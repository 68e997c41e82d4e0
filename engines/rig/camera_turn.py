"""Whether one small turn of a camera explains why it no longer fits with the others.

Each joint that two cameras see leaves an epipolar residual, whose derivative by a small turn of
either camera is known. So the turn that makes a camera fit best follows from a few robust least
squares (iteratively reweighted, Holland & Welsch 1977). After a knock it takes nearly all of the
misfit away; errors of the 2D detector, however large, agree on no turn. A knock's shift looks like
a turn too, as long as the person stays about where they are for a second.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
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
of the built-in clip nothing but a knock got there for half a second, until 2D networks erred more
alike from picture to picture: since then the misfit must also be clear (``_MATTERS``)."""
_MATTERS: Final = 1.6
"""In sigmas: a misfit is no larger where a rig of few seconds is a little off, or a network errs in
one posture (up to 1.3 in runs of the built-in clip); most knocks of 3° and 5 cm come to 2.2 to 7.7
within a second."""
_AS_BEFORE: Final = 1.6
"""With the turn the camera fits as it used to, or nearly."""
_LEAST_USUAL: Final = 0.3
_AT_BEST: Final = 0.9
"""With the turn a camera does not fit better than that, as a share of what is usual."""


@dataclass(frozen=True, slots=True, eq=False)
class _Sightings:
    """The residuals of a set, sorted by camera; each pair is with both of its cameras.

    Attributes:
        off: (V, N) in sigmas; 0 where not known.
        turn: (V, N, 3) their derivatives by a small turn of that camera.
        known: (V, N).
    """

    off: Floats
    turn: Floats
    known: Bools


class TurnTest:
    """Watches each camera of a rig for a turn."""

    def __init__(self, known: Bools) -> None:
        """Starts watching.

        Args:
            known: (V,) which cameras the rig has.
        """
        self._known = known
        self._recent: deque[tuple[float, _Sightings]] = deque()
        self._levels: list[list[float]] = [[] for _ in known]
        self._usual = np.ones(len(known))
        self._next_s = -np.inf
        self._turned: tuple[int, ...] = ()

    def learn(self, time_s: float, residuals: PairResiduals) -> None:
        """Takes a set in which no camera was turned."""
        if not self._take(time_s, residuals, _LEARN_EVERY_S):
            return
        seen, before = self._window()
        after = _after_turn(seen)
        for view in np.flatnonzero(np.isfinite(before)):
            self._levels[view].append(float(after[view]))
            self._usual[view] = max(float(np.median(self._levels[view])), _LEAST_USUAL)

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
            self._turned = self._judge()
        return self._turned

    def _judge(self) -> tuple[int, ...]:
        seen, before = self._window()
        with np.errstate(invalid="ignore"):
            doubtful = before > np.maximum(_EXPLAINED * _AT_BEST * self._usual, _MATTERS)
        if not doubtful.any():
            return ()  # nearly always: the turns themselves need not be found
        after = _after_turn(seen)
        with np.errstate(invalid="ignore"):
            turned = doubtful & (before > _EXPLAINED * after)
        if not turned.any():
            return ()
        # When a camera is turned, the others seem to be as well, but less clearly so.
        best = int(np.where(turned, before / after, 0.0).argmax())
        return (best,) if after[best] <= _AS_BEFORE * self._usual[best] else ()

    def _take(self, time_s: float, residuals: PairResiduals, every_s: float) -> bool:
        """Whether there is enough, and it is time, for an answer."""
        if self._recent and time_s <= self._recent[-1][0]:
            return False
        self._recent.append((time_s, _by_camera(residuals)))
        while self._recent[0][0] < time_s - _WINDOW_S:
            self._recent.popleft()
        if time_s < self._next_s or len(self._recent) < _SETS:
            return False
        self._next_s = time_s + every_s
        return True

    def _window(self) -> tuple[_Sightings, Floats]:
        """The last second, and (V,) the spread of residuals; NaN where too few or not known."""
        sets = [found for _, found in self._recent]
        seen = _Sightings(
            np.concatenate([found.off for found in sets], 1),
            np.concatenate([found.turn for found in sets], 1),
            np.concatenate([found.known for found in sets], 1),
        )
        enough = self._known & (seen.known.sum(1) >= _SIGHTINGS)
        return seen, np.where(enough, _spread(seen.off, seen.known), np.nan)


def _by_camera(found: PairResiduals) -> _Sightings:
    views = found.views
    rows = np.arange(views)[:, None]
    first, second = found.first == rows, found.second == rows  # (V, P)
    # Every camera is in as many pairs as there are others.
    pairs = np.nonzero(first | second)[1].reshape(views, -1)
    is_first = np.take_along_axis(first, pairs, 1)[..., None, None]
    turn = np.where(is_first, found.turn_first[pairs], found.turn_second[pairs])
    return _Sightings(
        found.off[pairs].reshape(views, -1),
        turn.reshape(views, -1, 3),
        found.known[pairs].reshape(views, -1),
    )


def _spread(off: Floats, known: Bools) -> Floats:
    """(V,) robust standard deviations of (V, N) residuals; infinite where nothing is known."""
    size = np.sort(np.where(known, np.abs(off), np.inf), axis=1)
    middle = np.maximum(known.sum(1) - 1, 0) // 2
    return np.asarray(_SPREAD * size[np.arange(len(size)), middle])


def _after_turn(seen: _Sightings) -> Floats:
    """(V,) spread of the residuals that is left after each camera's best turn."""
    views = len(seen.off)
    best: Floats = np.zeros((views, 3, 1))
    prior = np.eye(3) / _PRIOR**2
    for _ in range(_ROUNDS):
        left = seen.off + (seen.turn @ best)[..., 0]
        # The scale falls with the rounds: what a turn explains must not be cut off as outlying.
        scale = np.maximum(_spread(left, seen.known), 1.0)[:, None]
        weighted = seen.turn / (1 + (left / (_CAUCHY * scale)) ** 2)[..., None]
        across = np.swapaxes(weighted, 1, 2)
        step = np.linalg.solve(across @ seen.turn + prior, across @ seen.off[..., None])
        best = -np.asarray(step, np.float64)
    left = seen.off + (seen.turn @ best)[..., 0]
    return np.maximum(_spread(left, seen.known), 1e-6)
