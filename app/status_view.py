"""The live status on the terminal: a table that refreshes in place."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.messages import RigUpdate
from app.run_messages import CameraStat
from app.supervisor import Progress

_PLAIN_EVERY_S = 5.0
_TROUBLE = ("frozen", "lost")
_STATE_STYLE = {
    "streaming": "green",
    "ready": "green",
    "opening": "yellow",
    "starting": "yellow",
    "restarting": "yellow",
    "frozen": "red",
    "lost": "red",
    "failed": "red",
    "ended": "dim",
    "finished": "dim",
}


class StatusView:
    """Shows the progress of a run; on something that is no terminal, a line now and then.

    There, what happens to a camera or a process in between is said in a line of its own.
    """

    def __init__(self, console: Console) -> None:
        """Prepares the display.

        Args:
            console: where to show it.
        """
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._next_plain_s = 0.0
        self._said_phase = ""
        self._said_details = False
        self._troubled: set[str] = set()
        self._warned: set[str] = set()
        self._stopped_recording = ""
        self._restarts: dict[str, int] = {}
        self._rig_said: tuple[str, tuple[str, ...]] = ("", ())

    def __enter__(self) -> StatusView:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Shows the newest state."""
        if progress.phase == "running" and not self._said_details:
            self._said_details = True
            for row in progress.health.processes:
                if row.detail:
                    self._console.print(f"{row.process}: {row.detail}")
        if self._console.is_terminal:
            self._live.update(_render(progress))
            return
        if progress.phase != self._said_phase:
            self._said_phase = progress.phase
            self._console.print(f"{progress.phase} …")
        if progress.phase == "running" and progress.elapsed_s >= self._next_plain_s:
            self._next_plain_s = progress.elapsed_s + _PLAIN_EVERY_S
            self._console.print(_headline(progress))
        self._say_changes(progress)

    def _say_changes(self, progress: Progress) -> None:
        for camera in progress.pipeline.cameras if progress.pipeline is not None else ():
            if camera.warning and camera.camera not in self._warned:
                self._warned.add(camera.camera)
                self._console.print(f"{camera.camera}: {camera.warning}", markup=False)
            troubled = camera.state in _TROUBLE
            if troubled == (camera.camera in self._troubled):
                continue
            self._troubled ^= {camera.camera}
            self._console.print(f"{camera.camera}: {camera.state}: {camera.detail}", markup=False)
        recorder = progress.recorder.detail if progress.recorder is not None else ""
        if recorder and recorder != self._stopped_recording:
            self._stopped_recording = recorder
            self._console.print(f"recorder: {recorder}", markup=False)
        rig = progress.rig
        if rig is not None and (rig.moved or rig.warnings):
            said = (rig.reason if rig.moved else "", rig.warnings)
            if said != self._rig_said:
                self._rig_said = said
                for line in (*filter(None, said[:1]), *said[1]):
                    self._console.print(f"cameras: {line}", markup=False)
        for row in progress.health.processes:
            if row.restarts > self._restarts.get(row.process, 0):
                self._restarts[row.process] = row.restarts
                self._console.print(f"{row.process}: restarted {row.restarts}×")


def _headline(progress: Progress) -> Text:
    status = progress.pipeline
    text = Text(f"{progress.elapsed_s:6.1f} s  ")
    if status is None or not status.sets:
        return text.append("waiting for pictures" if progress.phase == "running" else "starting")
    text.append(f"{status.rate_hz:.1f} sets/s", "bold")
    text.append(f"  latency {status.latency_ms_p50:.0f}/{status.latency_ms_p99:.0f} ms (p50/p99)")
    present = sum(c.state == "streaming" for c in status.cameras)
    text.append(f"  views {present}/{len(status.cameras)}")
    text.append(f"  person in {status.completeness:.0%} of sets")
    if progress.rig is not None:
        text.append(f"  cameras {rig_words(progress.rig)}")
    if progress.recorder is not None and progress.recorder.recording:
        size = progress.recorder.bytes / 1e6
        text.append(f"  ● {progress.recorder.path} {size:.1f} MB", "red")
    return text


def rig_words(update: RigUpdate) -> str:
    """The found cameras' quality: one word, and the joint error to be expected of them."""
    if update.expected_error_mm is None:
        return update.quality
    return f"{update.quality}, {update.expected_error_mm:.0f} mm"


def _render(progress: Progress) -> Group:
    parts: list[Table | Text] = [_headline(progress)]
    if progress.pipeline is not None and progress.pipeline.cameras:
        parts.append(camera_table(progress.pipeline.cameras))
        stages = progress.pipeline.stages
        parts.append(
            Text("  ".join(f"{s.stage} {s.milliseconds:.1f} ms" for s in stages), style="dim")
        )
    troubled = Table(box=None, show_header=False, padding=(0, 2))
    for camera in progress.pipeline.cameras if progress.pipeline is not None else ():
        if camera.state not in ("streaming", "ended"):
            state = Text(camera.state, _STATE_STYLE.get(camera.state, ""))
            troubled.add_row(camera.camera, state, "", camera.detail)
        if camera.warning:
            troubled.add_row(camera.camera, Text("warning", "yellow"), "", camera.warning)
    for row in progress.health.processes:
        if row.state not in ("ready", "finished") or row.restarts:
            style = _STATE_STYLE.get(row.state, "")
            again = f"restarted {row.restarts}×" if row.restarts else ""
            troubled.add_row(row.process, Text(row.state, style), again, row.detail)
    if progress.rig is not None:
        for line in (progress.rig.reason, *progress.rig.warnings):
            if line:
                troubled.add_row("cameras", Text(progress.rig.quality, "yellow"), "", line)
    if progress.recorder is not None and progress.recorder.detail:
        troubled.add_row("recorder", Text("stopped", "red"), "", progress.recorder.detail)
    if troubled.row_count:
        parts.append(troubled)
    parts.append(Text("Ctrl-C ends the run", style="dim"))
    return Group(*parts)


def camera_table(cameras: tuple[CameraStat, ...]) -> Table:
    """One row a camera: what arrived and how well it fits in time."""
    table = Table(box=None, padding=(0, 1))
    for heading in ("camera", "state"):
        table.add_column(heading, no_wrap=True, min_width=len(heading))
    for heading in ("fps", "frames", "dropped", "reconnects", "skew p95", "in sets"):
        table.add_column(heading, justify="right", no_wrap=True, min_width=len(heading))
    for camera in cameras:
        table.add_row(
            camera.camera,
            Text(camera.state, _STATE_STYLE.get(camera.state, "")),
            f"{camera.fps:.1f}",
            str(camera.frames),
            str(camera.dropped),
            str(camera.reconnects),
            f"{camera.skew_ms_p95:.1f} ms",
            f"{camera.present:.0%}",
        )
    return table
