"""Where the neighbours of a joint say that it is.

The light CPN tells of each joint that it found where two neighbours are (``joint_context``). So up
to four others point to a joint that is missing, of which nothing is told, and object to one that
was found where it is not.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from engines.networks.joint_context import NEIGHBOURS, TOWARDS, TOWARDS_DOUBT
from engines.skeleton import JOINT_COUNT

_LEAST_DOUBT: Final = -3.0
_MOST_DOUBT: Final = 3.0
"""Of what is told; beyond, half precision has nothing left to tell apart."""

_MOST_CONFIDENCE: Final = 0.7
"""As of a joint that was found and is likely right: the lifter reads both alike."""

_HALF_SURE: Final = 0.5
"""Tenths of the crop's height: who is expected to err by that has half of the most confidence."""

_LEAST_SPAN: Final = 1e-2
"""Squared tenths of the crop's height: with less between the joints found no scale is known."""

_FARTHEST: Final = 4.0
"""Tenths of the crop's height; who lies farther from where a joint was found objects no louder."""

_LEAST_WEIGHT: Final = 1e-6
_LEAST_SCALE: Final = 1e-4


class Pointed(NamedTuple):
    """What the others say of joints.

    Attributes:
        places: (B, F, V, 17, 2) half-widths.
        confidence: (B, F, V, 17); 0 where nothing points to a joint.
        away: (B, F, V, 17, 2) how far from where a joint was found, in tenths of the crop's height;
            0 where it is missing.
    """

    places: Tensor
    confidence: Tensor
    away: Tensor


class PointedJoints(nn.Module):
    """Puts together what the joints that were found say of each other; nothing is learned."""

    source: Tensor
    target: Tensor
    gather: Tensor

    def __init__(self) -> None:
        super().__init__()
        pointers = [(joint, other) for joint, pair in enumerate(NEIGHBOURS) for other in pair]
        source, target = torch.tensor(pointers).unbind(1)
        gather = torch.zeros(len(pointers), JOINT_COUNT)
        gather[torch.arange(len(pointers)), target] = 1.0
        for name, value in (("source", source), ("target", target), ("gather", gather)):
            self.register_buffer(name, value, persistent=False)

    def forward(self, keypoints: Tensor, context: Tensor, mask: Tensor) -> Pointed:
        """Puts what several joints say of one together, each by how far off it may be.

        How long a tenth of the crop is in the picture follows from the joints that were found and
        point to each other.

        Args:
            keypoints: (B, F, V, 17, 3) x, y in half-widths and confidence; 0 is missing.
            context: (B, F, V, 17, C), all 0 where there is none.
            mask: (B, F, V), 1 where there is context.
        """
        found = keypoints[..., 2] > 0
        xy = torch.where(found[..., None], keypoints[..., :2], 0.0)
        tells = found & (context.abs().amax(-1) > 0) & (mask > 0)[..., None]
        arrows = context[..., TOWARDS].reshape(*keypoints.shape[:3], -1, 2)
        doubt = context[..., TOWARDS_DOUBT].clamp(_LEAST_DOUBT, _MOST_DOUBT).flatten(-2)
        weight = (-2.0 * doubt).exp() * tells.index_select(-1, self.source).to(doubt.dtype)

        start = xy.index_select(-2, self.source)
        known = weight * found.index_select(-1, self.target).to(doubt.dtype)
        between = xy.index_select(-2, self.target) - start
        along = (known[..., None] * between * arrows).sum((-2, -1))
        span = (known[..., None] * arrows * arrows).sum((-2, -1))
        usable = (span > _LEAST_SPAN) & (along > 0)
        scale = torch.where(usable, along / span.clamp(min=_LEAST_SPAN), 0.0)[..., None, None]

        total = weight @ self.gather  # (..., 17)
        said = (weight[..., None] * (start + scale * arrows)).transpose(-1, -2) @ self.gather
        places = said.transpose(-1, -2) / total.clamp(min=_LEAST_WEIGHT)[..., None]
        confidence = _MOST_CONFIDENCE * total / (total + _HALF_SURE**-2)
        confidence = torch.where(usable[..., None], confidence, 0.0)
        away = (places - xy) / scale.clamp(min=_LEAST_SCALE)
        objecting = (found & (confidence > 0))[..., None]
        return Pointed(
            places, confidence, torch.where(objecting, away, 0.0).clamp(-_FARTHEST, _FARTHEST)
        )
