"""Compares the yolo_cpn front end with BlazePose on videos of a real person.

BlazePose stands in for the truth, so its own unrest is printed beside: agreement cannot be better
than that. Where it takes left for right itself, ``--mended`` tells more: both inside the
application's chain, in which the other views put that right.
``python -m tools.compare_front_ends FOLDER --overlay sheet.png``; the upper row of each pair in the
sheet is BlazePose, the lower one is yolo_cpn.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
import numpy.typing as npt

from engines.errors import UserError
from engines.front_ends.base import FrontEnd, Image
from engines.front_ends.factory import SHIPPED, make_front_end, network_file
from engines.skeleton import JOINT_COUNT, JOINT_NAMES, LIMB_JOINTS, MIRROR
from tools.evaluate_front_end import check_steps, draw, joints_of, read_sets
from tools.given_boxes import GivenBoxes, Look
from tools.mended_looks import MendedLooks
from tools.outputs import check_outputs, check_picture, write_picture, write_text

Array = npt.NDArray[np.float64]

NEAR: Final = 0.05
"""Two answers agree within this fraction of the body height."""

_SURE: Final = 0.5
"""Joints of which BlazePose is less confident count as hidden."""

_HEAD, _ANKLES = JOINT_NAMES.index("head"), [3, 6]
_ANKLE_HEIGHT: Final = 0.039
"""Height of the ankle over stature (Winter, "Biomechanics and Motor Control of Human Movement")."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the front end compares with BlazePose; lists are by view or by joint.

    Attributes:
        pictures: So many of each view.
        heights_px: Body height by view.
        found: Per cent of pictures with a person, by view.
        found_reference: The same of BlazePose.
        near: Visible limb joints within 5 % of body height of BlazePose's, per cent, by view.
        near_all: The same over all views.
        near_by_joint: The same by joint (all 17), all views.
        swapped: Per cent of pictures that agree better with left and right exchanged, by view.
        median: Median distance of visible limb joints, per cent of body height, by view.
        unrest: Median noise of a visible limb joint from picture to picture (second difference
            over the square root of 6), per cent of body height, by view.
        unrest_reference: The same of BlazePose.
    """

    pictures: int
    heights_px: list[float]
    found: list[float]
    found_reference: list[float]
    near: list[float]
    near_all: float
    near_by_joint: list[float]
    swapped: list[float]
    median: list[float]
    unrest: list[float]
    unrest_reference: list[float]


def compare(found: Array, reference: Array) -> Agreement:
    """Compares two front ends' joints.

    Args:
        found: (N, V, 17, 3) x, y in pixels and confidence of the front end, NaN where it has none.
        reference: The same of BlazePose.
    """
    views = range(found.shape[1])
    heights = [_height(reference[:, view]) for view in views]
    sure = np.nan_to_num(reference[..., 2]) >= _SURE
    distance = np.linalg.norm(found[..., :2] - reference[..., :2], axis=-1)
    distance /= np.asarray(heights)[:, None]
    # A joint that was not found is not where it belongs.
    distance = np.where(np.isnan(distance), np.inf, distance)
    mirrored = np.linalg.norm(found[:, :, list(MIRROR), :2] - reference[..., :2], axis=-1)
    mirrored /= np.asarray(heights)[:, None]
    limbs = list(LIMB_JOINTS)
    near = distance < NEAR
    swapped = []
    for view in views:
        here = sure[:, view][:, limbs]
        # A joint that was not found is as far away as a joint can be, either way.
        plain, other = (
            np.where(here, np.nan_to_num(away[:, view][:, limbs], nan=1.0).clip(max=1.0), 0).sum(1)
            for away in (distance, mirrored)
        )
        swapped.append(100 * float((other < plain).mean()))
    shown = [sure[:, view][:, limbs] for view in views]
    limb_near = near[:, :, limbs][sure[:, :, limbs]]
    return Agreement(
        pictures=len(found),
        heights_px=heights,
        found=[_found(found[:, view]) for view in views],
        found_reference=[_found(reference[:, view]) for view in views],
        near=[_per_cent(near[:, view][:, limbs][shown[view]]) for view in views],
        near_all=_per_cent(limb_near),
        near_by_joint=[_per_cent(near[..., j][sure[..., j]]) for j in range(JOINT_COUNT)],
        swapped=swapped,
        median=[100 * float(np.median(distance[:, v][:, limbs][shown[v]])) for v in views],
        unrest=[_unrest(found[:, v], sure[:, v], heights[v]) for v in views],
        unrest_reference=[_unrest(reference[:, v], sure[:, v], heights[v]) for v in views],
    )


def _height(joints: Array) -> float:
    """Pixels of the body height: head over the lower ankle in the most upright pictures."""
    tall = joints[:, _ANKLES, 1].max(1) - joints[:, _HEAD, 1]
    tall = tall[np.isfinite(tall)]
    if len(tall) == 0:
        raise UserError("BlazePose finds nobody in one of the views: nothing to compare with")
    return max(1.0, float(np.percentile(tall, 95))) / (1 - _ANKLE_HEIGHT)


def _found(joints: Array) -> float:
    return _per_cent(np.asarray(np.isfinite(joints[..., 0]).any(axis=1)))


def _per_cent(values: npt.NDArray[np.bool_]) -> float:
    return 100 * float(values.mean()) if values.size else float("nan")


def _unrest(joints: Array, sure: npt.NDArray[np.bool_], height: float) -> float:
    bend = joints[2:, :, :2] - 2 * joints[1:-1, :, :2] + joints[:-2, :, :2]
    # Of independent noise sigma on each picture the second difference has sqrt(6) sigma an axis.
    noise = np.linalg.norm(bend, axis=-1) / np.sqrt(6)
    limbs = list(LIMB_JOINTS)
    chosen = noise[:, limbs][sure[1:-1][:, limbs]]
    chosen = chosen[np.isfinite(chosen)]
    return 100 * float(np.median(chosen)) / height if len(chosen) else float("nan")


def run(look: Look, paths: list[Path], step: int, pick: int) -> tuple[Array, list[Image]]:
    """Looks at videos, set by set.

    Returns:
        (N, V, 17, 3) joints, and a drawn row of pictures of every ``pick``-th set.
    """
    rows, sheet = [], []
    for number, images in enumerate(read_sets(paths, step)):
        views = look(images)
        rows.append(np.stack([joints_of(view) for view in views]))
        if pick and number % pick == 0:
            drawn = [draw(image, view) for image, view in zip(images, views, strict=True)]
            small = [cv2.resize(p, (400 * p.shape[1] // p.shape[0], 400)) for p in drawn]
            sheet.append(np.asarray(np.hstack(small), np.uint8))
    if not rows:
        raise UserError(f"{paths[0].parent} holds videos without pictures")
    return np.stack(rows).astype(np.float64), sheet


def show(result: Agreement) -> None:
    """Prints the figures."""
    print(f"pictures of each view: {result.pictures}")
    lines: tuple[tuple[str, list[float]], ...] = (
        ("body height, px", result.heights_px),
        ("person found, %", result.found),
        ("  by BlazePose, %", result.found_reference),
        ("visible limb joints within 5 % of height, %", result.near),
        ("left and right exchanged, % of pictures", result.swapped),
        ("median distance, % of height", result.median),
        ("unrest, % of height", result.unrest),
        ("  of BlazePose", result.unrest_reference),
    )
    print(f"{'by view:':45s}", *(f"{view + 1:>8d}" for view in range(len(result.found))))
    for name, values in lines:
        print(f"{name:45s}", *(f"{value:8.1f}" for value in values))
    print(f"visible limb joints within 5 % of height, all views: {result.near_all:.1f} %")
    for joint, name in enumerate(JOINT_NAMES):
        print(f"  {name:15s} {result.near_by_joint[joint]:5.1f}")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.compare_front_ends", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", type=Path, help="folder with one .mp4 a view")
    parser.add_argument("--detector", default=SHIPPED, help="name or file; the shipped one")
    parser.add_argument("--pose", default=SHIPPED, help="name or file; the shipped one")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--step", type=int, default=1, help="use every n-th picture")
    parser.add_argument(
        "--reference", type=Path, help="keep BlazePose's joints in this file (.npy), and reuse it"
    )
    parser.add_argument("--overlay", type=Path, help="write a sheet of drawn pictures (.png)")
    parser.add_argument("--overlay-every", type=int, default=25, help="sets between two rows")
    parser.add_argument(
        "--given-boxes",
        action="store_true",
        help="no detector: lay the crops around BlazePose's joints",
    )
    parser.add_argument(
        "--mended",
        action="store_true",
        help="both front ends inside the application's chain, which mends exchanged sides",
    )
    parser.add_argument("--report", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    try:
        show(_compare(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _compare(arguments: argparse.Namespace) -> Agreement:
    paths = sorted(arguments.folder.glob("*.mp4"))
    if not paths:
        raise UserError(f"no .mp4 files in {arguments.folder}")
    check_steps(arguments.step, arguments.overlay_every)
    check_outputs(arguments.report, arguments.reference)
    check_picture(arguments.overlay)
    if arguments.mended and (arguments.given_boxes or arguments.reference):
        raise UserError("--mended goes with neither --given-boxes nor --reference; leave one out")
    pick = arguments.overlay_every if arguments.overlay else 0
    # Before anything is looked at: a network that is not there is said at once.
    ours = (
        GivenBoxes(network_file(arguments.pose, "pose2d"), arguments.threads)
        if arguments.given_boxes
        else _front_end("yolo_cpn", arguments, paths)
    )
    try:
        reference, reference_sheet = _reference(arguments, paths, pick)
        print(ours.description)
        look = ours.around(reference) if isinstance(ours, GivenBoxes) else ours.process
        found, sheet = run(look, paths, arguments.step, pick)
    finally:
        ours.close()
    if sheet:
        rows = [row for pair in zip(reference_sheet, sheet, strict=False) for row in pair] or sheet
        write_picture(arguments.overlay, np.vstack(rows))
    result = compare(found, reference)
    if arguments.report is not None:
        write_text(arguments.report, json.dumps(asdict(result), indent=2) + "\n")
    return result


def _front_end(
    kind: Literal["blazepose", "yolo_cpn"], arguments: argparse.Namespace, paths: list[Path]
) -> FrontEnd | MendedLooks:
    """One of the two, by itself or inside the application's chain."""
    networks = (arguments.detector, arguments.pose)
    if arguments.mended:
        return MendedLooks(kind, paths, arguments.step, arguments.threads, networks)
    return make_front_end(kind, len(paths), "onnxruntime", arguments.threads, networks)


