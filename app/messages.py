"""Everything that flows between the processes, as typed, versioned messages.

Each message is a msgspec struct; on the bus it is MessagePack, in recordings JSON. Joints are in
the order of ``engines.skeleton``. Times are ``CLOCK_MONOTONIC`` nanoseconds of this host.
"""

from __future__ import annotations

from typing import Literal

import msgspec

SCHEMA_VERSION = 1

Point2 = tuple[float, float, float]
"""x and y in pixels, confidence 0…1 (0: missing)."""

Point3 = tuple[float, float, float]
"""x, y, z in metres."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Base of all messages; ``schema`` lets a reader refuse what it does not know."""

    schema: int = SCHEMA_VERSION


class FrameHeader(Message, tag="frame", frozen=True, kw_only=True):
    """Goes before the pixels of one picture, which are the message's second part.

    Attributes:
        camera: identifier of the camera.
        run: counts the starts of the capture process; the sequence restarts with it.
        sequence: counts pictures taken, so that gaps show what was lost on the way.
        capture_ns: when the picture was taken.
        stamped_by: who took that time: the camera driver, this host right after the grab, or the
            file's own time stamps moved to the epoch of the run.
        width: in pixels.
        height: in pixels.
        codec: how the pixels are stored: ``bgr24`` rows without padding, or ``jpeg``.
        delay_ns: so much later than its time a picture of a file was due to be given out, because
            the run's files are played slower than they were filmed; no latency of ours.
    """

    camera: str
    run: int
    sequence: int
    capture_ns: int
    stamped_by: Literal["driver", "host", "file"]
    width: int
    height: int
    codec: Literal["bgr24", "jpeg"] = "bgr24"
    delay_ns: int = 0


class CameraStatus(Message, tag="camera_status", frozen=True, kw_only=True):
    """What a capture process says of its camera, about twice a second and on every change.

    Attributes:
        camera: identifier of the camera.
        state: ``opening``, ``streaming``, ``frozen`` (pictures come but do not change),
            ``lost`` (will be retried), ``ended`` (a file that is over).
        detail: one line: the source and its real mode, or why it is lost and when it is retried.
        at_ns: when this was said.
        fps: measured rate of pictures taken.
        frames: pictures taken since the process started.
        source_drops: pictures that the source itself lost or that were skipped to stay current.
        reconnects: how often the source was opened again.
        width: real width in pixels, 0 before the first picture.
        height: real height in pixels, 0 before the first picture.
        warning: one line: what is not as asked although it works (too slow, another size, far
            behind), empty if nothing.
    """

    camera: str
    state: Literal["opening", "streaming", "frozen", "lost", "ended"]
    detail: str
    at_ns: int
    fps: float = 0.0
    frames: int = 0
    source_drops: int = 0
    reconnects: int = 0
    width: int = 0
    height: int = 0
    warning: str = ""


class View(Message, tag="view", frozen=True, kw_only=True):
    """One camera's share of a set.

    Attributes:
        camera: identifier of the camera.
        sequence: which picture.
        capture_ns: when it was taken.
        skew_ms: its time minus the set's common time.
        width: picture width in pixels.
        height: picture height in pixels.
        keypoints: the 17 joints, or None where no person was found.
        box: x0, y0, x1, y1 in pixels of the tracked person, or None.
        swapped: left and right were exchanged here (and have been mended in ``keypoints``).
    """

    camera: str
    sequence: int
    capture_ns: int
    skew_ms: float
    width: int
    height: int
    keypoints: tuple[Point2, ...] | None = None
    box: tuple[float, float, float, float] | None = None
    swapped: bool = False


class Joints2D(Message, tag="joints2d", frozen=True, kw_only=True):
    """The 2D joints of one set; one entry a camera, None where the view is missing."""

    index: int
    time_ns: int
    views: tuple[View | None, ...]


