"""A contact sheet of random people in random rooms, for a person to judge."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tools.outputs import check_picture, write_picture
from tools.studio.assets import Assets
from tools.studio.camera import Camera, Sensor, look_at
from tools.studio.casting import random_outfit, random_shape
from tools.studio.developer import Image
from tools.studio.formats import FloatArray
from tools.studio.furnish import random_room
from tools.studio.looks import random_look
from tools.studio.motion import Mocap
from tools.studio.person import build_person
from tools.studio.posing import pose_once
from tools.studio.renderer import Renderer
from tools.studio.room import Point


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
    check_picture(out)
    renderer = Renderer(320, 240, texture=512)
    pictures = [draw_random(renderer, assets, mocap, seed + i)[0] for i in range(columns * rows)]
    renderer.release()
    sheet = np.vstack(
        [np.hstack(pictures[row * columns : (row + 1) * columns]) for row in range(rows)]
    )
    write_picture(out, np.asarray(cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), np.uint8))
