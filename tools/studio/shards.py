"""Rendered scenes on disk: one safetensors file each, pictures as JPEG, every label exact.

A file holds one person in one room: a motion seen by a few cameras, single poses seen by a camera
each, or whole webcam pictures with none to three people. Everything is named by `Scene`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Literal, cast

import cv2
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engines.errors import UserError
from engines.skeleton import JOINT_COUNT

Kind = Literal["crops", "frames"]
Split = Literal["train", "validation", "test"]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]

OUTSIDE, HIDDEN, VISIBLE = range(3)
"""Whether a joint can be seen: outside the picture, behind something, or in plain sight."""

PICTURE_SIZES: Final[dict[Kind, tuple[int, int]]] = {"crops": (240, 320), "frames": (320, 240)}
"""Width and height of the stored pictures."""

_FORMAT: Final = "dsvt-studio-scene"
_VERSION: Final = "1"


@dataclass(frozen=True, slots=True)
class Scene:
    """N pictures of P people at T instants by V cameras; J is 17 (``engines.skeleton``).

    A camera sees x_cam = R x + t; with n = (x/z, y/z) and r² = n·n the lens makes
    d = n (1 + k1 r²), and the pixel is K d. Pixel centres lie at integers + 0.5.

    Attributes:
        kind: ``crops`` show the region around person 0, ``frames`` the whole picture.
        sequence: whether the instants follow each other; otherwise each picture has an instant and
            a camera of its own.
        split: which people, clothes, rooms and motions it is made of.
        seed: what all chance in it follows from.
        stature_m: of person 0.
        picture_size: (2,) width and height of whole pictures.
        instant: (N,) instant of each picture.
        view: (N,) camera of each picture.
        picture_times_s: (N,) when it was exposed; cameras run free.
        instant_times_s: (T,) common times.
        regions: (N, 4) x0, y0, x1, y1: what the stored picture shows, in pixels of the whole one.
        joints_px: (N, P, J, 2) joints at the picture's own time, pixels of the whole picture; NaN
            where that person is absent or the joint behind the camera.
        visibility: (N, P, J) ``OUTSIDE``, ``HIDDEN`` or ``VISIBLE``.
        boxes: (N, P, 4) box around a person's visible pixels, pixels of the whole picture; NaN
            where nothing is seen.
        pixels: (N, P) visible pixels of each person in the stored picture.
        joints_m: (T, J, 3) person 0 at the common instants, world, metres, z up.
        camera_R: (V, 3, 3) world to camera.
        camera_t: (V, 3) metres.
        camera_K: (V, 3, 3) pixels of the whole picture.
        camera_k1: (V,) distortion.
        jpeg: (bytes,) the pictures one after the other.
        jpeg_offsets: (N + 1,) where each begins.
        mask_png: (bytes,) the masks one after the other.
        mask_offsets: (N + 1,) where each begins.
    """

    kind: Kind
    sequence: bool
    split: Split
    seed: int
    stature_m: float
    picture_size: Integers
    instant: Integers
    view: Integers
    picture_times_s: Doubles
    instant_times_s: Doubles
    regions: Floats
    joints_px: Floats
    visibility: Bytes
    boxes: Floats
    pixels: Integers
    joints_m: Floats
    camera_R: Floats  # noqa: N815
    camera_t: Floats
    camera_K: Floats  # noqa: N815
    camera_k1: Floats
    jpeg: Bytes
    jpeg_offsets: npt.NDArray[np.int64]
    mask_png: Bytes
    mask_offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.instant)

    def to_stored(self, places: Floats, index: int) -> Floats:
        """Pixels of a whole picture to those of what is stored of it.

        Args:
            places: (..., 2) x, y.
            index: Of the picture.

        Returns:
            (..., 2).
        """
        region = self.regions[index]
        scale = np.array(PICTURE_SIZES[self.kind], np.float32) / (region[2:] - region[:2])
        return np.asarray((places - region[:2]) * scale, np.float32)

    def picture(self, index: int) -> Bytes:
        """Decodes a picture: (h, w, 3) RGB.

        Raises:
            UserError: the picture is damaged.
        """
        what = f"scene {self.split}/{self.seed}: picture {index}"
        return _decoded(self.jpeg, self.jpeg_offsets, index, cv2.IMREAD_COLOR_RGB, what)

    def mask(self, index: int) -> Bytes:
        """Decodes a mask: (h, w), 0 is the room, 1 person 0, 2 and more the others.

        Raises:
            UserError: the mask is damaged.
        """
        what = f"scene {self.split}/{self.seed}: mask {index}"
        return _decoded(self.mask_png, self.mask_offsets, index, cv2.IMREAD_GRAYSCALE, what)


def _decoded(
    files: Bytes, offsets: npt.NDArray[np.int64], index: int, mode: int, what: str
) -> Bytes:
    """Decodes one of the files that lie one after the other."""
    decoded = cv2.imdecode(files[offsets[index] : offsets[index + 1]], mode)
    if decoded is None:
        raise UserError(f"{what} is damaged")
    return cast(Bytes, decoded)


_FACTS: Final = ("kind", "sequence", "split", "seed", "stature_m")
_TENSORS: Final = tuple(field.name for field in fields(Scene) if field.name not in _FACTS)


def packed(parts: list[Bytes]) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """Files one after the other, and where each begins (and the last ends)."""
    offsets = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
    return np.concatenate(parts), offsets


def scene_path(folder: Path, kind: Kind, seed: int) -> Path:
    """Where a scene lies in the folder of its split."""
    return folder / f"{kind}-{seed:06d}.safetensors"


def seed_of(path: Path) -> int:
    """The seed in the name of a scene's file, as `scene_path` makes it."""
    return int(path.stem.rpartition("-")[2])


