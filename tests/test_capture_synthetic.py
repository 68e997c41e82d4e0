"""Capture processes with synthetic sources: what they publish, and their faults."""

from __future__ import annotations

import itertools
import signal

import numpy as np
import pytest

from capture_rig import Arrived, CaptureRig

pytestmark = pytest.mark.alone


def numbers(frames: list[Arrived]) -> list[int]:
    return [frame.header.sequence for frame in frames]


@pytest.mark.parametrize("size", [(640, 480), (1920, 1080), (16, 16)])
def test_every_picture_carries_its_own_number_and_time(size: tuple[int, int]) -> None:
    with CaptureRig({"kind": "synthetic", "width": size[0], "height": size[1]}) as rig:
        rig.start()
        rig.pump(lambda: len(rig.frames["c0"]) >= 40)
        frames = rig.frames["c0"]
        headers = [frame.header for frame in frames]
        for earlier, later in itertools.pairwise(headers):
            assert later.sequence > earlier.sequence
            assert later.capture_ns > earlier.capture_ns
        assert {(header.width, header.height) for header in headers} == {size}
        assert {frame.bytes for frame in frames} == {size[0] * size[1] * 3}
        assert all(frame.at_ns >= frame.header.capture_ns for frame in frames)
        for frame in frames:  # the pixels belong to the header: no buffer was used twice
            assert frame.stamp is not None
            assert frame.stamp.time_ns == frame.header.capture_ns
        assert rig.heartbeats["camera.c0"].state == "ready"
        rig.pump(lambda: rig.statuses["c0"][-1].fps > 0)
        assert rig.states()[-1] == "streaming"
        status = rig.statuses["c0"][-1]
        assert (status.width, status.height) == size
        assert rig.stop() == 0


def test_phases_between_cameras_are_kept() -> None:
    sources = [{"kind": "synthetic", "fps": 20, "phase_ms": phase} for phase in (0, 10, 25)]
    with CaptureRig(
        *sources,
    ) as rig:
        rig.start()
        rig.pump(lambda: all(len(rig.frames[camera]) >= 10 for camera in rig.ids))
        for camera, phase_ms in zip(rig.ids, (0, 10, 25), strict=True):
            times = np.array([frame.header.capture_ns for frame in rig.frames[camera]])
            assert np.allclose(times / 1e6 % 50, phase_ms, atol=0.001)


def test_drops_leave_gaps_that_a_subscriber_can_count() -> None:
    with CaptureRig({"kind": "synthetic", "fps": 60, "drop": 0.3, "seed": 7}) as rig:
        rig.start()
        rig.pump(lambda: len(rig.frames["c0"]) >= 200)
        got = numbers(rig.frames["c0"])
        share = 1 - len(got) / (got[-1] - got[0] + 1)
        assert 0.15 < share < 0.6
        assert got == sorted(set(got))


def test_jitter_moves_times_but_keeps_their_order() -> None:
    with CaptureRig({"kind": "synthetic", "fps": 50, "jitter_ms": 6}) as rig:
        rig.start()
        rig.pump(lambda: len(rig.frames["c0"]) >= 150)
        frames = rig.frames["c0"]
        steps = np.diff([frame.header.capture_ns for frame in frames]) / 1e6
        gaps = np.diff(numbers(frames))
        usual = steps[(gaps == 1) & (steps < 60)]  # no pause of a machine that does much else
        assert len(usual) > 100
        assert usual.min() > 0
        assert 2 < usual.std() < 12


def test_a_hanging_camera_is_lost_and_comes_back() -> None:
    source = {"kind": "synthetic", "hang_at_s": 1.5, "hang_for_s": 4.0}
    with CaptureRig(source, {"kind": "synthetic"}) as rig:
        rig.start()
        rig.pump(lambda: rig.state() == "lost")
        before = len(rig.frames["c0"])
        others = len(rig.frames["c1"])
        rig.pump(lambda: rig.state() == "streaming" and len(rig.frames["c0"]) > before + 10)
        assert len(rig.frames["c1"]) > others  # the other went on
        status = rig.statuses["c0"][-1]
        assert status.reconnects >= 1
        lost = next(item for item in rig.statuses["c0"] if item.state == "lost")
        assert "no picture for" in lost.detail
        assert "next try in" in lost.detail
        got = numbers(rig.frames["c0"])
        assert got == sorted(set(got))  # the sequence goes on, it does not start again
        times = [frame.header.capture_ns for frame in rig.frames["c0"]]
        assert max(np.diff(times)) / 1e9 > 2  # nothing was made up for the silence


