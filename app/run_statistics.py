"""Rates, latencies and shares: of the last seconds in a run, of all of it at the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

from app.frame_receiver import FrameSet, ViewCounters
from app.run_messages import CameraStat, PipelineStatus, StageStat

N = TypeVar("N", int, float)

_RECENT = 64
# What a whole run's percentiles are taken from at most: 20 minutes at 30 sets a second.
_KEPT = 36_000


class RunStatistics:
    """Collects what the status line and the report show."""

    def __init__(self, cameras: Sequence[str]) -> None:
        """Starts empty.

        Args:
            cameras: identifiers in the configuration's order.
        """
        self._cameras = tuple(cameras)
        self._stages: dict[str, deque[float]] = {}
        self._all_stages: dict[str, deque[float]] = {}
        self._latencies: deque[float] = deque(maxlen=_KEPT)
        self._times: deque[int] = deque(maxlen=_KEPT)
        self._skews: list[deque[float]] = [deque(maxlen=_KEPT) for _ in cameras]
        self._present = [0 for _ in cameras]
        self.sets = 0
        self.poses = 0

    def add_stage(self, stage: str, milliseconds: float) -> None:
        """Notes how long a stage of the current set took."""
        self._stages.setdefault(stage, deque(maxlen=_RECENT)).append(milliseconds)
        self._all_stages.setdefault(stage, deque(maxlen=_KEPT)).append(milliseconds)

    def add_set(self, frames: FrameSet, now: int, latency_ms: float, *, valid: bool) -> None:
        """Notes a finished set.

        Args:
            frames: the set.
            now: when its pose was published.
            latency_ms: from its instant to publication.
            valid: whether it gave a pose.
        """
        self.sets += 1
        self.poses += valid
        self._latencies.append(latency_ms)
        self._times.append(now)
        for view, skew in enumerate(frames.skews_ns):
            if skew is not None:
                self._present[view] += 1
                self._skews[view].append(abs(skew) * 1e-6)

    def status(
        self,
        counters: Sequence[ViewCounters],
        at_ns: int,
        front_end: str,
        lifter: str,
        engine: str,
        *,
        final: bool,
    ) -> PipelineStatus:
        """The figures as a message; ``final`` ones cover the whole run."""
        count = _KEPT if final else _RECENT
        times = _newest(self._times, count)
        latencies = _newest(self._latencies, count)
        stages = self._all_stages if final else self._stages
        span = (times[-1] - times[0]) * 1e-9 if len(times) > 1 else 0.0
        p50, p99 = np.percentile(latencies, [50, 99]) if latencies else (0.0, 0.0)
        return PipelineStatus(
            at_ns=at_ns,
            sets=self.sets,
            poses=self.poses,
            rate_hz=(len(times) - 1) / span if span > 0 else 0.0,
            latency_ms_p50=float(p50),
            latency_ms_p99=float(p99),
            completeness=self.poses / self.sets if self.sets else 0.0,
            stages=tuple(
                StageStat(stage=name, milliseconds=float(np.median(values)))
                for name, values in stages.items()
            ),
            cameras=tuple(
                self._camera(
                    name, counters[view], _newest(self._skews[view], count), view, final=final
                )
                for view, name in enumerate(self._cameras)
            ),
            front_end=front_end,
            lifter=lifter,
            engine=engine,
            final=final,
        )

    def _camera(
        self,
        name: str,
        counters: ViewCounters,
        skews: list[float],
        view: int,
        *,
        final: bool,
    ) -> CameraStat:
        status = counters.status
        return CameraStat(
            camera=name,
            fps=counters.fps if final or status is None else status.fps,
            frames=counters.frames,
            dropped=counters.dropped + (status.source_drops if status is not None else 0),
            reconnects=status.reconnects if status is not None else 0,
            skew_ms_p95=float(np.percentile(skews, 95)) if skews else 0.0,
            present=self._present[view] / self.sets if self.sets else 0.0,
            state=status.state if status is not None else "opening",
            detail=status.detail if status is not None else "",
            warning=status.warning if status is not None else "",
        )


def _newest(values: deque[N], count: int) -> list[N]:
    """The last ``count`` values, oldest first, without walking over those before them."""
    newest = list(islice(reversed(values), count))
    newest.reverse()
    return newest
