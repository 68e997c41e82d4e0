"""What a configuration file may say. Unknown keys and impossible values are errors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from app.config.stream_address import check_address


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WebcamSource(_Section):
    """A camera of this machine.

    ``device`` is an index or, stable over restarts, a path under ``/dev/v4l/by-path``. What the
    camera really chose is read back and reported. Without ``exposure`` it is automatic.
    """

    kind: Literal["webcam"]
    device: int | str = Field(description="index, or a path under /dev/v4l/by-path")
    width: int = Field(640, ge=16, le=7680)
    height: int = Field(480, ge=16, le=4320)
    fps: float = Field(30.0, gt=0, le=240)
    fourcc: str = Field("MJPG", pattern=r"^[A-Za-z0-9 ]{4}$")
    exposure: float | None = Field(None, description="fixed exposure in the driver's unit")


class FileSource(_Section):
    """A video file: played at its own rate, or as fast as it is consumed (nothing dropped)."""

    kind: Literal["file"]
    path: Path
    pace: Literal["real_time", "as_consumed"] = "real_time"
    loop: bool = False
    start_s: float = Field(0.0, description="time of the file at the run's time 0")


class StreamSource(_Section):
    """A network camera: RTSP or HTTP (MJPEG). Always the newest picture, lag never builds up."""

    kind: Literal["stream"]
    url: Annotated[str, AfterValidator(check_address)] = Field(
        pattern=r"^(rtsp|rtsps|http|https)://"
    )
    open_timeout_s: float = Field(5.0, gt=0, le=60)


class SyntheticSource(_Section):
    """A moving test picture with faults on demand, for tests and benchmarks.

    Attributes:
        width: in pixels.
        height: in pixels.
        fps: rate.
        phase_ms: offset of its clock.
        jitter_ms: standard deviation of the time between pictures.
        drop: share of pictures that are lost before they are sent.
        hang_at_s: stops giving pictures at this time …
        hang_for_s: … for so long.
        freeze_at_s: repeats the same picture from this time …
        freeze_for_s: … for so long.
        fail_at_s: fails at this time and cannot be opened …
        fail_for_s: … for so long.
        seed: of its randomness.
    """

    kind: Literal["synthetic"]
    width: int = Field(640, ge=16, le=7680)
    height: int = Field(480, ge=16, le=4320)
    fps: float = Field(30.0, gt=0, le=1000)
    phase_ms: float = 0.0
    jitter_ms: float = Field(0.0, ge=0)
    drop: float = Field(0.0, ge=0, le=1)
    hang_at_s: float | None = None
    hang_for_s: float = Field(1.0, gt=0)
    freeze_at_s: float | None = None
    freeze_for_s: float = Field(1.0, gt=0)
    fail_at_s: float | None = None
    fail_for_s: float = Field(1.0, gt=0)
    seed: int = 0


Source = Annotated[
    WebcamSource | FileSource | StreamSource | SyntheticSource, Field(discriminator="kind")
]


Turn = Literal[0, 90, 180, 270]
"""Degrees clockwise that make a camera's pictures upright."""


