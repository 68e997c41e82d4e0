"""The world's axes: z up as the body shows it, floor at the feet, origin and heading.

Up is first the mean direction from the feet to the centre of mass while the person is upright. Feet
that stand still, here and there, then lie in a plane, whose normal refines it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from engines.balance import balance_axis, trunk_axis, upright_axis
from engines.rig.rotations import between
from engines.rig.types import Bools, Floats, Rig, RigCamera

ANKLE_HEIGHT: Final = 0.045
"""Of an ankle above the floor, as a share of the stature."""

_HIPS, _KNEES, _ANKLES = [1, 4], [2, 5], [3, 6]
_LEGS, _TRUNK = [*_HIPS, *_KNEES, *_ANKLES], [0, 8]
_SELDOM: Final = 0.1
"""With legs in a smaller share of the instants, the trunk is asked, too."""
_STRAIGHT: Final = 0.9
_AXIS_SIGMA: Final = np.radians(7.0)  # people lean and dance
_FLOOR_SIGMAS_M: Final = (0.12, 0.09, 0.06, 0.04, 0.03, 0.025)
"""Heights that count as standing; wide while up is not known well."""
_PLANTED_M_S: Final = 0.2
_ENOUGH: Final = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Floor:
    """What the body says of the vertical.

    Attributes:
        up: (3,) unit vector.
        height: of the floor along ``up``, metres.
        known: whether the person was seen upright for long enough.
    """

    up: Floats
    height: float
    known: bool


def find_floor(
    points: Floats,
    guess: Floats,
    stature: float,
    speeds: Floats | None = None,
    seen: Bools | None = None,
) -> Floor:
    """Finds up and the floor.

    Of somebody whose legs are hardly ever seen, as behind a desk, the trunk tells about up; it
    leans, so it counts no more than the cameras.

    Args:
        points: (K, 17, 3) joints at varied instants, metres, any axes.
        guess: (3,) roughly up, e.g. that of a camera; used where the body says nothing.
        stature: of the person, metres.
        speeds: (K, 17, 3) of the joints, m/s, where they are known: a foot that stands still tells
            more than one that swings low over the floor.
        seen: (K, 17) joints that were measured; others are guesses. None for all.

    Returns:
        The floor; ``known`` is False where it is only ``guess``, or that and the trunk.
    """
    if seen is None:
        seen = np.ones(points.shape[:2], bool)
    legs = seen[:, _LEGS].all(1)
    axis = balance_axis(points)
    length = np.linalg.norm(
        (points[:, 10] + points[:, 8]) / 2 - points[:, _ANKLES].mean(1), axis=-1
    )
    weight = _straightness(points) * (length < 1.5 * stature) * legs
    guess = guess / np.linalg.norm(guess)
    if legs.mean() < _SELDOM:
        guess = guess + _trunk(points[seen[:, _TRUNK].all(1)], guess)
        guess = guess / np.linalg.norm(guess)
    up, known = guess, False
    for _ in range(10):
        # Someone lying down is straight as well, but not along most others.
        agree = weight / (1 + ((1 - axis @ up) / (1 - np.cos(np.radians(12)))) ** 2)
        total = agree.sum()
        if total < 0.5:
            break
        known = bool(total >= _ENOUGH)
        mean = (agree[:, None] * axis).sum(0) + 0.1 * guess
        up = mean / np.linalg.norm(mean)
    feet = seen[:, _ANKLES].reshape(-1)
    planted = feet.astype(np.float64) if feet.any() else np.ones(len(feet))
    if speeds is not None:
        speed2 = (speeds[:, _ANKLES] ** 2).sum(-1).reshape(-1)
        planted = planted / (1 + speed2 / _PLANTED_M_S**2) ** 2
    up, height = _floor_plane(points[:, _ANKLES], up, known, stature, planted)
    return Floor(up, height, known)


def _trunk(points: Floats, guess: Floats) -> Floats:
    """(3,) the mean direction from pelvis to thorax of who does not lie; 0 where nobody is seen."""
    axis = points[:, 8] - points[:, 0]
    axis = axis / np.maximum(np.linalg.norm(axis, axis=-1), 1e-6)[:, None]
    mean = axis[axis @ guess > 0.5].sum(0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6))


def _straightness(points: Floats) -> Floats:
    """(K,) 0…1 how straight legs and trunk are."""
    thigh = np.linalg.norm(points[:, _KNEES] - points[:, _HIPS], axis=-1)
    shin = np.linalg.norm(points[:, _ANKLES] - points[:, _KNEES], axis=-1)
    leg = np.linalg.norm(points[:, _ANKLES] - points[:, _HIPS], axis=-1)
    stretched = (leg / np.maximum(thigh + shin, 1e-6)).mean(-1)
    trunk = points[:, 8] - points[:, 0]
    legs = points[:, 0] - points[:, _ANKLES].mean(1)
    norms = np.linalg.norm(trunk, axis=-1) * np.linalg.norm(legs, axis=-1)
    bent = (trunk * legs).sum(-1) / np.maximum(norms, 1e-6)
    straight = np.minimum(stretched, bent)
    return np.asarray(np.clip((straight - _STRAIGHT) / (0.98 - _STRAIGHT), 0.0, 1.0))


def _floor_plane(
    ankles: Floats, up: Floats, known: bool, stature: float, planted: Floats
) -> tuple[Floats, float]:
    """Refines up with the feet, (K, 2, 3), and finds the floor's height along it.

    ``planted``, (2 K,), weighs the feet by how still they stand.
    """
    feet = ankles.reshape(-1, 3)
    base = up
    for sigma in _FLOOR_SIGMAS_M:
        heights = feet @ up
        standing = planted * _standing(heights, sigma)
        if not known or standing.sum() < 1:
            continue
        middle = (standing[:, None] * feet).sum(0) / standing.sum()
        across = _tangents(up)
        place = (feet - middle) @ across.T
        rise = (feet - middle) @ up
        # Steps, not pictures, are independent: no more than a dozen count in full.
        scale = standing * min(1.0, 12 / standing.sum()) / sigma**2
        weighted = place * scale[:, None]
        lean = across @ base  # how far the body's axis lies from the current up
        tilt = np.linalg.solve(
            weighted.T @ place + np.eye(2) / _AXIS_SIGMA**2,
            lean / _AXIS_SIGMA**2 - weighted.T @ rise,
        )
        up = up + across.T @ tilt
        up = up / np.linalg.norm(up)
    heights = feet @ up
    standing = planted * _standing(heights, _FLOOR_SIGMAS_M[-1])
    level = float((standing * heights).sum() / max(float(standing.sum()), 1e-9))
    return up, level - ANKLE_HEIGHT * stature


def _standing(heights: Floats, sigma: float) -> Floats:
    """0…1 how surely each foot stands: how near it is to the lowest ones."""
    low = np.percentile(heights, 15)
    return np.asarray(1 / (1 + ((heights - low) / sigma) ** 2) ** 2)


def _tangents(up: Floats) -> Floats:
    """(2, 3) two unit vectors across up."""
    helper = np.eye(3)[int(np.abs(up).argmin())]
    first = np.cross(up, helper)
    first = first / np.linalg.norm(first)
    return np.stack([first, np.cross(up, first)])


def level_axes(up: Floats, camera_rotation: Floats) -> Floats:
    """(3, 3) rotation to axes with z up and y where a camera looks.

    Args:
        up: (3,) unit vector in the current axes.
        camera_rotation: (3, 3) from the current axes to that camera's.
    """
    forward = camera_rotation[2] - up * (camera_rotation[2] @ up)
    if np.linalg.norm(forward) < 1e-3:  # it looks straight up or down: take its top as forward
        forward = -camera_rotation[1] + up * (camera_rotation[1] @ up)
    forward = forward / np.linalg.norm(forward)
    return np.stack([np.cross(forward, up), forward, up])


def move_rig(rig: Rig, rotation: Floats, translation: Floats, scale: float = 1.0) -> Rig:
    """Expresses a rig in other world axes: x' = scale · rotation · x + translation.

    Args:
        rig: the rig.
        rotation: (3, 3).
        translation: (3,) metres.
        scale: new metres for one old.

    Returns:
        The same rig in the new axes.
    """
    turn = np.eye(9)
    turn[3:6, 3:6] = scale * rotation
    cameras = tuple(
        None
        if camera is None
        else replace(
            camera,
            rotation=camera.rotation @ rotation.T,
            position=scale * rotation @ camera.position + translation,
            covariance=turn @ camera.covariance @ turn.T,
        )
        for camera in rig.cameras
    )
    return replace(
        rig,
        cameras=cameras,
        bone_lengths=rig.bone_lengths * scale,
        body_height_m=rig.body_height_m * scale,
        expected_error_mm=rig.expected_error_mm * scale,
        rig_error_mm=rig.rig_error_mm * scale,
    )


def set_level(rig: Rig, joints: Floats, legs_seen: bool = True) -> Rig:
    """Takes the axis of a person who is upright now for vertical; the feet stay in place.

    Args:
        rig: the rig.
        joints: (17, 3) of the person in its world.
        legs_seen: whether its legs are more than a guess; else the trunk tells, and the pelvis
            stays in place.

    Returns:
        The rig in axes with z along feet to head, floor under the feet.
    """
    up = np.array([0.0, 0.0, 1.0])
    if not legs_seen:
        turn = between(trunk_axis(joints), up)
        return replace(move_rig(rig, turn, joints[0] - turn @ joints[0]), levelled=True)
    turn = between(upright_axis(joints), up)
    floor = min((turn @ joints[a])[2] for a in _ANKLES) - ANKLE_HEIGHT * rig.body_height_m
    moved = move_rig(rig, turn, np.array([0.0, 0.0, -floor]))
    return replace(moved, levelled=True)


def set_front(rig: Rig, joints: Floats) -> Rig:
    """Turns the world so that the person, (17, 3), faces −y and stands at the origin."""
    left = joints[4] - joints[1] + joints[11] - joints[14]
    facing = np.arctan2(-left[0], left[1])  # left of the body is 90° anticlockwise of its front
    angle = -np.pi / 2 - facing
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    place = turn @ joints[0]
    return move_rig(rig, turn, np.array([-place[0], -place[1], 0.0]))


def shared_cameras(rig: Rig, other: Rig) -> list[tuple[RigCamera, RigCamera]]:
    """The cameras that both rigs know, as the one and as the other has them."""
    return [
        (one, two)
        for one, two in zip(rig.cameras, other.cameras, strict=True)
        if one is not None and two is not None
    ]


def keep_place(rig: Rig, before: Rig) -> Rig:
    """Turns and shifts a levelled rig on its floor so that its cameras stay where they were.

    Args:
        rig: the new rig, z up.
        before: the rig that it replaces.

    Returns:
        The new rig, turned about z and shifted along the floor; unchanged where the two share no
        camera.
    """
    pairs = shared_cameras(rig, before)
    if not pairs:
        return rig
    new = np.array([[*a.position[:2]] for a, _ in pairs])
    old = np.array([[*b.position[:2]] for _, b in pairs])
    # Headings count as points a metre ahead of the cameras, so that one camera is enough.
    new = np.concatenate([new, new + [a.rotation[2, :2] for a, _ in pairs]])
    old = np.concatenate([old, old + [b.rotation[2, :2] for _, b in pairs]])
    a, b = new - new.mean(0), old - old.mean(0)
    angle = np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum())
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    shift = old.mean(0) - turn[:2, :2] @ new.mean(0)
    return move_rig(rig, turn, np.append(shift, 0.0))


def keep_origin(rig: Rig, before: Rig) -> Rig:
    """Shifts a levelled rig along its floor so that its cameras' middle stays where it was.

    Args:
        rig: the new rig, z up.
        before: the rig that it replaces.

    Returns:
        The new rig with its own heading; unchanged where the two share no camera.
    """
    shifts = [old.position - new.position for new, old in shared_cameras(rig, before)]
    if not shifts:
        return rig
    return move_rig(rig, np.eye(3), np.append(np.mean(shifts, axis=0)[:2], 0.0))