class Pose(Message, tag="pose", frozen=True, kw_only=True):
    """The 3D skeleton at one instant.

    Frame: z up; heading from the reference camera (the first in the configuration): that camera
    looks along +y, x is to its right. Metres by the configured body height.

    Attributes:
        index: index of the set that it comes from.
        time_ns: the instant that it describes.
        published_ns: when it was sent.
        latency_ms: from ``time_ns``, the instant that is shown, to publication.
        valid: False where the lifter had too little to answer; joints are then empty.
        stage: what it was made with: ``lifter`` alone, or triangulation with a found ``rig``.
        joints: the 17 joints relative to the pelvis.
        confidence: 0…1 a joint; 0 means that the joint is not known and must not be drawn.
        expected_error_mm: the system's own estimate of its mean joint error.
        root: position of the pelvis in the room, or None while it is not known.
        levelled: whether z is known to be vertical (else the reference camera is taken as level).
        world: which axes it is in: another number after a person has set them anew, or the cameras
            were looked for anew.
        cameras: the cameras that took part.
        skew_ms: the largest distance in time of one of its pictures from the common time.
    """

    index: int
    time_ns: int
    published_ns: int
    latency_ms: float
    valid: bool
    stage: Literal["lifter", "rig"] = "lifter"
    joints: tuple[Point3, ...] = ()
    confidence: tuple[float, ...] = ()
    expected_error_mm: float | None = None
    root: Point3 | None = None
    levelled: bool = False
    world: int = 0
    cameras: tuple[str, ...] = ()
    skew_ms: float = 0.0


class PreviewPart(msgspec.Struct, frozen=True, kw_only=True):
    """Where one camera's preview lies in the second part of a ``Previews`` message.

    ``width`` and ``height`` are those of the preview; ``scale`` is preview pixels for one camera
    pixel. The pixels are bgr24 rows at ``offset``.
    """

    camera: str
    width: int
    height: int
    scale: float
    offset: int


class Previews(Message, tag="previews", frozen=True, kw_only=True):
    """Small pictures of one set with its 2D joints, for people to look at."""

    index: int
    time_ns: int
    parts: tuple[PreviewPart, ...]
    joints2d: Joints2D


class ViewEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What one camera adds to finding the rig.

    Attributes:
        capture_ns: when its picture was taken.
        width: of the picture in pixels.
        height: of the picture in pixels.
        keypoints: 17 joints in half-width units (``app.tracks``) and confidence, left and right
            mended.
        lifted: the lifter's answer for the set's instant in this camera's axes, root-relative,
            body units; None where it gave none.
        sigma: expected distance of ``lifted`` from the truth, body units.
    """

    capture_ns: int
    width: int
    height: int
    keypoints: tuple[Point2, ...]
    lifted: tuple[Point3, ...] | None = None
    sigma: tuple[float, ...] | None = None


class Evidence(Message, tag="evidence", frozen=True, kw_only=True):
    """One set as the rig estimator wants it; one entry a camera, None where the view is missing."""

    index: int
    time_ns: int
    body_unit_m: float
    views: tuple[ViewEvidence | None, ...]


class RigUpdate(Message, tag="rig", frozen=True, kw_only=True):
    """Where the cameras are, as far as it is known; repeated every second.

    Attributes:
        at_ns: when this was said.
        version: counts changes of ``rig``; 0 while there is none.
        world: counts how often the world's axes were set anew, by a person or since the cameras are
            looked for anew.
        rig: the rig in the project's own JSON format (``engines.rig.rig_file``), empty for none.
        quality: one word: ``searching``, ``poor``, ``fair`` or ``good``.
        expected_error_mm: joint error to be expected with it, None while searching.
        reason: why there is no rig, or what would make it better; one line, empty if all is well.
        warnings: what else to know, one line each.
        moved: cameras that were moved and are left out until they are found again.
        seconds: of motion that it rests on.
        seen: index of the newest set that was looked at; -1 before the first.
    """

    at_ns: int
    version: int
    world: int = 0
    rig: str = ""
    quality: str = "searching"
    expected_error_mm: float | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    seconds: float = 0.0
    seen: int = -1
