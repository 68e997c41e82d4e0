"""Finds the cameras of a recording, or of synchronised videos, from the person in them.

``python -m tools.calibrate take.mcap --out rig.json`` or
``python -m tools.calibrate cam1.mp4 cam2.mp4 cam3.mp4 --out Calib.toml --report out/calibration``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from app.config import Turn
from app.given_files import check_writable
from engines.errors import UserError
from engines.front_ends.joint_definitions import bone_share
from engines.model_files import SHIPPED_FOLDER
from engines.rig.estimator import RigEstimator
from engines.rig.exchange import FORMATS, guess_format, load_rig, match_cameras, save_rig
from engines.rig.types import RigResult
from tools.rig.compare import compare_joints, compare_rigs, difference_lines, joint_line
from tools.rig.given import Given, given_cameras, named_value
from tools.rig.lifting import lift_take, open_lifter
from tools.rig.report import report_lines, reproject, write_report
from tools.rig.takes import SeenTake, TurnedVideo, names_of, read_recording, read_videos

_CAPACITY = 100
_RATE_HZ, _SECONDS = 30.0, 60.0
_ROUNDS = 3
_VIDEOS = (".mp4", ".avi", ".mkv", ".mov")


def calibrate(
    take: SeenTake, weights: Path, stature_m: float, given: Given, threads: int
) -> RigResult:
    """Estimates on a whole take, refining until nothing moves any more.

    Args:
        take: what was seen.
        weights: of the lifter.
        stature_m: the person's body height.
        given: what is known of the cameras.
        threads: CPU threads.

    Raises:
        UserError: the weights are missing, or what is known cannot be.
    """
    lifter = open_lifter(weights, threads)
    lifted, sigma = lift_take(lifter, take.times_s, take.view_times_s, take.keypoints)
    unit = stature_m / lifter.card.stature_body_units
    share = bone_share(take.front_end)
    estimator = RigEstimator(
        *(take.ids, take.sizes, unit, stature_m, given.cameras, _CAPACITY, share),
        levelled=given.levelled,
    )
    for observation in take.observations(lifted, sigma):
        estimator.add(observation)
    estimator.flush()
    result = estimator.estimate()
    for _ in range(_ROUNDS - 1):
        if result.rig is None:
            break
        result = estimator.estimate()
    return result


def turned_videos(paths: Sequence[Path], rotate: Sequence[str]) -> list[TurnedVideo]:
    """Videos, and how far each is turned.

    Args:
        paths: one video a camera.
        rotate: ``90`` for all cameras or ``name=90``, degrees clockwise.

    Raises:
        UserError: a name or value is wrong.
    """
    videos = [TurnedVideo(path) for path in paths]
    for item in rotate:
        views, value = named_value("--rotate", item, names_of(paths))
        turn = next((turn for turn in get_args(Turn) if turn == value), None)
        if turn is None:
            raise UserError(f"--rotate {item}: give 90, 180 or 270, as 90 or name=90")
        for v in views:
            videos[v] = replace(videos[v], turn=turn)
    return videos


def read_take(args: argparse.Namespace) -> SeenTake:
    """Reads the recording or the videos.

    Raises:
        UserError: they cannot be read.
    """
    paths: list[Path] = args.source
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(p for p in paths[0].iterdir() if p.suffix.lower() in _VIDEOS)
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise UserError(f"{missing[0] if missing else args.source[0]}: no such recording or video")
    if paths[0].suffix.lower() == ".mcap":
        if len(paths) > 1:
            raise UserError(f"{paths[1]}: give one recording, or videos")
        for option in ("rotate", "front_end", "rate", "seconds"):
            if getattr(args, option):
                name = option.replace("_", "-")
                raise UserError(f"--{name}: is for videos; {paths[0]} holds joints, not pictures")
        return read_recording(paths[0])
    if not 2 <= len(paths) <= 8:
        raise UserError(f"{len(paths)} video(s): give one video a camera, of 2 to 8 cameras")
    videos = turned_videos(paths, args.rotate)
    rate, seconds = args.rate or _RATE_HZ, args.seconds or _SECONDS
    return read_videos(videos, args.front_end or "blazepose", rate, seconds, args.threads)


def _check(args: argparse.Namespace) -> None:
    """Finds mistakes before minutes are spent.

    Raises:
        UserError: a value is impossible, or what is to be written cannot be.
    """
    for name in ("rate", "seconds", "threads"):
        value = getattr(args, name)
        if value is not None and not 0 < value < float("inf"):
            raise UserError(f"--{name} {value}: must be above 0")
    height = args.body_height
    if height is not None and not 0.4 <= height <= 2.6:
        raise UserError(f"--body-height {height:g}: body height {height:g} m is not a person's")
    if args.format is None:
        guess_format(args.out)
    there = args.out / "intri.yml" if args.out.is_dir() else args.out
    if there.exists() and not args.force:
        raise UserError(f"--out {there}: exists already; name another file, or add --force")
    check_writable(args.out)
    if args.report is not None:
        check_writable(args.report / "report.md")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.calibrate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", type=Path, nargs="+", help="one .mcap recording, videos, or their folder"
    )
    parser.add_argument("--out", type=Path, required=True, help="the rig file to write")
    parser.add_argument("--force", action="store_true", help="replace it where it exists")
    parser.add_argument("--format", choices=FORMATS, help="of it; by default told from its ending")
    parser.add_argument("--report", type=Path, help="folder for report.md and rig.png")
    parser.add_argument(
        "--body-height", type=float, help="metres; default the recording's, else 1.70"
    )
    parser.add_argument(
        "--fov", action="append", default=[], help="known horizontal field of view: 63 or name=63"
    )
    parser.add_argument(
        "--rotate",
        action="append",
        default=[],
        help="videos of a camera on its side: turned clockwise by 90, 180 or 270, or name=90",
    )
    parser.add_argument("--intrinsics", type=Path, help="rig file whose lenses are known")
    parser.add_argument("--fixed", type=Path, help="rig file whose cameras have not moved")
    parser.add_argument("--compare", type=Path, help="a rig file to say the difference from")
    parser.add_argument(
        "--weights",
        type=Path,
        default=SHIPPED_FOLDER / "lifter.onnx",
        help="the lifter; default the one that ships",
    )
    parser.add_argument(
        "--front-end", choices=("blazepose", "yolo_cpn"), help="for videos; default blazepose"
    )
    parser.add_argument("--rate", type=float, help="most sets a second of videos; default 30")
    parser.add_argument("--seconds", type=float, help="most seconds of videos; default 60")
    parser.add_argument("--threads", type=int, default=2, help="of the networks; default 2")
    args = parser.parse_args()
    try:
        _check(args)
        other = None if args.compare is None else load_rig(args.compare)[0]
        take = read_take(args)
        given = given_cameras(take, args.fov, args.intrinsics, args.fixed)
        for note in given.notes:
            print(note, file=sys.stderr)
        stature = args.body_height or take.body_height_m or 1.70
        result = calibrate(take, args.weights, stature, given, args.threads)
        if result.rig is None:
            raise UserError(f"{args.source[0]}: no rig found: {result.reason}")
        for path in save_rig(result.rig, args.out, args.format):
            print(f"wrote {path}")
        looked = reproject(result.rig, take)
        if args.report is not None:
            for path in write_report(args.report, result, take, looked, fixed=given.tells_scale):
                print(f"wrote {path}")
        print("\n".join(report_lines(result, take, looked, fixed=given.tells_scale)))
        if other is not None:
            other = match_cameras(other, take.ids, str(args.compare))
            difference = compare_rigs(result.rig, other)
            print("\n".join(difference_lines(difference, str(args.compare))))
            print(f"\n{joint_line(compare_joints(result.rig, other, take))}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
