"""What the front end must know of its networks, read from their files' own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from engines.backends.base import DescribedBackend
from engines.errors import UserError
from engines.front_ends.yolo_cpn.operations import Decoding, Floats, HeatReading, PoseAnswer
from engines.front_ends.yolo_cpn.regions import CPN_EXTENSION, LIGHT_EXTENSION
from engines.networks.joint_context import BY_JOINT
from engines.pose_conversion import COCO_MIRROR, coco_rivals_to_h36m, coco_to_h36m
from engines.skeleton import JOINT_COUNT, MIRROR


@dataclass(frozen=True, slots=True)
class PoseFacts:
    """What a pose network's file says of itself.

    Attributes:
        coco: its joints are COCO-17 rather than H36M-17.
        peak: heat of full certainty.
        decoding: how its heatmaps are read.
        channels: of its features.
        by_joint: whether each joint has features of its own (``engines.networks.joint_context``).
        weights: what identifies its weights (``engines.shipping.weights_digest``), or empty.
        light: it is ours, and costs so little that it may look twice.
    """

    coco: bool
    peak: float
    decoding: Decoding
    channels: int
    by_joint: bool
    weights: str
    light: bool

    @property
    def extension(self) -> tuple[float, float]:
        """How much wider and higher than a person's box its crops are."""
        return LIGHT_EXTENSION if self.light else CPN_EXTENSION

    @property
    def joint_channels(self) -> int:
        """Of the features read at one joint."""
        return self.channels // JOINT_COUNT if self.by_joint else self.channels

    def reading(self, flip_test: bool | None, rivals: bool = False) -> HeatReading:
        """How its heatmaps are read.

        Args:
            flip_test: whether mirrored crops are looked at, too; None where the network is light.
            rivals: whether the heatmaps' further peaks are wanted.
        """
        flip = self.light if flip_test is None else flip_test
        partners = COCO_MIRROR if self.coco else MIRROR
        return HeatReading(
            self.decoding,
            self.peak,
            partners if flip else None,
            rivals,
            # What it tells of joints is told by the mirrored crop, too.
            both=flip and self.by_joint,
        )

    def found(self, answer: PoseAnswer) -> tuple[Floats, Floats]:
        """What was found, as H36M-17.

        Returns:
            (B, 17, 3) x, y in pixels of the crop and confidence; (B, 17, R, 3) rivals.
        """
        joints = np.concatenate((answer.places, answer.confidence[..., None]), 2)
        if self.coco:
            return coco_to_h36m(joints), coco_rivals_to_h36m(answer.rivals)
        return joints, answer.rivals


def input_size(backend: DescribedBackend) -> tuple[int, int]:
    """Height and width of a network's pictures."""
    height, width = backend.inputs[0].shape[2:]
    return cast(int, height), cast(int, width)


def network_name(backend: DescribedBackend) -> str:
    """What to call a network in messages, with its input size."""
    height, width = input_size(backend)
    name = backend.metadata.get("dsvt.name") or backend.metadata.get("dsvt.network", "unknown")
    return f"{name} {width}×{height} ({backend.provider})"


def check_kind(backend: DescribedBackend, kind: str) -> None:
    """Checks that a back end runs the right kind of network.

    Raises:
        UserError: it does not, or its file does not say.
    """
    found = backend.metadata.get("dsvt.kind")
    if found != kind:
        is_a = "does not say what it is" if found is None else f"is a {found}"
        raise UserError(
            f"the network given as {kind} {is_a} ({backend.provider}): "
            "export it with python -m tools.build_engines"
        )


def pose_facts(backend: DescribedBackend) -> PoseFacts:
    """Reads a pose network's facts.

    Raises:
        UserError: its file does not say which joints it finds.
    """
    joints = backend.metadata.get("dsvt.joints", "")
    try:
        peak = float(backend.metadata.get("dsvt.heatmap_peak", ""))
    except ValueError:
        peak = 0.0
    if joints not in ("coco17", "h36m17") or not peak > 0:
        raise UserError(
            "the pose network's file does not say which joints it finds: "
            "export it with python -m tools.build_engines"
        )
    channels = cast(int, {spec.name: spec.shape for spec in backend.outputs}["features"][1])
    by_joint = backend.metadata.get("dsvt.features") == BY_JOINT
    decoding: Decoding = "cpn" if joints == "coco17" else "log_parabola"
    return PoseFacts(
        coco=joints == "coco17",
        peak=peak,
        decoding=decoding,
        channels=channels,
        by_joint=by_joint,
        weights=backend.metadata.get("dsvt.weights", ""),
        light=backend.metadata.get("dsvt.network") == "light_cpn",
    )
