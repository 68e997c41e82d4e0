"""What a check of ``python -m tools.doctor`` finds: one line of its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["good", "lacking", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        area: what was looked at.
        state: ``lacking`` is a choice that one may live with; ``broken`` must be mended.
        found: what is there.
        cost: what the lack costs and how to mend it; empty where nothing is lacking.
    """

    area: str
    state: State
    found: str
    cost: str = ""
