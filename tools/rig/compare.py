"""How far two rigs of the same cameras, and the joints that they make, are apart.

Worlds and scales do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engines.errors import UserError
from engines.procrustes import align_similarity, nearest_rotation
from engines.rig.rotations import angle_deg
from engines.rig.types import Floats, Rig
from engines.skeleton import LIMB_JOINTS
from tools.rig.skeletons import triangulate_take
from tools.rig.takes import SeenTake

_LEAST_JOINTS: Final = 4


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


@dataclass(frozen=True, slots=True)
class JointDifference:
    """How far the limb joints are apart that two rigs make of the same 2D joints, millimetres.

    Attributes:
        poses: sets that both rigs make a skeleton of.
        each_mm: mean, after the best similarity of each pose (PA).
        worst_mm: the same of the worst pose.
        take_mm: mean, after one similarity for the whole take.
    """

    poses: int
    each_mm: float
    worst_mm: float
    take_mm: float


def compare_joints(rig: Rig, other: Rig, take: SeenTake) -> JointDifference:
    """Triangulates a take with either rig.

    Args:
        rig: one entry a view.
        other: likewise; its metres are the ones that count.
        take: 2D joints.

    Raises:
        UserError: fewer than two poses have four limb joints or more with both.
    """
    limbs = list(LIMB_JOINTS)
    own, theirs = (triangulate_take(r, take)[:, limbs] for r in (rig, other))
    both = np.asarray(np.isfinite(own + theirs).all(-1))
    rows = np.flatnonzero(both.sum(1) >= _LEAST_JOINTS)
    if len(rows) < 2:
        raise UserError("with the two rigs fewer than two poses can be compared")
    each = [_apart_mm(own[row][both[row]], theirs[row][both[row]]) for row in rows]
    kept = both[rows]
    return JointDifference(
        poses=len(rows),
        each_mm=float(np.mean(each)),
        worst_mm=float(np.max(each)),
        take_mm=_apart_mm(own[rows][kept], theirs[rows][kept]),
    )


def _apart_mm(points: Floats, target: Floats) -> float:
    """Mean distance of (N, 3) points after the best similarity."""
    return 1e3 * float(np.linalg.norm(align_similarity(points, target) - target, axis=-1).mean())


def joint_line(found: JointDifference) -> str:
    """The joints' comparison in a sentence."""
    return (
        f"Limb joints from the same 2D joints, {found.poses} poses: {found.each_mm:.1f} mm apart "
        f"after a similarity for each pose (at most {found.worst_mm:.1f}), {found.take_mm:.1f} mm "
        "after one for all."
    )


def difference_lines(found: RigDifference, name: str) -> list[str]:
    """The cameras' comparison as lines of Markdown."""
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
