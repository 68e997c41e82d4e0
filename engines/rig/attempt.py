"""One adjustment of some cameras, and what speaks against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from engines.rig.adjustment import Adjusted
from engines.rig.priors import Knowledge
from engines.rig.quality import Precision
from engines.rig.types import Bools
from engines.rig.unknowns import Priors

_BAD_NOISE: Final = 0.035
_FOV_LIMITS_DEG: Final = (20.0, 140.0)
_WRONG_FOCAL: Final = 0.08


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One adjustment of some cameras.

    Attributes:
        views: the W cameras, as indices of all.
        reference: which of these the others are adjusted against.
        priors: what was known before.
        adjusted: the adjustment.
        precision: how exact it is.
    """

    views: tuple[int, ...]
    reference: int
    priors: Priors
    adjusted: Adjusted
    precision: Precision

    @property
    def misfit(self) -> int | None:
        """A camera, of all, that does not fit with the others, if there are enough others."""
        if len(self.views) < 3:
            return None
        noise = self.adjusted.noise
        fov = np.degrees(2 * np.arctan(np.exp(-self.adjusted.state.log_focal)))
        odd = (noise > _BAD_NOISE) | (fov < _FOV_LIMITS_DEG[0]) | (fov > _FOV_LIMITS_DEG[1])
        if not odd.any():
            return None
        return self.views[int(np.where(odd, noise, 0.0).argmax())]

    def contradicts(self, knowledge: Knowledge) -> Bools:
        """(W,) where the focal length found excludes the one that was told, if one was."""
        told = np.log([knowledge.cameras[v].focal or 1.0 for v in self.views])
        told_sigma = np.array([knowledge.cameras[v].focal_sigma for v in self.views])
        off = np.abs(self.adjusted.state.log_focal - told)
        sigma = np.hypot(np.sqrt(self.precision.cameras[:, 6, 6]), told_sigma)
        return np.asarray((off > 3.5 * sigma) & (off > _WRONG_FOCAL))
