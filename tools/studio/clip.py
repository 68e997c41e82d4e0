"""Makes the built-in clip: four free-running cameras see one person walk, turn, wave and squat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import yaml

from tools.studio.assets import Assets
from tools.studio.camera import Camera, Sensor, look_at
from tools.studio.developer import Image
from tools.studio.formats import FloatArray
from tools.studio.furnish import random_room
from tools.studio.looks import DENIM, HOOPS, PLAIN, Fabric, Look
from tools.studio.motion import TRACK_HZ, Piece, Track, make_track, read_mocap
from tools.studio.person import Outfit, Person, build_person
from tools.studio.renderer import Actor, Renderer, Stage
from tools.studio.rig import forward, true_joints
from tools.studio.shape import Shape
from tools.studio.video import write_video

FPS: Final = 30
SIZE: Final = (640, 480)
STATURE_M: Final = 1.76
DROPOUT: Final = (2, 6.2, 7.2)
"""Camera, and the seconds between which it delivers nothing."""
_JITTER_S: Final = 0.015
_ROOM: Final = ((-3.9, -3.4, 0.0), (3.8, 3.6, 2.65))
_PIECES: Final = (
    Piece("cseq_train_walking_extra_walking_24#0", 40, 168),
    Piece("cmu_13_26", 590, 695),
    Piece("cmu_13_30", 350, 436),
    Piece("cseq_train_walking_extra_walking_22#0", 0, 84, -25.0),
)
_SHAPE: Final = Shape(male=0.92, age=0.56, muscle=0.58, weight=0.5, ideal=0.6, stature_m=STATURE_M)
_OUTFIT: Final = Outfit("male_casualsuit02", "shoes02", "short02")
_LOOK: Final = Look(
    skin=(0.86, 0.68, 0.56),
    hair=(0.24, 0.16, 0.11),
    iris=(0.30, 0.20, 0.12),
    shoe=(0.22, 0.24, 0.27),
    sole=(0.88, 0.87, 0.84),
    top=Fabric(HOOPS, 0.11, (0.86, 0.85, 0.80), (0.13, 0.22, 0.42)),
    bottom=Fabric(DENIM, 0.1, (0.20, 0.25, 0.36), (0.48, 0.55, 0.66)),
    trim=Fabric(PLAIN, 0.1, (0.5, 0.5, 0.5)),
    stubble=0.25,
    seed=11,
)


@dataclass(frozen=True, slots=True)
class Shot:
    """One camera of the clip and when it takes its pictures."""

    camera: Camera
    times_s: npt.NDArray[np.float64]


def _cameras() -> tuple[Camera, ...]:
    """Four unlike webcams around the middle of the room."""
    wide, high = SIZE
    # Azimuth, distance and height of the camera, field of view, roll (degrees and metres).
    places = (
        (-78.0, 2.75, 1.25, 76.0, 0.8),
        (17.0, 3.75, 2.25, 58.0, -1.2),
        (104.0, 3.15, 1.65, 68.0, 0.0),
        (214.0, 4.15, 0.88, 51.0, 1.6),
    )
    sensors = (
        Sensor((1.02, 1.0, 0.97), 0.22, 0.2, 0.010, 0.25),
        Sensor((1.13, 1.08, 1.00), 0.35, 0.4, 0.014, 0.15),
        Sensor((0.86, 0.90, 0.94), 0.25, 0.3, 0.012, 0.35),
        Sensor((1.00, 1.03, 1.10), 0.30, 0.5, 0.016, 0.20),
    )
    targets = ((0.05, 0.0, 0.92), (-0.05, 0.05, 0.85), (0.0, -0.05, 0.9), (0.1, 0.0, 0.95))
    cameras = []
    for (azimuth, distance, height, fov, roll), sensor, target in zip(
        places, sensors, targets, strict=True
    ):
        angle = np.radians(azimuth)
        at = (float(distance * np.cos(angle)), float(distance * np.sin(angle)), height)
        cameras.append(look_at(at, target, fov, wide, high, roll, sensor))
    return tuple(cameras)


def capture_times(
    seconds: float, rng: np.random.Generator, gap: tuple[float, float] | None
) -> npt.NDArray[np.float64]:
    """When a free-running camera takes its pictures: own phase, ±15 ms jitter, perhaps a gap."""
    phase = rng.uniform(_JITTER_S, 1.0 / FPS)
    count = int((seconds - phase - _JITTER_S) * FPS)
    times = phase + np.arange(count) / FPS + rng.uniform(-_JITTER_S, _JITTER_S, count)
    # An MP4 file counts in 1/90000 s, and its beginning in whole milliseconds.
    times += np.round(times[0], 3) - times[0]
    times = np.round(times * 90000) / 90000
    return times if gap is None else times[(times < gap[0]) | (times >= gap[1])]


def plan(assets: Assets, mocap: Path) -> tuple[Person, Track, tuple[Shot, ...]]:
    """The person, its motion and the cameras with their capture times."""
    person = build_person(assets, _SHAPE, _OUTFIT)
    track = make_track(person, read_mocap(mocap), list(_PIECES))
    rng = np.random.default_rng(20)
    shots = []
    for number, camera in enumerate(_cameras()):
        gap = DROPOUT[1:] if number == DROPOUT[0] else None
        shots.append(Shot(camera, capture_times(track.seconds, rng, gap)))
    return person, track, tuple(shots)


def write_truth(path: Path, person: Person, track: Track, shots: tuple[Shot, ...]) -> None:
    """Writes joints, cameras and capture times (see docs/studio.md)."""
    matrices = forward(person.rig, track.rotations, track.root)
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "times_s": np.arange(len(track.root)) / TRACK_HZ,
        "joints_m": true_joints(person.rig, matrices),
        "camera_R": np.stack([shot.camera.R for shot in shots]),
        "camera_t": np.stack([shot.camera.t for shot in shots]),
        "camera_K": np.stack([shot.camera.K for shot in shots]),
        "stature_m": np.array(person.stature_m),
    }
    arrays |= {f"frame_times_s_{i}": shot.times_s for i, shot in enumerate(shots)}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def _frames(
    renderer: Renderer, stage: Stage, actor: Actor, track: Track, shot: Shot
) -> Iterator[tuple[float, Image]]:
    rotations, root = track.at(shot.times_s)
    matrices: FloatArray = forward(actor.person.rig, rotations, root)
    for number, time_s in enumerate(shot.times_s):
        picture = renderer.draw(stage, [(actor, matrices[number])], shot.camera, number)
        yield float(time_s), picture


def make_clip(assets: Assets, mocap: Path, out: Path, crf: int = 19) -> None:
    """Writes camera0.mp4 … camera3.mp4, truth.npz and clip.yaml into ``out``."""
    person, track, shots = plan(assets, mocap)
    out.mkdir(parents=True, exist_ok=True)
    write_truth(out / "truth.npz", person, track, shots)
    positions = tuple(tuple(float(x) for x in shot.camera.position) for shot in shots)
    room = random_room(np.random.default_rng(16), *_ROOM, clear=positions)  # type: ignore[arg-type]
    renderer = Renderer(*SIZE)
    stage, actor = renderer.add_room(room), renderer.add_person(person, _LOOK)
    files = []
    for number, shot in enumerate(shots):
        name = f"camera{number}.mp4"
        frames = _frames(renderer, stage, actor, track, shot)
        write_video(out / name, frames, SIZE, crf, FPS)
        files.append({"file": name, "start_s": float(shot.times_s[0]), "frames": len(shot.times_s)})
    renderer.release()
    about = {
        "description": "One synthetic person walks, turns, waves and squats in a room, seen by "
        "four free-running cameras; the third delivers nothing for one second.",
        "fps": FPS,
        "size": list(SIZE),
        "seconds": round(track.seconds, 3),
        "stature_m": person.stature_m,
        # A player that starts each file at 0 must add start_s to get the common clock.
        "cameras": files,
        "dropout": {"camera": DROPOUT[0], "start_s": DROPOUT[1], "stop_s": DROPOUT[2]},
        "truth": "truth.npz",
        "licence": "Synthetic pictures, own work (Apache-2.0, as the project). Body and clothes: "
        "MakeHuman / MPFB2 assets, CC0. Motion: CMU Graphics Lab Motion Capture Database, "
        "mocap.cs.cmu.edu, created with funding from NSF EIA-0196217.",
    }
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=96)
    (out / "clip.yaml").write_text(text, encoding="utf-8")
