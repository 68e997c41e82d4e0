"""What the user is told: why there is no rig yet, or what would make it better."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from engines.rig.types import Floats, Quality

_STILL_S: Final = 4.0
_STILL_M: Final = 0.05
_SAME_SIDE_DEG: Final = 20.0
_ONE_SIDE_DEG: Final = 35.0
_NARROW_PATH_M: Final = 0.35


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What an estimation came across.

    Attributes:
        ids: names of the cameras.
        keyframes: instants kept.
        watched_s: how long somebody has been seen.
        views: cameras that were adjusted.
        quality: of what was found; None where it must not be used.
        motion_m: how far joints moved (robust standard deviation, mean over the joints).
        spread_m: how far the person's places lie apart (standard deviation).
        angles_deg: (n, n) angles, 0…180, between the directions in which the adjusted cameras see
            the person; 180 where two look at each other.
        lenses_known: the focal lengths of all adjusted cameras were given, and fit.
        left_out: cameras that do not fit with the others.
        wrong_focal: cameras whose given field of view does not fit what is seen.
    """

    ids: tuple[str, ...]
    keyframes: int
    watched_s: float
    views: tuple[int, ...] = ()
    quality: Quality | None = None
    motion_m: float = 0.0
    spread_m: float = 0.0
    angles_deg: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    lenses_known: bool = False
    left_out: tuple[int, ...] = ()
    wrong_focal: tuple[int, ...] = ()

    @property
    def still(self) -> bool:
        """Whether the person has hardly moved."""
        return self.motion_m < _STILL_M

    @property
    def unusable(self) -> bool:
        """Whether the cameras cannot be found from this, whatever the adjustment says.

        Of someone who stands still, detectors' constant errors are all there is to adjust to. Two
        cameras leave one residual a joint, from which focal lengths come out far off.
        """
        return self.still or (len(self.views) == 2 and not self.lenses_known)


def motion(points: Floats) -> float:
    """How far joints moved: (K, 17, 3) metres to the mean robust standard deviation over 3D."""
    deviation = np.median(np.abs(points - np.median(points, axis=0)), axis=0)
    return float(1.48 * np.sqrt((deviation**2).sum(-1)).mean())


def pair_angles(positions: Floats, places: Floats) -> Floats:
    """Angles between cameras' directions.

    Args:
        positions: (n, 3) of the cameras.
        places: (K, 3) of the person.

    Returns:
        (n, n) degrees 0…180, mean over the places; 0 on the diagonal.
    """
    rays = places[:, None] - positions
    rays = rays / np.maximum(np.linalg.norm(rays, axis=-1, keepdims=True), 1e-9)
    cosine = np.clip(np.einsum("kai,kbi->kab", rays, rays), -1.0, 1.0)
    angles = np.degrees(np.arccos(cosine)).mean(0)
    np.fill_diagonal(angles, 0.0)
    return np.asarray(angles)


def advise(found: Findings) -> tuple[str, tuple[str, ...]]:
    """Puts findings into words.

    Returns:
        The one line that matters most (empty where all is well), and further lines.
    """
    warnings = [
        f"camera {found.ids[v]}: the given field of view does not fit what is seen; it is "
        "estimated instead"
        for v in found.wrong_focal
    ]
    warnings += [
        f"camera {found.ids[v]} does not fit with the others yet and is left out"
        for v in found.left_out
    ]
    if found.views:
        warnings += [
            f"camera {name} has not seen the person together with the others often enough yet"
            for v, name in enumerate(found.ids)
            if v not in found.views and v not in found.left_out
        ]
    else:
        return _too_little(found), tuple(warnings)
    placement = _placement(found)
    if found.quality == "good":
        return "", tuple(warnings)
    return (placement[0] if placement else _MOVE), tuple(warnings + placement[1:])


_MOVE: Final = "walk about, turn and raise your arms: more and other places are needed"


def _too_little(found: Findings) -> str:
    if found.watched_s < _STILL_S:
        return "nobody was seen by two cameras long enough yet: step into their view and walk about"
    if found.keyframes < 8:
        return "the person stands still, or only one camera sees them: walk about"
    return "the cameras do not see the same person often enough at the same time: walk about"


def _placement(found: Findings) -> list[str]:
    lines = []
    count = len(found.views)
    angles = found.angles_deg
    if found.still:
        return ["the person stands still: walk about"]
    if count == 2 and len(found.ids) > 2:
        a, b = (found.ids[v] for v in found.views)
        lines.append(f"only camera {a} and {b} see the person: walk to where more of them look")
    elif count == 2 and not found.lenses_known:
        lines.append("two cameras tell little: add a third, or give their fields of view")
    if found.spread_m < _NARROW_PATH_M:
        lines.append("the person stays on one spot: walk about")
    upper = [(angles[a, b], a, b) for a in range(count) for b in range(a + 1, count)]
    if count >= 3 and upper and max(angle for angle, _, _ in upper) < _ONE_SIDE_DEG:
        lines.append("all cameras see the same side: spread them around the person")
    else:
        lines += [
            f"camera {found.ids[found.views[a]]} and {found.ids[found.views[b]]} see the same side:"
            " move one of them round the person"
            for angle, a, b in upper
            if angle < _SAME_SIDE_DEG
        ]
    return lines
