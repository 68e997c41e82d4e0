"""Finds and mends left/right swaps: a view in which a person's two sides are taken for each other.

A 2D network that sees somebody from behind at times labels them as from the front, the whole body
or only the arms or the legs. One picture hardly tells; the other views and the past do.

Each view has a hidden state: which of its two groups (arms, legs) are swapped, four hypotheses in
all. A hypothesis is scored by how well the joints, relabelled by it, fit two templates under a
weak-perspective camera: the predicted 3D pose seen from that view, and the view's own mended joints
of the set before. The scores are the log-likelihoods of a hidden Markov model whose forward filter
(Rabiner, Proc. IEEE 1989) carries the belief from set to set. This gives the hysteresis: a state
changes when the evidence outweighs how rare changes are, and stays where the evidence is weak, as
it is side-on, where both sides project to the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from engines.skeleton import JOINT_COUNT, MIRROR, total_bone_length

Array = npt.NDArray[np.float32]

ARMS: Final = 0
LEGS: Final = 1
GROUPS: Final[tuple[tuple[int, ...], ...]] = ((11, 12, 13, 14, 15, 16), (1, 2, 3, 4, 5, 6))
"""The joints that swap together: ``GROUPS[ARMS]`` and ``GROUPS[LEGS]``."""

_HYPOTHESES: Final = ((False, False), (True, False), (False, True), (True, True))
"""Whether each group is swapped."""

_AHEAD: Final = 0.5
"""A joint is expected this fraction of its last step further on, give or take as much: the
prediction is older than the picture, and a swinging foot may have passed the other since."""

_LOST_AFTER: Final = 10
"""A view's past is forgotten when it has been missing for so many sets."""

_SPREAD_TO_SIZE: Final = 7.0
"""Total bone length over the joints' RMS distance from their mean, for a person who stands."""


@dataclass(frozen=True, slots=True)
class SwapSettings:
    """What is believed about swaps and errors.

    Attributes:
        start: chance that a group becomes swapped from one set to the next.
        end: chance that a swapped group comes right.
        certainty: belief that it takes to relabel.
        past_limit: the most that the past of the view itself may count, in nats, so that one wrong
            decision does not hold for ever.
        joint_limit: the most that one joint may count, in nats: an outlier is only an outlier.
    """

    start: float = 0.02
    end: float = 0.05
    certainty: float = 0.7
    past_limit: float = 3.0
    joint_limit: float = 4.0


@dataclass(frozen=True, slots=True)
class MendedViews:
    """Joints with the sides put right.

    Attributes:
        keypoints: (V, 17, 3) as given, with the joints of swapped groups exchanged.
        swapped: (V, 2) which groups (``ARMS``, ``LEGS``) were exchanged.
    """

    keypoints: Array
    swapped: npt.NDArray[np.bool_]


def exchanged(values: Array, swapped: npt.NDArray[np.bool_]) -> Array:
    """Exchanges what belongs to the joints of swapped groups.

    Args:
        values: (V, 17, ...) one row a joint.
        swapped: (V, 2) of ``MendedViews``.

    Returns:
        A copy with the rows exchanged.
    """
    out = values.copy()
    for view, number in np.argwhere(swapped):
        group = GROUPS[number]
        out[view, group] = values[view, [MIRROR[joint] for joint in group]]
    return out


