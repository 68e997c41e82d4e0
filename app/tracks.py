"""One view's 2D joints over time, and the lifter's window made from them.

Pictures come when they come: cameras run free, the pipeline may be slower than they are. The
lifter wants 27 instants at its own rate. So each view's joints are kept with their capture times
and read out at any instant by interpolation; at the newest end the joint's own motion carries it
the few milliseconds to the common time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from engines.skeleton import JOINT_COUNT

Floats = npt.NDArray[np.float32]

MAX_GAP_S = 0.4
"""Between two sightings of a joint further apart than this it counts as missing."""
MAX_AHEAD_S = 0.05
"""How far past its last sighting a joint is carried by its own motion (and how far before its
next one it is held, where the gap is too long)."""
MAX_CONTEXT_AGE_S = 0.2
"""A picture's image context stands for instants no further away than this."""
_SPEED_SPAN_S = 0.12
_REACH_NS = round((MAX_GAP_S + 2 * _SPEED_SPAN_S) * 1e9)


class JointTrack:
    """The last second or so of one view's joints."""

    def __init__(self, span_s: float = 2.0) -> None:
        """Starts empty.

        Args:
            span_s: how long sightings are kept.
        """
        self._span_ns = int(span_s * 1e9)
        self._times: deque[int] = deque()
        self._joints: deque[Floats] = deque()
        self._context: deque[Floats | None] = deque()

    def add(self, time_ns: int, keypoints: Floats, context: Floats | None = None) -> None:
        """Adds the joints of one picture.

        Args:
            time_ns: its capture time; must be newer than the last one, else it is ignored.
            keypoints: (17, 3) x, y in any linear picture unit and confidence, 0 for missing.
            context: (17, C) image features at the joints, or None.
        """
        if self._times and time_ns <= self._times[-1]:
            return
        if context is not None:  # nothing is told where no joint was found to tell it of
            known = keypoints[:, 2] > 0
            context = np.where(known[:, None], context, np.float32(0)) if known.any() else None
        self._times.append(time_ns)
        self._joints.append(keypoints)
        self._context.append(context)
        while self._times[0] < time_ns - self._span_ns:
            self._times.popleft()
            self._joints.popleft()
            self._context.popleft()

    @property
    def newest_ns(self) -> int | None:
        """Time of the newest sighting."""
        return self._times[-1] if self._times else None

    def clear(self) -> None:
        """Forgets everything."""
        self._times.clear()
        self._joints.clear()
        self._context.clear()

    def sample(self, times_ns: npt.NDArray[np.int64]) -> Floats:
        """Reads the joints at given instants.

        Args:
            times_ns: (F,) ascending instants.

        Returns:
            (F, 17, 3) joints; confidence 0 where a joint is not known at that instant.
        """
        out = np.zeros((len(times_ns), JOINT_COUNT, 3), np.float32)
        if not self._times:
            return out
        # Seconds relative to the newest instant: float32 would not hold nanoseconds.
        origin = int(times_ns[-1])
        # Older sightings are too far away to be used, whatever came after them.
        oldest_ns = int(times_ns[0]) - _REACH_NS
        first = min(sum(time < oldest_ns for time in self._times), len(self._times) - 1)
        times = np.fromiter(islice(self._times, first, None), np.int64)
        seen_s = np.asarray((times - origin) * 1e-9, np.float64)
        wanted_s = (times_ns - origin) * 1e-9
        joints = np.stack(list(islice(self._joints, first, None)))
        known = joints[..., 2] > 0  # (N, 17)
        count = len(seen_s)
        index = np.arange(count)[:, None]
        before = np.maximum.accumulate(np.where(known, index, -1), axis=0)
        after = np.minimum.accumulate(np.where(known, index, count)[::-1], axis=0)[::-1]

        left = np.searchsorted(seen_s, wanted_s, side="right") - 1  # (F,)
        column = np.arange(JOINT_COUNT)[None]
        a = np.where(left[:, None] >= 0, before[np.maximum(left, 0)[:, None], column], -1)
        right = np.minimum(left + 1, count - 1)[:, None]
        b = np.where((left + 1 < count)[:, None], after[right, column], count)
        b = np.where((a >= 0) & (seen_s[np.maximum(a, 0)] == wanted_s[:, None]), a, b)

        between = (a >= 0) & (b < count)
        ia, ib = np.maximum(a, 0), np.minimum(b, count - 1)
        ta, tb = seen_s[ia], seen_s[ib]
        gap = tb - ta
        inside = between & (gap <= MAX_GAP_S)
        share = np.where(gap > 0, (wanted_s[:, None] - ta) / np.where(gap > 0, gap, 1), 0.0)
        ja, jb = joints[ia, column], joints[ib, column]
        mixed = ja + (jb - ja) * share[..., None].astype(np.float32)
        mixed[..., 2] = np.minimum(ja[..., 2], jb[..., 2])

        ahead = wanted_s[:, None] - ta
        beyond = ~inside & (a >= 0) & (ahead >= 0) & (ahead <= MAX_AHEAD_S)
        carried = ja.copy()
        carried[..., :2] += self._velocities(seen_s, joints, known)[ia, column] * ahead[
            ..., None
        ].astype(np.float32)
        # A slow pipeline leaves gaps too long to bridge; just before a sighting it still counts.
        behind = tb - wanted_s[:, None]
        before_it = ~inside & ~beyond & (b < count) & (behind >= 0) & (behind <= MAX_AHEAD_S)
        out = np.where(inside[..., None], mixed, 0.0)
        out = np.where(beyond[..., None], carried, out)
        out = np.where(before_it[..., None], jb, out)
        return np.asarray(out, np.float32)

    def sample_context(
        self, times_ns: npt.NDArray[np.int64], channels: int
    ) -> tuple[Floats, Floats]:
        """Reads the image context at given instants: that of the picture nearest in time.

        Features are not interpolated as joints are: a mixture of two pictures is a feature of
        neither.

        Args:
            times_ns: (F,) ascending instants.
            channels: C.

        Returns:
            (F, 17, C) features, zero for joints that were missing in that picture, and (F,) mask,
            1 where a picture with joints lies within ``MAX_CONTEXT_AGE_S``.
        """
        out = np.zeros((len(times_ns), JOINT_COUNT, channels), np.float32)
        pairs = zip(self._times, self._context, strict=True)
        having = [(time, one) for time, one in pairs if one is not None]
        if not having:
            return out, np.zeros(len(times_ns), np.float32)
        times = np.array([time for time, _ in having], np.int64)
        after = np.clip(np.searchsorted(times, times_ns), 0, len(times) - 1)
        before = np.maximum(after - 1, 0)
        nearest = np.where(times_ns - times[before] <= times[after] - times_ns, before, after)
        near = np.abs(times[nearest] - times_ns) <= int(MAX_CONTEXT_AGE_S * 1e9)
        used, rows = np.unique(nearest[near], return_inverse=True)
        if len(used):
            out[near] = np.stack([having[n][1] for n in used])[rows]
        return out, near.astype(np.float32)

    @staticmethod
    def _velocities(
        seen_s: npt.NDArray[np.float64],
        joints: Floats,
        known: npt.NDArray[np.bool_],
    ) -> Floats:
        """(N, 17, 2) speed of each joint at each sighting from the sightings shortly before."""
        count = len(seen_s)
        speeds = np.zeros((count, JOINT_COUNT, 2), np.float32)
        for n in range(max(1, count - 4), count):
            # The oldest sighting within the span: a longer base shakes less.
            first = int(np.searchsorted(seen_s, seen_s[n] - _SPEED_SPAN_S))
            first = min(first, n - 1)
            base = seen_s[n] - seen_s[first]
            if base <= 0 or base > 2 * _SPEED_SPAN_S:
                continue
            both = known[n] & known[first]
            speeds[n, both] = (joints[n, both, :2] - joints[first, both, :2]) / np.float32(base)
        return speeds


