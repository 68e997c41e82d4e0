"""The picture of a training run."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def plot_metrics(table: Path, picture: Path) -> None:
    """Draws every column of a run's ``metrics.csv`` over the minutes, one panel each.

    Args:
        table: The CSV file, with columns ``step``, ``minutes`` and others.
        picture: The PNG to write.
    """
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return
    names = [name for name in rows[0] if name not in ("step", "minutes")]
    minutes = [float(row["minutes"]) for row in rows]
    columns = 3
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 2.4 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, number + 1)
        axes.plot(minutes, [float(row[name]) for row in rows])
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("minutes", fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=100)
