"""A run with one real process under test; the test plays all the other processes."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from app.bus import Publisher, Subscriber
from app.clock import ClockAnchor, now_ns, take_anchor
from app.config import AppConfig, CameraConfig, RecorderConfig, SyntheticSource, ViewerConfig
from app.messages import Joints2D, Pose, PreviewPart, Previews, View
from app.run_messages import Heartbeat, PipelineStatus, RunState
from app.run_spec import RunSpec, make_run_dir
from app.topics import Topic
from engines.skeleton import JOINT_COUNT

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 90.0
"""How long a test waits for something on a loaded machine."""

CAST_TOPICS = (
    Topic.POSES,
    Topic.JOINTS2D,
    Topic.PREVIEWS,
    Topic.PIPELINE_STATUS,
    Topic.RUN_STATE,
)

STANDING = np.array(
    [
        [0.0, 0.0, 0.0],
        [0.13, 0.0, -0.02],
        [0.14, -0.03, -0.45],
        [0.14, 0.05, -0.87],
        [-0.13, 0.0, -0.02],
        [-0.14, -0.03, -0.45],
        [-0.14, 0.05, -0.87],
        [0.0, 0.02, 0.23],
        [0.0, 0.0, 0.47],
        [0.0, -0.06, 0.58],
        [0.0, -0.03, 0.72],
        [-0.17, 0.0, 0.45],
        [-0.30, -0.02, 0.22],
        [-0.34, -0.12, -0.02],
        [0.17, 0.0, 0.45],
        [0.30, -0.02, 0.22],
        [0.34, -0.12, -0.02],
    ]
)
"""(17, 3) a person who stands, relative to the pelvis, in metres."""


def config(folder: Path, cameras: int = 2, **viewer: Any) -> AppConfig:
    """A configuration whose cameras need not exist."""
    return AppConfig(
        cameras=[
            CameraConfig(id=f"cam{index}", source=SyntheticSource(kind="synthetic"))
            for index in range(cameras)
        ],
        viewer=ViewerConfig(**{"width": 640, "height": 360, "video_fps": 10, **viewer}),
        recorder=RecorderConfig(folder=folder),
    )


def pose(index: int, *, missing: tuple[int, ...] = (), valid: bool = True) -> Pose:
    """A person who sways; ``missing`` joints have confidence 0 and a misleading place."""
    joints = STANDING + np.array([0.0, 0.0, 0.002 * math.sin(index)])
    joints[list(missing)] = 0.0
    confidence = tuple(0.0 if joint in missing else 0.9 for joint in range(JOINT_COUNT))
    return Pose(
        index=index,
        time_ns=now_ns() - 40_000_000,
        published_ns=now_ns(),
        latency_ms=40.0,
        valid=valid,
        joints=tuple((float(x), float(y), float(z)) for x, y, z in joints) if valid else (),
        confidence=confidence if valid else (),
        expected_error_mm=41.5,
        cameras=("cam0", "cam1"),
        skew_ms=7.25,
    )


def joints2d(index: int, cameras: int = 2) -> Joints2D:
    """The standing person in every view but, now and then, the last."""
    place = STANDING[:, [0, 2]] * np.array([220.0, -220.0]) + np.array([320.0, 230.0])
    keypoints = tuple((float(x), float(y), 0.9) for x, y in place)
    views: list[View | None] = [
        View(
            camera=f"cam{camera}",
            sequence=index,
            capture_ns=now_ns(),
            skew_ms=1.5,
            width=640,
            height=480,
            keypoints=keypoints,
            box=(200.0, 40.0, 440.0, 450.0),
        )
        for camera in range(cameras)
    ]
    if index % 5 == 4:
        views[-1] = None
    return Joints2D(index=index, time_ns=now_ns(), views=tuple(views))


def status(index: int) -> PipelineStatus:
    """Figures as the pipeline says them."""
    return PipelineStatus(
        at_ns=now_ns(),
        sets=index,
        poses=index,
        rate_hz=15.0,
        latency_ms_p50=60.0,
        latency_ms_p99=95.0,
        completeness=1.0,
        stages=(),
        cameras=(),
        front_end="blazepose",
        lifter="lifter.onnx",
        engine="onnxruntime",
    )


class Cast:
    """Publishes what the rest of a run would publish."""

    def __init__(self, run_dir: Path, topics: Sequence[Topic]) -> None:
        self._publishers: dict[Topic, Publisher[Any]] = {
            topic: Publisher(run_dir, topic) for topic in topics
        }
        self.anchor: ClockAnchor = take_anchor()
        self.epoch_ns = now_ns()

    def send(self, topic: Topic, message: Any, payload: bytes | None = None) -> None:
        self._publishers[topic].send(message, payload)

    def say(self, phase: str = "running") -> None:
        """Repeats the run's state."""
        self.send(
            Topic.RUN_STATE,
            RunState(
                phase=phase,  # type: ignore[arg-type]
                epoch_ns=0 if phase == "starting" else self.epoch_ns,
                anchor_monotonic_ns=self.anchor.monotonic_ns,
                anchor_wall_ns=self.anchor.wall_ns,
            ),
        )

    def previews(self, index: int, colour: tuple[int, int, int] = (40, 110, 40)) -> None:
        """Two plain previews with the 2D joints."""
        pixels = np.full((120, 160, 3), colour, np.uint8).tobytes()
        parts = tuple(
            PreviewPart(camera=f"cam{i}", width=160, height=120, scale=0.25, offset=0)
            for i in range(2)
        )
        message = Previews(index=index, time_ns=now_ns(), parts=parts, joints2d=joints2d(5 * index))
        self.send(Topic.PREVIEWS, message, pixels)

    def close(self) -> None:
        for publisher in self._publishers.values():
            publisher.close()