class CameraConfig(_Section):
    """One camera; the first in the list is the reference camera.

    ``rotate`` turns the pictures of a camera that is mounted on its side or upside down, before
    anything else sees them. ``horizontal_fov_deg`` is the horizontal field of view, of the turned
    pictures, where it is known; the lifter does not need it.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")
    source: Source
    rotate: Turn = 0
    horizontal_fov_deg: float | None = Field(None, gt=10, lt=170)
    frozen_after_s: float = Field(2.0, gt=0, description="unchanged pictures for so long: frozen")


class SynchronizerConfig(_Section):
    """How pictures are put together into sets."""

    max_skew_ms: float = Field(40.0, gt=0, le=500)
    lost_after_ms: float = Field(250.0, gt=0, le=10000)
    max_rate_hz: float = Field(60.0, gt=0, le=1000)


class FrontEndConfig(_Section):
    """The 2D front end. ``threads`` of 0 means one a core.

    ``detector`` and ``pose`` are the networks of ``yolo_cpn``: ``shipped``, a name that
    ``python -m tools.weights list`` knows, or a path to an ``.onnx`` file. ``flip_test`` shows the
    pose network every crop mirrored, too: surer joints for twice its time; by default (null) where
    the network is a light one.
    """

    kind: Literal["blazepose", "yolo_cpn"] = "blazepose"
    detector: str = Field("shipped", min_length=1)
    pose: str = Field("shipped", min_length=1)
    threads: int = Field(0, ge=0, le=256)
    mend_swaps: bool = True
    flip_test: bool | None = None


class LifterConfig(_Section):
    """The 2D-to-3D network. ``output_frame``: newer is quicker, more central is more exact.

    ``threads``: it is too small to gain from a second one, which would only cost (0: one a core).
    """

    weights: Path = Path("weights/lifter.onnx")
    output_frame: Literal["last", "centre"] | Annotated[int, Field(ge=0, le=26)] = "last"
    threads: int = Field(1, ge=0, le=256)


class CalibrationConfig(_Section):
    """Finding the cameras from the moving person.

    Attributes:
        enabled: off means that the lifter answers alone.
        every_s: longest pause between two refinements while there is something new to learn
            from; at the beginning they are more frequent.
        lenses: a rig file (any format of ``engines.rig.exchange``) whose lenses are known.
        fixed: a rig file whose cameras stand where it says; its world is kept.
    """

    enabled: bool = True
    every_s: float = Field(20.0, ge=1, le=600)
    lenses: Path | None = None
    fixed: Path | None = None


class ViewerConfig(_Section):
    """The window, or the off-screen renderer where there is no display."""

    width: int = Field(1280, ge=320, le=7680)
    height: int = Field(720, ge=240, le=4320)
    preview_width: int = Field(320, ge=64, le=1920)
    video_fps: float = Field(15.0, gt=0, le=120)


class RecorderConfig(_Section):
    """Where recordings that are started with a key go."""

    folder: Path = Path("out")


class AppConfig(_Section):
    """Everything that one run needs to know.

    Paths are relative to the configuration file. What begins with ``weights/`` or ``capture/`` and
    is not there comes from the program's own folders of these names, and what begins with ``out``
    goes to the current folder.

    ``precision`` is that of networks on a GPU; a CPU always runs single precision.
    """

    description: str = ""
    cameras: list[CameraConfig] = Field(min_length=1, max_length=8)
    body_height_m: float = Field(1.70, gt=0.4, lt=2.6)
    engine: Literal["auto", "onnxruntime", "torch", "tensorrt"] = "auto"
    precision: Literal["fp16", "fp32"] = "fp16"
    synchronizer: SynchronizerConfig = SynchronizerConfig()
    front_end: FrontEndConfig = FrontEndConfig()
    lifter: LifterConfig = LifterConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    viewer: ViewerConfig = ViewerConfig()
    recorder: RecorderConfig = RecorderConfig()
    truth: Path | None = Field(None, description="ground truth of a clip, for its error figures")

    @model_validator(mode="after")
    def _cameras_are_distinct(self) -> AppConfig:
        seen: set[str] = set()
        for camera in self.cameras:
            if camera.id in seen:
                raise ValueError(f"two cameras are called '{camera.id}'; give each its own id")
            seen.add(camera.id)
        paces = {c.source.pace == "as_consumed" for c in self.cameras if c.source.kind == "file"}
        live = any(c.source.kind != "file" for c in self.cameras)
        if True in paces and (live or False in paces):
            raise ValueError("pace as_consumed is for all cameras or for none")
        return self

    @property
    def lossless(self) -> bool:
        """Whether the sources wait for the pipeline (offline work)."""
        source = self.cameras[0].source
        return source.kind == "file" and source.pace == "as_consumed"
