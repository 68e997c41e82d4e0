"""What processes say of themselves and of the run, and what people ask of it.

They are messages like those of ``app.messages``, which are about pictures and people.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from app.messages import Message


class StageStat(msgspec.Struct, frozen=True, kw_only=True):
    """Median duration of one stage of the pipeline over the last seconds."""

    stage: str
    milliseconds: float


class CameraStat(msgspec.Struct, frozen=True, kw_only=True):
    """What the pipeline saw of one camera.

    Attributes:
        camera: its identifier.
        fps: rate of the pictures that arrived.
        frames: pictures that arrived.
        dropped: pictures that were taken but did not arrive (gaps in the sequence).
        reconnects: times that the source came back.
        skew_ms_p95: 95th percentile of |its time − the common time| over the sets.
        present: share of the sets that it was in.
        state: the capture process's last word.
        detail: the capture process's last word.
        warning: the capture process's last word.
    """

    camera: str
    fps: float
    frames: int
    dropped: int
    reconnects: int
    skew_ms_p95: float
    present: float
    state: str
    detail: str
    warning: str = ""


class PipelineStatus(Message, tag="pipeline_status", frozen=True, kw_only=True):
    """Rates and latencies of the pipeline, about twice a second.

    ``completeness`` is the share of sets, since the first, that gave a valid pose.
    ``final`` marks the last one of a run, whose figures cover all of it.
    """

    at_ns: int
    sets: int
    poses: int
    rate_hz: float
    latency_ms_p50: float
    latency_ms_p99: float
    completeness: float
    stages: tuple[StageStat, ...]
    cameras: tuple[CameraStat, ...]
    front_end: str
    lifter: str
    engine: str
    final: bool = False


class Heartbeat(Message, tag="heartbeat", frozen=True, kw_only=True):
    """A process is alive; sent twice a second.

    Attributes:
        process: its row in the process table.
        pid: of this start.
        at_ns: when it was sent.
        state: what it does.
        detail: about that.
        turned_ns: when its main loop last went round; 0 where it does not say.
    """

    process: str
    pid: int
    at_ns: int
    state: Literal["starting", "ready", "finished"]
    detail: str = ""
    turned_ns: int = 0


class ProcessHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the supervisor's table."""

    process: str
    module: str
    pid: int | None = None
    running: bool
    state: str
    restarts: int
    exit_code: int | None = None
    heartbeat_age_ms: float | None = None
    detail: str = ""


class Health(Message, tag="health", frozen=True, kw_only=True):
    """The supervisor's table, about twice a second."""

    at_ns: int
    processes: tuple[ProcessHealth, ...]


class RunState(Message, tag="run_state", frozen=True, kw_only=True):
    """Repeated by the supervisor so that no late subscriber misses it.

    Attributes:
        phase: ``starting`` until every process is ready, then ``running``, then ``stopping``.
        epoch_ns: the instant that time 0 of video files is played at; 0 while starting.
        anchor_monotonic_ns: with ``anchor_wall_ns``, the clock anchor of the run.
        anchor_wall_ns: see above.
    """

    phase: Literal["starting", "running", "stopping"]
    epoch_ns: int
    anchor_monotonic_ns: int
    anchor_wall_ns: int


Action = Literal["level", "front", "record", "recalibrate", "quit", "pause", "step", "again"]


class Command(Message, tag="command", frozen=True, kw_only=True):
    """What a person asked for, in the viewer or elsewhere.

    ``level``: the person stands upright now, take that as vertical. ``front``: the person faces
    the front now. ``record``: start or stop recording. ``recalibrate``: find the cameras anew.
    ``quit``: end the run. Of a replay: ``pause`` it or let it go on, ``step`` to the next pose,
    ``again`` from the beginning.
    """

    action: Action
    at_ns: int


class RecorderStatus(Message, tag="recorder_status", frozen=True, kw_only=True):
    """What the recorder is doing, twice a second.

    Attributes:
        at_ns: when this was said.
        recording: whether a take is in progress.
        path: of it, or of the last one.
        messages: in it.
        bytes: of it that are written.
        detail: what went wrong, or empty.
        remark: what else to know of it, or empty.
    """

    at_ns: int
    recording: bool
    path: str
    messages: int
    bytes: int
    detail: str = ""
    remark: str = ""
