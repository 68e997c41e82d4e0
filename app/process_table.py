"""The processes of a run, in one table."""

from __future__ import annotations

from dataclasses import dataclass

from app.run_spec import RunSpec


@dataclass(frozen=True, slots=True)
class ProcessEntry:
    """One process.

    Attributes:
        name: unique in the run; what follows the first dot is the process's key.
        module: what ``python -m`` starts.
        essential: the run ends when it gives up.
        feeds: others show and keep what it says, and so it is stopped before them.
        may_fail: the run goes on without it, whatever kept it from going on.
        nice: how far it stands back when the cores are short.
        one_thread: its numerical libraries may keep one core busy at most.
    """

    name: str
    module: str
    essential: bool = False
    feeds: bool = False
    may_fail: bool = False
    nice: int = 0
    one_thread: bool = False


def looks_for_cameras(spec: RunSpec) -> bool:
    """Whether a live run finds where its cameras are."""
    return spec.config.calibration.enabled and len(spec.config.cameras) > 1


def process_table(spec: RunSpec) -> tuple[ProcessEntry, ...]:
    """The processes that a run needs, in the order in which they are started."""
    viewer = ProcessEntry("viewer", "viz.viewer_process", nice=5, may_fail=True)
    outlet = () if spec.publish is None else (ProcessEntry("outlet", "app.outlet_process"),)
    if spec.mode == "replay":
        replay = ProcessEntry("replay", "app.replay_process", essential=True, feeds=True)
        return (replay, viewer, *outlet)
    cameras = tuple(
        ProcessEntry(f"camera.{camera.id}", "capture.process", feeds=True)
        for camera in spec.config.cameras
    )
    rig = (
        (ProcessEntry("rig", "app.rig_process", nice=3, one_thread=True),)
        if looks_for_cameras(spec)
        else ()
    )
    return (
        ProcessEntry("pipeline", "app.pipeline_process", essential=True, feeds=True),
        *cameras,
        *rig,
        viewer,
        ProcessEntry("recorder", "app.recorder_process", essential=spec.record is not None),
        *outlet,
    )
