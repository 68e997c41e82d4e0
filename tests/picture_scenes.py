"""Scenes of whole pictures in the format of the studio, drawn: striped boxes stand for people."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from rendered_scenes import marker_scene
from tools.studio.shards import (
    PICTURE_SIZES,
    VISIBLE,
    Scene,
    Split,
    packed,
    scene_path,
    write_scene,
)
from walking import walking_clip

SLOTS = 3


def box_scene(people: list[list[tuple[int, int, int, int]]], split: Split = "train") -> Scene:
    """Pictures with people at given boxes.

    Args:
        people: for each picture x0, y0, x1, y1 of at most three people.
        split: what the scene says it belongs to.
    """
    width, height = PICTURE_SIZES["frames"]
    count = len(people)
    boxes = np.full((count, SLOTS, 4), np.nan, np.float32)
    pixels = np.zeros((count, SLOTS), np.int32)
    jpegs, masks = [], []
    for index, row in enumerate(people):
        picture = np.full((height, width, 3), 90, np.uint8)
        picture[:, :, index % 3] += np.uint8(index % 7 * 10)
        for slot, (x0, y0, x1, y1) in enumerate(row):
            picture[y0:y1, x0:x1] = 250
            picture[y0:y1:8, x0:x1] = 10
            boxes[index, slot] = (x0, y0, x1, y1)
            pixels[index, slot] = (x1 - x0) * (y1 - y0)
        jpegs.append(cv2.imencode(".jpg", picture)[1].ravel())
        masks.append(cv2.imencode(".png", np.zeros((height, width), np.uint8))[1].ravel())
    jpeg, jpeg_offsets = packed(jpegs)
    mask, mask_offsets = packed(masks)
    eye = np.eye(3, dtype=np.float32)
    order = np.arange(count, dtype=np.int32)
    return Scene(
        kind="frames",
        sequence=False,
        split=split,
        seed=0,
        stature_m=1.75,
        picture_size=np.array([640, 480], np.int32),
        instant=order,
        view=order,
        picture_times_s=np.zeros(count),
        instant_times_s=np.zeros(count),
        regions=np.tile(np.array([0, 0, 640, 480], np.float32), (count, 1)),
        joints_px=np.full((count, SLOTS, 17, 2), np.nan, np.float32),
        visibility=np.full((count, SLOTS, 17), VISIBLE, np.uint8),
        boxes=2 * boxes,  # whole pictures are twice as wide as stored ones
        pixels=pixels,
        joints_m=np.zeros((count, 17, 3), np.float32),
        camera_R=np.tile(eye, (count, 1, 1)),
        camera_t=np.zeros((count, 3), np.float32),
        camera_K=np.tile(eye, (count, 1, 1)),
        camera_k1=np.zeros(count, np.float32),
        jpeg=jpeg,
        jpeg_offsets=jpeg_offsets,
        mask_png=mask,
        mask_offsets=mask_offsets,
    )


def write_scenes(folder: Path) -> Path:
    """Writes a scene of crops and one of whole pictures for every split; returns the folder."""
    rng = np.random.default_rng(0)
    splits: tuple[Split, ...] = ("train", "validation", "test")
    for number, split in enumerate(splits):
        scene = marker_scene(walking_clip(4, number).astype(np.float32), 2, number, split)
        write_scene(scene, scene_path(folder / split, "crops", number))
        people = []
        for _ in range(6):
            x, y = (int(v) for v in rng.integers(0, (200, 80)))
            people.append([(x, y, x + 60, y + 150)])
        write_scene(box_scene([*people, []], split), scene_path(folder / split, "frames", number))
    return folder
