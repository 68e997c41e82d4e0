"""The parts of capture that are plain functions of their input."""

from __future__ import annotations

import itertools
import math
import os
import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.backoff import FIRST_S, LONGEST_S, Backoff
from capture.barcode import Stamp, draw_barcode, read_barcode
from capture.frozen import FrozenDetector
from capture.grabber import Ended, Failed, Grabber, Lost, Opened
from capture.rate import RateMeter
from capture.sources.base import Picture, Source, SourceEndedError, SourceLostError, as_bgr
from capture.sources.driver_clock import DriverClock
from capture.sources.file_clock import LONGEST_GAP_S, FileClock, breaks_off
from capture.sources.opencv import ffmpeg_options, fourcc_name
from capture.sources.webcam import why_not

S = 1_000_000_000


@given(
    sequence=st.integers(0, 2**32 - 1),
    time_ns=st.integers(0, 2**64 - 1),
    width=st.integers(16, 700),
    height=st.integers(16, 500),
)
@settings(max_examples=60, deadline=None)
def test_barcode_comes_back(sequence: int, time_ns: int, width: int, height: int) -> None:
    pixels = np.full((height, width, 3), 90, np.uint8)
    draw_barcode(pixels, Stamp(sequence, time_ns))
    assert read_barcode(pixels) == Stamp(sequence, time_ns)


def test_barcode_survives_jpeg() -> None:
    pixels = np.full((240, 320, 3), 90, np.uint8)
    draw_barcode(pixels, Stamp(123456, 987654321012345))
    done, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 50])
    assert done
    decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert read_barcode(np.asarray(decoded, np.uint8)) == Stamp(123456, 987654321012345)


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_plain_picture_is_no_barcode(level: int) -> None:
    assert read_barcode(np.full((240, 320, 3), level, np.uint8)) is None


def test_driver_times_are_used_while_they_make_sense() -> None:
    clock = DriverClock()
    assert clock.choose(10_000.0, 10 * S + 5_000_000) == 10 * S
    assert clock.choose(10_033.0, 10 * S + 40_000_000) == 10 * S + 33_000_000


@pytest.mark.parametrize("driver_ms", [0.0, -1.0, 8_000.0, 10_500.0, math.nan, math.inf])
def test_a_driver_that_talks_nonsense_is_not_asked_again(driver_ms: float) -> None:
    clock = DriverClock()
    for _ in range(3):  # zero, old, in the future, no number
        assert clock.choose(driver_ms, 10 * S) is None
    assert clock.choose(9_990.0, 10 * S) is None


def test_a_driver_time_that_stands_still_is_not_used() -> None:
    clock = DriverClock()
    assert clock.choose(9_990.0, 10 * S) is not None
    assert clock.choose(9_990.0, 10 * S + 33_000_000) is None


@given(st.lists(st.integers(1, 59_000), min_size=1, max_size=50))
def test_good_file_times_are_kept(steps_ms: list[int]) -> None:
    times_ms = [0, *itertools.accumulate(steps_ms)]
    clock = FileClock(30.0, 0.0)
    assert np.allclose([clock.advance(ms) for ms in times_ms], np.array(times_ms) / 1000)
    assert clock.mended == 0


@given(
    st.lists(
        st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1e6),
        min_size=1,
        max_size=60,
    ),
    st.sampled_from([0.0, 0.1, 25.0, 29.97, 90000.0, -1.0, math.nan]),
)
def test_any_file_times_rise_without_long_jumps(stamps_ms: list[float], fps: float) -> None:
    clock = FileClock(fps, 0.0)
    times = [clock.advance(stamp) for stamp in stamps_ms]
    for earlier, later in itertools.pairwise(times):
        assert 0 < later - earlier <= LONGEST_GAP_S + 1e-6


def test_times_that_rise_by_nothing_are_mended() -> None:
    clock = FileClock(25.0, 0.0)
    stamps = [0.0, 1e-308, 1e-38, 2e-38, 3e-38, 4e-38]
    assert np.allclose([clock.advance(ms) for ms in stamps], np.arange(6) / 25)
    assert clock.mended == 5


def test_a_file_without_times_runs_at_its_nominal_rate() -> None:
    clock = FileClock(25.0, 0.0)
    assert np.allclose([clock.advance(0.0) for _ in range(20)], np.arange(20) / 25)


