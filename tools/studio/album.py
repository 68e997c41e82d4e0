"""Takes the pictures of a scene and keeps them with their labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np

from engines.front_ends.yolo_cpn.operations import CPN_MEAN
from tools.studio.camera import Camera, Window
from tools.studio.formats import FloatArray
from tools.studio.labelling import box_of, masks, visibility
from tools.studio.renderer import Posed, Stage
from tools.studio.shards import Bytes, Kind, Scene, packed
from tools.studio.stagecraft import Studio

PEOPLE: Final = 3
"""Labelled people of a picture, at most."""


@dataclass(slots=True)
class Album:
    """Collects the pictures of a scene."""

    instant: list[int] = field(default_factory=list)
    view: list[int] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    regions: list[tuple[float, float, float, float]] = field(default_factory=list)
    joints_px: list[FloatArray] = field(default_factory=list)
    visibility: list[Bytes] = field(default_factory=list)
    boxes: list[FloatArray] = field(default_factory=list)
    pixels: list[list[int]] = field(default_factory=list)
    jpeg: list[Bytes] = field(default_factory=list)
    mask_png: list[Bytes] = field(default_factory=list)

    def scene(
        self,
        studio: Studio,
        kind: Kind,
        sequence: bool,
        seed: int,
        stature_m: float,
        instant_times_s: list[float],
        joints_m: FloatArray,
        cameras: list[Camera],
    ) -> Scene:
        """The finished scene."""
        jpeg, jpeg_offsets = packed(self.jpeg)
        mask_png, mask_offsets = packed(self.mask_png)
        first = cameras[0]
        return Scene(
            kind=kind,
            sequence=sequence,
            split=studio.split,
            seed=seed,
            stature_m=stature_m,
            picture_size=np.array([first.width, first.height], np.int32),
            instant=np.array(self.instant, np.int32),
            view=np.array(self.view, np.int32),
            picture_times_s=np.array(self.times_s),
            instant_times_s=np.array(instant_times_s),
            regions=np.array(self.regions, np.float32),
            joints_px=np.stack(self.joints_px),
            visibility=np.stack(self.visibility),
            boxes=np.stack(self.boxes),
            pixels=np.array(self.pixels, np.int32),
            joints_m=joints_m.astype(np.float32),
            camera_R=np.stack([c.R for c in cameras]).astype(np.float32),
            camera_t=np.stack([c.t for c in cameras]).astype(np.float32),
            camera_K=np.stack([c.K for c in cameras]).astype(np.float32),
            camera_k1=np.array([c.k1 for c in cameras], np.float32),
            jpeg=jpeg,
            jpeg_offsets=jpeg_offsets,
            mask_png=mask_png,
            mask_offsets=mask_offsets,
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """What a picture is taken of: people with their joints (17, 3), at both ends of exposure."""

    actors: list[Posed]
    joints: list[FloatArray]
    earlier: list[Posed] | None


def take(
    rng: np.random.Generator,
    studio: Studio,
    stage: Stage,
    camera: Camera,
    light: FloatArray,
    moment: Moment,
    window: Window,
    album: Album,
    instant: int,
    view: int,
    time_s: float,
) -> None:
    """Takes one picture and notes its labels."""
    shot = studio.renderer.shoot(
        stage,
        moment.actors,
        camera,
        light,
        int(rng.integers(1 << 24)),
        window,
        moment.earlier,
    )
    picture = _as_seen(shot.picture, camera, window)
    mask = _bordered(masks(shot), camera, window, 0)
    pixels = np.full((PEOPLE, 17, 2), np.nan, np.float32)
    states = np.zeros((PEOPLE, 17), np.uint8)
    boxes = np.full((PEOPLE, 4), np.nan, np.float32)
    counts = [0] * PEOPLE
    for person, joints in enumerate(moment.joints[:PEOPLE]):
        pixels[person], states[person] = visibility(camera, window, shot, person, joints)
        own = mask == person + 1
        boxes[person], counts[person] = box_of(own, window), int(own.sum())
    quality = int(rng.integers(35, 96))
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    album.jpeg.append(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].ravel())
    album.mask_png.append(cv2.imencode(".png", mask)[1].ravel())
    album.instant.append(instant)
    album.view.append(view)
    album.times_s.append(time_s)
    album.regions.append(window.box)
    album.joints_px.append(pixels)
    album.visibility.append(states)
    album.boxes.append(boxes)
    album.pixels.append(counts)


def _as_seen(picture: Bytes, camera: Camera, window: Window) -> Bytes:
    """No finer than the webcam's own pixels, and the mean colour beyond its border."""
    height, width = picture.shape[:2]
    if window.height < height:
        size = (max(8, round(window.width)), max(8, round(window.height)))
        coarse = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        picture = np.asarray(cv2.resize(coarse, (width, height)), np.uint8)
    fill = tuple(round(255 * c) for c in CPN_MEAN)
    return _bordered(picture, camera, window, fill)


def _bordered(picture: Bytes, camera: Camera, window: Window, fill: int | tuple[int, ...]) -> Bytes:
    """Fills what lies beyond the border of the camera's picture."""
    height, width = picture.shape[:2]
    x0, x1 = (width * (x - window.left) / window.width for x in (0, camera.width))
    y0, y1 = (height * (y - window.top) / window.height for y in (0, camera.height))
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    beyond = ((columns < x0) | (columns > x1))[None] | ((rows < y0) | (rows > y1))[:, None]
    if beyond.any():
        picture = picture.copy()
        picture[beyond] = fill
    return picture