class SwapMender:
    """Mends swaps set after set.

    Args:
        views: number of views.
        settings: what is believed about swaps and errors.
    """

    def __init__(self, views: int, settings: SwapSettings | None = None) -> None:
        if views < 1:
            raise ValueError(f"views must be at least 1, not {views}")
        self._settings = settings or SwapSettings()
        self._transition = _transition(self._settings)
        self._belief = np.tile(_stationary(self._transition), (views, 1))
        self._previous = np.zeros((views, JOINT_COUNT, 3), np.float32)
        self._predicted = np.full((views, JOINT_COUNT, 2), np.nan, np.float32)
        self._motion = np.zeros((views, JOINT_COUNT, 2), np.float32)
        self._missing = np.full(views, _LOST_AFTER)
        self._swapped = np.zeros((views, len(GROUPS)), np.bool_)

    def mend(self, keypoints: Array, predicted: Array | None) -> MendedViews:
        """Puts the sides of one set right.

        Args:
            keypoints: (V, 17, 3) x, y in normalised camera coordinates (x right, y down; any scale
                that is the same in both), then confidence; confidence 0 marks a missing joint.
            predicted: (V, 17, 3) the pose expected now, e.g. the fused one of the set before, in
                each view's camera axes (x right, y down, z forward), root-relative, any unit; NaN
                for a view in which it is not known. None where there is none at all.

        Returns:
            The joints with their sides put right. Views without joints come back as they are.

        Raises:
            ValueError: an array has the wrong shape.
        """
        views = len(self._belief)
        if keypoints.shape != (views, JOINT_COUNT, 3):
            raise ValueError(f"expected keypoints ({views}, 17, 3), not {keypoints.shape}")
        if predicted is not None and predicted.shape != keypoints.shape:
            raise ValueError(f"expected predicted ({views}, 17, 3), not {predicted.shape}")
        settings = self._settings
        present = np.asarray((keypoints[..., 2] > 0).any(axis=1))
        relabelled = _relabelled(np.where(keypoints[..., 2:] > 0, keypoints, 0.0))

        scores = np.zeros((views, len(_HYPOTHESES)), np.float32)
        self._observe_motion(predicted)
        if predicted is not None:
            scores = self._predicted_scores(relabelled, predicted)
        alone = ~scores.any(axis=1, keepdims=True)
        past = self._past_scores(relabelled)
        past -= past.max(axis=1, keepdims=True)
        scores = scores + np.maximum(past, -settings.past_limit)

        belief = self._belief @ self._transition
        belief *= np.exp(scores - scores.max(axis=1, keepdims=True))
        belief /= belief.sum(axis=1, keepdims=True)
        self._belief = np.where(present[:, None], belief, self._belief)

        doubt = self._belief @ np.array(_HYPOTHESES, np.float64)
        swapped = np.asarray(present[:, None] & (doubt >= settings.certainty))
        # The past alone may uphold a decision; one that it made would have nothing to correct it.
        swapped &= self._swapped | ~alone
        self._swapped = np.where(present[:, None], swapped, self._swapped)
        mended = exchanged(keypoints, swapped)
        self._remember(mended, present)
        return MendedViews(mended, swapped)

    def _observe_motion(self, predicted: Array | None) -> None:
        """Takes how far each predicted joint moved in the picture plane since the set before."""
        places = np.full_like(self._predicted, np.nan)
        if predicted is not None:
            places[:] = predicted[..., :2]
        moved = places - self._predicted
        self._motion = np.where(np.isfinite(moved), moved, 0.0).astype(np.float32)
        self._predicted = places

    def _remember(self, mended: Array, present: npt.NDArray[np.bool_]) -> None:
        self._missing = np.where(present, 0, self._missing + 1)
        self._previous[present] = mended[present]
        forgotten = self._missing >= _LOST_AFTER
        self._previous[forgotten] = 0
        self._swapped[forgotten] = False
        self._belief[forgotten] = _stationary(self._transition)

    def _past_scores(self, relabelled: Array) -> Array:
        template = self._previous
        seen = np.asarray(template[..., 2] > 0)
        count = np.maximum(seen.sum(axis=1), 1)[:, None]
        mean = (template[..., :2] * seen[..., None]).sum(axis=1) / count
        offsets = (template[..., :2] - mean[:, None]) * seen[..., None]
        spread = np.sqrt((offsets**2).sum(axis=(1, 2)) / count[:, 0])
        size = spread * _SPREAD_TO_SIZE
        return self._scores(relabelled, template[..., :2], seen, size, np.zeros_like(self._motion))

    def _predicted_scores(self, relabelled: Array, predicted: Array) -> Array:
        known = np.asarray(np.isfinite(predicted).all(axis=-1))
        pose = np.where(known[..., None], predicted, 0.0).astype(np.float32)
        size = np.where(known.all(axis=1), total_bone_length(pose), 0.0)
        template = pose[..., :2] + _AHEAD * self._motion
        return self._scores(relabelled, template, known, size, _AHEAD * self._motion)

    def _scores(
        self,
        relabelled: Array,
        template: Array,
        known: npt.NDArray[np.bool_],
        size: npt.NDArray[np.floating],
        motion: Array,
    ) -> Array:
        """Log-likelihood of each view's four labellings.

        Args:
            relabelled: (V, 4, 17, 3) the joints under each hypothesis.
            template: (V, 17, 2) where they should be but for scale and translation.
            known: (V, 17) joints that the template has.
            size: (V,) total bone length in the template's unit; 0 where there is no template.
            motion: (V, 17, 2) how far off the template may be for age, in its unit.

        Returns:
            (V, 4); all 0 where there is no template.
        """
        limit = self._settings.joint_limit
        usable = size > 0
        scale = np.where(usable, size, 1.0)[:, None, None]
        places = np.asarray(template / scale, np.float32)[:, None]
        weights = relabelled[..., 2] * known[:, None]
        variance = (_SIGMAS**2 + ((motion / scale) ** 2).sum(axis=-1))[:, None]
        squared = _squared_residuals(relabelled[..., :2], places, weights, variance, limit)
        cost = (weights * limit * (1 - np.exp(-squared / (2 * limit)))).sum(axis=-1)
        enough = usable & ((weights > 0).sum(axis=-1).min(axis=1) >= 4)
        return np.asarray(np.where(enough[:, None], -cost, 0.0), np.float32)


