"""Makes the 2D front end that a configuration names."""

from __future__ import annotations

from typing import Literal

from engines.backends.select import EngineName
from engines.front_ends.base import FrontEnd

FrontEndKind = Literal["blazepose", "yolo_cpn"]


def make_front_end(kind: FrontEndKind, views: int, engine: EngineName, threads: int) -> FrontEnd:
    """Loads a front end's networks.

    Args:
        kind: which one.
        views: number of cameras.
        engine: what runs its networks, where it has a choice.
        threads: CPU threads that it may keep busy.

    Raises:
        UserError: its weights or its engine are missing.
    """
    if kind == "blazepose":
        from engines.front_ends.blazepose import BlazePoseFrontEnd

        return BlazePoseFrontEnd(views, threads)
    from engines.errors import UserError

    raise UserError("front_end.kind 'yolo_cpn' has no weights yet; use blazepose")
