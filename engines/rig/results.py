"""From an adjustment to a rig in the world: level, floor, heading, covariances."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from engines.procrustes import rotation_from_correlation
from engines.rig.adjustment import Adjusted
from engines.rig.bundle import joint_speeds
from engines.rig.priors import Knowledge
from engines.rig.quality import Precision
from engines.rig.trail import Trail
from engines.rig.triangulation import cameras_of
from engines.rig.types import Bools, CameraModel, Floats, Quality, Rig, RigCamera
from engines.rig.world import (
    find_floor,
    keep_origin,
    keep_place,
    level_axes,
    move_rig,
    shared_cameras,
)

_LEVEL_CAMERA_UP: Final = np.array([0.0, -1.0, 0.0])


class RigFrame:
    """The world's axes, kept from one estimation to the next.

    The first rig puts the origin on the floor under the middle of the person's path, y where the
    first camera looks that has seen them (``engines.rig.heading``). Later rigs keep their cameras
    in place, once one of them was good: the first, of a second or two of motion, may have its
    cameras several degrees from where they look. ``pin`` takes over a rig whose axes a person has
    set.
    """

    def __init__(
        self, ids: tuple[str, ...], sizes: tuple[tuple[int, int], ...], knowledge: Knowledge
    ) -> None:
        """Starts without axes."""
        self.ids, self.sizes, self.knowledge = ids, sizes, knowledge
        self._last: Rig | None = None
        self._level_kept = self._heading_kept = False

    def forget(self) -> None:
        """The next rig sets the axes anew."""
        self._last, self._level_kept, self._heading_kept = None, False, False

    def pin(self, rig: Rig, level_too: bool) -> None:
        """Later rigs keep their cameras where this one has them.

        Args:
            rig: in axes that a person, or a file, has set.
            level_too: whether its z is to be kept as well (else only heading and origin; a z that
                was to be kept stays so).
        """
        self._last = rig
        self._level_kept = self._level_kept or level_too
        self._heading_kept = True

    def settle(
        self,
        rig: Rig,
        heading: Floats,
        points: Floats,
        speeds: Floats | None = None,
        seen: Bools | None = None,
    ) -> Rig:
        """Turns a rig into the world's axes.

        Args:
            rig: in any axes.
            heading: (3, 3) from the same axes to those of the camera that looks along y.
            points: (K, 17, 3) the joints that it was found from, in the same axes.
            speeds: (K, 17, 3) theirs.
            seen: (K, 17) which of them were measured, not guessed; None for all.

        Returns:
            The rig in the world.
        """
        if self.knowledge.fixed.any() and self.knowledge.levelled:
            # The given places are the world, until somebody sets another heading in it.
            rig = replace(rig, levelled=True)
            return rig if self._last is None else _onto(rig, self._last)
        if self._level_kept and self._last is not None:
            settled = _onto(rig, self._last)
            self._last = settled
            return settled
        # Each camera is tilted, but around a person their tilts cancel.
        guess = np.sum([c.rotation.T @ _LEVEL_CAMERA_UP for c in rig.cameras if c is not None], 0)
        floor = find_floor(points, guess, self.knowledge.stature, speeds, seen)
        turn = level_axes(floor.up, heading)
        middle = turn @ np.median(points[:, 0], axis=0)
        settled = move_rig(rig, turn, -np.array([middle[0], middle[1], floor.height]))
        settled = replace(settled, levelled=floor.known)
        if self._last is not None:
            keep = keep_place if self._heading_kept else keep_origin
            settled = keep(settled, self._last)
        self._last = settled
        self._heading_kept = self._heading_kept or rig.quality == "good"
        return settled


def _onto(rig: Rig, before: Rig) -> Rig:
    """Turns and shifts a rig in space so that its cameras lie on those of another."""
    pairs = shared_cameras(rig, before)
    if not pairs:
        return rig
    correlation = sum((b.rotation.T @ a.rotation for a, b in pairs), np.zeros((3, 3)))
    turn = rotation_from_correlation(correlation)
    shift = np.mean([b.position - turn @ a.position for a, b in pairs], axis=0)
    return replace(move_rig(rig, turn, shift), levelled=before.levelled)


def build_rig(
    frame: RigFrame,
    views: tuple[int, ...],
    adjusted: Adjusted,
    precision: Precision,
    word: Quality,
    trail: Trail,
    heading: Floats,
) -> Rig:
    """Makes a rig out of an adjustment.

    Args:
        frame: names, picture sizes and the world's axes.
        views: the cameras that were adjusted, as indices of all.
        adjusted: the adjustment.
        precision: its expected errors.
        word: its quality.
        trail: the person's way.
        heading: (3, 3) from the adjustment's axes to those of the camera that looks along y.

    Returns:
        The rig in the world.
    """
    state = adjusted.state
    positions = state.positions
    cameras: list[RigCamera | None] = [None] * len(frame.ids)
    # Times count from the first known camera.
    base = state.offsets[0]
    for i, v in enumerate(views):
        width, height = frame.sizes[v]
        cameras[v] = RigCamera(
            id=frame.ids[v],
            model=CameraModel(
                focal=float(np.exp(state.log_focal[i])),
                principal=frame.knowledge.cameras[v].principal,
                k1=float(state.k1[i]),
                width=width,
                height=height,
            ),
            rotation=state.rotations[i],
            position=positions[i],
            time_offset_s=float(state.offsets[i] - base),
            covariance=precision.cameras[i],
            noise=float(adjusted.noise[i]),
        )
    rig = Rig(
        cameras=tuple(cameras),
        expected_error_mm=precision.expected_mm,
        quality=word,
        levelled=False,
        body_height_m=frame.knowledge.stature,
        bone_lengths=state.bones.copy(),
        rig_error_mm=precision.rig_mm,
    )
    points, speeds = trail.skeletons(cameras_of(rig))
    return frame.settle(
        rig,
        heading,
        np.concatenate([state.points, points]),
        np.concatenate([joint_speeds(state, adjusted.seen), speeds]),
        np.concatenate([adjusted.seen.held, np.ones(points.shape[:2], bool)]),
    )
