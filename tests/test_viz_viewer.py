"""The viewer as a real process: video off screen, and a real window on a virtual display."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from app.bus import Subscriber
from app.clock import now_ns
from app.run_messages import Command, RecorderStatus
from app.run_spec import RunSpec
from app.topics import Topic
from tests.staged_run import PATIENCE_S, StagedRun, config, pose, staged, status

pytestmark = pytest.mark.alone

SCENE = slice(120, 400)  # columns with the skeleton only, at 640×360: no axes, no previews
HEAD = 60  # rows from the top with the figures


def _frames(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [
            (float(frame.time or 0.0), frame.to_ndarray(format="bgr24"))
            for frame in container.decode(video=0)
        ]


def _orange_and_blue(picture: np.ndarray) -> tuple[int, int]:
    """Pixels of the right side's and the left side's colour in the scene."""
    blue, green, red = (picture[HEAD:, SCENE, channel].astype(int) for channel in range(3))
    orange = (red > 110) & (red > blue + 60) & (green > blue)
    left = (blue > 110) & (blue > red + 60)
    return int(orange.sum()), int(left.sum())


def _show(run: StagedRun, count: int, **settings: object) -> None:
    """Publishes poses for a while, at 20 Hz."""
    for index in range(count):
        run.cast.say()
        run.cast.send(Topic.POSES, pose(index, **settings))  # type: ignore[arg-type]
        run.cast.previews(index)
        run.cast.send(Topic.PIPELINE_STATUS, status(index))
        time.sleep(0.05)


def _spec(tmp_path: Path, **settings: object) -> RunSpec:
    return RunSpec.model_validate(
        {"mode": "live", "config": config(tmp_path / "out").model_dump(), **settings}
    )


def test_the_video_shows_the_skeleton_and_missing_joints_vanish(tmp_path: Path) -> None:
    video = tmp_path / "deep" / "run.mp4"
    with staged(_spec(tmp_path, headless=True, video=video), "viz.viewer_process", "viewer") as run:
        run.ready()
        _show(run, 40)
        _show(run, 40, missing=(1, 2, 3, 14, 15, 16))
        _show(run, 40, valid=False)
        assert run.stop() == 0
    frames = _frames(video)
    assert frames[0][1].shape == (360, 640, 3)
    times = [shown for shown, _ in frames]
    assert times == sorted(times)
    counts = [_orange_and_blue(picture) for _, picture in frames]
    third = len(counts) // 3
    whole = [c for c in counts[:third] if min(c) > 100]
    assert whole, "nobody was drawn"
    left_only = [c for c in counts if c[0] < 10 and c[1] > 100]
    assert left_only, "the right side did not vanish"
    assert counts[-1] == (0, 0), "an invalid pose was drawn"
    green = frames[third][1][:, 480:, 1].astype(int) - frames[third][1][:, 480:, 2]
    assert (green > 40).sum() > 500, "no preview was shown"


def test_a_killed_viewer_leaves_a_video_that_plays(tmp_path: Path) -> None:
    video = tmp_path / "run.mp4"
    with staged(_spec(tmp_path, headless=True, video=video), "viz.viewer_process", "viewer") as run:
        run.ready()

        def written() -> bool:
            _show(run, 5)
            return video.stat().st_size > 150_000

        run.wait("a few seconds of video", written)
        run.kill()
    frames = _frames(video)
    assert len(frames) >= 5
    assert max(min(_orange_and_blue(picture)) for _, picture in frames) > 100


def test_the_viewer_ends_with_the_run_and_needs_no_video(tmp_path: Path) -> None:
    with staged(_spec(tmp_path, headless=True), "viz.viewer_process", "viewer") as run:
        run.ready()
        assert run.stop() == 0
    with staged(
        _spec(tmp_path, headless=True, video=tmp_path / "v.mp4"), "viz.viewer_process", "viewer"
    ) as run:
        run.ready()
        _show(run, 3)

        def ended() -> bool:
            run.cast.say("stopping")
            return run.process.poll() is not None

        limit = time.monotonic() + PATIENCE_S
        while not ended() and time.monotonic() < limit:
            time.sleep(0.05)
        assert run.process.returncode == 0


@pytest.mark.parametrize("place", ["file/v.mp4", "folder"])
def test_a_video_that_cannot_be_written_is_one_line(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    spec = _spec(tmp_path, headless=True, video=tmp_path / place)
    with staged(spec, "viz.viewer_process", "viewer") as run:
        assert run.process.wait(PATIENCE_S) == 2
        told = (run.run_dir / "viewer.error").read_text()
    assert "cannot be written" in told and "\n" not in told.strip()


@dataclass(frozen=True)
class Display:
    """A virtual X display and the file that is its memory."""

    name: str
    memory: Path

    def screen(self) -> np.ndarray:
        """(H, W, 3) BGR: what is on the display now (the XWD format of Xvfb -fbdir)."""
        data = self.memory.read_bytes()
        head = np.frombuffer(data, ">u4", count=25)
        size, width, height, stride, colours = (int(head[k]) for k in (0, 4, 5, 12, 19))
        rows = np.frombuffer(data, np.uint8, height * stride, size + colours * 12)
        return rows.reshape(height, stride)[:, : width * 4].reshape(height, width, 4)[:, :, :3]


@pytest.fixture(scope="module")
def display(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Display]:
    """A virtual X display."""
    folder = tmp_path_factory.mktemp("display")
    server = shutil.which("Xvfb")
    if server is None:
        pytest.skip("Xvfb is not installed: the window is not tested (apt-get install xvfb)")
    reader, writer = os.pipe()
    options = ["-screen", "0", "1024x768x24", "-nolisten", "tcp", "-fbdir", str(folder)]
    process = subprocess.Popen(
        [server, "-displayfd", str(writer), *options],
        pass_fds=(writer,),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(writer)
    with os.fdopen(reader) as answer:
        number = answer.readline().strip()
    assert number, "Xvfb did not start"
    try:
        yield Display(f":{number}", folder / "Xvfb_screen0")
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _xdotool(display: Display, *arguments: str) -> str:
    tool = shutil.which("xdotool")
    if tool is None:
        pytest.skip("xdotool is not installed: keys and mouse are not tested")
    done = subprocess.run(
        [tool, *arguments],
        env={**os.environ, "DISPLAY": display.name},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.stdout.strip()


@pytest.fixture
def window(tmp_path: Path, display: Display) -> Iterator[StagedRun]:
    spec = _spec(tmp_path)
    with staged(spec, "viz.viewer_process", "viewer", DISPLAY=display.name) as run:
        run.ready()
        yield run


def test_the_window_shows_the_skeleton_on_the_display(window: StagedRun, display: Display) -> None:
    window.cast.send(Topic.POSES, pose(0))  # the first may be lost while the sockets still connect

    def drawn() -> bool:
        _show(window, 5)
        screen = display.screen()
        blue, green, red = (screen[:, :, channel].astype(int) for channel in range(3))
        orange = (red > 110) & (red > blue + 60) & (green > blue)
        left = (blue > 110) & (blue > red + 60)
        return bool(orange.sum() > 300 and left.sum() > 300)

    window.wait("a skeleton on the display", drawn)
    assert window.stop() == 0


def test_keys_are_commands_and_quit_ends_it(
    window: StagedRun, display: Display, tmp_path: Path
) -> None:
    commands = Subscriber[Command](window.run_dir, Topic.COMMANDS, ("viewer",))
    heard: list[str] = []
    identifier = _xdotool(display, "search", "--name", "DSVT Live").splitlines()[-1]

    def pressed(key: str, action: str) -> None:
        def said() -> bool:
            _xdotool(display, "windowfocus", identifier, "key", key)
            _show(window, 4)
            heard.extend(received.message.action for received in commands.drain())
            return action in heard

        window.wait(f"the key {key}", said)

    pressed("l", "level")
    pressed("f", "front")
    pressed("r", "record")
    pressed("c", "recalibrate")
    out = tmp_path / "out"

    def saved() -> bool:
        _xdotool(display, "windowfocus", identifier, "key", "s")
        _show(window, 10)
        return any(out.glob("viewer-*.png"))

    window.wait("a picture", saved)
    picture = cv2.imread(str(sorted(out.glob("viewer-*.png"))[0]))
    assert picture is not None and picture.shape == (360, 640, 3)
    assert min(_orange_and_blue(picture)) > 100
    commands.close()
    _xdotool(display, "windowfocus", identifier, "key", "q")
    assert window.process.wait(PATIENCE_S) == 0


def test_the_mouse_turns_the_scene_and_a_resized_window_is_filled(
    window: StagedRun, display: Display
) -> None:
    identifier = _xdotool(display, "search", "--name", "DSVT Live").splitlines()[-1]
    _show(window, 20)
    before = display.screen()
    _xdotool(display, "mousemove", "--window", identifier, "200", "200", "mousedown", "1")
    for x in range(200, 320, 10):
        _xdotool(display, "mousemove", "--window", identifier, str(x), "200")
    _xdotool(display, "mouseup", "1")

    def turned() -> bool:
        _show(window, 5)
        return int(np.abs(display.screen().astype(int) - before).max(axis=-1).sum()) > 200_000

    window.wait("the scene to turn", turned)
    _xdotool(display, "windowsize", identifier, "900", "500")

    def filled() -> bool:
        _show(window, 5)
        lit = display.screen().max(axis=-1) > 0
        return int(lit.any(axis=0).sum()) >= 895 and int(lit.any(axis=1).sum()) >= 495

    window.wait("the larger window to be filled", filled)
    assert window.stop() == 0


def test_the_recording_mark_is_shown(tmp_path: Path) -> None:
    from app.bus import Publisher

    video = tmp_path / "run.mp4"
    with (
        staged(_spec(tmp_path, headless=True, video=video), "viz.viewer_process", "viewer") as run,
        Publisher[RecorderStatus](run.run_dir, Topic.RECORDER_STATUS) as recorder,
    ):
        run.ready()
        for _ in range(10):
            recorder.send(
                RecorderStatus(
                    at_ns=now_ns(), recording=True, path="x", messages=1, bytes=1_000_000
                )
            )
            _show(run, 2)
        assert run.stop() == 0
    last = _frames(video)[-1][1][:HEAD, :480].astype(int)
    red = (last[:, :, 2] > 170) & (last[:, :, 1] < 130) & (last[:, :, 0] < 130)
    assert red.sum() > 20