def _reference(
    arguments: argparse.Namespace, paths: list[Path], pick: int
) -> tuple[Array, list[Image]]:
    """BlazePose's joints, from a file where they are kept, and drawn rows where they are not."""
    kept: Path | None = arguments.reference
    if kept is not None and kept.exists():
        try:
            reference = np.load(kept, allow_pickle=False).astype(np.float64)
        except (OSError, ValueError) as error:
            raise UserError(f"{kept} holds no joints ({error}); delete it") from error
        sets = sum(1 for _ in read_sets(paths, arguments.step))
        if reference.shape != (sets, len(paths), JOINT_COUNT, 3):
            raise _other_videos(kept)
        return reference, []
    blaze = _front_end("blazepose", arguments, paths)
    try:
        reference, sheet = run(blaze.process, paths, arguments.step, pick)
    finally:
        blaze.close()
    if kept is not None:
        try:
            with kept.open("wb") as stream:  # np.save would add an ending of its own
                np.save(stream, reference, allow_pickle=False)
        except OSError as error:
            raise UserError(f"{kept}: cannot be written: {error.strerror}") from error
    return reference, sheet


def _other_videos(kept: Path) -> UserError:
    return UserError(f"{kept} is of other videos or another --step; delete it")


if __name__ == "__main__":
    sys.exit(main())
