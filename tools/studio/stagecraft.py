"""Sets up one random scene: the room, who is in it, and whose motion they borrow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.studio.assets import Assets
from tools.studio.casting import TRAINING, Casting, random_person
from tools.studio.formats import FloatArray, RealArray
from tools.studio.furnish import random_room
from tools.studio.motion import Mocap, read_mocap
from tools.studio.posing import pose_once
from tools.studio.renderer import Actor, Posed, Renderer, Stage
from tools.studio.room import Point
from tools.studio.shards import Split
from tools.training.mocap import in_split


@dataclass(frozen=True, slots=True)
class Takes:
    """The motion capture of one split.

    Attributes:
        mocap: the capture, and the same mirrored.
        clips: numbers of the clips that may be used.
        weights: how often each is drawn: by the root of its length.
    """

    mocap: tuple[Mocap, Mocap]
    clips: tuple[int, ...]
    weights: FloatArray

    def draw(self, rng: np.random.Generator, frames: int) -> tuple[Mocap, int, int]:
        """A random stretch of capture: where it is, the clip and its first row in the clip."""
        lengths = np.diff(self.mocap[0].offsets)[list(self.clips)]
        weights = np.where(lengths > frames, self.weights, 0.0)
        pick = int(rng.choice(len(self.clips), p=weights / weights.sum()))
        start = int(rng.integers(lengths[pick] - frames))
        return self.mocap[int(rng.integers(2))], self.clips[pick], start


def read_takes(path: Path, split: Split) -> Takes:
    """Reads the capture and keeps the motions of one split.

    Raises:
        UserError: the file is no mocap17 file.
    """
    mocap = read_mocap(path)
    clips = tuple(i for i, name in enumerate(mocap.names) if in_split(name, split))
    lengths = np.diff(mocap.offsets)[list(clips)].astype(np.float32)
    return Takes((mocap, mocap.mirrored()), clips, np.sqrt(lengths))


@dataclass(frozen=True, slots=True)
class Studio:
    """What every scene is made with."""

    assets: Assets
    takes: Takes
    renderer: Renderer
    split: Split

    @property
    def casting(self) -> Casting:
        """How people of the split are chosen."""
        return Casting(self.split, TRAINING.bare, TRAINING.barefoot, TRAINING.hats, TRAINING.bald)


def random_hall(rng: np.random.Generator) -> tuple[Point, Point]:
    """The corners of a room around the origin."""
    size = rng.uniform(2.4, 5.0, 4)
    low = (-float(size[0]), -float(size[1]), 0.0)
    return low, (float(size[2]), float(size[3]), float(rng.uniform(2.3, 3.4)))


def bystanders(
    rng: np.random.Generator, studio: Studio, low: Point, high: Point, path: FloatArray, most: int
) -> list[Posed]:
    """People who stand about, away from the others.

    Args:
        rng: source of chance.
        studio: where it happens.
        low: the room's lowest corner.
        high: the room's highest corner.
        path: (N, 2) places to keep clear of, metres.
        most: at most so many, mostly none.
    """
    count = min(most, int(rng.choice([0, 1, 2], p=[0.6, 0.3, 0.1])))
    people: list[Posed] = []
    taken = path
    for _ in range(count):
        actor = add_person(rng, studio)
        mocap, clip, start = studio.takes.draw(rng, 1)
        frame = int(mocap.offsets[clip]) + start
        matrices, joints = pose_once(
            actor.person, mocap, frame, float(rng.uniform(0, 360)), float(rng.uniform(0, 0.8))
        )
        for _attempt in range(12):
            at = rng.uniform(np.array(low[:2]) + 0.5, np.array(high[:2]) - 0.5)
            if np.linalg.norm(taken - at, axis=1).min() > 0.9:
                people.append((actor, moved(matrices, at - joints[0, :2])))
                taken = np.concatenate([taken, at[None]])
                break
        else:
            actor.release()
    return people


def moved(matrices: FloatArray, by: RealArray) -> FloatArray:
    """Bone matrices (..., B, 3, 4) shifted over the floor by (2,) metres."""
    shifted = matrices.copy()
    shifted[..., :2, 3] += by
    return shifted


def add_person(rng: np.random.Generator, studio: Studio) -> Actor:
    """Casts a random person and loads them."""
    return studio.renderer.add_person(*random_person(rng, studio.assets, studio.casting))


def add_room(
    rng: np.random.Generator,
    studio: Studio,
    corners: tuple[Point, Point],
    cameras: tuple[Point, ...],
    people: FloatArray,
) -> Stage:
    """Builds and loads a random room that leaves cameras and people (N, 2) room."""
    spots = tuple((float(x), float(y)) for x, y in people)
    clutter = int(rng.choice([0, 3, 6, 10, 16], p=[0.1, 0.2, 0.3, 0.25, 0.15]))
    room = random_room(rng, *corners, clear=cameras, people=spots, clutter=clutter)
    return studio.renderer.add_room(room)
