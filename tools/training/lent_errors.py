"""Errors that the 2D front end made on rendered people, lent to motion capture.

Rendered sequences show how the front end errs, but there are few of them, and a lifter learns their
poses by heart. Here the joints of endless motions, bodies and rigs err as the front end did on
rendered people in like poses: each view borrows the errors and confidences of one rendered window,
of those drawn the one whose pose, seen from its camera, is nearest.

With them goes the image context: the rivals (``engines.front_ends.yolo_cpn.rivals``), which lie in
the same direction from the joint found as they did there, and what is told of depth and neighbours,
as wrong as it was there (``told_context.py``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from tools.training.keypoint_errors import at_border, box_size, slow_rate
from tools.training.lifter_data import FoundJoints, SeenJoints
from tools.training.rendered_errors import RenderedErrors, disturb
from tools.training.rendered_windows import WindowBank, Windows
from tools.training.told_context import BODY_UNITS_PER_HEIGHT, depth_along_ray, told_truth
from tools.training.window_reading import Pictures, read_joints, read_windows

_CANDIDATES: Final = 384
"""Rendered windows that a batch draws, and every view of it chooses from."""

_SLOW_SHARE: Final = 0.4
"""Share of windows whose joints are interpolated between slow sets."""

_LEAST_DEPTH_M: Final = 0.3
"""Joints nearer to the camera's plane, or behind it, are missing."""


class ErrorLender:
    """Lends the errors of rendered windows.

    Args:
        bank: rendered sequences as the front end saw them.
        errors: what goes wrong on top.
    """

    def __init__(self, bank: WindowBank, errors: RenderedErrors) -> None:
        self._bank, self._errors = bank, errors

    def observe(self, seen: SeenJoints, generator: torch.Generator) -> FoundJoints:
        """What the front end might have found of motion-captured people.

        Args:
            seen: their true joints in B windows of V views.
            generator: Source of chance, on the bank's device.

        Returns:
            Joints and context.
        """
        batch, _, views = seen.xy.shape[:3]
        chosen = self._alike(seen.target, generator)
        wrong = self._told_wrong(chosen, self._bank.pictures(chosen))
        pictures = disturb(wrong, self._errors, generator)
        there, context, context_mask = read_windows(pictures, self._bank.frames)
        errors, crop = self._errors_of(chosen, pictures, there)

        def spread(values: Tensor) -> Tensor:
            """(B · V, F, 1, ...) of single views to (B, F, V, ...)."""
            return (
                values[:, :, 0]
                .reshape(batch, views, *values.shape[1:2], *values.shape[3:])
                .transpose(1, 2)
            )

        xy, _ = slow_rate(seen.xy, seen.depth, _SLOW_SHARE, generator)
        found = xy + spread(errors) * box_size(xy)
        found, confidence, _ = at_border(found, spread(there[..., 2]), seen.rig)
        confidence = torch.where(seen.depth < _LEAST_DEPTH_M, 0.0, confidence)
        known = confidence[..., None] > 0
        found = torch.where(known, found, 0.0)
        focal = seen.rig.focal[:, None].expand(xy.shape[:3])
        depth = depth_along_ray(seen.target, xy[..., 0, :], focal) / BODY_UNITS_PER_HEIGHT
        crops = spread(crop).expand(-1, *xy.shape[1:3], 1) * box_size(xy)[..., 0]
        told = spread(context) + told_truth(depth, xy, found, crops[..., 0], context.shape[-1])
        has_context = spread(context_mask)[..., None, None] > 0
        return FoundJoints(
            torch.cat((found, confidence[..., None]), -1),
            torch.where(known & has_context, told, 0.0),
            spread(context_mask),
        )

    def _told_wrong(self, windows: Windows, pictures: Pictures) -> Pictures:
        """The same with the context's errors in the place of what it tells."""
        bank = self._bank
        places = bank.truth_of(windows).nan_to_num()
        depth = bank.depths(windows, bank.people(windows))
        found, channels = pictures.keypoints, pictures.context.shape[-1]
        truth = told_truth(depth, places, found[..., :2], pictures.crop, channels)
        wrong = torch.where(found[..., 2:] > 0, pictures.context - truth, 0.0)
        return replace(pictures, context=wrong)

    def _alike(self, target: Tensor, generator: torch.Generator) -> Windows:
        """For each view of ``target`` (B, F, V, 17, 3) a rendered window of a like pose."""
        bank = self._bank
        drawn = bank.choose(_CANDIDATES, 1, generator)
        wanted = target[:, target.shape[1] // 2, :, :, :2].flatten(0, 1)
        there = bank.middle_poses(drawn)[:, 0, :, :2]
        apart = torch.cdist(wanted.flatten(1), there.flatten(1))
        best = apart.argmin(1)
        return Windows(drawn.scene[best], drawn.start[best], drawn.views[best])

    def _errors_of(
        self, windows: Windows, pictures: Pictures, found: Tensor
    ) -> tuple[Tensor, Tensor]:
        """How what was found errs.

        Returns:
            Errors (N, F, 1, 17, 2), in units of the person's box; (N, 1, 1, 1) height of the crops
            in the same unit.
        """
        bank = self._bank
        kept = pictures.kept
        places = torch.where(kept[..., None, None], bank.truth_of(windows).nan_to_num(), 0.0)
        true = replace(pictures, keypoints=torch.cat((places, pictures.keypoints[..., 2:]), -1))
        wanted = read_joints(true, bank.frames)
        extents = (places.amax(3) - places.amin(3)).amax(-1)  # (N, E, 1)
        count = kept.sum(1).clamp(min=1)  # (N, 1)
        size = (extents.sum(1) / count).clamp(min=1e-3)
        crop = (pictures.crop * kept).sum(1) / count / size
        errors = (found - wanted)[..., :2] / size[:, None, :, None, None]
        return errors, crop[:, None, :, None]
