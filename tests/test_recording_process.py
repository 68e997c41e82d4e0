"""The recorder as a real process: kill -9, full disks, the record key, names that exist."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.bus import Publisher, Subscriber
from app.clock import now_ns
from app.messages import CameraStatus
from app.recording.reader import Recording
from app.recording.recover import inspect, recover
from app.run_messages import Command, RecorderStatus
from app.run_spec import RunSpec
from app.topics import Topic
from module_process import running_module
from tests.staged_run import PATIENCE_S, StagedRun, config, joints2d, pose, staged, status

pytestmark = pytest.mark.alone

MODULE, NAME = "app.recorder_process", "recorder"


def _spec(tmp_path: Path, record: Path | None) -> RunSpec:
    return RunSpec(mode="live", config=config(tmp_path / "takes"), record=record)


def _feed(run: StagedRun, first: int, count: int) -> int:
    """Publishes at 25 Hz; returns the index that comes next."""
    for index in range(first, first + count):
        run.cast.say()
        run.cast.send(Topic.JOINTS2D, joints2d(index))
        run.cast.send(Topic.POSES, pose(index))
        if index % 10 == 0:
            run.cast.send(Topic.PIPELINE_STATUS, status(index))
        time.sleep(0.04)
    return first + count


def _poses(path: Path) -> list[int]:
    return [item.message.index for item in Recording(path).messages([Topic.POSES])]  # type: ignore[attr-defined]


def _last(statuses: Subscriber[RecorderStatus]) -> RecorderStatus | None:
    received = statuses.latest()
    return received.message if received else None


def _feed_until(
    run: StagedRun, statuses: Subscriber[RecorderStatus], index: int, *, recording: bool
) -> int:
    """Feeds until the recorder says that it records, or not; returns the index that comes next."""

    def so() -> bool:
        nonlocal index
        index = _feed(run, index, 5)
        said = _last(statuses)
        return said is not None and said.recording is recording

    run.wait(f"recording {recording}", so)
    return index


def test_a_run_is_recorded_from_beginning_to_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "take.mcap"
    with (
        staged(_spec(tmp_path, path), MODULE, NAME) as run,
        Publisher[CameraStatus](run.run_dir, Topic.CAMERA_STATUS, "cam1") as camera,
    ):
        run.ready()
        statuses = Subscriber[RecorderStatus](run.run_dir, Topic.RECORDER_STATUS)
        told: list[RecorderStatus] = []

        def growing() -> bool:
            nonlocal index
            index = _feed(run, index, 5)
            camera.send(CameraStatus(camera="cam1", state="frozen", detail="", at_ns=now_ns()))
            told.extend(received.message for received in statuses.drain())
            return len({status.bytes for status in told}) > 4

        index = 0
        run.wait("the recording to grow", growing)
        assert told[-1].recording and told[-1].path == str(path) and told[-1].messages > 0
        last = index
        _feed(run, index, 5)
        assert run.stop() == 0
        statuses.close()
    assert inspect(path).whole
    indices = _poses(path)
    assert indices == list(range(indices[0], last + 5)), "something was lost"
    recording = Recording(path)
    topics = {item.topic for item in recording.messages()}
    assert {Topic.POSES, Topic.JOINTS2D, Topic.PIPELINE_STATUS, Topic.CAMERA_STATUS} <= topics
    assert recording.head.anchor == run.cast.anchor
    assert recording.head.epoch_ns == run.cast.epoch_ns
    assert recording.head.spec.record == path


def test_kill_9_loses_at_most_a_second(tmp_path: Path) -> None:
    path = tmp_path / "take.mcap"
    with staged(_spec(tmp_path, path), MODULE, NAME) as run:
        run.ready()
        index = _feed(run, 0, 30)

        def written() -> bool:
            nonlocal index
            index = _feed(run, index, 5)
            return path.stat().st_size > 30_000

        run.wait("a few chunks", written)
        _feed(run, index, 20)
        killed_ns = now_ns()
        run.kill()
        anchor = run.cast.anchor
    recording = Recording(path)
    items = list(recording.messages([Topic.POSES]))
    assert not recording.ended
    lost_s = (killed_ns - anchor.monotonic_ns + anchor.wall_ns - items[-1].log_ns) * 1e-9
    assert lost_s < 1.0, f"{lost_s:.2f} s lost"
    salvage = recover(path, tmp_path / "whole.mcap")
    assert not salvage.whole
    assert _poses(tmp_path / "whole.mcap") == [item.message.index for item in items]  # type: ignore[attr-defined]


def test_the_record_key_starts_and_stops_takes(tmp_path: Path) -> None:
    with (
        staged(_spec(tmp_path, None), MODULE, NAME) as run,
        Publisher[Command](run.run_dir, Topic.COMMANDS, "viewer") as commands,
    ):
        statuses = Subscriber[RecorderStatus](run.run_dir, Topic.RECORDER_STATUS)
        run.ready()
        index = _feed(run, 0, 10)

        def press() -> None:
            commands.send(Command(action="record", at_ns=now_ns()))

        index = _feed_until(run, statuses, index, recording=False)
        press()
        index = _feed_until(run, statuses, index, recording=True)
        index = _feed(run, index, 30)
        press()
        index = _feed_until(run, statuses, index, recording=False)
        press()
        index = _feed_until(run, statuses, index, recording=True)
        assert run.stop() == 0
        statuses.close()
    takes = sorted((tmp_path / "takes").glob("take-*.mcap"))
    assert len(takes) == 2
    assert all(inspect(take).whole for take in takes)
    first = _poses(min(takes, key=lambda take: _poses(take)[0]))
    assert len(first) >= 30 and first == list(range(first[0], first[0] + len(first)))


@pytest.mark.parametrize("pressed", [1, 2])
def test_a_recorder_that_is_started_anew_does_what_was_asked_last(
    tmp_path: Path, pressed: int
) -> None:
    """A take goes on under another name; one that was ended stays ended."""
    with (
        staged(_spec(tmp_path, None), MODULE, NAME) as run,
        Publisher[Command](run.run_dir, Topic.COMMANDS, "viewer") as commands,
    ):
        statuses = Subscriber[RecorderStatus](run.run_dir, Topic.RECORDER_STATUS)
        run.ready()
        index = _feed(run, 0, 10)

        for number in range(pressed):
            commands.send(Command(action="record", at_ns=now_ns()))
            index = _feed_until(run, statuses, index, recording=number % 2 == 0)
        run.kill()
        statuses.latest()
        said: RecorderStatus | None = None
        with running_module(MODULE, run.run_dir, NAME):
            limit = time.monotonic() + PATIENCE_S
            while said is None and time.monotonic() < limit:
                index = _feed(run, index, 5)
                said = _last(statuses)
        statuses.close()
    assert said is not None and said.recording == (pressed == 1)
    takes = sorted(path.stem[20:] for path in (tmp_path / "takes").glob("take-*.mcap"))
    assert takes == (["", "-2"] if pressed == 1 else [""])
    assert ("anew" in said.remark) == (pressed == 1)


def test_an_existing_recording_is_kept_and_another_name_taken(tmp_path: Path) -> None:
    path = tmp_path / "take.mcap"
    path.write_bytes(b"an older recording")
    with staged(_spec(tmp_path, path), MODULE, NAME) as run:
        run.ready()
        _feed(run, 0, 20)
        assert run.stop() == 0
    assert path.read_bytes() == b"an older recording"
    assert _poses(tmp_path / "take-2.mcap")


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with staged(_spec(tmp_path, tmp_path / "file" / "take.mcap"), MODULE, NAME) as run:
        assert run.process.wait(PATIENCE_S) == 2
        told = (run.run_dir / "recorder.error").read_text()
    assert "cannot be recorded to" in told and "\n" not in told.strip()


def test_a_full_disk_ends_the_recording_and_not_the_run(tmp_path: Path) -> None:
    path = tmp_path / "take.mcap"
    with staged(_spec(tmp_path, path), "tests.small_disk", NAME) as run:
        statuses = Subscriber[RecorderStatus](run.run_dir, Topic.RECORDER_STATUS)
        run.ready()
        index = 0
        told: list[RecorderStatus] = []

        def full() -> bool:
            nonlocal index
            index = _feed(run, index, 10)
            told.extend(received.message for received in statuses.drain())
            return bool(told) and "recording stopped" in told[-1].detail

        run.wait("the disk to be full", full)
        assert not told[-1].recording and "\n" not in told[-1].detail
        assert str(path) in told[-1].detail
        _feed(run, index, 5)
        assert run.stop() == 0
        statuses.close()
    assert inspect(path).whole
    indices = _poses(path)
    assert len(indices) > 20 and indices == list(range(indices[0], indices[0] + len(indices)))


def test_a_run_that_never_begins_leaves_no_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "take.mcap"
    with staged(_spec(tmp_path, path), MODULE, NAME) as run:
        run.ready()
        assert path.exists()
        run.cast.say("starting")
        assert run.stop() == 0
    assert not path.exists()
