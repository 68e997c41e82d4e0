"""Poses for other programs: over a real socket, from a real process."""

from __future__ import annotations

import json
import socket as sockets
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from app.cli import published
from app.outlet_process import check_free, live_pose
from app.placement import Placer
from app.run_spec import RunSpec
from app.topics import Topic
from engines.errors import UserError
from engines.skeleton import JOINT_NAMES
from live_runs import run_app, synthetic, write_config
from tests.staged_run import PATIENCE_S, STANDING, config, pose, staged


def free_port() -> int:
    with sockets.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_pose_stands_on_the_floor_and_names_what_is_known() -> None:
    told = live_pose(pose(0, missing=(13,)), Placer(), 5)
    names = [joint.name for joint in told.joints]
    assert names == [name for name in JOINT_NAMES if name != JOINT_NAMES[13]]
    ankles = [joint.z for joint in told.joints if joint.name.endswith("ankle")]
    assert min(ankles) == pytest.approx(0.075, abs=1e-3)
    assert told.time_ns == 5 and not told.in_room
    placed = msgspec.structs.replace(pose(0), root=(1.0, 2.0, 3.0))
    there = live_pose(placed, Placer(), 5)
    assert there.in_room
    assert (there.joints[0].x, there.joints[0].y, there.joints[0].z) == (1.0, 2.0, 3.0)
    assert live_pose(pose(0, valid=False), Placer(), 5).joints == ()


@pytest.mark.alone
def test_a_program_of_somebody_else_hears_the_poses(tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    spec = RunSpec(mode="live", config=config(tmp_path), publish=address)
    heard: list[dict[str, object]] = []
    with staged(spec, "app.outlet_process", "outlet") as run:
        run.ready()
        with zmq.Context().socket(zmq.SUB) as listener:
            listener.connect(address)
            listener.subscribe(b"")
            limit = time.monotonic() + PATIENCE_S
            index = 0
            while len(heard) < 5 and time.monotonic() < limit:
                run.cast.say()
                run.cast.send(Topic.POSES, pose(index))
                index += 1
                if listener.poll(40):
                    heard.append(json.loads(listener.recv()))
        assert run.stop() == 0
    assert len(heard) == 5
    assert abs(heard[0]["time_ns"] - time.time_ns()) < 1e9 * (PATIENCE_S + 5)  # type: ignore[operator]
    joints = {joint["name"]: joint for joint in heard[-1]["joints"]}  # type: ignore[attr-defined]
    assert set(joints) == set(JOINT_NAMES)
    height = joints["head"]["z"] - joints["left_ankle"]["z"]
    assert height == pytest.approx(np.ptp(STANDING[:, 2]), abs=0.05)


def test_a_wrong_or_taken_address_is_one_line(short_tmp: Path) -> None:
    path = write_config(short_tmp, [synthetic()])
    done = run_app(short_tmp, "live", "--config", path, "--headless", "--publish", "5555")
    assert done.returncode == 2 and "tcp://127.0.0.1:5555" in done.stderr
    assert done.stderr.count("\n") == 1
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        done = run_app(short_tmp, "live", "--config", path, "--headless", "--publish", address)
    assert done.returncode == 2
    assert f"--publish {address}: Address already in use" in done.stderr


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:70000", "tcp://127.0.0.1:0", "5555", "ipc:"])
def test_what_is_no_address_is_refused(tmp_path: Path, address: str) -> None:
    spec = RunSpec(mode="live", config=config(tmp_path))
    with pytest.raises(UserError, match="is no address such as"):
        published(spec, address)
    assert published(spec, "tcp://*:5555").publish == "tcp://*:5555"


def test_no_file_and_no_live_socket_is_taken_over(short_tmp: Path) -> None:
    file = short_tmp / "mine.txt"
    file.write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        check_free(file)
    assert file.read_text() == "mine"
    path = short_tmp / "s"
    check_free(path)
    with zmq.Context().socket(zmq.PUB) as one:
        one.bind(f"ipc://{path}")
        with pytest.raises(UserError, match="another program"):
            check_free(path)
        left = short_tmp / "left"
        with sockets.socket(sockets.AF_UNIX) as dead:
            dead.bind(str(left))
        check_free(left)
