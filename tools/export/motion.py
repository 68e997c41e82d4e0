"""The motion of one take: read from a recording, put onto an even rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from app.messages import Pose
from app.recording.reader import Recording
from app.topics import Topic
from engines.errors import UserError
from engines.skeleton import JOINT_COUNT

Floats = npt.NDArray[np.float64]

Place = Literal["room", "pelvis"]
"""Joints are places in the room, or relative to the pelvis."""

_GAP_S: Final = 0.5
_MOST_INSTANTS: Final = 5_000_000


@dataclass(frozen=True, slots=True)
class Motion:
    """The skeleton at ascending instants.

    Frame: z up, metres; y is where the reference camera looks, or the front that was set. The
    origin is the room's, or the pelvis.

    Attributes:
        start_ns: the first instant, nanoseconds since 1970.
        times_s: (N,) instants from there on.
        joints: (N, 17, 3) metres, NaN where a joint is not known.
        confidence: (N, 17) 0…1, 0 where a joint is not known.
        place: where the origin is.
        rate_hz: where the instants are evenly spaced; None where they are those of the recording.
        missing: why what came later is not there, or empty.
    """

    start_ns: int
    times_s: Floats
    joints: Floats
    confidence: Floats
    place: Place
    rate_hz: float | None = None
    missing: str = ""

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(N,) instants at which some joint is known."""
        return np.asarray(np.isfinite(self.joints[..., 0]).any(axis=1))

    def y_up(self, per_metre: float) -> Floats:
        """(N, 17, 3) the joints with y up, by a quarter turn about x, in another unit."""
        x, y, z = np.moveaxis(self.joints * per_metre, -1, 0)
        return np.stack((x, z, -y), axis=-1)

    def even_rate_hz(self, kind: str) -> float:
        """The rate, for a kind of file that has none but an even one.

        Raises:
            ValueError: the motion is not evenly spaced.
        """
        if self.rate_hz is None:
            raise ValueError(f"a {kind} file needs an even rate")
        return self.rate_hz


def read_motion(path: Path, place: Place | None = None) -> Motion:
    """Reads the poses of a recording.

    Args:
        path: the recording (.mcap), whole or cut off.
        place: where the origin is to be; None takes the room where the recording knows it at all.

    Returns:
        All instants with a pose; blank where the room is asked for and not known yet.

    Raises:
        UserError: the file is no recording or holds no pose, or never knows the room that is asked
            for.
    """
    recording = Recording(path)
    poses: list[Pose] = []
    for item in recording.messages([Topic.POSES]):
        pose = item.message
        if isinstance(pose, Pose) and _is_usable(pose, poses):
            poses.append(pose)
    if not poses:
        raise UserError(f"{path}: nobody was seen in this recording, there is nothing to export")
    in_room = any(pose.root is not None for pose in poses)
    if place == "room" and not in_room:
        raise UserError(
            f"{path}: the place in the room is never known, since the cameras were not found; "
            "leave --place out, or use --place pelvis"
        )
    place = place or ("room" if in_room else "pelvis")
    joints = np.array([pose.joints for pose in poses], np.float64)
    confidence = np.array([pose.confidence for pose in poses], np.float64)
    if place == "room":
        nowhere = (np.nan, np.nan, np.nan)
        joints = joints + np.array([pose.root or nowhere for pose in poses], np.float64)[:, None]
    known = (confidence > 0) & np.isfinite(joints).all(axis=-1)
    if not known.any():
        raise UserError(f"{path}: no joint is known at any time, there is nothing to export")
    joints[~known], confidence[~known] = np.nan, 0.0
    start = poses[0].time_ns
    return Motion(
        start_ns=recording.head.wall_ns(start),
        times_s=np.array([(pose.time_ns - start) * 1e-9 for pose in poses]),
        joints=joints,
        confidence=confidence,
        place=place,
        missing=recording.damage or ("" if recording.ended else "it was cut off"),
    )


def _is_usable(pose: Pose, before: list[Pose]) -> bool:
    """Whether a pose says something, and of a later instant than those before."""
    whole = len(pose.joints) == len(pose.confidence) == JOINT_COUNT
    return pose.valid and whole and (not before or pose.time_ns > before[-1].time_ns)


def resample(
    motion: Motion, rate_hz: float | None = None, longest_gap_s: float | None = None
) -> Motion:
    """Puts a motion onto evenly spaced instants, joint by joint, by linear interpolation.

    Args:
        motion: any.
        rate_hz: the new rate; None takes the usual one of the recording, rounded.
        longest_gap_s: where a joint is not known for longer, it stays unknown. None takes half a
            second, or one and a half of the usual steps where the recording is that slow.

    Returns:
        From the first instant to the last one that fits; nothing is extrapolated.

    Raises:
        UserError: there is a single instant only, or there would be too many of them.
    """
    times = motion.times_s
    if len(times) < 2:
        raise UserError("the recording holds a single pose; only .csv can take that")
    steps = np.diff(times)
    usual = steps[steps <= 1.5 * np.median(steps)]  # not over sets that were left out
    if longest_gap_s is None:
        longest_gap_s = max(_GAP_S, 1.5 * float(np.median(steps)))
    rate = rate_hz or max(1.0, float(np.round(1.0 / usual.mean())))
    count = int(np.floor(times[-1] * rate + 1e-6)) + 1
    if count > _MOST_INSTANTS:
        raise UserError(f"{count} instants at {rate:g} Hz; at most {_MOST_INSTANTS} are handled")
    wanted = np.arange(count) / rate
    joints = np.full((count, JOINT_COUNT, 3), np.nan)
    confidence = np.zeros((count, JOINT_COUNT))
    for joint in range(JOINT_COUNT):
        rows = np.flatnonzero(np.isfinite(motion.joints[:, joint, 0]))
        if len(rows) == 0:
            continue
        values = np.column_stack((motion.joints[rows, joint], motion.confidence[rows, joint]))
        after = np.clip(np.searchsorted(times[rows], wanted), 0, len(rows) - 1)
        before = np.where(times[rows][after] <= wanted, after, np.maximum(after - 1, 0))
        early, late = times[rows][before], times[rows][after]
        inside = (early <= wanted + 1e-9) & (wanted <= late + 1e-9)
        inside &= late - early <= longest_gap_s
        apart = np.where(late > early, late - early, 1.0)
        share = (wanted - early) / apart  # 0 where both are the same
        mixed = values[before] + share[:, None] * (values[after] - values[before])
        joints[inside, joint] = mixed[inside, :3]
        confidence[inside, joint] = mixed[inside, 3]
    return replace(motion, times_s=wanted, joints=joints, confidence=confidence, rate_hz=rate)
