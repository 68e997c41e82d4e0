"""Other bodies and poses in rendered windows.

A network that sees few rendered sequences learns their poses by heart. Here each window's person
gets other bone lengths and limbs turned a little, and every joint that the front end found moves
as the true one does in its picture, and with it what the context tells of where things are: their
errors and confidences stay what they were.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from tools.training.bodies import BodyRanges, vary_bodies
from tools.training.keypoint_errors import chance
from tools.training.rendered_windows import WindowBank, Windows
from tools.training.told_context import told_truth
from tools.training.window_reading import Pictures

RENDERED_BODIES: Final = BodyRanges(
    bone_sigma=0.06, trunk=(0.9, 1.1), turn_share=0.75, turn_deg=8.0, turn_sizes=(0.0, 2.0)
)
"""Less than motion capture is varied, and nobody leans: errors belong to the pose they were in."""


def vary_people(
    bank: WindowBank,
    windows: Windows,
    pictures: Pictures,
    share: float,
    generator: torch.Generator,
) -> tuple[Pictures, Tensor]:
    """Gives the people in windows other bodies and poses.

    Args:
        bank: where the windows come from.
        windows: which.
        pictures: what their pictures gave.
        share: of the windows; the others stay as they are.
        generator: Source of chance, on the bank's device.

    Returns:
        The pictures with the joints found, and what is told of them, moved, and the people
        (B, E, 17, 3) as ``WindowBank.people`` gives them.
    """
    people = bank.people(windows)
    other = vary_bodies(people[:, :, None], RENDERED_BODIES, generator)[:, :, 0]
    other = torch.where(chance((len(people), 1, 1, 1), share, generator), other, people)
    before, after = bank.seen(windows, people), bank.seen(windows, other)
    found = pictures.keypoints
    known = found[..., 2:] > 0
    places = found[..., :2] + torch.where(known, after - before, 0.0)
    channels = pictures.context.shape[-1]

    def told(who: Tensor, seen: Tensor, where: Tensor) -> Tensor:
        return told_truth(bank.depths(windows, who), seen, where, pictures.crop, channels)

    changed = told(other, after, places) - told(people, before, found[..., :2])
    return replace(
        pictures,
        keypoints=torch.cat((places, found[..., 2:]), -1),
        context=pictures.context + torch.where(known, changed, 0.0),
    ), other
