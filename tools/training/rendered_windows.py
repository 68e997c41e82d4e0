"""Windows of rendered sequences, as the live application would make them of the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tools.training import fitted_cameras
from tools.training.feature_scenes import FeatureScene
from tools.training.mocap import units_of
from tools.training.told_context import BODY_UNITS_PER_HEIGHT, depth_along_ray
from tools.training.window_reading import LEAD, PERIOD_S, Pictures, read_windows


@dataclass(frozen=True, slots=True)
class Windows:
    """Which windows: B of them, V views each.

    Attributes:
        scene: (B,) indices of scenes.
        start: (B,) their first instants.
        views: (B, V) the cameras.
    """

    scene: Tensor
    start: Tensor
    views: Tensor


@dataclass(frozen=True, slots=True)
class RenderedBatch:
    """Windows as the lifter sees them, and the truth.

    Attributes:
        keypoints: (B, F, V, 17, 3).
        view_mask: (B, V).
        context: (B, F, V, 17, C).
        context_mask: (B, F, V).
        target: (B, F, V, 17, 3) root-relative, in camera axes, body units.
        unit: (B,) body units per metre.
        visibility: (B, F, V, 17) of the true joints in the instant's picture, 0 to 2.
        scene: (B,) which scene each window is of.
    """

    keypoints: Tensor
    view_mask: Tensor
    context: Tensor
    context_mask: Tensor
    target: Tensor
    unit: Tensor
    visibility: Tensor
    scene: Tensor


class WindowBank:
    """All scenes of a split, end to end on one device.

    Args:
        scenes: of one pose network.
        frames: F of a window.
        device: where everything lies.
    """

    def __init__(self, scenes: Sequence[FeatureScene], frames: int, device: torch.device) -> None:
        self.frames, self.device = frames, device
        sizes = [scene.keypoints.shape[:2] for scene in scenes]
        self.instants = torch.tensor([size[0] for size in sizes], device=device)
        self.cameras = torch.tensor([size[1] for size in sizes], device=device)
        rows = self.instants * self.cameras
        self.first_row = rows.cumsum(0) - rows
        self.first_instant = self.instants.cumsum(0) - self.instants
        self.first_camera = self.cameras.cumsum(0) - self.cameras

        def rowwise(name: str) -> Tensor:
            """(rows, ...) each scene's cameras one after the other, all their instants each."""
            parts = [torch.from_numpy(getattr(scene, name)).transpose(0, 1) for scene in scenes]
            return torch.cat([part.flatten(0, 1) for part in parts]).to(device)

        self.keypoints = rowwise("keypoints")
        self.context = rowwise("context")
        self.crop = rowwise("crop")
        self.offset_s = rowwise("offset_s")
        self.truth = rowwise("truth")
        self.visibility = rowwise("visibility")
        self.joints = torch.cat([torch.from_numpy(s.joints_m) for s in scenes]).to(device)
        self.rotation = torch.cat([torch.from_numpy(s.rotation) for s in scenes]).to(device)
        units = [units_of(torch.from_numpy(s.joints_m)[None]) for s in scenes]
        self.unit = torch.cat(units).to(device)
        fitted = [fitted_cameras.fit_cameras(scene) for scene in scenes]
        self.fitted = torch.from_numpy(np.concatenate(fitted)).to(device)
        origins = [fitted_cameras.origin_of(scene) for scene in scenes]
        self.origin = torch.from_numpy(np.stack(origins)).to(device)
        starts = [
            torch.stack([torch.full((count,), n), torch.arange(count)], 1)
            for n, size in enumerate(sizes)
            if (count := size[0] - frames + 1) > 0
        ]
        self.starts = torch.cat(starts or [torch.zeros(0, 2, dtype=torch.long)]).to(device)
        """(windows, 2) scene and first instant of every window there is."""

    @property
    def most_views(self) -> int:
        """The most cameras of any scene that is long enough for a window."""
        return int(self.cameras[self.starts[:, 0]].max()) if len(self.starts) else 0

    def feature_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation (C,) of the context at joints that were found."""
        found = self.context[self.keypoints[..., 2] > 0].float()
        return found.mean(0), found.std(0).clamp(min=1e-3)

    def choose(self, batch: int, views: int, generator: torch.Generator) -> Windows:
        """Draws windows, of scenes with enough cameras, and the cameras of each.

        Args:
            batch: Windows.
            views: Cameras of each, at most ``most_views``.
            generator: Source of chance, on the bank's device.
        """
        eligible = self.starts[self.cameras[self.starts[:, 0]] >= views]
        pick = torch.randint(0, len(eligible), (batch,), generator=generator, device=self.device)
        scene, start = eligible[pick].unbind(1)
        most = int(self.cameras.max())
        order = torch.rand(batch, most, generator=generator, device=self.device)
        # Cameras that the scene does not have come last.
        order = order + (torch.arange(most, device=self.device) >= self.cameras[scene][:, None])
        return Windows(scene, start, order.argsort(1)[:, :views])

    def pictures(self, windows: Windows) -> Pictures:
        """What the pictures of windows gave, as it was found."""
        steps = torch.arange(-LEAD, self.frames, device=self.device)
        there = windows.start[:, None] + steps >= 0  # (B, E)
        rows = self._picture_rows(windows)
        keypoints = self.keypoints[rows]
        kept = there[..., None] & (keypoints[..., 2] > 0).any(-1)
        nominal = (steps * PERIOD_S)[:, None]
        times = nominal + torch.where(kept, self.offset_s[rows], 0.0)
        return Pictures(keypoints, self.context[rows].float(), self.crop[rows], times, kept)

    def batch(
        self, windows: Windows, pictures: Pictures, people: Tensor | None = None
    ) -> RenderedBatch:
        """Reads windows out of pictures and puts the truth beside them.

        Args:
            windows: Which.
            pictures: What their pictures gave.
            people: (B, E, 17, 3) the true joints, where they are not the scenes' own.
        """
        keypoints, context, context_mask = read_windows(pictures, self.frames)
        instant = windows.start[:, None] + torch.arange(self.frames, device=self.device)
        unit = self.unit[windows.scene]
        if people is None:
            world = self._world(windows, instant)
        else:
            world = people[:, LEAD:]
            unit = units_of(world)
        return RenderedBatch(
            keypoints=keypoints,
            view_mask=torch.ones(windows.views.shape, device=self.device),
            context=context,
            context_mask=context_mask,
            target=self._targets(windows, world, unit),
            unit=unit,
            visibility=self.visibility[self._rows(windows, instant)],
            scene=windows.scene,
        )

    def people(self, windows: Windows) -> Tensor:
        """(B, E, 17, 3) true joints of windows and the instants read along; world, metres."""
        return self._world(windows, self._instants(windows))

    def seen(self, windows: Windows, people: Tensor) -> Tensor:
        """Where the windows' cameras would see people.

        Args:
            windows: Which.
            people: (B, N, 17, 3) in the world, metres.

        Returns:
            (B, N, V, 17, 2) half-widths.
        """
        cameras = self._cameras(windows)
        around = people - self.origin[windows.scene][:, None, None]
        points = torch.einsum("bvij,bnkj->bnvki", self.rotation[cameras], around)
        return fitted_cameras.project(self.fitted[cameras][:, None, :, None], points)

    def depths(self, windows: Windows, people: Tensor) -> Tensor:
        """How far joints are behind the pelvis along the windows' cameras' rays to it.

        Args:
            windows: Which.
            people: (B, N, 17, 3) in the world, metres.

        Returns:
            (B, N, V, 17) body heights.
        """
        cameras = self._cameras(windows)
        root = people[:, :, :1]
        relative = torch.einsum("bvij,bnkj->bnvki", self.rotation[cameras], people - root)
        pelvis = self.seen(windows, root)[..., 0, :]
        focal = fitted_cameras.focal_of(self.fitted[cameras])[:, None].expand(pelvis.shape[:-1])
        heights = units_of(people)[:, None, None, None] / BODY_UNITS_PER_HEIGHT
        return depth_along_ray(relative, pelvis, focal) * heights

    def truth_of(self, windows: Windows) -> Tensor:
        """(B, E, V, 17, 2) true joints in the pictures of windows; NaN where there is none."""
        return self.truth[self._picture_rows(windows)]

    def middle_poses(self, windows: Windows) -> Tensor:
        """(B, V, 17, 3) true joints in the middle of windows: as targets, of that instant alone."""
        world = self._world(windows, windows.start[:, None] + self.frames // 2)
        return self._targets(windows, world, self.unit[windows.scene])[:, 0]

    def _targets(self, windows: Windows, world: Tensor, unit: Tensor) -> Tensor:
        """True joints (B, F, 17, 3) as in ``RenderedBatch.target``: (B, F, V, 17, 3)."""
        turns = self.rotation[self._cameras(windows)]
        relative = (world - world[:, :, :1]) * unit[:, None, None, None]
        return torch.einsum("bvij,bfkj->bfvki", turns, relative)

    def _world(self, windows: Windows, instant: Tensor) -> Tensor:
        """(B, N, 17, 3) true joints at instants (B, N)."""
        return self.joints[self.first_instant[windows.scene][:, None] + instant]

    def _cameras(self, windows: Windows) -> Tensor:
        """(B, V) which of all cameras."""
        return self.first_camera[windows.scene][:, None] + windows.views

    def _instants(self, windows: Windows) -> Tensor:
        """(B, E) the instants of windows and of their lead; the scene's first before it begins."""
        steps = torch.arange(-LEAD, self.frames, device=self.device)
        return (windows.start[:, None] + steps).clamp(min=0)

    def _picture_rows(self, windows: Windows) -> Tensor:
        """Rows (B, E, V) of the pictures around windows."""
        return self._rows(windows, self._instants(windows))

    def _rows(self, windows: Windows, instant: Tensor) -> Tensor:
        """Rows (B, E, V) of the bank for instants (B, E)."""
        length = self.instants[windows.scene][:, None]
        camera = self.first_row[windows.scene][:, None] + windows.views * length
        return camera[:, None] + instant[..., None]
