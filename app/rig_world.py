"""Turns a rig's world as somebody asked for at a moment when they were seen."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from engines.rig.fusion import pose_with_rig
from engines.rig.triangulation import cameras_of
from engines.rig.types import Floats, Observation, Rig
from engines.rig.world import set_front, set_level
from engines.skeleton import LEG_JOINTS

WorldAction = Literal["level", "front"]
"""The person stands upright, or faces the front at the origin."""


@dataclass(frozen=True, slots=True, eq=False)
class WorldWish:
    """Somebody set the world's axes.

    Attributes:
        action: what the person did at that moment.
        observation: what the cameras saw then.
    """

    action: WorldAction
    observation: Observation

    def grant(self, rig: Rig, aspects: Floats, unit_m: float) -> Rig | None:
        """Turns a rig's world.

        Args:
            rig: any.
            aspects: (V,) height over width of each camera's pictures.
            unit_m: metres of one body unit, in which the lifted joints are.

        Returns:
            The rig with its cameras in the new world; None where the person was not seen.
        """
        seen = self.observation
        lifted = None if seen.lifted is None else seen.lifted * unit_m
        sigma = None if seen.lifted_sigma is None else seen.lifted_sigma * unit_m
        error_m = rig.rig_error_mm * 1e-3
        pose = pose_with_rig(cameras_of(rig), seen.keypoints, aspects, error_m, lifted, sigma)
        if pose is None:
            return None
        if self.action == "front":
            return set_front(rig, pose.joints)
        return set_level(rig, pose.joints, bool((pose.views[list(LEG_JOINTS)] > 0).all()))


_KEPT_S: Final = 10.0


class WorldWishes:
    """What people asked for, and what was seen when they did."""

    def __init__(self) -> None:
        """Has seen nothing."""
        self._moments: deque[Observation] = deque()
        self._open: list[WorldWish] = []

    def see(self, observation: Observation) -> None:
        """Takes one set; the last seconds are kept, since an estimation may be at work then."""
        self._moments.append(observation)
        while observation.time_s - self._moments[0].time_s > _KEPT_S:
            self._moments.popleft()

    def at(self, action: WorldAction, time_ns: int) -> WorldWish | None:
        """A wish of some moment; None where nothing was seen at all."""
        if not self._moments:
            return None
        nearest = min(self._moments, key=lambda seen: abs(seen.time_s - time_ns * 1e-9))
        return WorldWish(action, nearest)

    def keep(self, wish: WorldWish) -> None:
        """Keeps a wish until there is a rig to measure it with; the last of each kind counts."""
        self._open = [w for w in self._open if w.action != wish.action] + [wish]

    def take(self) -> list[WorldWish]:
        """The wishes that were kept, which are forgotten here."""
        wishes, self._open = self._open, []
        return wishes