def test_loops_go_on_in_time() -> None:
    clock = FileClock(10.0, 0.2)
    first = [clock.advance(ms) for ms in (0, 100, 200, 300, 400)]
    assert np.allclose(first, [-0.2, -0.1, 0.0, 0.1, 0.2])
    clock.begin_loop()
    again = [clock.advance(ms) for ms in (200, 300, 400)]
    assert np.allclose(again, [0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("position_s", "pictures", "count", "fps", "expected"),
    [
        (11.9, 358, 360, 30.0, False),
        (5.0, 150, 360, 30.0, True),
        (11.9, 358, 360, 1000.0, False),  # variable rate: the header's rate is its clock's step
        (5.0, 150, 360, 1000.0, True),
        (1.17, 6, 1171, 1000.0, False),  # the count was made up from the duration
        (5.0, 150, 0, 30.0, False),
        (0.5, 15, 20, 30.0, False),  # too short to be sure
    ],
)
def test_truncation_is_told_from_odd_headers(
    position_s: float, pictures: int, count: float, fps: float, expected: bool
) -> None:
    assert breaks_off(position_s, pictures, count, fps) is expected


def test_a_picture_that_changes_anywhere_is_not_frozen() -> None:
    detector = FrozenDetector(1.0)
    pixels = np.zeros((48, 64, 3), np.uint8)
    for index in range(60):
        changed = pixels.copy()
        changed[13, 17, 1] = index % 2  # between the samples
        assert not detector.update(changed, index * S // 10)


def test_the_same_pixels_are_frozen_after_the_time_and_not_before() -> None:
    detector = FrozenDetector(1.0)
    frozen = [detector.update(np.ones((48, 64, 3), np.uint8), i * S // 10) for i in range(15)]
    assert frozen == [False] * 10 + [True] * 5
    assert not detector.update(np.zeros((48, 64, 3), np.uint8), 2 * S)


def test_a_new_size_is_a_change() -> None:
    detector = FrozenDetector(0.001)
    detector.update(np.zeros((48, 64, 3), np.uint8), 0)
    assert not detector.update(np.zeros((64, 48, 3), np.uint8), S)


def test_rate_is_measured_and_falls_when_pictures_stop() -> None:
    meter = RateMeter(2.0)
    assert meter.rate(0) == 0.0
    for index in range(90):
        meter.add(index * S // 30)
    now = 89 * S // 30
    assert meter.rate(now) == pytest.approx(30, abs=0.5)
    assert meter.rate(now + S) == pytest.approx(15, abs=1.5)
    assert meter.rate(now + 3 * S) == 0.0


def test_pauses_double_up_to_a_limit_and_start_anew_after_good_work() -> None:
    backoff = Backoff()
    pauses = [backoff.after_failure(0.0) for _ in range(8)]
    assert pauses[0] == FIRST_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_S
    assert backoff.after_failure(1.0) == LONGEST_S
    assert backoff.after_failure(60.0) == FIRST_S


def test_grey_pictures_become_bgr_and_other_shapes_are_refused() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    bgr = as_bgr(grey, "x")
    assert bgr.shape == (3, 4, 3)
    assert bgr.flags.c_contiguous
    assert (bgr[:, :, 0] == grey).all()
    with pytest.raises(SourceLostError, match="shape"):
        as_bgr(np.zeros((3, 4, 2), np.uint8), "x")
    with pytest.raises(SourceLostError, match="larger than"):
        as_bgr(np.zeros((2, 9000, 3), np.uint8), "x")


def test_fourcc_names() -> None:
    assert fourcc_name(cv2.VideoWriter.fourcc(*"MJPG")) == "MJPG"
    assert fourcc_name(0) == ""
    assert fourcc_name(-1) == ""


def test_ffmpeg_options_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    monkeypatch.delenv(name, raising=False)
    with ffmpeg_options({"a": "b"}):
        assert os.environ[name] == "a;b"
    assert name not in os.environ
    monkeypatch.setenv(name, "of;user")
    with ffmpeg_options({"a": "b"}):
        assert os.environ[name] == "of;user"
    assert os.environ[name] == "of;user"


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="needs device files")  # noqa: PTH110
def test_why_a_camera_cannot_be_opened() -> None:
    assert "not connected" in why_not("/dev/v4l/by-path/nothing")
    assert "not a camera device" in why_not(__file__)
    assert "not connected" in why_not(250)


class Counting(Source):
    """Gives numbered pictures at once; what comes then is told by ``end``."""

    def __init__(self, pictures: int, end: Exception) -> None:
        self._left = pictures
        self._given = 0
        self._end = end
        self.closed = threading.Event()

    def open(self) -> str:
        return "counting"

    def read(self, stop: threading.Event) -> Picture:
        if self._given == self._left:
            raise self._end
        self._given += 1
        return Picture(np.full((2, 2, 3), self._given, np.uint8), self._given, "host")

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize(
    ("end", "event"),
    [
        (SourceEndedError(), Ended),
        (SourceLostError("gone"), Lost),
        (RuntimeError("a fault"), Failed),
    ],
)
def test_a_lossless_grabber_gives_everything_in_order(end: Exception, event: type) -> None:
    source = Counting(50, end)
    grabber = Grabber(source, lossless=True)
    assert grabber.take(10) == Opened("counting")
    for number in range(1, 51):
        picture = grabber.take(10)
        assert isinstance(picture, Picture)
        assert picture.capture_ns == number
    assert isinstance(grabber.take(10), event)
    assert source.closed.wait(10)
    assert grabber.overtaken == 0


def test_a_live_grabber_keeps_the_newest() -> None:
    source = Counting(50, SourceEndedError())
    grabber = Grabber(source, lossless=False)
    assert source.closed.wait(10)
    assert grabber.take(10) == Opened("counting")
    pictures = [grabber.take(10), grabber.take(10)]
    assert [p.capture_ns for p in pictures if isinstance(p, Picture)] == [49, 50]
    assert grabber.overtaken == 48
    assert isinstance(grabber.take(10), Ended)
    assert grabber.take(0.01) is None


def test_a_lossless_grabber_that_is_abandoned_closes_its_source() -> None:
    source = Counting(50, SourceEndedError())
    grabber = Grabber(source, lossless=True)
    assert grabber.take(10) == Opened("counting")
    grabber.abandon()
    assert source.closed.wait(10)
