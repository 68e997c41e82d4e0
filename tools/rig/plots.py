"""Plots of self-calibration: curves of its errors, a rig seen from above and from the side."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from engines.rig.types import Floats, Rig

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_BLUE, _GREY = "#2066a8", "#8f8f8f"


def draw_curve(
    path: Path,
    along: str,
    curves: dict[str, list[tuple[float, float, float]]],
    logarithmic: bool,
) -> None:
    """Draws medians and 90th percentiles side by side.

    Args:
        path: picture to write.
        along: what the x axis is.
        curves: for each panel its points (x, median, 90th percentile).
        logarithmic: whether y is.
    """
    figure, axes = plt.subplots(1, len(curves), figsize=(3.6 * len(curves), 3.2), squeeze=False)
    for axis, (name, points) in zip(axes[0], curves.items(), strict=True):
        if points:
            x, middle, high = (np.array(column) for column in zip(*points, strict=True))
            axis.plot(x, middle, "o-", color=_BLUE, label="median of rigs")
            axis.plot(x, high, ".--", color=_GREY, label="90th percentile")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel(along)
        if logarithmic:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3, which="both")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_rig(path: Path, rig: Rig, path_m: Floats) -> None:
    """Draws a rig from above and from the side.

    Args:
        path: picture to write.
        rig: the rig, z up.
        path_m: (N, 3) where the person's pelvis was.
    """
    figure, (above, side) = plt.subplots(1, 2, figsize=(11, 5.2))
    for axis, second, label in ((above, 1, "y (m)"), (side, 2, "z (m)")):
        if len(path_m):
            axis.plot(path_m[:, 0], path_m[:, second], ".", color=_GREY, ms=3, label="pelvis")
        for camera in rig.cameras:
            if camera is None:
                continue
            at = camera.position
            corners = _frustum(camera.model.focal, camera.model.height / camera.model.width)
            world = at + 0.6 * corners @ camera.rotation
            for corner in world:
                axis.plot([at[0], corner[0]], [at[second], corner[second]], color=_BLUE, lw=0.8)
            ring = [0, 1, 2, 3, 0]
            axis.plot(world[ring, 0], world[ring, second], color=_BLUE, lw=0.8)
            axis.text(at[0], at[second], f" {camera.id}", fontsize=9)
        axis.set_aspect("equal")
        axis.grid(alpha=0.3)
        axis.set_xlabel("x (m)")
        axis.set_ylabel(label)
    above.set_title("from above")
    side.set_title("from the side")
    side.axhline(0, color="black", lw=0.8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _frustum(focal: float, aspect: float) -> Floats:
    """(4, 3) corners of the picture at depth 1, camera axes."""
    x, y = 1 / focal, aspect / focal
    return np.array([[-x, -y, 1], [x, -y, 1], [x, y, 1], [-x, y, 1]])
