"""Starts the processes of a run, watches them, and stops all of them again."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from app.bus import Publisher, Subscriber
from app.clock import now_ns, take_anchor
from app.messages import Pose, RigUpdate
from app.process_table import process_table
from app.run_messages import Command, Health, Heartbeat, PipelineStatus, RecorderStatus, RunState
from app.run_spec import RunSpec
from app.supervised import SupervisedProcess
from app.topics import Topic
from engines.errors import UserError

_TICK_S = 0.05
_OF_TERMINAL = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()
_ENDING = (signal.SIGINT, signal.SIGTERM, *_OF_TERMINAL)
_STARTED = ("ready", "finished", "failed")
_RUN_STATE_NS = 100_000_000
_HEALTH_NS = 500_000_000
_START_TIMEOUT_S = 90.0
_LEAD_NS = 300_000_000
_HURRIED_STOP_S = 1.5
_CALM_STOP_S = 10.0
_LAST_STOP_S = 0.9


@dataclass(frozen=True, slots=True)
class Progress:
    """What the live status shows."""

    phase: str
    elapsed_s: float
    health: Health
    pipeline: PipelineStatus | None
    recorder: RecorderStatus | None
    rig: RigUpdate | None = None


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        reason: one line.
        epoch_ns: time 0 of the run's files; 0 if it never got that far.
        pipeline: the last figures (of the whole run where the pipeline could still say them).
        recorder: the recorder's last word.
        interrupted: ended by Ctrl-C or a termination signal.
        failures: one line for each process that gave up on the way.
        rig: the last word on where the cameras are; None where they were not looked for.
        remarks: what processes that did their work to the end want the user to know.
    """

    reason: str
    epoch_ns: int
    pipeline: PipelineStatus | None
    recorder: RecorderStatus | None
    interrupted: bool
    failures: tuple[str, ...] = ()
    rig: RigUpdate | None = None
    remarks: tuple[str, ...] = ()


