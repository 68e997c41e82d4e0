"""Runs a 2D front end over synchronised videos and says how well it does.

Found rate and time a set for any videos; joint errors where a built-in clip's truth lies beside
them (see docs/studio.md). ``python -m tools.evaluate_front_end --help`` tells the rest.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import UserError
from engines.front_ends.base import Image, View2D
from engines.front_ends.factory import SHIPPED, make_front_end
from engines.skeleton import BONES, JOINT_COUNT, JOINT_NAMES, LEFT_JOINTS, MIRROR, RIGHT_JOINTS
from tools.outputs import check_picture, write_picture

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Truth:
    """Where the joints of a built-in clip really are.

    Attributes:
        joints: per view (N, 17, 2) pixels, one row a picture.
        heights: per view (N,) the body height in pixels at the pelvis' distance.
    """

    joints: tuple[Array, ...]
    heights: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What the front end gave; NaN where it found none.

    Attributes:
        keypoints: (N, V, 17, 3) joints with confidence, pixels.
        milliseconds: (N,) time of each set.
    """

    keypoints: Array
    milliseconds: Array


def read_truth(folder: Path, views: int) -> Truth | None:
    """Reads ``truth.npz`` beside the videos, if it is there.

    Raises:
        UserError: it is damaged.
    """
    path = folder / "truth.npz"
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name], np.float64) for name in file.files}
        joints, heights = [], []
        for view in range(views):
            now = arrays[f"frame_times_s_{view}"]
            flat = arrays["joints_m"].reshape(len(arrays["times_s"]), -1)
            world = np.stack([np.interp(now, arrays["times_s"], row) for row in flat.T], axis=-1)
            seen = world.reshape(-1, JOINT_COUNT, 3) @ arrays["camera_R"][view].T
            seen = (seen + arrays["camera_t"][view]) @ arrays["camera_K"][view].T
            joints.append(seen[..., :2] / seen[..., 2:])
            focal = arrays["camera_K"][view][1, 1]
            heights.append(focal * float(arrays["stature_m"]) / seen[:, 0, 2])
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"{path} is no clip's truth: {error}") from None
    return Truth(tuple(joints), tuple(heights))


def read_sets(paths: list[Path], step: int) -> Iterator[list[Image]]:
    """Yields every ``step``-th picture of all videos, as long as all go on.

    Raises:
        UserError: a video cannot be opened.
    """
    videos = [cv2.VideoCapture(str(path)) for path in paths]
    for path, video in zip(paths, videos, strict=True):
        if not video.isOpened():
            raise UserError(f"cannot open the video {path}")
    number = 0
    while all(video.grab() for video in videos):
        if number % step == 0:
            yield [np.asarray(video.retrieve()[1], np.uint8) for video in videos]
        number += 1


