"""Whether a rig still fits what is seen: a bumped camera, a rig from a file, cameras exchanged.

Two questions are asked of the views' epipolar misfits over the last second, or the last few sets
where these take longer. Does a camera fit with nobody, while the others fit together? Then it was
moved, by however much. Does one small turn of a camera explain its misfits with all others? Then it
was bumped; what a detector gets wrong in an odd posture no turn explains.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Final, Literal

import numpy as np

from engines.rig.camera_turn import TurnTest
from engines.rig.epipolar import low_quantile, pair_residuals
from engines.rig.triangulation import Cameras
from engines.rig.types import Bools, Floats, Observation

_WINDOW_S: Final = 1.0
_EVERY_S: Final = 0.13
"""Sets in between tell little more and would cost as much."""
NEEDED: Final = 5
"""Sets with both cameras of a pair, of those looked at, before the pair is judged."""
_KEPT: Final = NEEDED + 1
OFF: Final = 3.0
"""A pair is off when it is so many times worse than it used to be, or at first than its noise."""
_HABIT: Final = 0.01
_LEAST_HABIT: Final = 0.4
_LESSONS: Final = 15
"""Sets with both cameras of a pair from which its usual level is learned at once."""
_LONGEST_STEP_S: Final = 0.4

Verdict = Literal["fits", "moved", "unseen"]


@dataclass(frozen=True, slots=True, eq=False)
class RigCheck:
    """How a rig fits.

    Attributes:
        verdicts: (V) one word a camera; ``unseen`` where it cannot be said.
        ratio: (V, V) how many times worse each pair is than its noise; NaN where not known.
        lost: no two cameras fit together any more (or, with two, they do not).
        turned: cameras of which one small turn explains all that does not fit.
    """

    verdicts: tuple[Verdict, ...]
    ratio: Floats
    lost: bool
    turned: tuple[int, ...] = ()

    @property
    def moved(self) -> tuple[int, ...]:
        """Cameras that were moved."""
        return tuple(v for v, word in enumerate(self.verdicts) if word == "moved")


class RigMonitor:
    """Watches a rig in use."""

    def __init__(self, cameras: Cameras, aspects: Floats) -> None:
        """Starts watching.

        Args:
            cameras: of the rig.
            aspects: (V,) height over width of the pictures.
        """
        self._cameras, self._aspects = cameras, aspects
        views = len(aspects)
        self._recent: deque[tuple[float, Floats]] = deque()
        self._habit = np.ones((views, views))
        self._turn = TurnTest(cameras.known)
        self._previous: Observation | None = None
        unseen: Verdict = "unseen"
        self._check = RigCheck((unseen,) * views, np.full((views, views), np.nan), False)

    def learn(self, observations: Sequence[Observation]) -> None:
        """Learns how well each pair fits, from sets in which no camera was moved."""
        misfits = []
        last_s = -np.inf
        for before, after in pairwise(observations):
            step_s = after.time_s - before.time_s
            if 0 < step_s < _LONGEST_STEP_S and after.time_s > last_s + _EVERY_S:
                last_s = after.time_s
                middle, keypoints = between_sets(before, after, self._cameras.offsets)
                residuals = pair_residuals(self._cameras, keypoints, self._aspects)
                misfits.append(low_quantile(residuals))
                self._turn.learn(middle, residuals)
        if misfits:
            usual = _over_time(np.stack(misfits), _LESSONS)
            known = np.isfinite(usual)
            level = np.clip(np.where(known, usual, 1.0), _LEAST_HABIT, OFF)
            self._habit = np.where(known, level, self._habit)

    def observe(self, observation: Observation) -> RigCheck:
        """Takes one set as it comes; each view's time stamp and offset are taken into account.

        Returns:
            How the rig has fitted lately; the last answer where it is too early for another.
        """
        previous, self._previous = self._previous, observation
        if self._recent and observation.time_s < self._recent[-1][0] + _EVERY_S:
            return self._check
        if previous is None or not 0 < observation.time_s - previous.time_s < _LONGEST_STEP_S:
            return self.update(observation.time_s, observation.keypoints)
        middle, keypoints = between_sets(previous, observation, self._cameras.offsets)
        return self.update(middle, keypoints)

    def update(self, time_s: float, keypoints: Floats) -> RigCheck:
        """Takes one set.

        Args:
            time_s: its time, ascending.
            keypoints: (V, 17, 3) half-width units and confidence at that time, each view's time
                offset taken into account.

        Returns:
            How the rig has fitted lately.
        """
        residuals = pair_residuals(self._cameras, keypoints, self._aspects)
        self._recent.append((time_s, low_quantile(residuals)))
        # On a slow machine so many sets take longer than the window.
        while self._recent[0][0] < time_s - _WINDOW_S and len(self._recent) > _KEPT:
            self._recent.popleft()
        ratio = _over_time(np.stack([r for _, r in self._recent]))
        check = judge(ratio, self._cameras.known, self._habit)
        check = replace(check, turned=self._turn.update(time_s, residuals))
        fits = np.array([word == "fits" for word in check.verdicts])
        both = fits[:, None] & fits & np.isfinite(ratio)
        # A pair's own level, where it is not that of its noise, is learned slowly.
        level = np.clip(np.nan_to_num(ratio, nan=1.0), _LEAST_HABIT, OFF)
        self._habit = np.where(both, self._habit + _HABIT * (level - self._habit), self._habit)
        self._check = check
        return check


def between_sets(
    previous: Observation, observation: Observation, offsets: Floats
) -> tuple[float, Floats]:
    """Joints of all views at the same instant, half-way between two sets.

    There every view has a picture on either side, or nearly so.

    Args:
        previous: the set before.
        observation: the set.
        offsets: (V,) of the cameras' time stamps, seconds.

    Returns:
        The instant, and (V, 17, 3) joints, confidence 0 where they are not known.
    """
    middle = 0.5 * (previous.time_s + observation.time_s)
    wanted = middle - offsets
    step = observation.view_times_s - previous.view_times_s
    share = (wanted - previous.view_times_s) / np.where(step > 1e-4, step, 1.0)
    usable = (step > 1e-4) & (share > -1.0) & (share < 2.0)
    share = np.where(usable, share, 1.0)[:, None]
    a, b = previous.keypoints, observation.keypoints
    both = np.where(usable[:, None], np.minimum(a[..., 2], b[..., 2]), 0.0)
    known = both[..., None] > 0
    xy = np.where(known, a[..., :2] + (b[..., :2] - a[..., :2]) * share[..., None], 0.0)
    return middle, np.concatenate([xy, both[..., None]], -1)


def _over_time(misfits: Floats, needed: int = NEEDED) -> Floats:
    """(T, V, V) to (V, V) medians; NaN where a pair was seen too seldom."""
    count = np.isfinite(misfits).sum(0)
    ordered = np.sort(misfits, axis=0)  # NaN last
    middle = np.maximum(count - 1, 0) // 2
    out = np.take_along_axis(ordered, middle[None], 0)[0]
    return np.where(count >= needed, out, np.nan)


def judge(ratio: Floats, known: Bools, habit: Floats | None = None) -> RigCheck:
    """Tells from the pairs' misfits which cameras were moved.

    The largest group of cameras that fit together is right; who fits with none of them was moved.
    """
    views = len(known)
    judged = np.isfinite(ratio)
    worse = ratio if habit is None else ratio / habit
    good = judged & (worse < OFF)
    names = [v for v in range(views) if known[v] and judged[v].any()]
    group: tuple[int, ...] = ()
    for size in range(len(names), 1, -1):
        fitting = [
            g
            for g in combinations(names, size)
            if all(good[a, b] or not judged[a, b] for a, b in combinations(g, 2))
            and any(good[a, b] for a, b in combinations(g, 2))
        ]
        if fitting:
            group = min(fitting, key=lambda g: np.nanmean(worse[np.ix_(g, g)]))
            break
    if len(names) < 2:
        return RigCheck(tuple("unseen" for _ in range(views)), ratio, False)
    if not group or (len(group) == 2 and len(names) == 4 and _rivals(good, group, names)):
        return RigCheck(tuple("unseen" for _ in range(views)), ratio, True)
    verdicts: list[Verdict] = []
    for v in range(views):
        if v in group:
            verdicts.append("fits")
        else:
            # A camera that was moved is off with most others; a single poor pair is the
            # detector's doing.
            seen = judged[v, list(group)]
            off = seen & ~good[v, list(group)]
            verdicts.append("moved" if v in names and 2 * off.sum() > seen.sum() else "unseen")
    return RigCheck(tuple(verdicts), ratio, False)


def _rivals(good: Bools, group: tuple[int, ...], names: list[int]) -> bool:
    """Whether the other two cameras fit together as well, so that nobody knows who moved."""
    rest = [v for v in names if v not in group]
    return len(rest) == 2 and bool(good[rest[0], rest[1]])
