"""Draws whole scenes with their labels: motions seen by several webcams, single poses, rooms.

All chance in a scene follows from its seed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from engines.front_ends.yolo_cpn.regions import box_of_joints, crop_region
from tools.studio.album import PEOPLE, Album, Moment, take
from tools.studio.camera import Camera, Window, project, to_camera, whole
from tools.studio.formats import FloatArray
from tools.studio.labelling import inside
from tools.studio.motion import Mocap, Piece, make_track
from tools.studio.person import Person
from tools.studio.posing import pose_joints
from tools.studio.renderer import Actor, Posed, Stage
from tools.studio.rig import forward, true_joints
from tools.studio.shards import PICTURE_SIZES, Scene, Split
from tools.studio.stagecraft import (
    Studio,
    Takes,
    add_person,
    add_room,
    bystanders,
    moved,
    random_hall,
)
from tools.studio.varied_motion import VARIED_SHARE, vary_motion
from tools.studio.webcams import random_webcam
from tools.training.bodies import BodyRanges, vary_bodies

_MARGIN: Final = 1.25
"""Stored regions are so much larger than the network's crop, for training to move about in."""

_LATE_S: Final = 0.015
"""Cameras run free: a picture is taken so much before or after the common instant, at most."""

_STILLS: Final = 36
_FRAMES: Final = 24
_TURNED: Final = BodyRanges(bone_sigma=0.0, turn_share=0.6, turn_deg=18.0, tilt_share=0.08)


def person_window(rng: np.random.Generator, camera: Camera, joints: FloatArray) -> Window | None:
    """What a tracker would cut out for a person (17, 3), somewhat off; None where they are out."""
    pixels = project(camera, joints)
    sure = inside(camera, pixels, to_camera(camera, joints)[:, 2])
    box = box_of_joints(np.hstack([pixels, sure[:, None]]).astype(np.float32))
    if box is None:
        return None
    size = box[2:] - box[:2]
    middle = (box[:2] + box[2:]) / 2 + size.max() * rng.normal(0, 0.03, 2)
    half = size / 2 * rng.uniform(0.92, 1.12) * _MARGIN
    width, height = PICTURE_SIZES["crops"]
    region = crop_region(
        np.concatenate([middle - half, middle + half]).astype(np.float32), height, width
    )
    return Window(region.left, region.top, region.width, region.height)


def draw_motion(
    takes: Takes, split: Split, seed: int, frames: int, rng: np.random.Generator
) -> tuple[Mocap, Piece]:
    """How the person of a sequence moves: as captured, or mostly otherwise where it is to train on.

    Args:
        takes: the split's capture.
        split: whose motions.
        seed: number of the scene; whether and how the motion is varied hangs on it alone.
        frames: of capture that are asked for.
        rng: source of chance, which draws the stretch.

    Returns:
        The capture, and the stretch of it; a varied stretch is capture of its own.
    """
    mocap, clip, start = takes.draw(rng, frames + 1)
    other = np.random.default_rng([seed, 4])  # the rest of a scene does not depend on it
    if split == "train" and other.random() < VARIED_SHARE:
        varied = vary_motion(mocap, clip, start, frames + 1, other)
        return varied, Piece(mocap.names[clip], 0, frames)
    return mocap, Piece(mocap.names[clip], start, start + frames)


def make_sequence(studio: Studio, seed: int) -> Scene:
    """A motion seen by three to five webcams that run free."""
    rng = np.random.default_rng([seed, 1])
    step, count = ((1, 32), (2, 22), (3, 18))[int(rng.choice(3, p=[0.2, 0.4, 0.4]))]
    corners = random_hall(rng)
    actor = add_person(rng, studio)
    seconds = step * count / 30.0
    frames = int(np.ceil((seconds + 0.4) * 30))
    mocap, piece = draw_motion(studio.takes, studio.split, seed, frames, rng)
    track = make_track(actor.person, mocap, [piece], grip=float(rng.uniform(0.0, 0.8)))
    views = int(rng.choice([3, 4, 5], p=[0.25, 0.5, 0.25]))
    size = None
    cameras: list[Camera] = []
    for _ in range(views):
        cameras.append(random_webcam(rng, *corners, size))
        size = (cameras[0].width, cameras[0].height)
    phases = rng.uniform(-_LATE_S, _LATE_S, views)
    exposure = float(rng.uniform(0.008, 0.033)) if rng.random() < 0.3 else 0.0
    common = 0.1 + np.arange(count) * step / 30.0
    late = common[:, None] + phases[None]
    times = np.stack([late - exposure / 4, late + exposure / 4, late], -1)
    rotations, root = track.at(np.concatenate([common, times.reshape(-1)]))
    matrices = forward(actor.person.rig, rotations, root)
    joints = true_joints(actor.person.rig, matrices)
    at_view = matrices[count:].reshape(count, views, 3, *matrices.shape[1:])
    joints_view = joints[count:].reshape(count, views, 3, 17, 3)
    path = joints[:count:4, 0, :2]
    others = bystanders(rng, studio, *corners, path, PEOPLE - 1)
    other_joints = [true_joints(other.person.rig, m) for other, m in others]
    where = np.concatenate([path, *(j[:1, :2] for j in other_joints)])
    stage = add_room(rng, studio, corners, tuple(_spot(c) for c in cameras), where)
    album = Album()
    for t in range(count):
        light = studio.renderer.light(stage, [(actor, matrices[t]), *others])
        for view, camera in enumerate(cameras):
            window = person_window(rng, camera, joints_view[t, view, 2])
            if window is None:
                continue
            moment = Moment(
                [(actor, at_view[t, view, 1]), *others],
                [joints_view[t, view, 2], *other_joints],
                [(actor, at_view[t, view, 0]), *others] if exposure else None,
            )
            time_s = float(late[t, view])
            take(rng, studio, stage, camera, light, moment, window, album, t, view, time_s)
    _release(stage, [actor, *(other for other, _ in others)])
    return album.scene(
        studio, "crops", True, seed, actor.person.stature_m, list(common), joints[:count], cameras
    )


