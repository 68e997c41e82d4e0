"""Which instants the estimation keeps: a bounded number, as varied in place and pose as can be.

Two instants that look alike in all cameras share their detectors' errors and tell little that is
new, so a new instant is kept only if it differs from all that are there; when there are too many,
the one most like another goes. A person who stands still thus gives one instant, however long.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engines.rig.local_fit import HALF_WINDOW_S, person_size
from engines.rig.types import Bools, Floats, Observation
from engines.skeleton import JOINT_COUNT

WINDOW: Final = 9
"""Most pictures of a view that are kept around an instant."""
_SPACING_S: Final = 0.1
_NOVELTY: Final = 0.05
"""Least distance of a new instant from every other: mean joint shift in person sizes."""
_MIN_JOINTS: Final = 6
_BORDER: Final = 0.015


@dataclass(frozen=True, slots=True, eq=False)
class Keyframe:
    """One instant with the pictures around it; W of them, missing ones with confidence 0.

    Attributes:
        time_s: the instant.
        delays: (W, V) time stamp of each picture minus the instant.
        keypoints: (W, V, 17, 3).
        size: (V,) the person's size; NaN where a view does not see them.
        centre: (V, 17, 3) the joints of the set at the instant itself.
        lifted: (V, 17, 3) the lifter's answers; zero where there are none.
        lifted_sigma: (V, 17) infinite where there is none.
    """

    time_s: float
    delays: Floats
    keypoints: Floats
    size: Floats
    centre: Floats
    lifted: Floats
    lifted_sigma: Floats

    @property
    def seen_by(self) -> Bools:
        """(V,) which views see the person."""
        return np.isfinite(self.size)

    def without_view(self, view: int) -> Keyframe:
        """The same instant as if a view had seen nothing."""
        keypoints, centre = self.keypoints.copy(), self.centre.copy()
        size, sigma = self.size.copy(), self.lifted_sigma.copy()
        keypoints[:, view, :, 2] = 0.0
        centre[view, :, 2] = 0.0
        size[view] = np.nan
        sigma[view] = np.inf
        return replace(self, keypoints=keypoints, centre=centre, size=size, lifted_sigma=sigma)


class KeyframeStore:
    """Takes every set, keeps the informative instants."""

    def __init__(self, aspects: Floats, capacity: int = 80) -> None:
        """Starts empty.

        Args:
            aspects: (V,) height over width of each camera's pictures.
            capacity: most instants that are kept.
        """
        self._views = len(aspects)
        self._aspects = np.asarray(aspects, np.float64)
        self._capacity = capacity
        self._recent: deque[Observation] = deque()
        self._judged_s = -np.inf
        self._kept_s = -np.inf
        self._keyframes: list[Keyframe] = []
        self._distances = np.zeros((0, 0))

    def set_aspects(self, aspects: Floats) -> None:
        """Takes the pictures' shapes anew, (V,) height over width."""
        self._aspects = np.asarray(aspects, np.float64)

    @property
    def keyframes(self) -> tuple[Keyframe, ...]:
        """The instants, in the order in which they were taken."""
        return tuple(self._keyframes)

    def add(self, observation: Observation) -> bool:
        """Takes one set; times must ascend (others are ignored).

        Returns:
            Whether an instant was added.
        """
        if self._recent and observation.time_s <= self._recent[-1].time_s:
            return False
        keypoints = without_border(observation.keypoints, self._aspects)
        self._recent.append(replace(observation, keypoints=keypoints))
        newest = observation.time_s
        while self._recent and self._recent[0].time_s < newest - 4 * HALF_WINDOW_S:
            self._recent.popleft()
        return self._judge(newest - HALF_WINDOW_S)

    def flush(self) -> bool:
        """Judges the last sets, too, although nothing follows them; True if one was added."""
        return self._judge(np.inf)

    def _judge(self, until_s: float) -> bool:
        added = False
        for candidate in self._recent:
            if not self._judged_s < candidate.time_s <= until_s:
                continue
            self._judged_s = candidate.time_s
            if candidate.time_s >= self._kept_s + _SPACING_S:
                added |= self._consider(candidate)
        return added

    def forget_view(self, view: int, since_s: float, until_s: float = np.inf) -> None:
        """Drops what a camera saw from one time to another (it was moved, say)."""
        for index, keyframe in enumerate(self._keyframes):
            if since_s <= keyframe.time_s <= until_s:
                self._keyframes[index] = keyframe.without_view(view)
        for index, recent in enumerate(self._recent):
            if since_s <= recent.time_s <= until_s:
                keypoints = recent.keypoints.copy()
                keypoints[view, :, 2] = 0.0
                self._recent[index] = replace(recent, keypoints=keypoints)
        keep = [i for i, k in enumerate(self._keyframes) if k.seen_by.sum() >= 2]
        self._keyframes = [self._keyframes[i] for i in keep]
        self._distances = self._distances[np.ix_(keep, keep)]

    def clear(self) -> None:
        """Forgets everything."""
        self._recent.clear()
        self._keyframes.clear()
        self._distances = np.zeros((0, 0))
        self._judged_s = self._kept_s = -np.inf

    def _consider(self, centre: Observation) -> bool:
        size = person_size(centre.keypoints)
        enough = (centre.keypoints[..., 2] > 0.1).sum(-1) >= _MIN_JOINTS
        size = np.where(enough & (size > 0.02), size, np.nan)
        if np.isfinite(size).sum() < 2:
            return False
        keyframe = self._window(centre, size)
        distances = _distances(keyframe, self._keyframes) if self._keyframes else np.zeros(0)
        if len(distances) and distances.min() < _NOVELTY:
            return False
        self._kept_s = centre.time_s
        count = len(self._keyframes)
        grown = np.full((count + 1, count + 1), np.inf)
        grown[:count, :count] = self._distances
        grown[count, :count] = grown[:count, count] = distances
        self._keyframes.append(keyframe)
        self._distances = grown
        if count + 1 > self._capacity:
            self._drop_one()
        return True

    def _drop_one(self) -> None:
        """Drops the instant most like another, rather one that fewer cameras see."""
        nearest = self._distances.min(1)
        views = np.array([k.seen_by.sum() for k in self._keyframes])
        scarce = np.array([k.seen_by for k in self._keyframes]).sum(0) < self._capacity // 4
        needed = np.array([(k.seen_by & scarce).any() for k in self._keyframes])
        worth = nearest * (1 + 0.25 * views) * np.where(needed, 3.0, 1.0)
        worth[-1] = np.inf  # the newest gets its chance
        worst = int(worth.argmin())
        del self._keyframes[worst]
        keep = np.delete(np.arange(len(nearest)), worst)
        self._distances = self._distances[np.ix_(keep, keep)]

    def _window(self, centre: Observation, size: Floats) -> Keyframe:
        around = [o for o in self._recent if abs(o.time_s - centre.time_s) <= 1.3 * HALF_WINDOW_S]
        if len(around) > WINDOW:
            picks = np.round(np.linspace(0, len(around) - 1, WINDOW)).astype(int)
            around = [around[i] for i in picks]
        delays = np.full((WINDOW, self._views), np.nan)
        keypoints = np.zeros((WINDOW, self._views, JOINT_COUNT, 3))
        for row, observation in enumerate(around):
            delays[row] = observation.view_times_s - centre.time_s
            keypoints[row] = observation.keypoints
        keypoints[:, ~np.isfinite(size)] = 0.0
        lifted = np.zeros((self._views, JOINT_COUNT, 3))
        sigma = np.full((self._views, JOINT_COUNT), np.inf)
        if centre.lifted is not None and centre.lifted_sigma is not None:
            lifted = np.asarray(centre.lifted, np.float64)
            sigma = np.where(np.isfinite(size)[:, None], centre.lifted_sigma, np.inf)
        return Keyframe(
            time_s=centre.time_s,
            delays=delays,
            keypoints=keypoints,
            size=size,
            centre=np.asarray(centre.keypoints, np.float64),
            lifted=lifted,
            lifted_sigma=sigma,
        )