def _relabelled(keypoints: Array) -> Array:
    """(V, 4, 17, 3): the joints under each hypothesis."""
    orders = np.tile(np.arange(JOINT_COUNT), (len(_HYPOTHESES), 1))
    for order, hypothesis in zip(orders, _HYPOTHESES, strict=True):
        for group, swap in zip(GROUPS, hypothesis, strict=True):
            if swap:
                order[list(group)] = [MIRROR[joint] for joint in group]
    return np.asarray(keypoints[:, orders], np.float32)


def _sigmas() -> Array:
    """(17,) expected deviation from a template over total bone length.

    Hands and feet move fast from one set to the next, and so say little.
    """
    sigmas = np.full(JOINT_COUNT, 0.011, np.float32)
    sigmas[[2, 5, 9, 10, 12, 15]] = 0.018
    sigmas[[3, 6, 13, 16]] = 0.032
    return sigmas


_SIGMAS: Final = _sigmas()


def _squared_residuals(
    places: Array, template: Array, weights: Array, variance: Array, limit: float
) -> Array:
    """Fits scale and translation robustly; squared distances left, in deviations.

    Minimises the Welsch loss by iteratively reweighted least squares.

    Args:
        places: (V, 4, 17, 2).
        template: (V, 1, 17, 2) in units of total bone length.
        weights: (V, 4, 17) confidence, 0 for joints that are missing.
        variance: (V, 1, 17) of a joint's place, in squared units of total bone length.
        limit: scale of the loss, in squared deviations.

    Returns:
        (V, 4, 17).
    """
    certainty = weights / variance
    iterated = certainty
    squared = np.zeros_like(weights)
    for _ in range(4):
        total = np.maximum(iterated.sum(axis=-1, keepdims=True), 1e-9)[..., None]
        share = iterated[..., None] / total
        place_mean = (share * places).sum(axis=-2, keepdims=True)
        template_mean = (share * template).sum(axis=-2, keepdims=True)
        place_offsets, template_offsets = places - place_mean, template - template_mean
        together = (share * place_offsets * template_offsets).sum(axis=(-2, -1), keepdims=True)
        alone = (share * template_offsets**2).sum(axis=(-2, -1), keepdims=True)
        apart = (share * place_offsets**2).sum(axis=(-2, -1), keepdims=True)
        # A labelling that does not correlate must not win by shrinking the template to a point.
        least = 0.5 * np.sqrt(apart / np.maximum(alone, 1e-12))
        scale = np.maximum(together / np.maximum(alone, 1e-12), np.maximum(least, 1e-9))
        residuals = (place_offsets - scale * template_offsets) / scale
        squared = (residuals**2).sum(axis=-1) / variance
        iterated = certainty * np.exp(-squared / (2 * limit))
    return np.asarray(squared, np.float32)


def _transition(settings: SwapSettings) -> npt.NDArray[np.float64]:
    """(4, 4) chance of each hypothesis (column) after each (row); groups change independently."""
    stay = np.array([[1 - settings.start, settings.start], [settings.end, 1 - settings.end]])
    matrix = np.ones((len(_HYPOTHESES), len(_HYPOTHESES)))
    for row, before in enumerate(_HYPOTHESES):
        for column, after in enumerate(_HYPOTHESES):
            for was, is_now in zip(before, after, strict=True):
                matrix[row, column] *= stay[int(was), int(is_now)]
    return matrix


def _stationary(transition: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(4,) what is believed before anything has been seen."""
    return np.asarray(np.linalg.matrix_power(transition, 10_000)[0])
