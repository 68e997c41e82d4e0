"""Publishes poses for programs of other people, on an address that the user named.

The bus of a run is private to it. Who wants the skeleton live, in a game engine or a robot's
program, gets it here: ZeroMQ PUB, one JSON object a message, joints by name (docs/live.md).
"""

from __future__ import annotations

import socket as sockets
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import zmq

from app.bus import Subscriber
from app.clock import ClockAnchor
from app.messages import Pose
from app.placement import Placer
from app.process import ProcessContext, run_process
from app.recording.reader import Recording
from app.run_messages import RunState
from app.topics import Topic
from engines.errors import UserError
from engines.skeleton import JOINT_NAMES

_QUEUE: Final = 64
_LINGER_MS: Final = 200
_DIGITS: Final = 4


class LiveJoint(msgspec.Struct, frozen=True):
    """One joint.

    Attributes:
        name: as in ``engines.skeleton``.
        x: metres, as for ``app.messages.Pose``.
        y: metres.
        z: metres, up from the floor.
        confidence: 0…1; joints that are not known are left out.
    """

    name: str
    x: float
    y: float
    z: float
    confidence: float


class LivePose(msgspec.Struct, frozen=True):
    """What other programs get.

    Attributes:
        time_ns: the instant that is shown, nanoseconds since 1970.
        in_room: whether the place in the room is known; else the person stands on the spot.
        levelled: whether z is known to be vertical.
        world: another number after the axes were set anew.
        expected_error_mm: the system's own estimate of its mean joint error.
        joints: those that are known; none while nobody is seen.
        schema: of this message.
    """

    time_ns: int
    in_room: bool
    levelled: bool
    world: int
    expected_error_mm: float | None
    joints: tuple[LiveJoint, ...]
    schema: int = 1


def live_pose(pose: Pose, placer: Placer, wall_ns: int) -> LivePose:
    """A pose as other programs get it.

    Args:
        pose: any, valid or not.
        placer: puts it on the floor.
        wall_ns: its instant, nanoseconds since 1970.
    """
    places, confidence = placer.place(pose)
    joints = tuple(
        LiveJoint(name, x, y, z, sure)
        for name, (x, y, z), sure in zip(
            JOINT_NAMES,
            np.round(places, _DIGITS).tolist(),
            np.round(confidence, _DIGITS).tolist(),
            strict=True,
        )
        if sure > 0
    )
    return LivePose(
        time_ns=wall_ns,
        in_room=pose.root is not None,
        levelled=pose.levelled,
        world=pose.world,
        expected_error_mm=pose.expected_error_mm,
        joints=joints,
    )


def check_free(path: Path) -> None:
    """Refuses the path of a socket that is something else, or that somebody answers on.

    ZeroMQ would take it over without a word.

    Raises:
        UserError: it may not be taken.
    """
    if not path.exists():
        return
    if not path.is_socket():
        raise UserError(f"--publish ipc://{path}: is a file, and no socket; name another path")
    with sockets.socket(sockets.AF_UNIX) as one:
        try:
            one.connect(str(path))
        except OSError:
            return  # left behind by a run that was killed
    raise UserError(f"--publish ipc://{path}: another program publishes there; name another path")


def main(context: ProcessContext) -> None:
    """Publishes until the run ends.

    Raises:
        UserError: the address cannot be taken.
    """
    address = context.spec.publish
    if address is None:
        raise UserError("no address to publish on was named")
    if address.startswith("ipc://"):
        check_free(Path(address.removeprefix("ipc://")))
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUB)
    socket.setsockopt(zmq.SNDHWM, _QUEUE)
    socket.setsockopt(zmq.LINGER, _LINGER_MS)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        raise UserError(f"--publish {address}: {error.strerror}; name another address") from error
    run_states = Subscriber[RunState](context.run_dir, Topic.RUN_STATE)
    poses = Subscriber[Pose](context.run_dir, Topic.POSES)
    placer = Placer()
    replay = context.spec.replay
    anchor = None if replay is None else Recording(replay).head.anchor
    context.ready(address)
    while not context.stop.is_set():
        state = run_states.latest()
        if anchor is None and state is not None:
            told = state.message
            anchor = ClockAnchor(told.anchor_monotonic_ns, told.anchor_wall_ns)
        received = poses.receive(100)
        if received is None or anchor is None:
            continue
        pose = received.message
        told_pose = live_pose(pose, placer, anchor.to_wall(pose.time_ns))
        socket.send(msgspec.json.encode(told_pose))
    for closed in (run_states, poses):
        closed.close()
    socket.close()
    context.finished()


if __name__ == "__main__":
    run_process(main)
