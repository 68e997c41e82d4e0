"""Files of networks that have to be downloaded, brought before a run begins."""

from __future__ import annotations

from collections.abc import Callable

from app.config import AppConfig
from engines.front_ends.blazepose.models import WEIGHTS, fetched
from engines.weights_cache import read_cached


def bring_networks(config: AppConfig, say: Callable[[str], None]) -> None:
    """Downloads what a run needs and this machine lacks; a slow line may take its time here.

    Args:
        config: of the run.
        say: is told of each download as it begins.

    Raises:
        UserError: a file cannot be had.
    """
    if config.front_end.kind != "blazepose":
        return
    for file in WEIGHTS:
        if read_cached(file) is None:
            say(f"downloading {file.name} ({file.source.described}) …")
            fetched(file)
