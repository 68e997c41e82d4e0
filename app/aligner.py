"""Puts pictures of free-running cameras together into sets: a pure class over time stamps.

No sockets, no clock, no pixels: it can be tested with any sequence of stamps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

# Shares of the frame period: sets follow each other at no less than the first; a picture that is
# later than the second is no longer waited for.
_SPACING = 0.5
_OVERDUE = 1.7


@dataclass(frozen=True, slots=True)
class Stamp:
    """One picture: which (``key`` is the caller's, e.g. its sequence number) and when taken."""

    key: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class AlignedSet:
    """Pictures that belong together.

    Attributes:
        index: counts the sets.
        time_ns: their common time.
        views: per view the picture nearest to the common time, or None where none is within the
            allowed skew. A picture is in one set at most.
    """

    index: int
    time_ns: int
    views: tuple[Stamp | None, ...]

    @property
    def skews_ns(self) -> tuple[int | None, ...]:
        """Per view its picture's time minus the common time."""
        return tuple(None if s is None else s.time_ns - self.time_ns for s in self.views)


@dataclass(slots=True)
class _Track:
    stamps: deque[Stamp]
    closed: bool = False
    last_used_ns: int | None = None
    periods: deque[int] = field(default_factory=lambda: deque(maxlen=15))

    @property
    def newest_ns(self) -> int | None:
        return self.stamps[-1].time_ns if self.stamps else None

    @property
    def period_ns(self) -> float | None:
        return median(self.periods) if self.periods else None


def _may_still_join(track: _Track, latest_ns: int) -> bool:
    """Whether a view's next picture is expected no later than at an instant."""
    newest, period = track.newest_ns, track.period_ns
    return newest is None or period is None or newest + period <= latest_ns


class Aligner:
    """Collects the stamps of each view and emits sets.

    Two ways of asking: ``pop_newest`` for live use (the latest wins, old pictures are passed over)
    and ``pop_next`` for offline use (every picture of the pacing view gives a set).

    The views that set the pace are those at about the highest rate that deliver at present; a
    slower or silent camera never holds the others up, it just is not in every set.
    """

    def __init__(
        self, views: int, *, max_skew_ns: int, lost_after_ns: int, history: int | None = 8
    ) -> None:
        """Starts with no stamps.

        Args:
            views: number of cameras.
            max_skew_ns: how far from the common time a picture may be.
            lost_after_ns: a view this far behind the newest one is not waited for.
            history: how many pictures of a view are kept; None keeps all (for ``pop_next``).
        """
        self._tracks = [_Track(deque()) for _ in range(views)]
        self._max_skew_ns = max_skew_ns
        self._lost_after_ns = lost_after_ns
        self._history = history
        self._index = 0
        self._last_ns: int | None = None
        self.rejected = 0

    def push(self, view: int, stamp: Stamp) -> bool:
        """Adds a picture.

        Args:
            view: which camera.
            stamp: its stamp; one that is not newer than the view's newest is rejected and counted.

        Returns:
            Whether it was taken.
        """
        track = self._tracks[view]
        newest = track.newest_ns
        if newest is not None and stamp.time_ns <= newest:
            self.rejected += 1
            return False
        if newest is not None:
            track.periods.append(stamp.time_ns - newest)
        track.stamps.append(stamp)
        if self._history is not None and len(track.stamps) > self._history:
            track.stamps.popleft()
        return True

    def kept(self, view: int) -> frozenset[int]:
        """Keys of the pictures of a view that may still be used; the others can be freed."""
        return frozenset(stamp.key for stamp in self._tracks[view].stamps)

    def restart(self, view: int) -> None:
        """Forgets a view's pictures and rate, e.g. after its process was restarted."""
        track = self._tracks[view]
        track.stamps.clear()
        track.periods.clear()
        track.closed = False

    def close(self, view: int) -> None:
        """Says that no more pictures of this view will come."""
        self._tracks[view].closed = True

    @property
    def starving(self) -> int | None:
        """The open view whose newest stamp is oldest: the one to read from next, offline."""
        open_views = [v for v, track in enumerate(self._tracks) if not track.closed]
        if not open_views:
            return None
        return min(open_views, key=lambda v: self._tracks[v].newest_ns or -(1 << 62))

    def pop_newest(self, min_interval_ns: int = 0) -> AlignedSet | None:
        """The newest complete set, or None when there is nothing new.

        A set is complete as soon as every view that sets the pace has given a picture since the
        last set, so nothing waits for pictures to come. Their common time is midway between the
        oldest and the newest of them: free-running cameras are at most half a period from it.
        Half a period of slow cameras may be more than the allowed skew: then the oldest picture
        is a set of its own, and is not kept waiting for others that cannot join it.

        Args:
            min_interval_ns: shortest time between two sets.
        """
        pacing = self._pacing_views()
        if not pacing:
            return None
        tracks = [self._tracks[v] for v in pacing]
        fresh = [n for t in tracks if (n := t.newest_ns) is not None and n != t.last_used_ns]
        if not fresh:
            return None
        reach = 2 * self._max_skew_ns
        oldest, together = min(fresh), max(fresh) - min(fresh) <= reach
        if len(fresh) < len(tracks):
            used = [t for t in tracks if t.newest_ns == t.last_used_ns]
            if any(_may_still_join(t, oldest + reach) for t in used):
                return None
            together = False
        time_ns = (oldest + max(fresh)) // 2 if together else oldest
        if self._last_ns is not None:
            periods = [p for track in tracks if (p := track.period_ns) is not None]
            spacing = int(_SPACING * min(periods)) if periods else 0
            if not together:
                spacing = min(spacing, reach)
            if time_ns - self._last_ns < max(min_interval_ns, spacing, 1):
                return None
        return self._emit(time_ns)

    def pop_next(self) -> AlignedSet | None:
        """The next set in order, or None while an open view might still have a nearer picture.

        Sets follow the pictures of the first view that still has some.
        """
        while True:
            time_ns = self._next_time()
            if time_ns is None:
                return None
            self._forget_before(time_ns)
            for track in self._tracks:
                newest = track.newest_ns
                if not track.closed and (newest is None or newest < time_ns):
                    return None
            aligned = self._emit(time_ns)
            if aligned is not None:
                return aligned

    @property
    def exhausted(self) -> bool:
        """All views are closed and nothing is left for ``pop_next``."""
        return all(track.closed for track in self._tracks) and self._next_time() is None

    def _pacing_views(self) -> Sequence[int]:
        """The views at about the highest rate that are not overdue."""
        newest = {
            v: n
            for v, track in enumerate(self._tracks)
            if (n := track.newest_ns) is not None and not track.closed
        }
        if not newest:
            return ()
        alive = [v for v, n in newest.items() if n >= max(newest.values()) - self._lost_after_ns]
        periods = {v: p for v in alive if (p := self._tracks[v].period_ns) is not None}
        if not periods:
            return alive
        fastest = min(periods.values())
        limit = max(newest[v] for v in alive) - _OVERDUE * fastest
        return [v for v in alive if periods.get(v, fastest) <= 1.5 * fastest and newest[v] >= limit]

    def _next_time(self) -> int | None:
        """The first view that is not over sets the pace, also through its own gaps."""
        last = self._last_ns
        for track in self._tracks:
            newer = next(
                (s.time_ns for s in track.stamps if last is None or s.time_ns > last), None
            )
            period = track.period_ns
            if newer is None:
                if track.closed:
                    continue
                return None
            if last is None or period is None:
                return newer
            if newer - last < 0.5 * period:
                # The pacing view has changed: no two sets of about the same instant.
                newer = next((s.time_ns for s in track.stamps if s.time_ns > newer), None)
                if newer is None:
                    if track.closed:
                        continue
                    return None
            if newer - last > 1.6 * period:
                return last + round(period)
            return newer
        return None

    def _emit(self, time_ns: int) -> AlignedSet | None:
        views = tuple(self._nearest(track, time_ns) for track in self._tracks)
        for track, stamp in zip(self._tracks, views, strict=True):
            if stamp is not None:
                track.last_used_ns = stamp.time_ns
        self._forget_before(time_ns)
        self._last_ns = time_ns
        if all(stamp is None for stamp in views):
            return None
        aligned = AlignedSet(self._index, time_ns, views)
        self._index += 1
        return aligned

    def _forget_before(self, time_ns: int) -> None:
        """What lies before a set's time by more than the skew can never be used any more."""
        for track in self._tracks:
            while len(track.stamps) > 1 and track.stamps[0].time_ns < time_ns - self._max_skew_ns:
                track.stamps.popleft()

    def _nearest(self, track: _Track, time_ns: int) -> Stamp | None:
        best: Stamp | None = None
        for stamp in track.stamps:
            if track.last_used_ns is not None and stamp.time_ns <= track.last_used_ns:
                continue
            if abs(stamp.time_ns - time_ns) > self._max_skew_ns:
                continue
            if best is None or abs(stamp.time_ns - time_ns) < abs(best.time_ns - time_ns):
                best = stamp
        return best
