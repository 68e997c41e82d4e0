"""Whether a rig still fits what is seen: a bumped camera, a rig from a file, cameras exchanged.

Two views of a joint lie on one plane with the two cameras (epipolar constraint). How far they are
off it (Sampson distance, Hartley & Zisserman 11.4) needs no triangulation, so each pair of cameras
is judged on its own, and a camera that fits with nobody, while the others fit together, was moved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from engines.rig.keyframes import without_border
from engines.rig.local_fit import person_size
from engines.rig.noise import JOINT_FACTORS
from engines.rig.projection import undistort
from engines.rig.rotations import skew
from engines.rig.triangulation import Cameras
from engines.rig.types import Bools, Floats, Observation

_WINDOW_S: Final = 1.0
NEEDED: Final = 5
"""Sets with both cameras of a pair within the window before the pair is judged."""
_QUANTILE: Final = 0.3
_EXPECTED: Final = 0.385  # of |normal| at that quantile
OFF: Final = 3.0
"""A pair is off when it is so many times worse than it used to be, or at first than its noise."""
FAR_OFF: Final = 2.2
"""A single pair tells of a moved camera only when it is so many times worse than its noise."""
_HABIT: Final = 0.01
_LEAST_HABIT: Final = 0.4
_LESSONS: Final = 15
"""Sets with both cameras of a pair from which its usual level is learned at once."""
_JOINTS: Final = 6
_LONGEST_STEP_S: Final = 0.4

Indices = npt.NDArray[np.intp]
Verdict = Literal["fits", "moved", "unseen"]


@dataclass(frozen=True, slots=True, eq=False)
class RigCheck:
    """How a rig fits.

    Attributes:
        verdicts: (V) one word a camera; ``unseen`` where it cannot be said.
        ratio: (V, V) how many times worse each pair is than its noise; NaN where not known.
        lost: no two cameras fit together any more (or, with two, they do not).
        doubted: cameras that are off in few pairs and not by far: the detector's doing, unless it
            lasts.
    """

    verdicts: tuple[Verdict, ...]
    ratio: Floats
    lost: bool
    doubted: tuple[int, ...] = ()

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
        self._previous: Observation | None = None

    def learn(self, observations: Sequence[Observation]) -> None:
        """Learns how well each pair fits, from sets in which no camera was moved."""
        misfits = []
        for before, after in pairwise(observations):
            if 0 < after.time_s - before.time_s < _LONGEST_STEP_S:
                _, keypoints = between_sets(before, after, self._cameras.offsets)
                misfits.append(pair_misfits(self._cameras, keypoints, self._aspects))
        if misfits:
            usual = _over_time(np.stack(misfits), _LESSONS)
            known = np.isfinite(usual)
            level = np.clip(np.where(known, usual, 1.0), _LEAST_HABIT, OFF)
            self._habit = np.where(known, level, self._habit)

    def observe(self, observation: Observation) -> RigCheck:
        """Takes one set as it comes; each view's time stamp and offset are taken into account."""
        previous, self._previous = self._previous, observation
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
            How the rig has fitted over the last second.
        """
        self._recent.append((time_s, pair_misfits(self._cameras, keypoints, self._aspects)))
        while self._recent[0][0] < time_s - _WINDOW_S:
            self._recent.popleft()
        ratio = _over_time(np.stack([r for _, r in self._recent]))
        check = judge(ratio, self._cameras.known, self._habit)
        fits = np.array([word == "fits" for word in check.verdicts])
        both = fits[:, None] & fits & np.isfinite(ratio)
        # A pair's own level, where it is not that of its noise, is learned slowly.
        level = np.clip(np.nan_to_num(ratio, nan=1.0), _LEAST_HABIT, OFF)
        self._habit = np.where(both, self._habit + _HABIT * (level - self._habit), self._habit)
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


def pair_misfits(cameras: Cameras, keypoints: Floats, aspects: Floats) -> Floats:
    """(V, V) how far each pair is off its epipolar geometry in one set, 1 being just noise.

    Args:
        cameras: of the rig.
        keypoints: (V, 17, 3) half-width units and confidence.
        aspects: (V,) height over width of the pictures.

    Returns:
        A low quantile over the joints, so that exchanged sides do not count; NaN where a pair does
        not see enough.
    """
    views = len(aspects)
    out = np.full((views, views), np.nan)
    first, second = np.triu_indices(views, 1)
    if len(first):
        xn, sigma = normalised_joints(cameras, keypoints, aspects)
        essential = essential_matrices(cameras, first, second)
        low = sampson_ratios(essential, xn[first], sigma[first], xn[second], sigma[second])
        out[first, second] = out[second, first] = low
    return out


def normalised_joints(
    cameras: Cameras, keypoints: Floats, aspects: Floats
) -> tuple[Floats, Floats]:
    """(..., V, 17, 2) undistorted normalised coordinates and (..., V, 17) their sigmas."""
    seen = without_border(keypoints, aspects)
    size = person_size(seen)
    usable = (seen[..., 2] > 0.3) & np.isfinite(size)[..., None] & cameras.known[:, None]
    xy = np.where(usable[..., None], seen[..., :2] - cameras.principal[:, None], 0.0)
    xn = undistort(xy, cameras.focal[:, None], cameras.k1[:, None])
    spread = (cameras.noise / cameras.focal * np.nan_to_num(size, nan=1.0))[..., None]
    sigma = np.hypot(spread * JOINT_FACTORS, cameras.slack[:, None])
    return xn, np.where(usable, sigma, np.inf)


def essential_matrices(cameras: Cameras, first: Indices, second: Indices) -> Floats:
    """(P, 3, 3) essential matrices: rayᵀ of the second camera, matrix, ray of the first is 0."""
    relative = cameras.rotations[second] @ np.swapaxes(cameras.rotations[first], 1, 2)
    gap = cameras.positions[first] - cameras.positions[second]
    base = (cameras.rotations[second] @ gap[..., None])[..., 0]
    base = base / np.maximum(np.linalg.norm(base, axis=-1, keepdims=True), 1e-9)
    return np.asarray(skew(base) @ relative)


def sampson_ratios(
    essential: Floats, xn_a: Floats, sigma_a: Floats, xn_b: Floats, sigma_b: Floats
) -> Floats:
    """(...) Sampson distances in sigmas, a low quantile over the joints; NaN where too few.

    Args:
        essential: (..., 3, 3).
        xn_a: (..., 17, 2) in the first camera.
        sigma_a: (..., 17).
        xn_b: (..., 17, 2) in the second.
        sigma_b: (..., 17).
    """
    ones = np.ones((*xn_a.shape[:-1], 1))
    ray_a, ray_b = np.concatenate([xn_a, ones], -1), np.concatenate([xn_b, ones], -1)
    line_b = ray_a @ np.swapaxes(essential, -1, -2)
    line_a = ray_b @ essential
    off = (ray_b * line_b).sum(-1)
    known = np.isfinite(sigma_a) & np.isfinite(sigma_b)
    sa, sb = np.where(known, sigma_a, 0.0), np.where(known, sigma_b, 0.0)
    variance = sb**2 * (line_b[..., :2] ** 2).sum(-1) + sa**2 * (line_a[..., :2] ** 2).sum(-1)
    ratio = np.where(known, np.abs(off) / np.sqrt(np.maximum(variance, 1e-18)), np.inf)
    count = known.sum(-1)
    ratio.sort(axis=-1)
    index = np.maximum((_QUANTILE * (count - 1)).astype(np.intp), 0)
    low = np.take_along_axis(ratio, index[..., None], -1)[..., 0] / _EXPECTED
    return np.where(count >= _JOINTS, low, np.nan)


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
    doubted: list[int] = []
    for v in range(views):
        if v in group:
            verdicts.append("fits")
        else:
            # A bump spoils most pairs of a camera, or one by far; what is a little worse in a
            # single pair is the detector's doing.
            seen = judged[v, list(group)]
            off = seen & ~good[v, list(group)]
            against = 2 * off.sum() > seen.sum() or (ratio[v, list(group)][off] > FAR_OFF).any()
            verdicts.append("moved" if v in names and against else "unseen")
            if v in names and off.any() and not against:
                doubted.append(v)
    return RigCheck(tuple(verdicts), ratio, False, tuple(doubted))


def _rivals(good: Bools, group: tuple[int, ...], names: list[int]) -> bool:
    """Whether the other two cameras fit together as well, so that nobody knows who moved."""
    rest = [v for v in names if v not in group]
    return len(rest) == 2 and bool(good[rest[0], rest[1]])