def read_window(
    tracks: Sequence[JointTrack],
    times_ns: npt.NDArray[np.int64],
    instants_ns: npt.NDArray[np.int64] | None,
) -> tuple[Floats, Floats | None]:
    """Reads all views' joints at the window's instants, and at one of each view's own.

    Args:
        tracks: of the V views.
        times_ns: (F,) ascending instants.
        instants_ns: (V,) one more for each view, or None.

    Returns:
        (F, V, 17, 3) and (V, 17, 3), or None for the second.
    """
    if instants_ns is None:
        return np.stack([track.sample(times_ns) for track in tracks], axis=1), None
    # One instant more costs next to nothing here; read by itself it would cost as much as all.
    rows = np.searchsorted(times_ns, instants_ns)
    read = [
        track.sample(np.insert(times_ns, row, instant))
        for track, row, instant in zip(tracks, rows, instants_ns, strict=True)
    ]
    window = [np.delete(one, row, 0) for one, row in zip(read, rows, strict=True)]
    own = [one[row] for one, row in zip(read, rows, strict=True)]
    return np.stack(window, axis=1), np.stack(own)


def window_times(newest_ns: int, frames: int, rate_hz: float) -> npt.NDArray[np.int64]:
    """(frames,) ascending instants at ``rate_hz``, the last one being ``newest_ns``."""
    steps = np.arange(frames - 1, -1, -1)
    return newest_ns - np.round(steps * (1e9 / rate_hz)).astype(np.int64)


def to_half_widths(keypoints: Floats, width: int, height: int) -> Floats:
    """Pixels to half-width units: x = 2u/w − 1, y = (2v − h)/w (y down); confidence is kept.

    Args:
        keypoints: (..., 3) x, y in pixels and confidence.
        width: of the picture.
        height: of the picture.

    Returns:
        (..., 3) the same joints in half-width units.
    """
    out = np.empty(keypoints.shape, np.float32)
    out[..., 0] = 2 * keypoints[..., 0] / width - 1
    out[..., 1] = (2 * keypoints[..., 1] - height) / width
    out[..., 2] = keypoints[..., 2]
    return out


def to_pixels(keypoints: Floats, width: int, height: int) -> Floats:
    """The inverse of ``to_half_widths``."""
    out = np.empty(keypoints.shape, np.float32)
    out[..., 0] = (keypoints[..., 0] + 1) * width / 2
    out[..., 1] = (keypoints[..., 1] * width + height) / 2
    out[..., 2] = keypoints[..., 2]
    return out
