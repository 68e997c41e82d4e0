"""Capture processes with video files: pace, time, loops, ends and bad files."""

from __future__ import annotations

import itertools
import signal
import struct
import threading
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from app.config import FileSource as FileConfig
from capture.barcode import read_barcode
from capture.sources.file import FileSource
from capture.sources.opencv import ffmpeg_options
from capture_rig import Arrived, CaptureRig, stamped_picture, write_video

pytestmark = pytest.mark.alone

STEADY_MS = [round(index * 1000 / 30) for index in range(60)]


def file_times_ms(frames: list[Arrived]) -> list[int]:
    times = []
    for frame in frames:
        assert frame.stamp is not None
        times.append(frame.stamp.time_ns // 1_000_000)
    return times


def test_a_file_is_played_at_its_own_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", STEADY_MS)
    with CaptureRig({"kind": "file", "path": str(path)}) as rig:
        rig.start()
        rig.pump(lambda: bool(rig.heartbeats) and rig.heartbeats["camera.c0"].state == "ready")
        rig.pump(lambda: rig.state() == "opening")
        assert not rig.frames["c0"]  # nothing before the run begins
        rig.begin()
        rig.pump(lambda: rig.processes["c0"].poll() is not None)
        assert rig.processes["c0"].returncode == 0
        assert rig.states() == ["opening", "streaming", "ended"]
        frames = rig.frames["c0"]
        for frame, file_ms in zip(frames, file_times_ms(frames), strict=True):
            assert frame.header.stamped_by == "file"
            assert abs((frame.header.capture_ns - rig.epoch_ns) / 1e6 - file_ms) < 1
            assert frame.at_ns >= frame.header.capture_ns  # never before its time
        last = rig.statuses["c0"][-1]
        # On a loaded machine some are skipped to stay in time, and told so.
        assert last.frames + last.source_drops == len(STEADY_MS)
        assert last.reconnects == 0


@pytest.mark.parametrize("rotate", [90, 180, 270])
def test_a_camera_on_its_side_is_turned_upright(tmp_path: Path, rotate: int) -> None:
    path = write_video(tmp_path / "clip.mkv", STEADY_MS[:5], (320, 240))
    source = {"kind": "file", "path": str(path), "pace": "as_consumed"}
    with CaptureRig(source, rotate=rotate) as rig:
        rig.start()
        rig.begin()
        rig.finish()
        frames = rig.frames["c0"]
        assert len(frames) == 5
        size = (320, 240) if rotate == 180 else (240, 320)
        assert all((frame.header.width, frame.header.height) == size for frame in frames)
        assert file_times_ms(frames) == STEADY_MS[:5]  # read after NumPy has turned them back
        last = rig.statuses["c0"][-1]
        assert (last.width, last.height) == size
        assert f"turned by {rotate}°" in last.detail


def test_a_phone_that_was_held_upright_needs_no_setting(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", STEADY_MS[:5], (320, 240))
    content = bytearray(path.read_bytes())
    # The matrix of the track header (ISO/IEC 14496-12, 8.3.2): a quarter turn clockwise.
    place = content.index(b"tkhd") + 44
    assert struct.unpack_from(">2i", content, place) == (0x10000, 0)
    struct.pack_into(">5i", content, place, 0, 0x10000, 0, -0x10000, 0)
    path.write_bytes(content)
    source = FileSource(FileConfig(kind="file", path=path, pace="as_consumed"))
    with source as detail:
        source.begin(0)
        pixels = source.read(threading.Event()).pixels
    assert "240×320" in detail and pixels.shape == (320, 240, 3)
    assert read_barcode(np.ascontiguousarray(np.rot90(pixels))) is not None


@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_variable_rates_and_gaps_are_kept(tmp_path: Path, container: str) -> None:
    times_ms = [0, 30, 75, 100, 1400, 1433, 1490, 1500, 1590]
    path = write_video(tmp_path / f"clip.{container}", times_ms)
    with CaptureRig({"kind": "file", "path": str(path), "pace": "as_consumed"}) as rig:
        rig.start()
        rig.begin()
        rig.finish()
        assert rig.processes["c0"].returncode == 0
        offsets = [(f.header.capture_ns - rig.epoch_ns) / 1e6 for f in rig.frames["c0"]]
        assert np.allclose(offsets, times_ms, atol=0.01)


@pytest.mark.parametrize("size", [(64, 48), (640, 480)])
def test_as_consumed_loses_nothing_with_a_slow_subscriber(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    path = write_video(tmp_path / "clip.mkv", STEADY_MS, size)
    with CaptureRig({"kind": "file", "path": str(path), "pace": "as_consumed"}) as rig:
        rig.start()
        rig.begin()
        rig.pump(lambda: bool(rig.frames["c0"]))
        while len(rig.frames["c0"]) < len(STEADY_MS):
            assert rig.receive() is not None, rig.explain()
            # Slower than it is decoded, and at the end so slow that the process is long done.
            time.sleep(0.01 if len(rig.frames["c0"]) < 48 else 0.3)
        assert [frame.header.sequence for frame in rig.frames["c0"]] == list(range(len(STEADY_MS)))
        assert file_times_ms(rig.frames["c0"]) == STEADY_MS
        rig.pump(lambda: rig.state() == "ended")
        rig.finish()
        assert rig.processes["c0"].returncode == 0


def test_a_loop_goes_on_in_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", STEADY_MS[:15])
    with CaptureRig({"kind": "file", "path": str(path), "loop": True}) as rig:
        rig.start()
        rig.begin()
        rig.pump(lambda: len(rig.frames["c0"]) >= 50)
        frames = rig.frames["c0"]
        stamps = [frame.stamp.sequence for frame in frames if frame.stamp is not None]
        assert sum(later < earlier for earlier, later in itertools.pairwise(stamps)) >= 2
        for frame in frames:
            assert frame.stamp is not None
            place_ms = (frame.header.capture_ns - rig.epoch_ns) / 1e6 % 500
            off_ms = (place_ms - frame.stamp.time_ns / 1e6 + 250) % 500 - 250
            assert abs(off_ms) < 10  # a loop of 15 pictures lasts half a second
        assert rig.stop() == 0


@pytest.mark.parametrize("start_s", [0.5, -0.25])
def test_start_s_moves_the_file_in_time(tmp_path: Path, start_s: float) -> None:
    path = write_video(tmp_path / "clip.mkv", STEADY_MS)
    source = {"kind": "file", "path": str(path), "pace": "as_consumed", "start_s": start_s}
    with CaptureRig(source) as rig:
        rig.start()
        rig.begin()
        rig.finish()
        frames = rig.frames["c0"]
        expected = [ms for ms in STEADY_MS if ms >= start_s * 1000]
        assert file_times_ms(frames) == expected
        offsets = [(f.header.capture_ns - rig.epoch_ns) / 1e6 for f in frames]
        assert np.allclose(offsets, np.array(expected) - start_s * 1000, atol=0.01)


def test_a_late_start_catches_up_with_the_run(tmp_path: Path) -> None:
    times_ms = [round(index * 1000 / 30) for index in range(30 * 60)]
    path = write_video(tmp_path / "clip.mkv", times_ms, (64, 48))
    with CaptureRig({"kind": "file", "path": str(path)}) as rig:
        rig.start()
        rig.begin()
        rig.pump(lambda: len(rig.frames["c0"]) > 5)
        rig.processes["c0"].send_signal(signal.SIGKILL)
        rig.processes["c0"].wait()
        rig.epoch_ns -= 20_000_000_000  # as if it had been away for 20 s
        rig.frames.clear()
        rig.start()
        rig.pump(lambda: len(rig.frames["c0"]) > 20)
        for frame, file_ms in zip(rig.frames["c0"], file_times_ms(rig.frames["c0"]), strict=True):
            assert file_ms > 20_000
            assert abs((frame.header.capture_ns - rig.epoch_ns) / 1e6 - file_ms) < 1


def test_a_late_start_of_a_loop_catches_up_with_the_run(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (320, 240))
    for index in range(45):
        writer.write(stamped_picture(index, round(index * 1000 / 30), (320, 240)))
    writer.release()
    with CaptureRig({"kind": "file", "path": str(path), "loop": True}) as rig:
        rig.begin()
        rig.epoch_ns -= 1_000_400_000_000  # 667 loops of 1.5 s, less a little
        rig.start()
        rig.pump(lambda: len(rig.frames["c0"]) > 20)
        for frame, file_ms in zip(rig.frames["c0"], file_times_ms(rig.frames["c0"]), strict=True):
            time_ms = (frame.header.capture_ns - rig.epoch_ns) / 1e6
            assert time_ms > 1_000_000
            assert abs((time_ms - file_ms + 750) % 1500 - 750) < 1.5
        assert rig.statuses["c0"][-1].state == "streaming"


def test_it_stops_while_it_waits_for_the_run(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", STEADY_MS)
    with CaptureRig({"kind": "file", "path": str(path)}) as rig:
        rig.start()
        rig.pump(lambda: any("waits for the run" in item.detail for item in rig.statuses["c0"]))
        assert rig.stop() == 0


def test_it_stops_while_nobody_takes_its_pictures(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", STEADY_MS)
    with CaptureRig({"kind": "file", "path": str(path), "pace": "as_consumed"}) as rig:
        rig.start()
        rig.begin()
        rig.pump(lambda: rig.state() == "streaming", read=False)
        assert rig.stop() == 0


def bad_file(folder: Path, what: str) -> Path:
    """Makes one kind of file that cannot be played."""
    path = folder / "clip.mp4"
    if what == "text":
        path.write_text("This is no video.\n" * 500, encoding="utf-8")
    elif what == "empty":
        path.touch()
    elif what == "folder":
        path.mkdir()
    elif what == "noise":
        path.write_bytes(np.random.default_rng(1).bytes(50_000))
    elif what == "no index":  # an MP4 whose end, with the index, is missing
        whole = write_video(folder / "whole.mp4", STEADY_MS).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif what == "breaks off":
        whole = write_video(folder / "whole.mkv", STEADY_MS).read_bytes()
        path.write_bytes(whole[: len(whole) // 3])
    elif what == "names others":  # a list that would open other files
        write_video(folder / "whole.mkv", STEADY_MS)
        path.write_text("ffconcat version 1.0\nfile whole.mkv\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("missing", "no such video file"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "not a video"),
        ("noise", "not a video"),
        ("no index", "not a video"),
        ("names others", "not a video"),
        ("breaks off", "breaks off after"),
    ],
)
def test_a_bad_file_gives_one_clear_line(tmp_path: Path, what: str, says: str) -> None:
    path = bad_file(tmp_path, what)
    with CaptureRig({"kind": "file", "path": str(path), "pace": "as_consumed"}) as rig:
        rig.start()
        rig.begin()
        rig.finish()
        assert rig.processes["c0"].returncode == 2
        line = rig.error()
        assert says in line
        assert str(path) in line
        assert "\n" not in line.strip()
        assert "Traceback" not in rig.log()


@pytest.mark.parametrize("late_s", [0, 3])
def test_start_s_after_the_end_is_a_mistake(tmp_path: Path, late_s: float) -> None:
    path = write_video(tmp_path / "clip.mkv", STEADY_MS)
    with CaptureRig({"kind": "file", "path": str(path), "start_s": 50}) as rig:
        rig.start()
        rig.begin(late_s)
        rig.finish()
        assert rig.processes["c0"].returncode == 2
        assert "no picture after start_s" in rig.error()


def test_a_file_of_fixed_rate_from_opencv_is_played_whole(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (64, 48))
    for index in range(40):
        writer.write(np.full((48, 64, 3), 5 * index, np.uint8))
    writer.release()
    with CaptureRig({"kind": "file", "path": str(path), "pace": "as_consumed"}) as rig:
        rig.start()
        rig.begin()
        rig.finish()
        offsets = [(f.header.capture_ns - rig.epoch_ns) / 1e6 for f in rig.frames["c0"]]
        assert np.allclose(offsets, np.arange(40) * 40, atol=0.01)


def _with_longer_sound(source: Path, target: Path, seconds: float) -> Path:
    """The video's pictures as they are, and a quiet sound of so many seconds."""
    with av.open(str(source)) as pictures, av.open(str(target), "w") as out:
        video = out.add_stream_from_template(pictures.streams.video[0])
        sound = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        for packet in pictures.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
        for start in range(0, round(8000 * seconds), 800):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 8000, start
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return target


def test_sound_that_lasts_longer_than_the_pictures_is_no_damage(tmp_path: Path) -> None:
    quiet = write_video(tmp_path / "quiet.mkv", STEADY_MS)
    path = _with_longer_sound(quiet, tmp_path / "clip.mkv", 2 * STEADY_MS[-1] / 1000)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) > 1.5 * len(STEADY_MS)
    with CaptureRig({"kind": "file", "path": str(path), "pace": "as_consumed"}) as rig:
        rig.start()
        rig.begin()
        rig.finish()
        assert rig.processes["c0"].returncode == 0, rig.error()
        assert len(rig.frames["c0"]) == len(STEADY_MS)


def test_captures_of_two_threads_keep_their_own_rules(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", STEADY_MS[:5])
    entered, leave = threading.Event(), threading.Event()

    def open_stream() -> None:
        with ffmpeg_options({"protocol_whitelist": "http"}):
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=open_stream)
    other.start()
    assert entered.wait(10)
    threading.Timer(0.5, leave.set).start()
    with FileSource(FileConfig(kind="file", path=path)) as detail:
        assert "320×240" in detail
    other.join()
