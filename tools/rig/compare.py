"""How far two rigs of the same cameras are apart, whatever their worlds and scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.errors import UserError
from engines.procrustes import nearest_rotation
from engines.rig.rotations import angle_deg
from engines.rig.types import Floats, Rig


@dataclass(frozen=True, slots=True, eq=False)
class RigDifference:
    """Differences of the cameras that both rigs know, one entry each.

    Attributes:
        ids: their names.
        rotation_deg: after the rotation that fits all cameras best.
        focal: relative.
        position_m: after the similarity that fits the positions best, metres of the second rig.
        scale: metres of the second rig for one of the first.
    """

    ids: tuple[str, ...]
    rotation_deg: Floats
    focal: Floats
    position_m: Floats
    scale: float


def compare_rigs(rig: Rig, other: Rig) -> RigDifference:
    """Compares two rigs whose cameras are in the same order.

    Raises:
        UserError: they share fewer than two cameras.
    """
    pairs = [(a, b) for a, b in zip(rig.cameras, other.cameras, strict=True) if a is not None and b]
    if len(pairs) < 2:
        raise UserError("the two rigs share fewer than two cameras: there is nothing to compare")
    own = np.stack([a.rotation for a, _ in pairs])
    theirs = np.stack([b.rotation for _, b in pairs])
    turn = nearest_rotation(np.einsum("vij,vik->jk", own, theirs))
    places = np.stack([a.position for a, _ in pairs]) @ turn
    wanted = np.stack([b.position for _, b in pairs])
    places, wanted = places - places.mean(0), wanted - wanted.mean(0)
    scale = float((places * wanted).sum() / max(float((places**2).sum()), 1e-9))
    return RigDifference(
        ids=tuple(a.id for a, _ in pairs),
        rotation_deg=angle_deg(own @ turn @ np.swapaxes(theirs, 1, 2)),
        focal=np.array([a.model.focal / b.model.focal - 1 for a, b in pairs]),
        position_m=np.linalg.norm(scale * places - wanted, axis=-1),
        scale=scale,
    )


def difference_lines(found: RigDifference, name: str) -> list[str]:
    """The comparison as lines of Markdown."""
    lines = [
        "",
        f"Against {name} (its metres are {found.scale:.3f} of these):",
        "",
        "| camera | rotation | focal length | position |",
        "|---|---|---|---|",
    ]
    for index, camera in enumerate(found.ids):
        lines.append(
            f"| {camera} | {found.rotation_deg[index]:.2f}° | {100 * found.focal[index]:+.1f} % "
            f"| {100 * found.position_m[index]:.1f} cm |"
        )
    return lines