def draw(image: Image, view: View2D | None) -> Image:
    """Draws joints, bones and box into a copy: left blue, right red, midline green."""
    picture = image.copy()
    if view is None:
        return picture
    places = np.round(view.keypoints[:, :2]).astype(int).tolist()
    thick = max(1, image.shape[0] // 240)
    for parent, child in BONES:
        if view.keypoints[[parent, child], 2].min() > 0.1:
            colour = (0, 220, 0)
            if child in LEFT_JOINTS:
                colour = (255, 90, 0)
            elif child in RIGHT_JOINTS:
                colour = (0, 0, 255)
            cv2.line(picture, places[parent], places[child], colour, thick, cv2.LINE_AA)
    box = np.round(view.box).astype(int).tolist()
    cv2.rectangle(picture, box[:2], box[2:], (255, 255, 255), 1)
    return picture


def joints_of(view: View2D | None) -> npt.NDArray[np.float32]:
    """(17, 3) joints with confidence, NaN where there are none."""
    if view is None:
        return np.full((JOINT_COUNT, 3), np.nan, np.float32)
    return np.where(view.keypoints[:, 2:] > 0, view.keypoints, np.float32(np.nan))


def run(arguments: argparse.Namespace, paths: list[Path]) -> Found:
    """Runs the front end over the videos, and writes the overlay sheet where one is wanted."""
    front_end = make_front_end(
        arguments.front_end,
        len(paths),
        arguments.engine,
        arguments.threads,
        networks=(arguments.detector, arguments.pose),
    )
    print(front_end.description)
    keypoints, times, sheet = [], [], []
    try:
        for number, images in enumerate(read_sets(paths, arguments.step)):
            if number == 0:
                front_end.warm_up(*images[0].shape[:2])
            start = time.perf_counter()
            views = front_end.process(images)
            times.append((time.perf_counter() - start) * 1e3)
            keypoints.append(np.stack([joints_of(view) for view in views]))
            if arguments.overlay and number % arguments.overlay_every == 0:
                drawn = [draw(image, view) for image, view in zip(images, views, strict=True)]
                small = [cv2.resize(p, (320 * p.shape[1] // p.shape[0], 320)) for p in drawn]
                sheet.append(np.hstack(small))
    finally:
        front_end.close()
    if not keypoints:
        raise UserError(f"{paths[0].parent} holds videos without pictures")
    if sheet:
        write_picture(arguments.overlay, np.vstack(sheet))
    return Found(np.stack(keypoints), np.array(times))


def report(found: Found, truth: Truth | None, step: int) -> None:
    """Prints the figures."""
    print(f"sets {len(found.keypoints)}")
    # The first set is slower than all others.
    later = found.milliseconds[1:] if len(found.milliseconds) > 1 else found.milliseconds
    median, tail = np.percentile(later, (50, 95))
    print(f"milliseconds a set: median {median:.1f}, 95 % within {tail:.1f}")
    present = np.nanmax(np.nan_to_num(found.keypoints[..., 2]), axis=2) > 0
    print("found, % by view:", *(f"{100 * share:.1f}" for share in present.mean(axis=0)))
    if truth is None:
        return
    errors, relative, swaps = [], [], []
    for view, (joints, heights) in enumerate(zip(truth.joints, truth.heights, strict=True)):
        count = min(len(found.keypoints), len(joints[::step]))
        seen = found.keypoints[:count, view]
        target, height = joints[::step][:count], heights[::step][:count]
        error = np.linalg.norm(seen[..., :2] - target, axis=-1)
        mirrored = np.linalg.norm(seen[:, list(MIRROR), :2] - target, axis=-1)
        limbs = list(LEFT_JOINTS + RIGHT_JOINTS)
        swaps.append(np.mean(np.nansum(mirrored[:, limbs], 1) < np.nansum(error[:, limbs], 1)))
        errors.append(error)
        relative.append(100 * error / height[:, None])
    print("joint error, px, median by view:", *(f"{np.nanmedian(e):.1f}" for e in errors))
    print("joint error, % of height, by view:", *(f"{np.nanmedian(e):.2f}" for e in relative))
    print("left and right exchanged, % by view:", *(f"{100 * share:.1f}" for share in swaps))
    everything = np.concatenate(relative)
    print(f"joint error, % of height: median {np.nanmedian(everything):.2f}, ", end="")
    print(f"mean {np.nanmean(everything):.2f}, 95 % within {np.nanpercentile(everything, 95):.2f}")
    for joint, name in enumerate(JOINT_NAMES):
        print(f"  {name:15s} {np.nanmedian(everything[:, joint]):.2f}")


def check_steps(*steps: int) -> None:
    """Refuses to take every none-th picture.

    Raises:
        UserError: a step is below 1.
    """
    if min(steps) < 1:
        raise UserError("--step and --overlay-every: give at least 1")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.evaluate_front_end", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", type=Path, help="folder with one .mp4 a view")
    parser.add_argument("--front-end", choices=("blazepose", "yolo_cpn"), default="blazepose")
    parser.add_argument("--engine", default="auto", help="what runs its networks")
    parser.add_argument("--detector", default=SHIPPED, help="of yolo_cpn, by name or file")
    parser.add_argument("--pose", default=SHIPPED, help="of yolo_cpn, by name or file")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--step", type=int, default=1, help="use every n-th picture")
    parser.add_argument("--overlay", type=Path, help="write a sheet of drawn pictures (.png)")
    parser.add_argument("--overlay-every", type=int, default=20, help="sets between two rows")
    arguments = parser.parse_args()
    try:
        paths = sorted(arguments.folder.glob("*.mp4"))
        if not paths:
            raise UserError(f"no .mp4 files in {arguments.folder}")
        check_steps(arguments.step, arguments.overlay_every)
        check_picture(arguments.overlay)
        found = run(arguments, paths)
        report(found, read_truth(arguments.folder, len(paths)), arguments.step)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
