"""What the shipped lifter's description says of bodies."""

from __future__ import annotations

from typing import Final

import torch

from engines.networks.rig_lifter import BODY_UNIT_BONE_LENGTH
from tools.training.mocap import Mocap, bone_length_sum

_ANKLE_HEIGHT: Final = 0.039
"""Height of the ankle over stature (Winter, "Biomechanics and Motor Control of Human Movement")."""


def stature_in_body_units(mocap: Mocap) -> float:
    """How tall a person of 4.2 body units of bone stands, from head top to floor.

    The height of the head over the lower ankle in the most upright 5 % of frames, plus that of
    the ankle.

    Args:
        mocap: Clips.

    Returns:
        Stature in body units.
    """
    joints = mocap.joints
    ankles = torch.minimum(joints[:, 3, 2], joints[:, 6, 2])
    height = (joints[:, 10, 2] - ankles) / bone_length_sum(joints)
    upright = float(torch.quantile(height, 0.95))
    return BODY_UNIT_BONE_LENGTH * upright / (1.0 - _ANKLE_HEIGHT)