def test_a_frozen_picture_is_not_passed_on() -> None:
    source = {"kind": "synthetic", "freeze_at_s": 1.5, "freeze_for_s": 4.0}
    with CaptureRig(source, frozen_after_s=1.0) as rig:
        rig.start()
        rig.pump(lambda: rig.state() == "frozen")
        rig.pump(lambda: rig.state() == "streaming")
        back = len(rig.frames["c0"])
        rig.pump(lambda: len(rig.frames["c0"]) > back + 10)
        assert rig.states()[-3:] == ["streaming", "frozen", "streaming"]
        frozen = [item for item in rig.statuses["c0"] if item.state == "frozen"]
        assert "not changed" in frozen[0].detail
        frames = rig.frames["c0"]
        steps = np.diff([frame.header.capture_ns for frame in frames]) / 1e9
        assert steps.max() > 1.5  # nothing was sent while it was frozen
        # The same pixels may be told as new only until they are known to be frozen.
        stale = [
            (frame.header.capture_ns - frame.stamp.time_ns) / 1e9
            for frame in frames
            if frame.stamp is not None
        ]
        assert max(stale) < 1.2


def test_a_failing_camera_is_retried_and_comes_back() -> None:
    source = {"kind": "synthetic", "fail_at_s": 1.0, "fail_for_s": 2.5}
    with CaptureRig(source) as rig:
        rig.start()
        rig.pump(lambda: rig.state() == "lost")
        rig.pump(lambda: rig.state() == "streaming" and rig.statuses["c0"][-1].reconnects == 1)
        pauses = [
            float(item.detail.rpartition("next try in ")[2].removesuffix(" s"))
            for item in rig.statuses["c0"]
            if item.state == "lost"
        ]
        assert pauses == sorted(pauses)  # the pauses grow
        assert pauses[0] == 0.5
        assert pauses[-1] > 0.5


def test_a_killed_process_starts_again_with_a_new_run() -> None:
    with CaptureRig({"kind": "synthetic"}) as rig:
        rig.start()
        rig.pump(lambda: len(rig.frames["c0"]) >= 60)  # more than come while one connects
        first = rig.frames["c0"][-1].header
        rig.processes["c0"].send_signal(signal.SIGKILL)
        rig.processes["c0"].wait()
        rig.start()
        rig.pump(lambda: rig.frames["c0"][-1].header.run != first.run)
        again = next(f.header for f in rig.frames["c0"] if f.header.run != first.run)
        assert again.run > first.run
        assert again.sequence < first.sequence
        assert again.capture_ns > first.capture_ns


def test_a_camera_that_is_absent_is_lost_but_ready() -> None:
    with CaptureRig({"kind": "webcam", "device": "/dev/video-that-is-not-there"}) as rig:
        rig.start()
        rig.pump(lambda: rig.state() == "lost")
        rig.pump(lambda: rig.heartbeats["camera.c0"].state == "ready")
        detail = rig.statuses["c0"][-1].detail
        assert "/dev/video-that-is-not-there: not connected" in detail
        assert rig.stop() == 0


def test_it_stops_at_once_in_every_state() -> None:
    hanging = {"kind": "synthetic", "hang_at_s": 0.0, "hang_for_s": 1000}
    frozen = {"kind": "synthetic", "freeze_at_s": 0.0, "freeze_for_s": 1000}
    lost = {"kind": "synthetic", "fail_at_s": 0.0, "fail_for_s": 1000}
    with CaptureRig(hanging, frozen, lost, {"kind": "synthetic"}, frozen_after_s=0.3) as rig:
        rig.start()
        rig.pump(
            lambda: (
                [rig.state(camera) for camera in rig.ids]
                == ["opening", "frozen", "lost", "streaming"]
            )
        )
        assert [rig.stop(camera) for camera in rig.ids] == [0, 0, 0, 0]


def test_a_camera_that_is_not_configured_is_a_mistake() -> None:
    with CaptureRig({"kind": "synthetic"}) as rig:
        rig.start("nobody")
        assert rig.processes["nobody"].wait(timeout=60) == 2
        assert "no camera 'nobody'" in rig.error("nobody")
        assert "Traceback" not in rig.log("nobody")
