"""What the user tells ``tools.calibrate`` of the cameras beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.rig_knowledge import from_rig
from engines.errors import UserError
from engines.rig.exchange import load_rig, match_cameras
from engines.rig.priors import focal_of_fov
from engines.rig.types import KnownCamera
from tools.rig.takes import SeenTake


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What is known of V cameras.

    Attributes:
        cameras: (V) one entry each.
        levelled: whether the world that fixed cameras are given in has z up.
        notes: what was guessed or simplified in files, one line each.
    """

    cameras: list[KnownCamera]
    levelled: bool = True
    notes: tuple[str, ...] = ()

    @property
    def tells_scale(self) -> bool:
        """Whether it says how far two cameras stand apart."""
        return sum(camera.position is not None for camera in self.cameras) >= 2


def given_cameras(
    take: SeenTake, fov: Sequence[str], intrinsics: Path | None, fixed: Path | None
) -> Given:
    """Puts together what the user knows.

    Args:
        take: for names and sizes.
        fov: ``63`` for all cameras or ``name=63``, degrees.
        intrinsics: a rig file whose lenses are taken.
        fixed: a rig file whose cameras stand where it says; its lenses come before those others.

    Raises:
        UserError: a name or value is wrong.
    """
    given = Given([KnownCamera() for _ in take.ids])
    for source, places in ((intrinsics, False), (fixed, True)):
        if source is not None:
            given = _with_file(given, source, take, places=places)
    cameras = list(given.cameras)
    for item in fov:
        views, value = named_value("--fov", item, take.ids)
        if not 10 < value < 170:
            raise UserError(f"--fov {item}: give degrees between 10 and 170, as 63 or name=63")
        for v in views:
            cameras[v] = replace(cameras[v], focal=focal_of_fov(value))
    return replace(given, cameras=cameras)


def _with_file(given: Given, source: Path, take: SeenTake, *, places: bool) -> Given:
    loaded, notes = load_rig(source)
    rig = match_cameras(loaded, take.ids, str(source))
    for v, camera in enumerate(rig.cameras):
        if camera is None:
            continue
        lens = camera.model
        if abs(lens.width / lens.height - take.sizes[v][0] / take.sizes[v][1]) > 0.01:
            raise UserError(
                f"{source}: camera {camera.id} has pictures of {lens.width}x{lens.height}, but "
                f"here they are {take.sizes[v][0]}x{take.sizes[v][1]}"
            )
    return Given(
        from_rig(rig, given.cameras, places=places),
        rig.levelled if places else given.levelled,
        (*given.notes, *(f"{source}: {note}" for note in notes)),
    )


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
