"""The live status: a table that stays in place on a terminal, single lines elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from app.run_messages import (
    CameraStat,
    Health,
    PipelineStatus,
    ProcessHealth,
    RecorderStatus,
    StageStat,
)
from app.status_view import StatusView
from app.supervisor import Progress


def _progress(
    state: str,
    detail: str = "",
    restarts: int = 0,
    elapsed_s: float = 1.0,
    warning: str = "",
    recorder: str = "",
) -> Progress:
    camera = CameraStat(
        camera="left",
        fps=29.9,
        frames=100,
        dropped=3,
        reconnects=1,
        skew_ms_p95=12.3,
        present=0.97,
        state=state,
        detail=detail,
        warning=warning,
    )
    pipeline = PipelineStatus(
        at_ns=0,
        sets=50,
        poses=49,
        rate_hz=12.5,
        latency_ms_p50=80,
        latency_ms_p99=120,
        completeness=0.98,
        stages=(StageStat(stage="lifter", milliseconds=9.5),),
        cameras=(camera,),
        front_end="blazepose",
        lifter="lifter",
        engine="engine",
    )
    row = ProcessHealth(
        process="pipeline",
        module="app.pipeline_process",
        running=True,
        state="ready",
        restarts=restarts,
        detail="networks loaded",
    )
    recording = RecorderStatus(
        at_ns=0, recording=not recorder, path="t.mcap", messages=1, bytes=1, detail=recorder
    )
    return Progress("running", elapsed_s, Health(at_ns=0, processes=(row,)), pipeline, recording)


def _plain(*steps: Progress) -> list[str]:
    out = io.StringIO()
    with StatusView(Console(file=out, width=150, highlight=False)) as view:
        for step in steps:
            view.update(step)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_file_gets_a_line_now_and_then_and_one_for_each_event() -> None:
    lost = "camera /dev/video0: not connected; next try in 1 s"
    lines = _plain(
        _progress("streaming"),
        _progress("streaming", elapsed_s=1.1),
        _progress("lost", lost, elapsed_s=1.2),
        _progress("lost", lost, elapsed_s=1.3),
        _progress("streaming", "640×480", restarts=1, elapsed_s=1.4),
        _progress("streaming", "640×480", restarts=1, elapsed_s=6.5),
    )
    assert lines[0] == "pipeline: networks loaded"
    assert lines[1] == "running …"
    assert [line for line in lines if line.startswith("left")] == [
        f"left: lost: {lost}",
        "left: streaming: 640×480",
    ]
    assert lines.count("pipeline: restarted 1×") == 1
    assert sum("12.5 sets/s" in line for line in lines) == 2  # at 1 s, then five seconds on


def test_what_goes_less_well_than_asked_is_said_once() -> None:
    slow = "slower than its 30 fps: more light"
    full = "recording stopped: t.mcap: No space left on device"
    step = _progress("streaming", warning=slow, recorder=full)
    lines = _plain(step, step, step)
    assert lines.count(f"left: {slow}") == 1
    assert lines.count(f"recorder: {full}") == 1


def test_a_terminal_gets_one_table_in_place() -> None:
    out = io.StringIO()
    console = Console(file=out, width=150, force_terminal=True, highlight=False)
    with StatusView(console) as view:
        view.update(_progress("streaming"))
        view.update(_progress("frozen", "is the lens covered?", 2, 1.1, "far behind", "disk full"))
    text = out.getvalue()
    assert "is the lens covered?" in text
    assert "restarted 2×" in text
    assert "far behind" in text
    assert "disk full" in text
    assert "\x1b[1A" in text or "\x1b[2K" in text  # it goes back up instead of scrolling
    assert "left" in text and "12.3 ms" in text
