"""Small scenes in the format of the studio, drawn rather than rendered: marker people who walk."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from engines.front_ends.yolo_cpn.operations import CPN_MEAN
from engines.front_ends.yolo_cpn.regions import crop_region
from marker_networks import draw_joints
from tools.studio.shards import PICTURE_SIZES, VISIBLE, Scene, Split, packed

WIDTH, HEIGHT = 640, 480
_FOCAL = 520.0


def _cameras(views: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Rotations (V, 3, 3) and translations (V, 3) of cameras around the origin."""
    rotations, translations = [], []
    for view in range(views):
        angle = 0.4 + 2 * np.pi * view / views
        position = np.array([3.6 * np.cos(angle), 3.6 * np.sin(angle), 1.4])
        forward = np.array([0.0, 0.4, 0.95]) - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        rotation = np.stack([right, np.cross(forward, right), forward])
        rotations.append(rotation)
        translations.append(-rotation @ position)
    return np.array(rotations, np.float32), np.array(translations, np.float32)


def marker_scene(
    joints: npt.NDArray[np.floating], views: int, seed: int = 0, split: Split = "train"
) -> Scene:
    """A walking marker person seen by cameras that run free; each misses one picture.

    Args:
        joints: (T, 17, 3) metres at 30 Hz.
        views: number of cameras.
        seed: of the times and of which pictures are missing.
        split: what the scene says it belongs to.
    """
    random = np.random.default_rng(seed)
    count = len(joints)
    rotation, translation = _cameras(views)
    matrix = np.array([[_FOCAL, 0, WIDTH / 2], [0, _FOCAL, HEIGHT / 2], [0, 0, 1]], np.float32)
    instants = np.arange(count) / 30.0
    offsets = random.uniform(-0.015, 0.015, views)
    lost = random.integers(0, count, views)
    taken = [(t, v) for t in range(count) for v in range(views) if lost[v] != t]
    places, regions, boxes, times, jpegs, masks = [], [], [], [], [], []
    width, height = PICTURE_SIZES["crops"]
    for instant, view in taken:
        time = instants[instant] + offsets[view]
        now = np.stack(
            [[np.interp(time, instants, joints[:, j, a]) for a in range(3)] for j in range(17)]
        )
        camera = now @ rotation[view].T + translation[view]
        pixels = camera[:, :2] / camera[:, 2:] * _FOCAL + (WIDTH / 2, HEIGHT / 2)
        tall = float(np.ptp(pixels[:, 1]))
        box = np.concatenate([pixels.min(0) - 0.08 * tall, pixels.max(0) + 0.08 * tall])
        picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
        draw_joints(picture, pixels.astype(np.float32), 0.025 * tall)
        crop = crop_region(box.astype(np.float32), height, width).box
        margin = 0.125 * (crop[2:] - crop[:2])
        region = np.concatenate([crop[:2] - margin, crop[2:] + margin])
        scale = width / (region[2] - region[0])
        shift = -region[:2] * scale
        move = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        move[:, 2] += 0.5 * scale - 0.5  # OpenCV counts from pixel centres
        mean = [255 * CPN_MEAN[2 - c] for c in range(3)]
        shown = cv2.warpAffine(picture, move, (width, height), borderValue=mean)
        jpegs.append(cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 97])[1].ravel())
        masks.append(cv2.imencode(".png", np.zeros((height, width), np.uint8))[1].ravel())
        for kept, value in (
            (places, pixels), (regions, region), (boxes, box), (times, time)
        ):  # fmt: skip
            kept.append(value)
    n = len(taken)
    jpeg, jpeg_offsets = packed(jpegs)
    mask, mask_offsets = packed(masks)
    return Scene(
        kind="crops",
        sequence=True,
        split=split,
        seed=seed,
        stature_m=1.75,
        picture_size=np.array([WIDTH, HEIGHT], np.int32),
        instant=np.array([t for t, _ in taken], np.int32),
        view=np.array([v for _, v in taken], np.int32),
        picture_times_s=np.array(times, np.float64),
        instant_times_s=instants.astype(np.float64),
        regions=np.array(regions, np.float32),
        joints_px=np.array(places, np.float32)[:, None],
        visibility=np.full((n, 1, 17), VISIBLE, np.uint8),
        boxes=np.array(boxes, np.float32)[:, None],
        pixels=np.full((n, 1), 5000, np.int32),
        joints_m=joints.astype(np.float32),
        camera_R=rotation,
        camera_t=translation,
        camera_K=np.tile(matrix, (views, 1, 1)),
        camera_k1=np.zeros(views, np.float32),
        jpeg=jpeg,
        jpeg_offsets=jpeg_offsets,
        mask_png=mask,
        mask_offsets=mask_offsets,
    )
