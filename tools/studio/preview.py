"""A contact sheet of random people in random rooms, for a person to judge."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from engines.errors import UserError
from tools.studio.assets import Assets
from tools.studio.camera import Camera, Sensor, look_at
from tools.studio.formats import FloatArray
from tools.studio.furnish import random_room
from tools.studio.looks import random_look
from tools.studio.motion import Mocap, pose_once
from tools.studio.person import Outfit, build_person
from tools.studio.renderer import Image, Renderer
from tools.studio.room import Point
from tools.studio.shape import Shape

_SHOES: Final = ("shoes01", "shoes02", "shoes03", "shoes04", "shoes05", "shoes06")


def random_shape(rng: np.random.Generator) -> Shape:
    """A random grown-up."""
    male = float(np.clip(rng.choice([0.05, 0.95]) + rng.normal(0, 0.1), 0, 1))
    race = rng.dirichlet([0.7, 0.7, 0.7])
    stature = rng.normal(1.635 + 0.125 * male, 0.065)
    age, muscle, weight, height, ideal = (
        float(np.clip(rng.normal(mean, sigma), 0.02, 0.98))
        for mean, sigma in ((0.62, 0.14), (0.5, 0.17), (0.5, 0.2), (0.5, 0.06), (0.6, 0.2))
    )
    races = (float(race[0]), float(race[1]), float(race[2]))
    return Shape(male, max(age, 0.46), muscle, weight, height, ideal, races, float(stature))


def random_outfit(rng: np.random.Generator, assets: Assets, male: bool) -> Outfit:
    """Random clothes, shoes, hair and sometimes a hat that suit a man or a woman."""
    sex = "male_" if male else "female_"
    names = assets.garment_names("clothes")
    suits = [name for name in names if name.startswith(sex) or "worksuit" in name]
    hairs = list(assets.garment_names("hair"))
    if male:
        hairs = [name for name in hairs if name.startswith(("short", "afro"))]
    suit = None if rng.random() < 0.04 else str(rng.choice(suits))
    shoes = None if rng.random() < 0.12 else str(rng.choice(_SHOES))
    hat = str(rng.choice(["fedora", "fedora_cocked"])) if rng.random() < 0.08 else None
    bald = rng.random() < (0.12 if male else 0.0)
    return Outfit(suit, shoes, None if bald or hat else str(rng.choice(hairs)), hat)


def random_camera(
    rng: np.random.Generator, low: Point, high: Point, size: tuple[int, int]
) -> Camera:
    """A webcam somewhere in the room that sees the middle."""
    azimuth, distance = rng.uniform(0, 2 * np.pi), rng.uniform(2.2, 3.4)
    at = np.array([np.cos(azimuth) * distance, np.sin(azimuth) * distance, rng.uniform(0.7, 2.3)])
    at[:2] = np.clip(at[:2], np.array(low[:2]) + 0.2, np.array(high[:2]) - 0.2)
    gain, warm = rng.uniform(0.75, 1.25), rng.uniform(-0.1, 0.1)
    sensor = Sensor(
        (float(gain * (1 + warm)), float(gain), float(gain * (1 - warm))),
        float(rng.uniform(0.1, 0.4)),
        float(rng.uniform(0.0, 0.6)),
        float(rng.uniform(0.004, 0.03)),
        float(rng.uniform(0.0, 0.5)),
    )
    target = (float(rng.normal(0, 0.15)), float(rng.normal(0, 0.15)), float(rng.normal(0.9, 0.1)))
    where = (float(at[0]), float(at[1]), float(at[2]))
    return look_at(
        where, target, float(rng.uniform(52, 78)), *size, float(rng.normal(0, 2)), sensor
    )


def draw_random(
    renderer: Renderer, assets: Assets, mocap: Mocap, seed: int
) -> tuple[Image, Camera, FloatArray]:
    """One random person in one random room, all from a seed.

    Returns:
        The picture, its camera, and the true joints (17, 3) in metres.
    """
    rng = np.random.default_rng(seed)
    shape = random_shape(rng)
    male = shape.male > 0.5
    person = build_person(assets, shape, random_outfit(rng, assets, male))
    frame = int(rng.integers(len(mocap.joints)))
    matrices, joints = pose_once(person, mocap, frame, float(rng.uniform(0, 360)))
    size = rng.uniform(2.6, 4.2, 4)
    low = (-float(size[0]), -float(size[1]), 0.0)
    high = (float(size[2]), float(size[3]), float(rng.uniform(2.4, 3.0)))
    camera = random_camera(rng, low, high, renderer.size)
    x, y, z = (float(v) for v in camera.position)
    stage = renderer.add_room(random_room(rng, low, high, clear=((x, y, z),)))
    actor = renderer.add_person(person, random_look(rng, male))
    picture = renderer.draw(stage, [(actor, matrices)], camera, seed)
    stage.release()
    actor.release()
    return picture, camera, joints


def contact_sheet(
    assets: Assets, mocap: Mocap, out: Path, columns: int, rows: int, seed: int
) -> None:
    """Writes a PNG with ``columns`` × ``rows`` random pictures.

    Raises:
        UserError: the file cannot be written.
    """
    renderer = Renderer(320, 240, texture=512)
    pictures = [draw_random(renderer, assets, mocap, seed + i)[0] for i in range(columns * rows)]
    renderer.release()
    sheet = np.vstack(
        [np.hstack(pictures[row * columns : (row + 1) * columns]) for row in range(rows)]
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(out), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise UserError(f"{out}: cannot be written; give a .png file in a writable folder")
