"""The lifter stage: a window of 2D joints of all views in, one 3D answer a view out."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engines.backends.base import Backend
from engines.errors import UserError
from engines.skeleton import JOINT_COUNT

Floats = npt.NDArray[np.float32]
_MAX_CARD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class LifterCard:
    """What the file beside the weights says of them.

    Attributes:
        frames: length of the window.
        rate_hz: rate of its instants.
        stature_body_units: how tall a standing body is, in body units (the 16 bones of a body
            add up to 4.2 of them): metres are body units × stature / this.
        name: for the start of a run.
        context_of: which 2D pose network's features the image stream reads
            (``FrontEnd.context_source``): the one that it was trained with, or one that went on
            from it and was measured to do no worse; empty where it is not trained.
    """

    frames: int
    rate_hz: float
    stature_body_units: float
    name: str
    context_of: str = ""


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """Image context of one window.

    Attributes:
        features: (F, V, 17, C) float32, sampled at the joints; anything where there is none.
        mask: (F, V) float32, 1 where there is context.
    """

    features: Floats
    mask: Floats


@dataclass(frozen=True, slots=True)
class LiftedViews:
    """The lifter's answers for one window.

    Attributes:
        joints: (F, V, 17, 3) float32, root-relative, in each view's camera axes (x right, y down,
            z forward), in body units.
        sigma: (F, V, 17) float32, expected distance from the truth, in body units.
    """

    joints: Floats
    sigma: Floats


def read_card(weights: Path) -> LifterCard:
    """Reads and checks the JSON file beside the weights.

    Raises:
        UserError: the file is missing, broken, or belongs to other weights.
    """
    path = weights.with_suffix(".json")
    advice = "take both files from the same release or train them with: python -m tools.train"
    try:
        if path.stat().st_size > _MAX_CARD_BYTES:
            raise UserError(f"{path}: too large to describe weights; {advice}")
        data = json.loads(path.read_text(encoding="utf-8"))
        card = LifterCard(
            frames=int(data["frames"]),
            rate_hz=float(data["rate_hz"]),
            stature_body_units=float(data["stature_body_units"]),
            name=str(data["name"]),
            context_of=str(data.get("context_of") or ""),
        )
        expected = str(data["sha256"])
    except FileNotFoundError as error:
        raise UserError(f"{path}: missing beside the weights; {advice}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: does not describe lifter weights; {advice}") from error
    try:
        actual = hashlib.sha256(weights.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{weights}: cannot be read: {error.strerror}; {advice}") from error
    if actual != expected:
        raise UserError(f"{weights}: not the weights that {path.name} describes; {advice}")
    return card


class Lifter:
    """Runs the rig-agnostic DSVTformer on a back end."""

    def __init__(self, backend: Backend, card: LifterCard) -> None:
        """Takes a loaded network.

        Args:
            backend: with inputs ``keypoints`` and ``view_mask``, and ``context`` and
                ``context_mask`` where it has the image stream.
            card: what the weights' description says.

        Raises:
            UserError: the network is not a lifter.
        """
        names = {spec.name for spec in backend.inputs}
        if not {"keypoints", "view_mask"} <= names:
            raise UserError(
                f"{card.name}: not a lifter (its inputs are {', '.join(sorted(names))})"
            )
        shapes = {spec.name: spec.shape for spec in backend.inputs}
        self._context_channels = shapes["context"][-1] or 0 if "context" in shapes else 0
        self._backend = backend
        self.card = card

    @property
    def description(self) -> str:
        """One line: weights and engine."""
        return f"{self.card.name} on {self._backend.provider}"

    @property
    def context_channels(self) -> int:
        """C of the image context that it reads; 0 where it has no image stream."""
        return self._context_channels

    def reads(self, channels: int, source: str) -> bool:
        """Whether its image stream was trained with a front end's features.

        Args:
            channels: ``FrontEnd.context_channels``.
            source: ``FrontEnd.context_source``.
        """
        return 0 < channels == self._context_channels and source == self.card.context_of != ""

    def warm_up(self, views: int) -> None:
        """Runs once so that the first real window is not slow."""
        self.lift(
            np.zeros((self.card.frames, views, JOINT_COUNT, 3), np.float32),
            np.ones(views, bool),
        )

    def lift(
        self,
        keypoints: Floats,
        view_mask: npt.NDArray[np.bool_],
        context: ContextWindow | None = None,
    ) -> LiftedViews:
        """Lifts one window.

        Args:
            keypoints: (F, V, 17, 3) float32: x, y in half-width units (``app.tracks``) and
                confidence, 0 for missing.
            view_mask: (V,) which views take part.
            context: image context, or None for none; a lifter without an image stream ignores it.

        Returns:
            One answer a view and instant; those of masked views mean nothing.
        """
        inputs = {
            "keypoints": np.ascontiguousarray(keypoints[None], np.float32),
            "view_mask": np.ascontiguousarray(view_mask[None], np.float32),
        }
        if self._context_channels:
            if context is None:
                shape = (*keypoints.shape[:3], self._context_channels)
                context = ContextWindow(
                    np.zeros(shape, np.float32), np.zeros(shape[:2], np.float32)
                )
            inputs["context"] = np.ascontiguousarray(context.features[None], np.float32)
            inputs["context_mask"] = np.ascontiguousarray(context.mask[None], np.float32)
        outputs = self._backend.run(inputs)
        joints = np.asarray(outputs["joints"][0], np.float32)
        sigma = np.exp(np.asarray(outputs["log_sigma"][0], np.float32))
        return LiftedViews(joints, sigma)
