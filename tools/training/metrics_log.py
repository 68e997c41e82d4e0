"""Reads what the training loop logged (``metrics.csv``, see ``tools.training.loop``)."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path


def last_validation(
    table: Path, step: int, wanted: Callable[[str], bool], digits: int
) -> dict[str, float]:
    """The newest validation up to a step.

    Args:
        table: The run's ``metrics.csv``.
        step: Rows of later steps are passed over.
        wanted: Which columns to keep, by name.
        digits: Decimals that are kept.

    Returns:
        Figures by column; empty where nothing was validated yet.
    """
    if not table.exists():
        return {}
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
    if not rows:
        return {}
    return {name: round(float(value), digits) for name, value in rows[-1].items() if wanted(name)}
