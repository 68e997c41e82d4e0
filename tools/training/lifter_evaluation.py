"""How good a lifter is: errors on people it never saw, in rigs it never saw."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from tools.training.lifter_data import (
    FULL_SCENES,
    LIVE_SCENES,
    SKETCH_SCENES,
    LifterBatch,
    SceneRanges,
    draw_fixed,
    predict,
)
from tools.training.lifter_weights import Network
from tools.training.metrics import joint_errors, procrustes_errors, triangulate
from tools.training.mocap import Mocap, subject_of
from tools.training.rendered_evaluation import RenderedAccuracy, show_rendered

SETTINGS: Final = (("sketch", SKETCH_SCENES), ("full", FULL_SCENES), ("live", LIVE_SCENES))
"""Tests by name: the feasibility sketch's errors, every error, and every error as seen live."""

VIEW_COUNTS: Final = tuple(range(1, 9))
_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Errors of one test, in millimetres of a body with 4.2 m of bones.

    Attributes:
        name: The test.
        views: Cameras.
        mpjpe: Mean over all frames and joints.
        centre: The same of the centre frame.
        last: The same of the newest frame.
        pa_mpjpe: After similarity Procrustes of each pose.
        triangulated: MPJPE of linear triangulation of the same joints with the true cameras,
            over poses of which every joint is seen twice; NaN where there are none.
        triangulated_pa: Its PA-MPJPE.
    """

    name: str
    views: int
    mpjpe: float
    centre: float
    last: float
    pa_mpjpe: float
    triangulated: float
    triangulated_pa: float


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Joints of like predicted error: the mean predicted and the mean actual one, millimetres."""

    predicted: float
    actual: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of one window: the median of many, and the 10th percentile."""

    views: int
    median_ms: float
    quick_ms: float


@dataclass(frozen=True, slots=True)
class LifterReport:
    """All results of an evaluation; empty where it was not asked for.

    Attributes:
        settings: Each test on motion capture, four views.
        by_views: The full error model by number of views.
        by_people: The same by person.
        cost: Of a window.
        reliability: Of the predicted error.
        rendered: Rendered people, with the image stream and without.
    """

    settings: tuple[Accuracy, ...] = ()
    by_views: tuple[Accuracy, ...] = ()
    by_people: tuple[Accuracy, ...] = ()
    cost: tuple[Cost, ...] = ()
    reliability: tuple[ReliabilityBin, ...] = ()
    rendered: tuple[RenderedAccuracy, ...] = ()


def measure(network: Network, batch: LifterBatch, name: str) -> tuple[Accuracy, Tensor, Tensor]:
    """Measures one test.

    Args:
        network: Keypoints and view mask in, joints and log sigma out.
        batch: Its windows.
        name: Its name.

    Returns:
        The errors; and of each joint but the root the actual and the predicted error, flat,
        body units.
    """
    with torch.inference_mode():
        joints, log_sigma = predict(network, batch)
    errors = joint_errors(joints, batch.target)
    middle = errors.shape[1] // 2
    points = triangulate(batch.keypoints, batch.rig)
    twice = ((batch.keypoints[..., 2] > 0).sum(2) >= 2).all(-1)
    dlt = dlt_pa = float("nan")
    if twice.any():
        unit = batch.unit[:, None, None, None]
        found = ((points - points[:, :, :1]) * unit)[twice]
        truth = ((batch.world - batch.world[:, :, :1]) * unit)[twice]
        dlt = 1e3 * float(joint_errors(found, truth).mean())
        dlt_pa = 1e3 * float(procrustes_errors(found, truth).mean())
    accuracy = Accuracy(
        name=name,
        views=batch.keypoints.shape[2],
        mpjpe=1e3 * float(errors.mean()),
        centre=1e3 * float(errors[:, middle].mean()),
        last=1e3 * float(errors[:, -1].mean()),
        pa_mpjpe=1e3 * float(procrustes_errors(joints, batch.target).mean()),
        triangulated=dlt,
        triangulated_pa=dlt_pa,
    )
    return accuracy, errors[..., 1:].flatten(), log_sigma[..., 1:].exp().flatten()


def evaluate(network: Network, mocap: Mocap, frames: int, windows: int) -> LifterReport:
    """Runs every test on four views, the full error model on one to eight, and on each person.

    Args:
        network: The lifter.
        mocap: People it never saw.
        frames: Of a window.
        windows: Of each test; half as many for each number of views, a quarter for each person.

    Returns:
        The results; the reliability is that under the full error model.
    """
    cpu = torch.device("cpu")

    def draw(scenes: SceneRanges, count: int, views: int) -> LifterBatch:
        return draw_fixed(mocap, frames, scenes, count, views, _SEED, cpu)

    settings = []
    reliability: tuple[ReliabilityBin, ...] = ()
    for name, scenes in SETTINGS:
        accuracy, actual, predicted = measure(network, draw(scenes, windows, 4), name)
        settings.append(accuracy)
        if name == "full":
            reliability = reliability_line(actual, predicted)
    by_views = tuple(
        measure(network, draw(FULL_SCENES, max(1, windows // 2), views), "full")[0]
        for views in VIEW_COUNTS
    )
    by_people = tuple(
        measure(
            network,
            draw_fixed(mocap.only(subject), frames, FULL_SCENES, max(1, windows // 4), 4, 7, cpu),
            f"full, {subject}",
        )[0]
        for subject in sorted({subject_of(name) for name in mocap.names})
    )
    cost = tuple(time_window(network, frames, views) for views in (1, 2, 4, 8))
    return LifterReport(tuple(settings), by_views, by_people, cost, reliability)


def time_window(network: Network, frames: int, views: int, runs: int = 40) -> Cost:
    """Times one window on this machine, with the threads that the network was loaded with."""
    points = torch.rand(1, frames, views, 17, 3, generator=torch.Generator().manual_seed(0))
    times = []
    with torch.inference_mode():
        for _ in range(runs):
            began = time.perf_counter()
            network(points, torch.ones(1, views))
            times.append(1e3 * (time.perf_counter() - began))
    return Cost(views, float(np.median(times)), float(np.quantile(times, 0.1)))


def reliability_line(
    actual: Tensor, predicted: Tensor, bins: int = 10
) -> tuple[ReliabilityBin, ...]:
    """Sorts joints by predicted error into equal bins and compares the means."""
    order = predicted.argsort()
    return tuple(
        ReliabilityBin(1e3 * float(predicted[part].mean()), 1e3 * float(actual[part].mean()))
        for part in order.chunk(bins)
    )


def show(report: LifterReport, console: Console) -> None:
    """Prints the report as tables."""
    if report.rendered:
        show_rendered(report.rendered, console)
    if not report.settings:
        return
    table = Table(title="Held-back people, unseen rigs; mm of a body with 4.2 m of bones")
    heads = ("test", "views", "MPJPE", "centre", "last", "PA-MPJPE", "DLT", "DLT PA")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left")
    for row in (*report.settings, *report.by_views, *report.by_people):
        values = (row.mpjpe, row.centre, row.last, row.pa_mpjpe)
        dlt = (row.triangulated, row.triangulated_pa)
        table.add_row(row.name, str(row.views), *(f"{value:.1f}" for value in (*values, *dlt)))
    console.print(table)
    table = Table(title="Predicted and actual error of joints, full error model, mm")
    table.add_column("predicted", justify="right")
    table.add_column("actual", justify="right")
    for part in report.reliability:
        table.add_row(f"{part.predicted:.1f}", f"{part.actual:.1f}")
    console.print(table)
    threads = torch.get_num_threads()
    for cost in report.cost:
        quick, median = f"{cost.quick_ms:.1f}", f"{cost.median_ms:.1f}"
        console.print(f"{cost.views} views, {threads} threads: {quick} ms, median {median} ms")
