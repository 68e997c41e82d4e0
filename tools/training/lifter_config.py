"""What a lifter learns from, and how: all of its training preset."""

from __future__ import annotations

from dataclasses import dataclass, field

from engines.networks.rig_lifter import RigLifterConfig
from tools.training.loop_config import LoopConfig
from tools.training.lost_joints import LostJoints
from tools.training.rendered_errors import RenderedErrors


@dataclass(frozen=True, slots=True)
class RenderedConfig:
    """What a lifter learns from rendered sequences.

    Attributes:
        share: Share of a batch's views, and of the loss, that comes from them; 0 for none.
        view_weights: Relative share of batches with 1, 2, ... cameras, as far as scenes have them.
        errors: What goes wrong on top.
        lent: Share of motion-capture batches whose joints err as in rendered sequences.
        lent_masked: Share of their windows without context.
        varied: Share of rendered windows whose person gets another body and pose.
        turn_deg: Standard deviation of how far a view is turned about its axis.
        zoom: Standard deviation of the logarithm of how far a view is enlarged.
        context_noise: Most noise of a window's context, in standard deviations of its features.
        masked_windows: Share of windows without context.
        masked_views: Share of the other windows' views without context.
        sigma_weight: As the task's, of rendered windows. A network learns the poses of few
            sequences by heart and then thinks too well of itself; lent errors teach it better.
        validation_windows: Windows of the validation set.
    """

    share: float = 0.0
    view_weights: tuple[float, ...] = (0.12, 0.2, 0.22, 0.34, 0.08, 0.04)
    errors: RenderedErrors = field(default_factory=RenderedErrors)
    lent: float = 0.5
    lent_masked: float = 0.3
    varied: float = 0.8
    turn_deg: float = 10.0
    zoom: float = 0.1
    context_noise: float = 0.25
    masked_windows: float = 0.25
    masked_views: float = 0.1
    sigma_weight: float = 0.002
    validation_windows: int = 96


@dataclass(frozen=True, slots=True)
class LifterTaskConfig:
    """What a lifter learns from.

    Attributes:
        network: Size of the network.
        views_per_batch: Views of a batch, all windows together, so that every batch costs alike.
        view_weights: Relative share of batches with 1, 2, ... cameras.
        masked_view_share: Share of the views that are dropped whole.
        last_frame_weight: Weight of the newest frame over that of the oldest.
        velocity_weight: Weight of the error of joint motion between frames.
        sigma_weight: Weight of the likelihood of the predicted error.
        validation_windows: Windows of each validation set.
        lost: Joints that no picture of a window shows.
        rendered: Rendered sequences.
    """

    network: RigLifterConfig = field(default_factory=RigLifterConfig)
    views_per_batch: int = 128
    view_weights: tuple[float, ...] = (0.05, 0.14, 0.2, 0.36, 0.12, 0.06, 0.03, 0.04)
    masked_view_share: float = 0.04
    last_frame_weight: float = 1.5
    velocity_weight: float = 0.5
    sigma_weight: float = 0.02
    validation_windows: int = 192
    lost: LostJoints = field(default_factory=LostJoints)
    rendered: RenderedConfig = field(default_factory=RenderedConfig)


@dataclass(frozen=True, slots=True)
class LifterPreset:
    """All of a training preset: ``task`` and ``loop``."""

    task: LifterTaskConfig = field(default_factory=LifterTaskConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
