"""Runs real capture processes for the tests: what the supervisor and the pipeline do, in small."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from app.bus import Publisher, Subscriber
from app.clock import now_ns
from app.config import AppConfig
from app.messages import CameraStatus, FrameHeader
from app.run_messages import Heartbeat, RunState
from app.run_spec import RunSpec, make_run_dir
from app.topics import Topic
from capture.barcode import Stamp, draw_barcode, read_barcode

REPOSITORY = Path(__file__).resolve().parents[1]
LONG_S = 60.0


@dataclass(frozen=True, slots=True)
class Arrived:
    """One picture as a subscriber got it."""

    header: FrameHeader
    stamp: Stamp | None
    bytes: int
    at_ns: int


class CaptureRig:
    """Capture processes with a run folder, a subscriber and what stands for the supervisor."""

    def __init__(self, *sources: dict[str, Any], **camera: Any) -> None:
        """Prepares cameras ``c0``, ``c1``… of the given source settings; starts none."""
        cameras = [
            {"id": f"c{index}", "source": source, **camera} for index, source in enumerate(sources)
        ]
        self.config = AppConfig.model_validate({"cameras": cameras})
        self.ids = [item.id for item in self.config.cameras]
        self.run_dir = make_run_dir()
        RunSpec(mode="live", config=self.config).save(self.run_dir)
        self.frames: dict[str, list[Arrived]] = defaultdict(list)
        self.statuses: dict[str, list[CameraStatus]] = defaultdict(list)
        self.heartbeats: dict[str, Heartbeat] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.phase: Literal["starting", "running", "stopping"] = "starting"
        self.epoch_ns = 0
        self._frames = Subscriber[FrameHeader](
            self.run_dir, Topic.FRAMES, self.ids, lossless=self.config.lossless
        )
        self._statuses = Subscriber[CameraStatus](self.run_dir, Topic.CAMERA_STATUS, self.ids)
        names = [f"camera.{camera}" for camera in [*self.ids, "nobody"]]
        self._heartbeats = Subscriber[Heartbeat](self.run_dir, Topic.HEARTBEAT, names)
        self._run_state = Publisher[RunState](self.run_dir, Topic.RUN_STATE)

    def start(self, *cameras: str) -> None:
        """Starts the processes of these cameras, or of all."""
        for camera in cameras or self.ids:
            with (self.run_dir / f"{camera}.log").open("ab") as log:
                self.processes[camera] = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "capture.process"),
                        *("--run-dir", str(self.run_dir), "--name", f"camera.{camera}"),
                    ],
                    cwd=REPOSITORY,
                    stderr=log,
                )

    def begin(self, late_s: float = 0.0) -> None:
        """Tells from now on that the run is on.

        Args:
            late_s: how long ago time 0 was; for 0 it is in half a second.
        """
        self.phase = "running"
        self.epoch_ns = now_ns() + (500_000_000 if late_s == 0 else -round(late_s * 1e9))

    def pump(
        self, until: Callable[[], bool], timeout_s: float = LONG_S, *, read: bool = True
    ) -> None:
        """Plays supervisor and subscriber until a condition holds; fails where it never does."""
        deadline = time.monotonic() + timeout_s
        while not until():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout_s} s in vain; {self.explain()}")
            self._run_state.send(
                RunState(
                    phase=self.phase,
                    epoch_ns=self.epoch_ns,
                    anchor_monotonic_ns=0,
                    anchor_wall_ns=0,
                )
            )
            if read:
                received = self._frames.receive(20)
                if received is not None:
                    self._note(received.message, received.payload)
            else:
                time.sleep(0.02)
            for status in self._statuses.drain():
                self.statuses[status.message.camera].append(status.message)
            for beat in self._heartbeats.drain():
                self.heartbeats[beat.message.process] = beat.message

    def finish(self, camera: str = "c0") -> None:
        """Waits for a file's end and its last picture, ends the run, waits for the exit."""
        self.pump(lambda: self.processes[camera].poll() is not None or self._has_all(camera))
        self.phase = "stopping"
        self.pump(lambda: self.processes[camera].poll() is not None)

    def _has_all(self, camera: str) -> bool:
        if self.state(camera) != "ended":
            return False
        return len(self.frames[camera]) == self.statuses[camera][-1].frames

    def receive(self) -> Arrived | None:
        """Takes one picture, without doing anything else."""
        received = self._frames.receive(1000)
        if received is None:
            return None
        self._note(received.message, received.payload)
        return self.frames[received.message.camera][-1]

    def state(self, camera: str = "c0") -> str:
        """The last state that a camera told."""
        return self.statuses[camera][-1].state if self.statuses[camera] else ""

    def states(self, camera: str = "c0") -> list[str]:
        """The states that a camera told, each once a change."""
        told: list[str] = []
        for status in self.statuses[camera]:
            if not told or told[-1] != status.state:
                told.append(status.state)
        return told

    def stop(self, camera: str = "c0") -> int:
        """Asks a process to end; fails where it is slow to do so."""
        process = self.processes[camera]
        process.terminate()
        return process.wait(timeout=5)

    def error(self, camera: str = "c0") -> str:
        """The line that a process left for the user."""
        return (self.run_dir / f"camera.{camera}.error").read_text(encoding="utf-8")

    def log(self, camera: str = "c0") -> str:
        """What a process wrote to its standard error."""
        return (self.run_dir / f"{camera}.log").read_text(encoding="utf-8")

    def explain(self) -> str:
        """What is known, for a failing test."""
        lines: list[str] = []
        for camera in self.ids:
            last = self.statuses[camera][-1:]
            lines.append(
                f"{camera}: states {self.states(camera)}, {len(self.frames[camera])} pictures, "
                f"last {last}"
            )
            if camera in self.processes:
                lines.append(f"exit {self.processes[camera].poll()}, log: {self.log(camera)}")
        return "\n".join(lines)

    def _note(self, header: FrameHeader, payload: memoryview) -> None:
        at_ns = now_ns()
        pixels = np.frombuffer(payload, np.uint8).reshape(header.height, header.width, 3)
        rotate = self.config.cameras[self.ids.index(header.camera)].rotate
        pixels = np.ascontiguousarray(np.rot90(pixels, rotate // 90))  # turned back
        self.frames[header.camera].append(
            Arrived(header, read_barcode(pixels), payload.nbytes, at_ns)
        )

    def __enter__(self) -> CaptureRig:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        for socket in (self._frames, self._statuses, self._heartbeats, self._run_state):
            socket.close()
        shutil.rmtree(self.run_dir, ignore_errors=True)


def stamped_picture(sequence: int, time_ms: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A grey picture of (width, height) with a barcode of its number and file time."""
    pixels = np.full((size[1], size[0], 3), 60 + sequence % 100, np.uint8)
    draw_barcode(pixels, Stamp(sequence, time_ms * 1_000_000))
    return pixels


def write_video(path: Path, times_ms: list[int], size: tuple[int, int] = (320, 240)) -> Path:
    """Writes a video whose pictures have exactly these times and carry them in barcodes."""
    writer = cv2.VideoWriter(
        str(path),
        cv2.CAP_FFMPEG,
        cv2.VideoWriter.fourcc(*"MJPG"),
        1000.0,
        size,
        [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1, cv2.VIDEOWRITER_PROP_KEY_INTERVAL, 1],
    )
    assert writer.isOpened()
    for sequence, time_ms in enumerate(times_ms):
        done, jpeg = cv2.imencode(".jpg", stamped_picture(sequence, time_ms, size))
        assert done
        writer.set(cv2.VIDEOWRITER_PROP_PTS, time_ms)
        writer.set(cv2.VIDEOWRITER_PROP_KEY_FLAG, 1)
        writer.write(jpeg.reshape(1, -1))
    writer.release()
    return path
