"""Which joints of a pose are shown, and how surely: nobody's guess is drawn as if it were seen."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engines.skeleton import JOINT_COUNT, LEG_JOINTS

_SURE_MM, _LOST_MM = 20.0, 220.0
_LEAST: Final = 0.05
_SELDOM: Final = 0.08
"""A joint of less confidence, in the mean of instants and views, is seen by chance if at all…"""
_FEW_VIEWS: Final = 4
"""…but that one of many sees it well is enough: more views than so many do not make it less."""
_HOPELESS_MM, _WORTH_MM = 80.0, 60.0
"""Such a joint is drawn up to the first expected error, and once it is not, from the second on
again: so that it does not flicker."""


class DrawnJoints:
    """Remembers which joints are not drawn at present."""

    def __init__(self) -> None:
        """Draws all."""
        self._seldom = np.zeros(JOINT_COUNT, bool)
        self._undrawn = np.zeros(JOINT_COUNT, bool)

    def look(self, recent: npt.NDArray[np.float32]) -> None:
        """Takes what was seen lately.

        Args:
            recent: (F, V, 17, 3) joints of the last instants; the confidence counts.
        """
        views = min(recent.shape[1], _FEW_VIEWS)
        # A guess now and then, or a faint one of one view, is no sighting.
        self._seldom = recent[..., 2].mean(0).sum(0) / views < _SELDOM

    @property
    def legs_seen(self) -> bool:
        """Whether hips, knees and ankles are seen and not guessed."""
        return not self._seldom[list(LEG_JOINTS)].any()

    def confidence(self, sigma_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """How surely each joint of a pose is shown.

        Args:
            sigma_mm: (17,) expected errors; infinite for joints that are not known.

        Returns:
            (17,) 0…1; 0 for what is not to be drawn.
        """
        limit = np.where(self._undrawn, _WORTH_MM, _HOPELESS_MM)
        self._undrawn = self._seldom & (sigma_mm > limit)
        confidence = np.clip((_LOST_MM - sigma_mm) / (_LOST_MM - _SURE_MM), _LEAST, 1.0)
        return np.where(self._undrawn | ~np.isfinite(sigma_mm), 0.0, confidence)
