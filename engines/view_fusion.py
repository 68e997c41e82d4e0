"""From one answer a view to one skeleton: rotations between the views, weighted mean, level.

Every view answers in its own camera axes for the same instants, so two views' answers differ by
the rotation between their cameras. The rotations are averaged over the last half minute of
motion; cameras hardly move, people do.

The mean is that of weighted least squares: a view knows less about how far away a joint is than
about where it lies across its picture, so another view's answer counts for more in that direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.procrustes import rotation_from_correlation, synchronise_rotations

Floats = npt.NDArray[np.float64]

_MEMORY_S = 30.0
_LEAST_SIGMA: Final = 1e-3

_ALONG: Final = 0.25
"""How much a view's answer counts along its axis, compared with across.

Its error there is 1.4 times as large on rendered people, 1.8 times on motion capture. Half as much
would gain another tenth of a millimetre there, and lose more where views err alike all round.
"""

_SHARED_ERROR: Final = 0.5
"""Share of the variance of the views' answers that all have in common."""

_SHARPNESS: Final = 2.0
"""Power of the precision in a view's weight.

It would be 1 if the views erred on their own; but all have seen all pictures, so a view that is
less sure has little to add. Both were chosen on people that the lifter was validated on (four
views, PA: rendered 30.9 to 30.0 mm, motion capture 23.2 to 22.4).
"""


@dataclass(frozen=True, slots=True)
class FusedPose:
    """One skeleton from all views.

    Attributes:
        joints: (17, 3) root-relative, in the reference view's camera axes, body units.
        sigma: (17,) expected distance from the truth, body units.
        rotations: (V, 3, 3) from each view's axes to the reference view's; NaN where unknown.
        reference: which view is the reference: the first of the configuration, or, until that
            one has seen the person together with another, the first that has seen them.
    """

    joints: Floats
    sigma: Floats
    rotations: Floats
    reference: int


class ViewFusion:
    """Keeps the rotations between the views and fuses their answers."""

    def __init__(self, views: int) -> None:
        """Starts knowing nothing.

        Args:
            views: number of cameras.
        """
        self._views = views
        self._correlations = np.zeros((views, views, 3, 3))
        self._weights = np.zeros((views, views))
        self._seen_ns: dict[tuple[int, int], int] = {}
        self._reference: int | None = None

    def reset(self) -> None:
        """Forgets the rotations (the cameras were moved)."""
        self._correlations[:] = 0
        self._weights[:] = 0
        self._seen_ns.clear()
        self._reference = None

    def update(
        self,
        time_ns: int,
        joints: npt.NDArray[np.floating],
        sigma: npt.NDArray[np.floating],
        present: npt.NDArray[np.bool_],
    ) -> FusedPose | None:
        """Takes the views' answers for one instant.

        Args:
            time_ns: the instant.
            joints: (V, 17, 3) root-relative, each in its view's axes, body units.
            sigma: (V, 17) expected distances from the truth.
            present: (V,) which views answered from real sightings.

        Returns:
            The fused skeleton; None where no view is present whose rotation is known.
        """
        weight = present[:, None] / np.maximum(np.asarray(sigma, np.float64), _LEAST_SIGMA) ** 2
        points = np.asarray(joints, np.float64)
        self._remember(time_ns, points, weight, present)
        if self._reference is None:
            if not present.any():
                return None
            self._reference = int(np.flatnonzero(present)[0])
        pairs = rotation_from_correlation(self._correlations)
        rotations = synchronise_rotations(pairs, self._weights, self._reference)
        first = int(np.flatnonzero(~np.isnan(rotations[:, 0, 0]))[0])
        if first < self._reference:
            self._reference = first
            rotations = synchronise_rotations(pairs, self._weights, first)
        known = present & ~np.isnan(rotations[:, 0, 0])
        if not known.any():
            return None
        fused, expected = _in_common(rotations, points, weight, known)
        return FusedPose(fused, expected, rotations, self._reference)

    def _remember(
        self, time_ns: int, points: Floats, weight: Floats, present: npt.NDArray[np.bool_]
    ) -> None:
        for i in range(self._views):
            for j in range(i + 1, self._views):
                if not (present[i] and present[j]):
                    continue
                # What is known of a pair stays while nobody is seen by both: it is forgotten as
                # something newer comes, and after a long time not all at once.
                elapsed = (time_ns - self._seen_ns.get((i, j), time_ns)) * 1e-9
                keep = np.exp(-min(max(elapsed, 0.0) / _MEMORY_S, 1.0))
                self._seen_ns[i, j] = time_ns
                for known in (self._correlations, self._weights):
                    known[i, j] *= keep
                    known[j, i] *= keep
                w = 2 / (1 / weight[i] + 1 / weight[j])
                block = np.einsum("k,ka,kb->ab", w, points[i], points[j])
                self._correlations[i, j] += block
                self._correlations[j, i] += block.T
                self._weights[i, j] += w.sum()
                self._weights[j, i] += w.sum()


