"""The estimation as a whole: takes every set, answers with a rig or with what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from engines.rig.adjustment import (
    Evidence,
    adjust,
    adjust_from_start,
    first_rig,
    gather,
    seen_together,
    warm_state,
    with_measured_bones,
)
from engines.rig.advice import Findings, advise, motion, pair_angles
from engines.rig.attempt import Attempt
from engines.rig.given import into_world
from engines.rig.heading import heading_rotation
from engines.rig.keyframes import Keyframe, KeyframeStore
from engines.rig.priors import Knowledge, check_knowledge, make_priors
from engines.rig.quality import precision, quality_word
from engines.rig.results import RigFrame, build_rig
from engines.rig.trail import Trail
from engines.rig.types import Bools, Floats, KnownCamera, Observation, Rig, RigResult
from engines.rig.unknowns import Priors

MIN_KEYFRAMES: Final = 8
_SETTLED: Final = 2
"""Good rigs in a row after which each one begins from the last."""
_COLD: Final = 3
"""Before, every third one begins anew, so that no wrong beginning is kept."""
_PAUSE_S: Final = 1.0
"""Between instants that are further apart nobody moved, or was seen."""
_NEWS: Final = 3
"""Instants kept since, that are worth another estimation then; it rests on some 80."""


class RigEstimator:
    """Finds the cameras from the moving person, better and better.

    It holds no thread and no clock: ``add`` takes sets as they come (a fraction of a millisecond,
    but for ten a second that take about one), ``estimate`` works for a second or two on what was
    kept.
    """

    def __init__(
        self,
        camera_ids: Sequence[str],
        sizes: Sequence[tuple[int, int]],
        body_unit_m: float,
        stature_m: float = 1.70,
        known: Sequence[KnownCamera] | None = None,
        capacity: int = 80,
        bone_share: float = 1.0,
        levelled: bool = True,
    ) -> None:
        """Starts knowing nothing.

        Args:
            camera_ids: names of the V cameras, in the order of the observations' views.
            sizes: (width, height) of their pictures, pixels.
            body_unit_m: one body unit of the lifter's answers in metres, for this person.
            stature_m: the person's body height.
            known: what is known of each camera.
            capacity: most instants that are kept.
            bone_share: of the 2D front end (``engines.front_ends.joint_definitions``).
            levelled: whether cameras that are given as fixed are so in a world with z up.

        Raises:
            UserError: what is given is impossible.
        """
        views = len(camera_ids)
        if not 1 <= views <= 8 or len(sizes) != views or (known and len(known) != views):
            raise ValueError("one size and one KnownCamera for each of 1 to 8 cameras")
        aspects = np.array([height / width for width, height in sizes])
        cameras = tuple(known) if known else tuple(KnownCamera() for _ in camera_ids)
        self._knowledge = Knowledge(cameras, aspects, stature_m, body_unit_m, bone_share, levelled)
        check_knowledge(self._knowledge)
        self._frame = RigFrame(tuple(camera_ids), tuple(sizes), self._knowledge)
        self._unit = body_unit_m
        self._store = KeyframeStore(aspects, capacity)
        self._trail = Trail()
        self._seen_since: float | None = None
        self._seen_until = 0.0
        self._best: Attempt | None = None
        self._usable_best = False
        self._settled = self._warm = 0
        self._used_s = -np.inf
        self._released = np.zeros(views, bool)

    @property
    def keyframes(self) -> int:
        """How many instants are kept now."""
        return len(self._store.keyframes)

    @property
    def has_news(self) -> bool:
        """Whether another estimation could say more than the last."""
        new = sum(k.time_s > self._used_s for k in self._store.keyframes)
        return self._best is None or new >= (1 if self._settled < _SETTLED else _NEWS)

    def add(self, observation: Observation) -> None:
        """Takes one set. Times must ascend; older sets are ignored."""
        if (observation.keypoints[..., 2] > 0.1).sum() >= 10:
            if self._seen_since is None:
                self._seen_since = observation.time_s
            self._seen_until = observation.time_s
        self._store.add(observation)
        self._trail.add(observation)

    def resize(self, view: int, size: tuple[int, int]) -> None:
        """A camera that was not there before has pictures of another size than was assumed.

        Args:
            view: which camera; what it has been seen to see so far is forgotten.
            size: (width, height) in pixels.
        """
        aspects = self._knowledge.aspects.copy()
        aspects[view] = size[1] / size[0]
        self.forget_view(view, -np.inf)
        self._know(replace(self._knowledge, aspects=aspects))
        self._frame.sizes = (*self._frame.sizes[:view], size, *self._frame.sizes[view + 1 :])
        self._store.set_aspects(aspects)

    def pin(self, rig: Rig, level_too: bool) -> None:
        """The world's axes were set by a person or a file: later rigs keep to them.

        Args:
            rig: in those axes.
            level_too: whether its z is right (else only heading and origin are).
        """
        self._frame.pin(rig, level_too)

    def release(self, view: int) -> None:
        """A camera that was given as fixed has been moved: its place is to be found."""
        cameras = list(self._knowledge.cameras)
        cameras[view] = replace(cameras[view], rotation=None, position=None)
        self._know(replace(self._knowledge, cameras=tuple(cameras)))
        self._best, self._settled = None, 0

    def _know(self, knowledge: Knowledge) -> None:
        self._knowledge = self._frame.knowledge = knowledge

    def flush(self) -> None:
        """Nothing more will come: the last moments are used as well."""
        self._store.flush()

    def restart(self) -> None:
        """Forgets all that was seen and found."""
        self._store.clear()
        self._trail.clear()
        self._seen_since, self._best, self._settled = None, None, 0
        self._released[:] = False
        self._frame.forget()

    def forget_view(self, view: int, since_s: float, until_s: float = np.inf) -> None:
        """Forgets what a camera saw in a span of time: it was moved then, or until then."""
        self._store.forget_view(view, since_s, until_s)
        self._trail.clear()
        if self._best is not None and view in self._best.views:
            self._best, self._settled = None, 0

    def estimate(self) -> RigResult:
        """Works on what was kept.

        Returns:
            A rig, or why there is none; either way with advice in one line.
        """
        keyframes = self._store.keyframes
        self._used_s = max((k.time_s for k in keyframes), default=-np.inf)
        span = float(np.minimum(np.diff([k.time_s for k in keyframes]), _PAUSE_S).sum())
        watched = 0.0 if self._seen_since is None else self._seen_until - self._seen_since
        findings = Findings(self._frame.ids, len(keyframes), watched)
        views = self._usable(keyframes)
        attempt: Attempt | None = None
        left_out: list[int] = []
        while len(views) >= 2 and len(keyframes) >= MIN_KEYFRAMES:
            attempt = self._attempt(keyframes, views)
            if attempt is None:
                break
            bad = attempt.misfit
            if bad is None:
                break
            left_out.append(bad)
            views = tuple(v for v in views if v != bad)
            attempt, self._best, self._settled = None, None, 0
        rig: Rig | None = None
        if attempt is not None:
            attempt = self._doubt_given_focals(keyframes, attempt)
            findings = self._look_at(findings, attempt)
            word = None if findings.unusable else quality_word(attempt.precision)
            findings = replace(findings, quality=word)
            if word is not None:
                rig = build_rig(
                    self._frame,
                    attempt.views,
                    attempt.adjusted,
                    attempt.precision,
                    word,
                    self._trail,
                    self._heading(keyframes, attempt),
                )
            self._best = attempt
            self._settled = self._settled + 1 if word == "good" else 0
            self._usable_best = word in ("fair", "good")
        findings = replace(
            findings, left_out=tuple(left_out), wrong_focal=tuple(np.flatnonzero(self._released))
        )
        reason, warnings = advise(findings)
        return RigResult(rig, reason, warnings, len(keyframes), span)

    def _heading(self, keyframes: tuple[Keyframe, ...], attempt: Attempt) -> Floats:
        state = attempt.adjusted.state
        used = seen_together(keyframes, attempt.views)
        return heading_rotation(used, attempt.views, state.rotations, state.points)

    def _look_at(self, findings: Findings, attempt: Attempt) -> Findings:
        """What an adjustment tells about the person's motion and the cameras' places."""
        state = attempt.adjusted.state
        told = [self._knowledge.cameras[v].focal for v in attempt.views]
        believed = ~self._released[list(attempt.views)]
        return replace(
            findings,
            views=attempt.views,
            motion_m=motion(state.points),
            spread_m=float(np.sqrt(np.trace(np.cov(state.points[:, 0].T)))),
            angles_deg=pair_angles(state.positions, state.points[:, 0]),
            lenses_known=all(f is not None for f in told) and bool(believed.all()),
        )

    def _usable(self, keyframes: tuple[Keyframe, ...]) -> tuple[int, ...]:
        """Cameras that share enough instants with others."""
        if not keyframes:
            return ()
        seen = np.stack([k.seen_by for k in keyframes])
        return tuple(int(v) for v in np.flatnonzero(seen.sum(0) >= MIN_KEYFRAMES))

    def _attempt(self, keyframes: tuple[Keyframe, ...], views: tuple[int, ...]) -> Attempt | None:
        # Without the camera that linked them, the others may have seen nobody together.
        if len(seen_together(keyframes, views)) < MIN_KEYFRAMES:
            return None
        evidence = gather(keyframes, self._knowledge.cameras, views, self._unit)
        fixed = self._knowledge.fixed[list(views)]
        worth = np.isfinite(evidence.size).sum(0) + 1000 * fixed
        reference = int(worth.argmax())
        priors = self._priors(views, reference, evidence)
        best = self._best
        if best is not None and best.views == views and self._begins_warm():
            self._warm += 1
            start = warm_state(evidence, best.adjusted.state, best.adjusted.noise)
            if best.reference != reference:
                reference = best.reference
                priors = self._priors(views, reference, evidence)
            adjusted = adjust(evidence, start, priors, best.adjusted.noise, rounds=1)
            return Attempt(views, reference, priors, adjusted, precision(adjusted, priors))
        self._warm = 0
        found = first_rig(evidence, priors, reference)
        if found is None:
            return None
        linked = np.flatnonzero(~np.isnan(found.rotations[:, 0, 0]))
        if len(linked) < len(views):
            if len(linked) < 2:
                return None
            return self._attempt(keyframes, tuple(views[i] for i in linked))
        found = into_world(found, self._knowledge, views, reference)
        adjusted = adjust_from_start(evidence, found, priors)
        return Attempt(views, reference, priors, adjusted, precision(adjusted, priors))

    def _begins_warm(self) -> bool:
        """Whether an estimation goes on from the last one: half the work, and as exact."""
        return self._settled >= _SETTLED or (self._usable_best and self._warm < _COLD - 1)

    def _priors(
        self,
        views: tuple[int, ...],
        reference: int,
        evidence: Evidence,
        release: Bools | None = None,
    ) -> Priors:
        released = self._released if release is None else release
        priors = make_priors(self._knowledge, views, reference, released)
        return with_measured_bones(priors, evidence)

    def _doubt_given_focals(self, keyframes: tuple[Keyframe, ...], attempt: Attempt) -> Attempt:
        """Releases given focal lengths where what is seen contradicts them clearly."""
        given = np.array([c.focal is not None for c in self._knowledge.cameras])
        given &= ~self._released
        here = np.array(attempt.views)
        if not given[here].any():
            return attempt
        evidence = gather(keyframes, self._knowledge.cameras, attempt.views, self._unit)
        release = self._released | given
        priors = self._priors(attempt.views, attempt.reference, evidence, release)
        freed = adjust(evidence, attempt.adjusted.state, priors, attempt.adjusted.noise, rounds=2)
        free = replace(attempt, priors=priors, adjusted=freed, precision=precision(freed, priors))
        wrong = given[here] & free.contradicts(self._knowledge)
        if not wrong.any():
            return attempt
        self._released[here[wrong]] = True
        priors = self._priors(attempt.views, attempt.reference, evidence)
        adjusted = adjust(evidence, freed.state, priors, freed.noise, rounds=1)
        return replace(
            attempt, priors=priors, adjusted=adjusted, precision=precision(adjusted, priors)
        )
