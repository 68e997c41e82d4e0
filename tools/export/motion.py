"""The motion of one take, as it was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from app.messages import Pose
from app.placement import Placer
from app.recording.reader import Recording
from app.topics import Topic
from engines.errors import UserError
from engines.skeleton import JOINT_COUNT, JOINT_NAMES

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

Place = Literal["room", "floor", "pelvis"]
"""Where the origin is: that of the room; on the floor under the pelvis, where the lower foot
stands; the pelvis."""

_NOWHERE: Final = (np.nan, np.nan, np.nan)


@dataclass(frozen=True, slots=True)
class Motion:
    """The skeleton at ascending instants.

    Frame: z up, metres; y is where the reference camera looks, or the front that was set.

    Attributes:
        start_ns: the first instant, nanoseconds since 1970.
        times_s: (N,) instants from there on.
        joints: (N, 17, 3) metres relative to the pelvis, NaN where a joint is not known.
        confidence: (N, 17) 0…1, 0 where a joint is not known.
        root: (N, 3) metres, where the pelvis is; NaN where that is not known.
        world: (N,) which axes an instant is in: another number after they were set anew.
        place: where the origin is.
        names: of the joints, for the files that are written.
        rate_hz: where the instants are evenly spaced; None where they are those of the recording.
        missing: why what came later is not there, or empty.
        begin_s: the first instant, after the first pose of the recording.
    """

    start_ns: int
    times_s: Floats
    joints: Floats
    confidence: Floats
    root: Floats
    world: Integers
    place: Place
    names: tuple[str, ...] = JOINT_NAMES
    rate_hz: float | None = None
    missing: str = ""
    begin_s: float = 0.0

    @property
    def placed(self) -> Floats:
        """(N, 17, 3) the joints about the origin, metres; NaN where joint or root is unknown."""
        return self.joints + self.root[:, None]

    @property
    def changes_s(self) -> Floats:
        """When the axes became others: between two instants, after the recording's first pose."""
        between = 0.5 * (self.times_s[1:] + self.times_s[:-1])
        return np.asarray(self.begin_s + between[np.diff(self.world) != 0])

    def even_rate_hz(self, kind: str) -> float:
        """The rate, for a kind of file that has none but an even one.

        Raises:
            ValueError: the motion is not evenly spaced.
        """
        if self.rate_hz is None:
            raise ValueError(f"a {kind} file needs an even rate")
        return self.rate_hz


def y_up(places: Floats, per_metre: float) -> Floats:
    """Places (…, 3) with y up, by a quarter turn about x, in another unit."""
    x, y, z = np.moveaxis(places * per_metre, -1, 0)
    return np.stack((x, z, -y), axis=-1)


def read_motion(
    path: Path, place: Place | None = None, begin_s: float = 0.0, end_s: float | None = None
) -> Motion:
    """Reads the poses of a recording.

    Args:
        path: the recording (.mcap), whole or cut off.
        place: where the origin is to be; None takes the room where the recording knows it at all,
            and else the floor.
        begin_s: poses from here on, seconds after the first one.
        end_s: poses up to here; None reads all.

    Returns:
        All these instants; the root is unknown where the room is asked for and not known yet.

    Raises:
        UserError: the file is no recording or holds no pose there, or never knows the room that is
            asked for.
    """
    recording = Recording(path)
    first_ns: int | None = None
    poses: list[Pose] = []
    for item in recording.messages([Topic.POSES]):
        pose = item.message
        if not isinstance(pose, Pose) or not _is_usable(pose, poses):
            continue
        first_ns = pose.time_ns if first_ns is None else first_ns
        since_s = (pose.time_ns - first_ns) * 1e-9
        if since_s >= begin_s and (end_s is None or since_s <= end_s):
            poses.append(pose)
    if first_ns is None:
        raise UserError(f"{path}: nobody was seen in this recording, there is nothing to export")
    if not poses:
        raise UserError(f"{path}: holds no pose in the seconds that were asked for")
    in_room = any(pose.root is not None for pose in poses)
    if place == "room" and not in_room:
        raise UserError(
            f"{path}: the place in the room is never known, since the cameras were not found; "
            "leave --place out, or use --place floor"
        )
    place = place or ("room" if in_room else "floor")
    joints = np.array([pose.joints for pose in poses], np.float64)
    confidence = np.array([pose.confidence for pose in poses], np.float64)
    known = (confidence > 0) & np.isfinite(joints).all(axis=-1)
    if not known.any():
        raise UserError(f"{path}: no joint is known at any time, there is nothing to export")
    joints[~known], confidence[~known] = np.nan, 0.0
    if place == "room":
        root = np.array([pose.root or _NOWHERE for pose in poses], np.float64)
    else:
        root = np.zeros((len(poses), 3))
    if place == "floor":
        placer = Placer()
        root[:, 2] = [placer.stand(*pose) for pose in zip(joints, confidence, strict=True)]
    start = poses[0].time_ns
    return Motion(
        start_ns=recording.head.wall_ns(start),
        times_s=np.array([(pose.time_ns - start) * 1e-9 for pose in poses]),
        joints=joints,
        confidence=confidence,
        root=root,
        world=np.array([pose.world for pose in poses], np.int64),
        place=place,
        missing=recording.damage or ("" if recording.ended else "it was cut off"),
        begin_s=(start - first_ns) * 1e-9,
    )


def _is_usable(pose: Pose, before: list[Pose]) -> bool:
    """Whether a pose says something, and of a later instant than those before."""
    whole = len(pose.joints) == len(pose.confidence) == JOINT_COUNT
    return pose.valid and whole and (not before or pose.time_ns > before[-1].time_ns)
