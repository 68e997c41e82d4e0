"""Where the neighbours of a joint that was not found say that it is.

The light CPN tells of each joint that it found where two neighbours are (``joint_context``). A
joint that is missing has no context of its own, but up to four joints that point to it.
"""

from __future__ import annotations

from typing import Final

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


class PointedJoints(nn.Module):
    """Places for missing joints, by the context of those that were found; nothing is learned."""

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

    def forward(self, keypoints: Tensor, context: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Puts what several joints say of one together, each by how far off it may be.

        How long a tenth of the crop is in the picture follows from the joints that were found and
        point to each other.

        Args:
            keypoints: (B, F, V, 17, 3) x, y in half-widths and confidence; 0 is missing.
            context: (B, F, V, 17, C), all 0 where there is none.
            mask: (B, F, V), 1 where there is context.

        Returns:
            (B, F, V, 17, 2) places in half-widths; (B, F, V, 17) confidence, 0 where a joint was
            found or nothing points to it.
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
        scale = torch.where(usable, along / span.clamp(min=_LEAST_SPAN), 0.0)

        places = start + scale[..., None, None] * arrows
        total = weight @ self.gather  # (..., 17)
        summed = (weight[..., None] * places).transpose(-1, -2) @ self.gather
        mean = summed.transpose(-1, -2) / total.clamp(min=1e-6)[..., None]
        confidence = _MOST_CONFIDENCE * total / (total + _HALF_SURE**-2)
        wanted = ~found & usable[..., None]
        return mean, torch.where(wanted, confidence, 0.0)
