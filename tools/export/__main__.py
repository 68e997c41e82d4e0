"""``python -m tools.export TAKE.mcap OUT.c3d …``: a recording for other programs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from engines.errors import UserError
from tools.export.bvh_file import write_bvh
from tools.export.c3d_file import write_c3d
from tools.export.even_rate import resample
from tools.export.marker_names import NameSet, marker_names
from tools.export.motion import Motion, Place, read_motion
from tools.export.tables import write_csv, write_trc

_WRITERS: Final[dict[str, Callable[[Motion, Path], str | None]]] = {
    ".bvh": write_bvh,
    ".c3d": write_c3d,
    ".csv": write_csv,
    ".trc": write_trc,
}

_WHERE: Final[dict[Place, str]] = {
    "room": "in the room",
    "floor": "on the floor, not moving about (--place room needs the cameras to be found)",
    "pelvis": "relative to the pelvis",
}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    recording: Annotated[Path, typer.Argument(help="The recording (.mcap).")],
    targets: Annotated[
        list[Path],
        typer.Argument(help="Files to write; the ending tells the format: .c3d, .trc, .bvh, .csv."),
    ],
    rate: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            max=1000.0,
            help="Even rate in Hz. By default the recording's own, rounded; .csv keeps its very "
            "instants.",
        ),
    ] = None,
    gap: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="A joint missing for longer, in seconds, is not filled in; by default 0.5, or one "
            "and a half of the recording's steps.",
        ),
    ] = None,
    place: Annotated[
        Place | None,
        typer.Option(
            help="Places in the room; on the spot, the lower foot on the floor; or relative to the "
            "pelvis. By default in the room where the cameras were found, else on the floor."
        ),
    ] = None,
    begin: Annotated[
        float,
        typer.Option("--from", min=0.0, help="Export from here on, seconds after the first pose."),
    ] = 0.0,
    end: Annotated[
        float | None,
        typer.Option("--to", min=0.0, help="Export up to here, seconds after the first pose."),
    ] = None,
    names: Annotated[
        NameSet,
        typer.Option(
            help="Names of the joints in .c3d, .trc and .csv: ours, or those of Pose2Sim's marker "
            "set for OpenSim (Markers_Halpe26.xml)."
        ),
    ] = "dsvt",
) -> None:
    """Write the 3D joints of a recording for other programs. Existing files are kept."""
    try:
        _check(targets)
        motion = read_motion(recording, place, begin, end)
        motion = replace(motion, names=marker_names(names))
        as_recorded = [t for t in targets if t.suffix.lower() == ".csv" and rate is None]
        even = motion if len(as_recorded) == len(targets) else resample(motion, rate, gap)
        for target in targets:
            print(_export(motion if target in as_recorded else even, target))
        print(_summary(motion, even))
        if motion.missing:
            print(f"{recording}: {motion.missing}; what came before is exported", file=sys.stderr)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error


def _check(targets: list[Path]) -> None:
    """Finds mistakes before anything is read or written."""
    for target in targets:
        if target.suffix.lower() not in _WRITERS:
            known = ", ".join(_WRITERS)
            raise UserError(f"{target}: the ending tells the format, and is one of {known}")
        if targets.count(target) > 1:
            raise UserError(f"{target}: given twice")
        if target.exists():
            raise UserError(f"{target}: exists already; name another file")


def _export(motion: Motion, target: Path) -> str:
    try:
        remark = _WRITERS[target.suffix.lower()](motion, target)
    except OSError as error:
        # Half a file would look like a whole one.
        if not isinstance(error, FileExistsError):
            with contextlib.suppress(OSError):
                target.unlink(missing_ok=True)
        raise UserError(f"{target}: cannot be written: {error.strerror or error}") from error
    spacing = "as recorded" if motion.rate_hz is None else f"at {motion.rate_hz:g} Hz"
    line = f"{target}: {len(motion.times_s)} instants {spacing}"
    return f"{line}; {remark}" if remark else line


def _summary(motion: Motion, written: Motion) -> str:
    began = datetime.fromtimestamp(motion.start_ns * 1e-9, timezone.utc)
    share = 100 * np.isfinite(written.joints[..., 0]).mean()
    text = f"{motion.times_s[-1]:.1f} s from {began:%Y-%m-%dT%H:%M:%S.%f}Z on, "
    text += f"{share:.0f} % of the joints known, {_WHERE[motion.place]}"
    first = motion.times_s[int(np.argmax(np.isfinite(motion.root[:, 0])))]
    if first > 0:
        text += f" (known from {first:.1f} s on; --place floor has what comes before)"
    for change_s in motion.changes_s:
        text += (
            f"\nat {change_s:.3f} s the axes were set anew, before it they are others: part the "
            "take there with --to and --from"
        )
    return text


if __name__ == "__main__":
    app()
