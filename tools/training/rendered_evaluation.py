"""How good a lifter is on rendered people, and what its image stream is worth.

Joints are the 2D front end's own, of people, clothes, rooms, rigs and motions that neither network
was trained on. Every test is answered twice: with the image stream, and with it masked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from engines.skeleton import JOINT_COUNT
from engines.view_fusion import ViewFusion
from tools.studio.shards import VISIBLE
from tools.training.keypoint_errors import joint_masks
from tools.training.lifter_weights import Network
from tools.training.metrics import joint_errors, procrustes_errors
from tools.training.rendered_errors import hide, newest_at_sets
from tools.training.rendered_windows import RenderedBatch, WindowBank
from tools.training.window_reading import PERIOD_S, Pictures

_SEED: Final = 7
_CHUNK: Final = 16
_DRAWS: Final = 4000
_QUARTER: Final = JOINT_COUNT / 4
_TAKEN: Final = math.ceil(_QUARTER)
_SLOW_STEP: Final = 3
_LEGS: Final = (2, 3, 5, 6)

Change = Callable[[Pictures, torch.Generator], Pictures]


@dataclass(frozen=True, slots=True)
class RenderedAccuracy:
    """Errors of one test, millimetres of the person as they are.

    Attributes:
        name: ``detected``: all poses; ``hidden``: poses of views in which at least a quarter of
            the joints cannot be seen; ``taken``: all poses, with a quarter of each view's joints
            taken away for the whole window; ``legs away``: all poses, with the knees and ankles
            taken away in every view, and the error is that of the other joints; ``slow``: all
            poses, ten sets a second.
        views: Cameras.
        poses: How many views' poses were measured.
        with_mpjpe: Mean over joints and poses, with the image stream.
        without_mpjpe: The same with the stream masked.
        with_pa: After similarity Procrustes of each pose.
        without_pa: The same with the stream masked.
        with_last: MPJPE of the newest frames, with the stream.
        without_last: The same with the stream masked.
        fused_mpjpe: With the stream, after the views' answers were fused as the application fuses
            them, in each view's axes.
        fused_pa: The same after similarity Procrustes of each pose.
        scenes: How many scenes the poses are of.
        worth_low: What the stream's worth is above in 95 of 100 draws of as many scenes.
        worth_high: What it is below in as many. Poses of a scene are alike: who compares two
            networks by this worth compares few people in few places.
    """

    name: str
    views: int
    poses: int
    with_mpjpe: float
    without_mpjpe: float
    with_pa: float
    without_pa: float
    with_last: float
    without_last: float
    fused_mpjpe: float
    fused_pa: float
    scenes: int
    worth_low: float
    worth_high: float

    @property
    def worth(self) -> float:
        """By how much the image stream lowers the MPJPE, 0…1."""
        return 1.0 - self.with_mpjpe / self.without_mpjpe


def evaluate_rendered(
    network: Network, bank: WindowBank, windows: int
) -> tuple[RenderedAccuracy, ...]:
    """Runs every test on every number of views that the scenes have.

    Args:
        network: The lifter.
        bank: Held-back scenes, on the CPU.
        windows: Of each test.

    Returns:
        The results.
    """
    rows: list[RenderedAccuracy] = []
    for views in range(1, bank.most_views + 1):
        for name, change, kept in _TESTS:
            batch = fixed_batch(bank, windows, views, change)
            seeing, blind = (predict_rendered(network, batch, context) for context in (True, False))
            answers = (seeing[0], blind[0], fuse_views(*seeing))
            rows.append(_accuracy(name, batch, answers, None, kept))
            if name == "detected":
                unseen = (batch.visibility < VISIBLE).sum(-1) >= _QUARTER
                if unseen.any():
                    rows.append(_accuracy("hidden", batch, answers, unseen, kept))
    return tuple(sorted(rows, key=lambda row: (row.name, row.views)))


def fixed_batch(
    bank: WindowBank, windows: int, views: int, change: Change | None = None
) -> RenderedBatch:
    """The same windows every time, as they were found or changed."""
    generator = torch.Generator(device=bank.device).manual_seed(_SEED + views)
    chosen = bank.choose(windows, views, generator)
    pictures = bank.pictures(chosen)
    if change is not None:
        pictures = change(pictures, generator)
    return bank.batch(chosen, pictures)


@torch.inference_mode()
def predict_rendered(
    network: Network, batch: RenderedBatch, context: bool
) -> tuple[Tensor, Tensor]:
    """Runs a network over a batch in pieces: joints (B, F, V, 17, 3), log sigma (B, F, V, 17)."""
    pieces = []
    for k in range(0, len(batch.keypoints), _CHUNK):
        part = slice(k, k + _CHUNK)
        image = (batch.context[part], batch.context_mask[part]) if context else (None, None)
        pieces.append(network(batch.keypoints[part], batch.view_mask[part], *image))
    return torch.cat([joints for joints, _ in pieces]), torch.cat([sigma for _, sigma in pieces])


def fuse_views(joints: Tensor, log_sigma: Tensor) -> Tensor:
    """What the application makes of each window's answers: one pose, here in each view's axes.

    It has seen the window once already, as it has seen the person for a while.

    Args:
        joints: (B, F, V, 17, 3) each in its view's axes.
        log_sigma: (B, F, V, 17).

    Returns:
        (B, F, V, 17, 3).
    """
    fused = np.zeros(joints.shape, np.float32)
    answers, sigma = joints.numpy(), log_sigma.exp().numpy()
    frames, views = joints.shape[1:3]
    everyone = np.ones(views, np.bool_)
    for window in range(len(joints)):
        fusion = ViewFusion(views)
        for instant in range(2 * frames):
            frame = instant % frames
            pose = fusion.update(
                round(instant * PERIOD_S * 1e9),
                answers[window, frame],
                sigma[window, frame],
                everyone,
            )
            assert pose is not None  # every view is present
            fused[window, frame] = np.einsum("vji,kj->vki", pose.rotations, pose.joints)
    return torch.from_numpy(fused - fused[..., :1, :])


def _accuracy(
    name: str,
    batch: RenderedBatch,
    answers: tuple[Tensor, Tensor, Tensor],
    chosen: Tensor | None,
    kept: list[int],
) -> RenderedAccuracy:
    """Measures answers with context, without, and fused.

    Args:
        name: Of the test.
        batch: The windows.
        answers: (B, F, V, 17, 3) each.
        chosen: (B, F, V) bool, the poses that count; None takes all.
        kept: The joints that count.
    """
    if chosen is None:
        chosen = torch.ones(batch.target.shape[:3], dtype=torch.bool)
    scale = (1e3 / batch.unit)[:, None, None, None]
    newest = chosen.clone()
    newest[:, :-1] = False
    figures = []
    sums: list[npt.NDArray[np.float64]] = []
    scenes = int(batch.scene.max()) + 1
    target = batch.target[..., kept, :]
    for answer in answers:
        joints = answer[..., kept, :]
        errors = joint_errors(joints, target) * scale
        each = (errors.mean(-1) * chosen).sum((1, 2)).double()
        sums.append(torch.zeros(scenes).double().index_add_(0, batch.scene, each).numpy())
        # Every third pose, as neighbours are alike and alignment is slow.
        some = chosen[:, ::3]
        aligned = procrustes_errors(joints[:, ::3][some], target[:, ::3][some])
        aligned = aligned * scale.expand(-1, *chosen.shape[1:], 1)[:, ::3][some]
        figures.append(
            [float(values.mean()) for values in (errors[chosen], aligned, errors[newest])]
        )
    (with_mpjpe, with_pa, with_last), (without_mpjpe, without_pa, without_last), fused = figures
    low, high = worth_interval(sums[0], sums[1])
    return RenderedAccuracy(
        name=name,
        views=chosen.shape[2],
        poses=int(chosen.sum()),
        with_mpjpe=with_mpjpe,
        without_mpjpe=without_mpjpe,
        with_pa=with_pa,
        without_pa=without_pa,
        with_last=with_last,
        without_last=without_last,
        fused_mpjpe=fused[0],
        fused_pa=fused[1],
        scenes=int(np.count_nonzero(sums[1])),
        worth_low=low,
        worth_high=high,
    )


def worth_interval(
    with_it: npt.NDArray[np.float64], without: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """Where the stream's worth lies in 90 of 100 draws of the scenes, with replacement.

    Both sums are of the same poses, so what makes a scene hard for both cancels (Efron and
    Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).

    Args:
        with_it: (S,) each scene's errors with the stream, added up.
        without: (S,) the same without.

    Returns:
        Its 5th and 95th percentile.
    """
    there = without > 0
    draws = np.random.default_rng(_SEED).integers(there.sum(), size=(_DRAWS, there.sum()))
    worth = 1 - with_it[there][draws].sum(1) / without[there][draws].sum(1)
    low, high = np.percentile(worth, (5, 95))
    return float(low), float(high)


def _take_quarter(pictures: Pictures, generator: torch.Generator) -> Pictures:
    batch, _, views = pictures.kept.shape
    draw = torch.rand(batch, 1, views, JOINT_COUNT, generator=generator, device=generator.device)
    return hide(pictures, draw.argsort(-1).argsort(-1) < _TAKEN)


def _take_legs(pictures: Pictures, generator: torch.Generator) -> Pictures:
    return hide(pictures, joint_masks((_LEGS,), generator.device)[:, None, None])


def _slow_sets(pictures: Pictures, generator: torch.Generator) -> Pictures:
    step = torch.full((len(pictures.kept), 1), _SLOW_STEP, device=pictures.kept.device)
    return replace(pictures, kept=newest_at_sets(pictures.kept, step))


_ALL: Final = list(range(JOINT_COUNT))
_TESTS: Final[tuple[tuple[str, Change | None, list[int]], ...]] = (
    ("detected", None, _ALL),
    ("taken", _take_quarter, _ALL),
    ("legs away", _take_legs, [joint for joint in _ALL if joint not in _LEGS]),
    ("slow", _slow_sets, _ALL),
)
"""Each test's name, what happens to the pictures, and the joints that count."""


def show_rendered(rows: tuple[RenderedAccuracy, ...], console: Console) -> None:
    """Prints the results as a table."""
    # Without lines, so that a plain terminal's 80 columns are enough.
    table = Table(
        title="Rendered people never seen before, detected joints; mm",
        box=box.SIMPLE,
        pad_edge=False,
        collapse_padding=True,
    )
    heads = (
        "test",
        "views",
        "poses",
        "MPJPE",
        "blind",
        "worth",
        "90 %",
        "PA",
        "blind",
        "fused",
        "PA",
    )
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        figures = (row.with_pa, row.without_pa, row.fused_mpjpe, row.fused_pa)
        table.add_row(
            row.name,
            str(row.views),
            str(row.poses),
            f"{row.with_mpjpe:.1f}",
            f"{row.without_mpjpe:.1f}",
            f"{100 * row.worth:.1f}%",
            f"{100 * row.worth_low:.0f}…{100 * row.worth_high:.0f}",
            *(f"{value:.1f}" for value in figures),
        )
    console.print(table)