class Supervisor:
    """Runs one process table to its end."""

    def __init__(
        self,
        spec: RunSpec,
        run_dir: Path,
        *,
        seconds: float | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        on_pose: Callable[[Pose], None] | None = None,
    ) -> None:
        """Prepares a run.

        Args:
            spec: what to run; saved to ``run_dir`` for the processes.
            run_dir: made by ``make_run_dir``.
            seconds: end after so long, counted from the moment that everything is ready.
            on_progress: called about ten times a second.
            on_pose: called with every pose, e.g. to compare it with the truth.
        """
        spec.save(run_dir)
        self._rows = [SupervisedProcess(entry, run_dir) for entry in process_table(spec)]
        names = [row.entry.name for row in self._rows]
        self._seconds = seconds
        self._on_progress = on_progress
        self._on_pose = on_pose
        self._anchor = take_anchor()
        self._run_state = Publisher[RunState](run_dir, Topic.RUN_STATE)
        self._health = Publisher[Health](run_dir, Topic.HEALTH)
        self._heartbeats = Subscriber[Heartbeat](run_dir, Topic.HEARTBEAT, names)
        self._statuses = Subscriber[PipelineStatus](run_dir, Topic.PIPELINE_STATUS)
        self._recorder_statuses = Subscriber[RecorderStatus](run_dir, Topic.RECORDER_STATUS)
        self._rigs = Subscriber[RigUpdate](run_dir, Topic.RIG)
        self._commands = Subscriber[Command](run_dir, Topic.COMMANDS, ("viewer",))
        self._poses = Subscriber[Pose](run_dir, Topic.POSES) if on_pose is not None else None
        self._interrupted = False
        self._quit = False
        self._phase: Literal["starting", "running", "stopping"] = "starting"
        self._epoch_ns = 0
        self._began_ns = now_ns()
        self._pipeline: PipelineStatus | None = None
        self._recorder: RecorderStatus | None = None
        self._rig: RigUpdate | None = None
        self._next_state_ns = self._next_health_ns = 0

    def run(self) -> RunOutcome:
        """Runs to the end; Ctrl-C ends it too.

        Raises:
            UserError: something the user must put right kept it from running.
        """
        # Under nohup the end of the terminal is no end of the run.
        heard = [
            n for n in _ENDING if n not in _OF_TERMINAL or signal.getsignal(n) != signal.SIG_IGN
        ]
        previous = {number: signal.signal(number, self._interrupt) for number in heard}
        try:
            reason = self._loop()
            self._stop(hurried=self._interrupted)
        except BaseException:
            self._stop(hurried=True)
            raise
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._close()
        return RunOutcome(
            reason,
            self._epoch_ns,
            self._pipeline,
            self._recorder,
            self._interrupted,
            tuple(
                f"{row.entry.name} gave up; its last word: {row.error}"
                for row in self._rows
                if row.outcome == "failed"
            ),
            self._rig,
            tuple(
                remark
                for row in self._rows
                if row.entry.essential and row.state == "finished"
                if (remark := row.health().detail)
            ),
        )

    @property
    def crashed(self) -> bool:
        """Whether some process crashed on the way, even if it could be started again."""
        return any(row.crashed or row.restarts for row in self._rows)

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self._interrupted = True

    def _loop(self) -> str:
        while True:
            self._turn()
            if self._interrupted:
                return "stopped by the user"
            if self._quit:
                return "closed in the viewer"
            self._raise_failures()
            done = next(
                (r for r in self._rows if r.entry.essential and r.outcome == "finished"), None
            )
            if done is not None:
                return "every source has ended"
            if self._phase == "starting":
                self._maybe_begin()
            elif self._seconds is not None and self._elapsed_s() >= self._seconds:
                return f"{self._seconds:g} s are over"
            time.sleep(_TICK_S)

    def _turn(self) -> None:
        """One round of listening, reconciling and telling."""
        for beat in self._heartbeats.drain():
            for row in self._rows:
                if row.entry.name == beat.message.process:
                    row.hear(beat.message)
        if self._phase != "stopping":
            for row in self._rows:
                row.reconcile()
        for status in self._statuses.drain():
            self._pipeline = status.message
        for recorder in self._recorder_statuses.drain():
            self._recorder = recorder.message
        for rig in self._rigs.drain():
            self._rig = rig.message
        for command in self._commands.drain():
            self._quit = self._quit or command.message.action == "quit"
        if self._poses is not None and self._on_pose is not None:
            for pose in self._poses.drain():
                self._on_pose(pose.message)
        self._tell()

    def _tell(self) -> None:
        now = now_ns()
        if now >= self._next_state_ns:
            self._next_state_ns = now + _RUN_STATE_NS
            self._say_state()
        if now >= self._next_health_ns:
            self._next_health_ns = now + _HEALTH_NS
            self._health.send(self._health_message())
        if self._on_progress is not None:
            self._on_progress(
                Progress(
                    self._phase,
                    self._elapsed_s(),
                    self._health_message(),
                    self._pipeline,
                    self._recorder,
                    self._rig,
                )
            )

    def _health_message(self) -> Health:
        return Health(at_ns=now_ns(), processes=tuple(row.health() for row in self._rows))

    def _say_state(self) -> None:
        self._run_state.send(
            RunState(
                phase=self._phase,
                epoch_ns=self._epoch_ns,
                anchor_monotonic_ns=self._anchor.monotonic_ns,
                anchor_wall_ns=self._anchor.wall_ns,
            )
        )

    def _maybe_begin(self) -> None:
        waiting = [row.entry.name for row in self._rows if row.state not in _STARTED]
        waited_s = (now_ns() - self._began_ns) * 1e-9
        if waiting and waited_s > _START_TIMEOUT_S:
            row = next(r for r in self._rows if r.entry.name == waiting[0])
            raise UserError(
                f"{waiting[0]} did not get ready within {_START_TIMEOUT_S:.0f} s; its last word: "
                f"{row.error or 'nothing'}"
            )
        if not waiting:
            self._phase = "running"
            self._epoch_ns = now_ns() + _LEAD_NS
            self._say_state()

    def _elapsed_s(self) -> float:
        return max(0.0, (now_ns() - self._epoch_ns) * 1e-9) if self._epoch_ns else 0.0

    def _raise_failures(self) -> None:
        for row in self._rows:
            if row.outcome != "failed":
                continue
            if row.entry.may_fail and self._phase != "starting":
                continue  # told at the end
            if row.exit_code == 2:
                raise UserError(row.error)
            if row.entry.essential:
                raise UserError(
                    f"{row.entry.name} failed again and again; its last word: {row.error}"
                )

    def _stop(self, *, hurried: bool) -> None:
        """Sources and pipeline first, then those who show and keep what these still say."""
        if self._phase == "stopping":
            return
        self._phase = "stopping"
        self._say_state()
        limit = time.monotonic() + (_HURRIED_STOP_S if hurried else _CALM_STOP_S)
        first = [r for r in self._rows if r.entry.feeds]
        rest = [r for r in self._rows if r not in first]
        self._end(first, min(limit, time.monotonic() + 0.7 * (limit - time.monotonic())))
        self._turn()
        # The recorder still writes its index, however long the others took.
        self._end(rest, max(limit, time.monotonic() + _LAST_STOP_S))
        for row in self._rows:
            if row.running:
                row.kill()
                row.wait(1.0)

    def _end(self, rows: list[SupervisedProcess], limit: float) -> None:
        for row in rows:
            row.signal(signal.SIGTERM)
        while time.monotonic() < limit and any(row.running for row in rows):
            self._turn()
            time.sleep(_TICK_S / 2)

    def _close(self) -> None:
        for end in (self._run_state, self._health):
            end.close()
        for listener in (
            self._heartbeats,
            self._statuses,
            self._recorder_statuses,
            self._rigs,
            self._commands,
            self._poses,
        ):
            if listener is not None:
                listener.close()