def fuse_again(
    fused: FusedPose,
    joints: npt.NDArray[np.floating],
    sigma: npt.NDArray[np.floating],
    present: npt.NDArray[np.bool_],
) -> Floats:
    """The skeleton of another instant of the same window, by the rotations of a fused one.

    Args:
        fused: made with at least one of the views that are present.
        joints: (V, 17, 3) as for ``ViewFusion.update``.
        sigma: (V, 17) as there.
        present: (V,) as there.

    Returns:
        (17, 3) root-relative, in the reference view's camera axes, body units.
    """
    weight = present[:, None] / np.maximum(np.asarray(sigma, np.float64), _LEAST_SIGMA) ** 2
    known = present & ~np.isnan(fused.rotations[:, 0, 0])
    return _in_common(fused.rotations, np.asarray(joints, np.float64), weight, known)[0]


def _in_common(
    rotations: Floats, points: Floats, weight: Floats, known: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    turned = np.einsum("vij,vkj->vki", rotations[known], points[known])
    return fused_answer(turned, weight[known], rotations[known][..., 2])


def fused_answer(turned: Floats, precision: Floats, axes: Floats) -> tuple[Floats, Floats]:
    """The mean of views' answers (``mean_answer``), and how far from the truth it may be.

    Args:
        turned: (V, 17, 3) the answers in common axes.
        precision: (V, 17) one over the square of the distance to be expected; 0 for no answer.
        axes: (V, 3) where each camera looks.

    Returns:
        (17, 3) in the common axes, and (17,): by what the views expect of themselves, or by how far
        they lie apart, whichever is more.
    """
    mean = mean_answer(turned, precision, axes)
    # Views share some of their error, so it does not fall with their number as fast as that of
    # independent measurements would.
    count = (precision > 0).sum(0)
    own = np.sqrt((1 + _SHARED_ERROR * (count - 1)) / precision.sum(0))
    return mean, np.maximum(own, _spread(turned, mean, precision[..., None]))


def mean_answer(turned: Floats, precision: Floats, axes: Floats) -> Floats:
    """The mean of views' answers by weighted least squares, each less sure along its own axis.

    Args:
        turned: (V, 17, 3) the answers in common axes.
        precision: (V, 17) one over the square of the distance to be expected; 0 for no answer.
            Each joint needs one.
        axes: (V, 3) where each camera looks, unit vectors in the common axes.

    Returns:
        (17, 3) in the common axes.
    """
    across = np.eye(3) - (1.0 - _ALONG) * axes[:, :, None] * axes[:, None, :]
    weight = (precision / precision.max(0)) ** _SHARPNESS
    information = np.einsum("vk,vij->vkij", weight, across)
    told = np.einsum("vkij,vkj->ki", information, turned)
    return np.asarray(np.linalg.solve(information.sum(0), told[..., None])[..., 0])


def _spread(turned: Floats, fused: Floats, weight: Floats) -> Floats:
    """(17,) how far the views' answers lie apart, as the standard error of their mean."""
    count = (weight[..., 0] > 0).sum(0)
    square = ((turned - fused) ** 2).sum(-1, keepdims=True)
    mean = (square * weight).sum(0) / weight.sum(0)
    return np.where(count > 1, np.sqrt(mean[..., 0] / np.maximum(count - 1, 1)), 0.0)