def make_stills(studio: Studio, seed: int) -> Scene:
    """One person in many poses, each seen by a webcam of its own."""
    rng = np.random.default_rng([seed, 2])
    corners = random_hall(rng)
    actor = add_person(rng, studio)
    matrices, joints = _poses(rng, studio, actor.person, _STILLS)
    others = bystanders(rng, studio, *corners, np.zeros((1, 2), np.float32), PEOPLE - 1)
    other_joints = [true_joints(other.person.rig, m) for other, m in others]
    where = np.concatenate([np.zeros((1, 2)), *(j[:1, :2] for j in other_joints)])
    cameras = [random_webcam(rng, *corners)]
    size = (cameras[0].width, cameras[0].height)
    cameras += [random_webcam(rng, *corners, size) for _ in range(_STILLS - 1)]
    stage = add_room(rng, studio, corners, (), where)
    album = Album()
    kept: list[int] = []
    for index, camera in enumerate(cameras):
        window = person_window(rng, camera, joints[index])
        if window is None:
            continue
        actors = [(actor, matrices[index]), *others]
        light = studio.renderer.light(stage, actors)
        moment = Moment(actors, [joints[index], *other_joints], None)
        place = len(kept)
        take(rng, studio, stage, camera, light, moment, window, album, place, place, 0.0)
        kept.append(index)
    _release(stage, [actor, *(other for other, _ in others)])
    return album.scene(
        studio,
        "crops",
        False,
        seed,
        actor.person.stature_m,
        [0.0] * len(kept),
        joints[kept],
        [cameras[index] for index in kept],
    )


def make_frames(studio: Studio, seed: int) -> Scene:
    """Whole webcam pictures of one room with nobody to three people in it."""
    rng = np.random.default_rng([seed, 3])
    corners = random_hall(rng)
    cast = [add_person(rng, studio) for _ in range(PEOPLE)]
    stage = add_room(rng, studio, corners, (), np.zeros((1, 2), np.float32))
    width, height = PICTURE_SIZES["frames"]
    album, cameras, firsts = Album(), [], []
    for index in range(_FRAMES):
        count = int(rng.choice([0, 1, 2, 3], p=[0.15, 0.5, 0.25, 0.1]))
        camera = random_webcam(
            rng, *corners, (2 * width, 2 * height), near=float(rng.uniform(0.9, 2.0)), far=6.5
        )
        actors: list[Posed] = []
        posed: list[FloatArray] = []
        spots = np.zeros((0, 2))
        for number in rng.permutation(PEOPLE)[:count]:
            actor = cast[int(number)]
            matrices, joints = _poses(rng, studio, actor.person, 1)
            spread = 0.5 if not posed else 1.6
            low, high = (np.array(corner[:2]) for corner in corners)
            at = np.clip(rng.normal(0, spread, 2), low + 0.5, high - 0.5)
            if len(spots) and np.linalg.norm(spots - at, axis=1).min() < 0.5:
                continue
            spots = np.concatenate([spots, at[None]])
            actors.append((actor, moved(matrices[0], at)))
            posed.append(joints[0] + np.array([*at, 0.0], np.float32))
        light = studio.renderer.light(stage, actors)
        moment = Moment(actors, posed, None)
        take(rng, studio, stage, camera, light, moment, whole(camera), album, index, index, 0.0)
        cameras.append(camera)
        firsts.append(posed[0] if posed else np.zeros((17, 3), np.float32))
    stature = cast[0].person.stature_m
    _release(stage, cast)
    times = [0.0] * _FRAMES
    return album.scene(studio, "frames", False, seed, stature, times, np.stack(firsts), cameras)


def _poses(
    rng: np.random.Generator, studio: Studio, person: Person, count: int
) -> tuple[FloatArray, FloatArray]:
    """Random poses above the origin: matrices (N, B, 3, 4) and joints (N, 17, 3)."""
    generator = torch.Generator().manual_seed(int(rng.integers(1 << 31)))
    mocap, clip, _ = studio.takes.draw(rng, 1)
    rows = mocap.clip(clip)
    chosen = torch.from_numpy(rows[rng.integers(len(rows), size=count)].copy())
    turned = vary_bodies(chosen[:, None, None], _TURNED, generator)[:, 0, 0].numpy()
    angles = rng.uniform(0, 2 * np.pi, count)
    c, s, o, i = np.cos(angles), np.sin(angles), np.zeros(count), np.ones(count)
    spins = np.stack([c, -s, o, s, c, o, o, o, i], -1).reshape(-1, 3, 3)
    spun = np.einsum("nij,nkj->nki", spins, turned).astype(np.float32)
    return pose_joints(person, spun, mocap.floored(clip), float(rng.uniform(0.0, 0.9)))


def _spot(camera: Camera) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in camera.position)
    return x, y, z


def _release(stage: Stage, actors: list[Actor]) -> None:
    stage.release()
    for actor in actors:
        actor.release()