def without_border(keypoints: Floats, aspects: Floats) -> Floats:
    """Drops joints at the very border of the picture: detectors put there what lies outside.

    Args:
        keypoints: (..., V, 17, 3) half-width units and confidence.
        aspects: (V,) height over width of the pictures.

    Returns:
        The same with confidence 0 for such joints.
    """
    out = np.array(keypoints, np.float64)
    limit = np.stack([np.ones_like(aspects), aspects], -1)[:, None] - _BORDER
    out[..., 2] *= (np.abs(out[..., :2]) < limit).all(-1)
    return out


def _distances(new: Keyframe, others: list[Keyframe]) -> Floats:
    """(K,) how differently instants look: mean over the shared views of the joints' shift.

    That is the median joint's, or a part of that of the fifth that moves most: waving arms are a
    new pose, too. Single stray joints do not count.
    """
    centre = np.stack([k.centre for k in others])  # (K, V, 17, 3)
    size = np.stack([k.size for k in others])
    both = np.isfinite(size) & new.seen_by
    known = (centre[..., 2] > 0.1) & (new.centre[..., 2] > 0.1) & both[..., None]
    shift2 = ((centre[..., :2] - new.centre[..., :2]) ** 2).sum(-1)
    least = np.fmin(size, new.size)[..., None]
    shift = np.where(known, np.minimum(np.sqrt(shift2) / least, 1.0), np.inf)
    shift.sort(axis=-1)  # unknown last
    count = known.sum(-1)  # (K, V)
    valid = count >= 3
    last = np.maximum(count - 1, 0)
    middle = np.take_along_axis(shift, (last // 2)[..., None], -1)[..., 0]
    most = np.take_along_axis(shift, (last * 4 // 5)[..., None], -1)[..., 0]
    look = np.where(valid, np.maximum(middle, 0.6 * most), 0.0)
    views = valid.sum(-1)
    return np.where(views >= 2, look.sum(-1) / np.maximum(views, 1), 10.0)