class StagedRun:
    """A run folder with one process in it."""

    def __init__(
        self,
        spec: RunSpec,
        module: str,
        name: str,
        topics: Sequence[Topic] = CAST_TOPICS,
        **environment: str,
    ) -> None:
        self.run_dir = make_run_dir()
        spec.save(self.run_dir)
        self.cast = Cast(self.run_dir, topics)
        self._beats = Subscriber[Heartbeat](self.run_dir, Topic.HEARTBEAT, (name,))
        self.errors = self.run_dir / "stderr"
        settings = {**os.environ, **environment}
        if "DISPLAY" not in environment:
            settings.pop("DISPLAY", None)
            settings.pop("WAYLAND_DISPLAY", None)
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "--run-dir", str(self.run_dir), "--name", name],
                cwd=ROOT,
                env=settings,
                stderr=errors,
            )

    def wait(self, what: str, condition: Callable[[], object]) -> None:
        """Waits until something is so; fails with the process's words if it never is."""
        limit = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"{what}: it ended: {self.errors.read_text()}"
            assert time.monotonic() < limit, f"{what}: waited in vain: {self.errors.read_text()}"
            time.sleep(0.02)

    def ready(self) -> None:
        """Waits until the process does its work."""

        def heard() -> bool:
            beat = self._beats.latest()
            return beat is not None and beat.message.state != "starting"

        self.wait("ready", heard)

    def stop(self) -> int:
        """Ends the process as the supervisor does; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self.cast.close()
        self._beats.close()
        shutil.rmtree(self.run_dir, ignore_errors=True)


@contextmanager
def staged(
    spec: RunSpec,
    module: str,
    name: str,
    topics: Sequence[Topic] = CAST_TOPICS,
    **environment: str,
) -> Iterator[StagedRun]:
    """A ``StagedRun`` that is cleared away; the test publishes ``topics``."""
    run = StagedRun(spec, module, name, topics, **environment)
    try:
        yield run
    finally:
        run.close()
