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
from app.rig_knowledge import from_rig
from engines.errors import UserError
from engines.front_ends.joint_definitions import bone_share
from engines.rig.estimator import RigEstimator
from engines.rig.exchange import FORMATS, load_rig, match_cameras, save_rig
from engines.rig.priors import focal_of_fov
from engines.rig.types import KnownCamera, RigResult
from tools.rig.compare import compare_joints, compare_rigs, difference_lines, joint_line
from tools.rig.lifting import lift_take, open_lifter
from tools.rig.report import report_lines, reproject, write_report
from tools.rig.takes import SeenTake, TurnedVideo, names_of, read_recording, read_videos

_CAPACITY = 100
_ROUNDS = 3
_VIDEOS = (".mp4", ".avi", ".mkv", ".mov")


def calibrate(
    take: SeenTake, weights: Path, stature_m: float, known: list[KnownCamera], threads: int
) -> RigResult:
    """Estimates on a whole take, refining until nothing moves any more.

    Args:
        take: what was seen.
        weights: of the lifter.
        stature_m: the person's body height.
        known: what is known of each camera.
        threads: CPU threads.

    Raises:
        UserError: the weights are missing, or what is known cannot be.
    """
    lifter = open_lifter(weights, threads)
    lifted, sigma = lift_take(lifter, take.times_s, take.view_times_s, take.keypoints)
    unit = stature_m / lifter.card.stature_body_units
    share = bone_share(take.front_end)
    estimator = RigEstimator(take.ids, take.sizes, unit, stature_m, known, _CAPACITY, share)
    for observation in take.observations(lifted, sigma):
        estimator.add(observation)
    estimator.flush()
    result = estimator.estimate()
    for _ in range(_ROUNDS - 1):
        if result.rig is None:
            break
        result = estimator.estimate()
    return result


def known_cameras(
    take: SeenTake, fov: Sequence[str], intrinsics: Path | None, fixed: Path | None
) -> list[KnownCamera]:
    """Puts together what the user knows.

    Args:
        take: for names and sizes.
        fov: ``63`` for all cameras or ``name=63``, degrees.
        intrinsics: a rig file whose lenses are taken.
        fixed: a rig file whose cameras stand where it says.

    Raises:
        UserError: a name or value is wrong.
    """
    out = [KnownCamera() for _ in take.ids]
    source = fixed or intrinsics
    if source is not None:
        rig = match_cameras(load_rig(source)[0], take.ids, str(source))
        for v, camera in enumerate(rig.cameras):
            if camera is None:
                continue
            lens = camera.model
            if abs(lens.width / lens.height - take.sizes[v][0] / take.sizes[v][1]) > 0.01:
                raise UserError(
                    f"{source}: camera {camera.id} has pictures of {lens.width}x{lens.height}, but "
                    f"here they are {take.sizes[v][0]}x{take.sizes[v][1]}"
                )
        out = from_rig(rig, out, places=fixed is not None)
    for item in fov:
        views, value = named_value("--fov", item, take.ids)
        if not 10 < value < 170:
            raise UserError(f"--fov {item}: give degrees between 10 and 170, as 63 or name=63")
        for v in views:
            out[v] = KnownCamera(focal=focal_of_fov(value))
    return out


def named_value(option: str, item: str, ids: Sequence[str]) -> tuple[list[int], float]:
    """Reads ``63``, which is meant for all cameras, or ``name=63``.

    Args:
        option: whose value it is.
        item: the value.
        ids: names of the cameras.

    Returns:
        Which cameras it is for, and the number; NaN where it is none.

    Raises:
        UserError: there is no such camera.
    """
    name, _, text = item.rpartition("=")
    if name and name not in ids:
        raise UserError(f"{option} {item}: no camera {name}; there are {', '.join(ids)}")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    return [v for v, camera_id in enumerate(ids) if name in ("", camera_id)], value


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
        if args.rotate:
            raise UserError(f"--rotate: is for videos; {paths[0]} holds joints, not pictures")
        return read_recording(paths[0])
    if not 2 <= len(paths) <= 8:
        raise UserError(f"{len(paths)} video(s): give one video a camera, of 2 to 8 cameras")
    videos = turned_videos(paths, args.rotate)
    return read_videos(videos, args.front_end, args.rate, args.seconds, args.threads)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", type=Path, nargs="+", help="one .mcap recording, videos, or their folder"
    )
    parser.add_argument("--out", type=Path, required=True, help="the rig file to write")
    parser.add_argument("--format", choices=FORMATS, help="of it; by default told from its ending")
    parser.add_argument("--report", type=Path, help="folder for report.md and rig.png")
    parser.add_argument("--body-height", type=float, help="metres; default 1.70")
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
    parser.add_argument("--weights", type=Path, default=Path("weights/lifter.onnx"))
    parser.add_argument("--front-end", choices=("blazepose", "yolo_cpn"), default="blazepose")
    parser.add_argument("--rate", type=float, default=30.0, help="most sets a second of videos")
    parser.add_argument("--seconds", type=float, default=60.0, help="most seconds of videos")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    try:
        if args.rate <= 0 or args.seconds <= 0 or args.threads < 1:
            raise UserError("--rate, --seconds and --threads must be above 0")
        take = read_take(args)
        known = known_cameras(take, args.fov, args.intrinsics, args.fixed)
        stature = args.body_height or take.body_height_m or 1.70
        result = calibrate(take, args.weights, stature, known, args.threads)
        if result.rig is None:
            raise UserError(f"{args.source[0]}: no rig found: {result.reason}")
        for path in save_rig(result.rig, args.out, args.format):
            print(f"wrote {path}")
        looked = reproject(result.rig, take)
        if args.report is not None:
            for path in write_report(args.report, result, take, looked):
                print(f"wrote {path}")
        print("\n".join(report_lines(result, take, looked)))
        if args.compare is not None:
            other = match_cameras(load_rig(args.compare)[0], take.ids, str(args.compare))
            difference = compare_rigs(result.rig, other)
            print("\n".join(difference_lines(difference, str(args.compare))))
            print(f"\n{joint_line(compare_joints(result.rig, other, take))}")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
