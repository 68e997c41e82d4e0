"""Replay as a real process: what was recorded comes back on the same topics, unchanged."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from app.bus import Publisher, Subscriber
from app.clock import now_ns, take_anchor
from app.messages import Pose, Previews
from app.recording.durable_file import DurableFile
from app.recording.writer import RecordingHead, RecordingWriter
from app.replay_player import blank_previews
from app.run_messages import Action, Command
from app.run_spec import RunSpec
from app.topics import Topic
from tests.staged_run import PATIENCE_S, StagedRun, config, joints2d, pose, staged, status

pytestmark = pytest.mark.alone

MODULE, NAME = "app.replay_process", "replay"


def _recording(path: Path, count: int, step_ms: float) -> list[Any]:
    head = RecordingHead(RunSpec(mode="live", config=config(path.parent)), take_anchor(), now_ns())
    file = DurableFile(path)
    writer = RecordingWriter(file, head)
    sent: list[Any] = []
    for index in range(count):
        shown_ns = head.epoch_ns + round(index * step_ms * 1e6)
        missing = (16,) if index % 4 == 0 else ()
        for topic, message in (
            (Topic.JOINTS2D, replace(joints2d(index), time_ns=shown_ns)),
            (Topic.POSES, replace(pose(index, missing=missing), time_ns=shown_ns - 40_000_000)),
            (Topic.PIPELINE_STATUS, status(index)),
        ):
            # Recorded at another pace than filmed, as of videos that are worked through offline.
            writer.add(topic, message, head.epoch_ns + 1000 * (shown_ns - head.epoch_ns))
            sent.append(message)
    writer.finish()
    file.close()
    return sent


def _spec(tmp_path: Path, replay: Path, speed: float = 1.0, headless: bool = True) -> RunSpec:
    return RunSpec(
        mode="replay", config=config(tmp_path), replay=replay, replay_speed=speed, headless=headless
    )


def _finish(run: StagedRun, subscribers: dict[Topic, Subscriber[Any]]) -> dict[Topic, list[Any]]:
    heard: dict[Topic, list[Any]] = {topic: [] for topic in subscribers}
    limit = time.monotonic() + PATIENCE_S
    while run.process.poll() is None and time.monotonic() < limit:
        run.cast.say()
        for topic, subscriber in subscribers.items():
            heard[topic].extend(subscriber.drain())
        time.sleep(0.01)
    for topic, subscriber in subscribers.items():
        heard[topic].extend(subscriber.drain())
        subscriber.close()
    return heard


def _subscribe(run: StagedRun) -> dict[Topic, Subscriber[Any]]:
    wanted = (Topic.POSES, Topic.JOINTS2D, Topic.PIPELINE_STATUS, Topic.PREVIEWS)
    return {topic: Subscriber(run.run_dir, topic) for topic in wanted}


def test_the_same_poses_come_back(tmp_path: Path) -> None:
    path = tmp_path / "take.mcap"
    sent = _recording(path, 40, 50.0)
    with staged(_spec(tmp_path, path), MODULE, NAME, (Topic.RUN_STATE,)) as run:
        subscribers = _subscribe(run)
        run.ready()
        begun = time.monotonic()
        heard = _finish(run, subscribers)
        took_s = time.monotonic() - begun
        assert run.process.returncode == 0
    for topic in (Topic.POSES, Topic.JOINTS2D):
        kind = topic.info.message
        wanted = [message for message in sent if isinstance(message, kind)]
        assert [received.message for received in heard[topic]] == wanted
    assert heard[Topic.PIPELINE_STATUS]
    assert took_s >= 39 * 0.05, "it was played too fast"
    previews: list[Previews] = [received.message for received in heard[Topic.PREVIEWS]]
    assert previews and len(previews[0].parts) == 2
    payload = heard[Topic.PREVIEWS][0].payload
    part = previews[0].parts[0]
    assert payload.nbytes >= part.offset + part.width * part.height * 3
    assert part.width / part.height == pytest.approx(640 / 480, rel=0.02)


def test_speed_and_a_file_without_its_end(tmp_path: Path) -> None:
    path = tmp_path / "take.mcap"
    sent = _recording(path, 40, 1000.0)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.97)])  # the index is gone, the chunk is not
    with staged(_spec(tmp_path, path, speed=50.0), MODULE, NAME, (Topic.RUN_STATE,)) as run:
        subscribers = _subscribe(run)
        run.ready()
        begun = time.monotonic()
        heard = _finish(run, subscribers)
        assert time.monotonic() - begun < 39.0, "it was not played faster"
        assert run.process.returncode == 0
    poses = [message for message in sent if isinstance(message, Topic.POSES.info.message)]
    assert [received.message for received in heard[Topic.POSES]] == poses


def test_it_waits_for_the_run_and_stops_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "take.mcap"
    _recording(path, 3, 100_000.0)
    with staged(_spec(tmp_path, path), MODULE, NAME, (Topic.RUN_STATE,)) as run:
        subscribers = _subscribe(run)
        run.ready()
        run.cast.say("starting")
        time.sleep(0.5)
        assert subscribers[Topic.POSES].latest() is None, "it began before the run did"
        assert run.stop() == 0
        for subscriber in subscribers.values():
            subscriber.close()


def test_what_is_not_a_recording_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "take.mcap"
    path.write_bytes(b"nothing of the kind")
    with staged(_spec(tmp_path, path), MODULE, NAME, (Topic.RUN_STATE,)) as run:
        assert run.process.wait(PATIENCE_S) == 2
        told = (run.run_dir / "replay.error").read_text()
    assert "not a recording" in told and "\n" not in told.strip()


def test_blank_previews_share_one_canvas_and_skip_missing_views() -> None:
    joints = joints2d(4)
    previews, pixels = blank_previews(joints, 320)
    assert [part.camera for part in previews.parts] == ["cam0"]
    assert len(pixels) == 320 * 240 * 3
    assert previews.parts[0].scale == 0.5
    assert previews.joints2d == joints


def test_it_pauses_steps_and_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "take.mcap"
    _recording(path, 30, 100.0)
    spec = _spec(tmp_path, path, headless=False)
    with (
        staged(spec, MODULE, NAME, (Topic.RUN_STATE,)) as run,
        Publisher[Command](run.run_dir, Topic.COMMANDS, "viewer") as commands,
    ):
        poses = Subscriber[Pose](run.run_dir, Topic.POSES)
        heard: list[int] = []

        def hear(seconds: float) -> None:
            limit = time.monotonic() + seconds
            while time.monotonic() < limit:
                run.cast.say()
                heard.extend(received.message.index for received in poses.drain())
                time.sleep(0.01)

        def until(what: str, condition: Callable[[], bool]) -> None:
            def so() -> bool:
                hear(0.05)
                return condition()

            run.wait(what, so)

        def ask(action: Action) -> None:
            commands.send(Command(action=action, at_ns=now_ns()))

        run.ready()
        until("it plays", lambda: len(heard) >= 3)
        ask("pause")
        hear(0.5)
        held = heard[-1]
        hear(1.0)  # ten poses' time: it stands still, and says so again
        assert held < 29 and set(heard[-2:]) == {held}
        for number in (1, 2, 3):
            ask("step")
            until(f"step {number}", lambda number=number: heard[-1] == held + number)
        hear(0.5)
        assert heard[-1] == held + 3
        ask("pause")
        until("it goes on", lambda: heard[-1] > held + 5)
        assert [b - a for a, b in pairwise(heard) if b != a and b - a != 1] == []
        until("the end", lambda: heard[-1] == 29)
        hear(0.5)
        assert run.process.poll() is None, "it ended though there is a window"
        heard.clear()
        ask("again")
        until("the beginning", lambda: 0 in heard)
        until("the end again", lambda: heard[-1] == 29)
        assert run.stop() == 0
        poses.close()