def list_scenes(folder: Path, kind: Kind) -> tuple[Path, ...]:
    """The finished scenes of one kind in the folder of a split, by seed."""
    return tuple(sorted(folder.glob(f"{kind}-*.safetensors")))


def write_scene(scene: Scene, path: Path) -> None:
    """Writes a scene; a crash leaves no half of one.

    Raises:
        UserError: it cannot be written.
    """
    facts = {name: str(getattr(scene, name)) for name in _FACTS}
    tensors = {name: np.ascontiguousarray(getattr(scene, name)) for name in _TENSORS}
    half = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, half, {"format": _FORMAT, "version": _VERSION, **facts})
        half.replace(path)
    except (OSError, SafetensorError) as error:  # the latter of a full disk
        with contextlib.suppress(OSError):
            half.unlink(missing_ok=True)
        said = error.strerror if isinstance(error, OSError) else None
        raise UserError(f"{path}: cannot be written ({said or error})") from error


def read_scene(path: Path) -> Scene:
    """Reads a scene.

    Raises:
        UserError: the file is missing, damaged, of another version or no scene at all.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            facts = file.metadata() or {}
            if facts.get("format") != _FORMAT or facts.get("version") != _VERSION:
                raise UserError(
                    f"{path}: no scene of this version; make it with 'python -m tools.studio data'"
                )
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
        scene = Scene(
            kind=cast(Kind, facts["kind"]),
            sequence=facts["sequence"] == "True",
            split=cast(Split, facts["split"]),
            seed=int(facts["seed"]),
            stature_m=float(facts["stature_m"]),
            **tensors,
        )
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such scene") from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        first = " ".join(str(error).split())
        raise UserError(f"{path}: damaged ({first}); delete it and make it again") from error
    problem = _problem(scene)
    if problem:
        raise UserError(f"{path}: damaged ({problem}); delete it and make it again")
    return scene


def _problem(scene: Scene) -> str | None:
    """What does not fit together."""
    n, v, t = len(scene.instant), len(scene.camera_t), len(scene.instant_times_s)
    p = scene.boxes.shape[1] if scene.boxes.ndim == 3 else 0
    wanted: dict[str, tuple[tuple[int, ...], type]] = {
        "picture_size": ((2,), np.int32),
        "instant": ((n,), np.int32),
        "view": ((n,), np.int32),
        "picture_times_s": ((n,), np.float64),
        "instant_times_s": ((t,), np.float64),
        "regions": ((n, 4), np.float32),
        "joints_px": ((n, p, JOINT_COUNT, 2), np.float32),
        "visibility": ((n, p, JOINT_COUNT), np.uint8),
        "boxes": ((n, p, 4), np.float32),
        "pixels": ((n, p), np.int32),
        "joints_m": ((t, JOINT_COUNT, 3), np.float32),
        "camera_R": ((v, 3, 3), np.float32),
        "camera_t": ((v, 3), np.float32),
        "camera_K": ((v, 3, 3), np.float32),
        "camera_k1": ((v,), np.float32),
        "jpeg_offsets": ((n + 1,), np.int64),
        "mask_offsets": ((n + 1,), np.int64),
    }
    if scene.kind not in PICTURE_SIZES or n == 0 or p == 0:
        return f"{n} pictures of kind {scene.kind!r} with {p} people"
    for name, (shape, kind) in wanted.items():
        array = getattr(scene, name)
        if array.shape != shape or array.dtype != kind:
            return f"{name} is {array.dtype} {array.shape}, not {np.dtype(kind)} {shape}"
    for index, count in ((scene.instant, t), (scene.view, v)):
        if index.min() < 0 or index.max() >= count:
            return "a picture of a camera or an instant that is not there"
    for data, offsets in ((scene.jpeg, scene.jpeg_offsets), (scene.mask_png, scene.mask_offsets)):
        ordered = offsets[0] == 0 and offsets[-1] == data.size and (np.diff(offsets) > 0).all()
        if data.dtype != np.uint8 or data.ndim != 1 or not ordered:
            return "pictures that do not fill the file"
    return None
