"""Motion capture for training: clips, who is in them, and windows cut out of them.

The file is an ``.npz`` with ``xyz`` (N, 17, 3) metres z up, ``offsets`` (clips + 1,) and ``names``
of the clips: CMU Graphics Lab motion capture reduced to the H36M-17 joints at 30 fps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor

from engines.errors import UserError
from engines.skeleton import BODY_UNIT_BONE_LENGTH, BONES, JOINT_COUNT

Split = Literal["train", "validation", "test"]

TEST_SUBJECTS: Final = frozenset({"cmu_01", "cmu_05", "indian", "cseq"})
"""Climbing in a playground, modern dance, Indian dance; basketball, soccer, running, walking."""

VALIDATION_SUBJECTS: Final = frozenset({"cmu_02"})

LEFT_OUT_SUBJECTS: Final = frozenset({"cmu_10", "cmu_11", "cmu_12"})
"""Neither trained nor tested on: recordings that are in the file twice, under two names.

The `cseq` clips are CMU recordings again, on another skeleton. Matching bone directions over time
shows soccer and much of the walking to be subjects 10 to 12, who are therefore kept out of
training. Jumping, directing traffic and the other walking (`cseq_twin`) are recordings of the
training subjects, and are trained on.
"""

_TWIN_CLIPS: Final = re.compile(
    r"cseq_train_(jumping|directing|walking_walking_[45]"
    r"|walking_extra_walking_(1[3-7]|36|37|38|39|4[0-6]))"
)


@dataclass(frozen=True, slots=True)
class Mocap:
    """Clips end to end.

    Attributes:
        joints: (N, 17, 3) float32 metres, z up.
        starts: (clips,) int64 first row of each clip.
        lengths: (clips,) int64 rows of each clip.
        names: Names of the clips.
    """

    joints: Tensor
    starts: Tensor
    lengths: Tensor
    names: tuple[str, ...]

    def window_starts(self, span: int) -> Tensor:
        """Rows at which ``span`` consecutive rows of one clip begin.

        Args:
            span: Rows needed.

        Returns:
            (windows,) int64.

        Raises:
            UserError: No clip is that long.
        """
        rows = [
            torch.arange(int(start), int(start) + int(length) - span + 1)
            for start, length in zip(self.starts, self.lengths, strict=True)
            if length >= span
        ]
        if not rows:
            raise UserError(f"mocap: no clip has {span} frames; give longer clips")
        return torch.cat(rows)

    def only(self, subject: str) -> Mocap:
        """The clips of one person (`subject_of`)."""
        chosen = [index for index, name in enumerate(self.names) if subject_of(name) == subject]
        pieces = [
            self.joints[self.starts[index] : self.starts[index] + self.lengths[index]]
            for index in chosen
        ]
        lengths = self.lengths[chosen]
        return Mocap(
            joints=torch.cat(pieces),
            starts=torch.cumsum(lengths, 0) - lengths,
            lengths=lengths,
            names=tuple(self.names[index] for index in chosen),
        )

    def window_weights(self, span: int) -> Tensor:
        """How often to draw each of `window_starts`: a person by the root of their windows.

        Args:
            span: Rows needed.

        Returns:
            (windows,) float32.
        """
        counts = [max(0, int(length) - span + 1) for length in self.lengths]
        people: dict[str, int] = {}
        for name, count in zip(self.names, counts, strict=True):
            people[subject_of(name)] = people.get(subject_of(name), 0) + count
        weights = [
            torch.full((count,), people[subject_of(name)] ** -0.5)
            for name, count in zip(self.names, counts, strict=True)
            if count
        ]
        return torch.cat(weights)


def subject_of(name: str) -> str:
    """The person in a clip named ``cmu_<subject>_<trial>``; other sets count as one person each."""
    if name.startswith("cseq_train_walking_walking_1"):
        return "cmu_02"
    if _TWIN_CLIPS.match(name):
        return "cseq_twin"
    parts = name.split("_")
    return f"cmu_{parts[1]}" if parts[0] == "cmu" and len(parts) > 1 else parts[0]


def in_split(name: str, split: Split) -> bool:
    """Whether a clip belongs to a split."""
    subject = subject_of(name)
    if split == "test":
        return subject in TEST_SUBJECTS
    if split == "validation":
        return subject in VALIDATION_SUBJECTS
    return subject not in TEST_SUBJECTS | VALIDATION_SUBJECTS | LEFT_OUT_SUBJECTS


def load_mocap(path: Path, split: Split) -> Mocap:
    """Reads the clips of one split.

    Args:
        path: The ``.npz`` file.
        split: Which people.

    Returns:
        Their clips.

    Raises:
        UserError: The file is missing, damaged or holds nobody of the split.
    """
    if not path.is_file():
        raise UserError(f"mocap: {path} not found; give the motion-capture file with --mocap")
    try:
        with np.load(path, allow_pickle=False) as data:
            xyz = np.asarray(data["xyz"], np.float32)
            offsets = np.asarray(data["offsets"], np.int64)
            names = [str(name) for name in data["names"]]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(
            f"mocap: {path} cannot be read ({error}); it needs xyz, offsets, names"
        ) from error
    if xyz.ndim != 3 or xyz.shape[1:] != (JOINT_COUNT, 3) or len(offsets) != len(names) + 1:
        raise UserError(
            f"mocap: {path} has xyz {xyz.shape} for {len(names)} names; want (N, 17, 3)"
        )
    if offsets[0] != 0 or offsets[-1] != len(xyz) or (np.diff(offsets) < 0).any():
        raise UserError(f"mocap: {path} has offsets that do not cover its {len(xyz)} rows in order")
    if not np.isfinite(xyz).all():
        raise UserError(f"mocap: {path} holds joints that are not finite numbers")
    chosen = [index for index, name in enumerate(names) if in_split(name, split)]
    if not chosen:
        raise UserError(f"mocap: {path} has no clip of the {split} subjects")
    pieces = [xyz[offsets[index] : offsets[index + 1]] for index in chosen]
    lengths = torch.tensor([len(piece) for piece in pieces])
    return Mocap(
        joints=torch.from_numpy(np.concatenate(pieces)),
        starts=torch.cumsum(lengths, 0) - lengths,
        lengths=lengths,
        names=tuple(names[index] for index in chosen),
    )


def bone_length_sum(joints: Tensor) -> Tensor:
    """Sums the 16 bones of (..., 17, 3) joints: (...,)."""
    parents = torch.tensor([parent for parent, _ in BONES], device=joints.device)
    children = torch.tensor([child for _, child in BONES], device=joints.device)
    bones = joints.index_select(-2, children) - joints.index_select(-2, parents)
    total: Tensor = bones.norm(dim=-1).sum(-1)
    return total


def units_of(people: Tensor) -> Tensor:
    """Body units a metre (B,) of people (B, N, 17, 3), metres."""
    return BODY_UNIT_BONE_LENGTH / bone_length_sum(people).mean(1)
