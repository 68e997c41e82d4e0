"""The networks that a configuration asks for, loaded and warmed up."""

from __future__ import annotations

import os

from app.config import AppConfig
from engines.backends.select import open_backend
from engines.front_ends.base import FrontEnd
from engines.front_ends.factory import make_front_end
from engines.lifter import Lifter, read_card


def load_networks(config: AppConfig) -> tuple[FrontEnd, Lifter]:
    """Opens front end and lifter on the engine that the configuration names.

    Args:
        config: the run's configuration; the front end gets a view for each of its cameras.

    Raises:
        UserError: a network cannot be had, or the engine is not there.
    """
    cores = os.cpu_count() or 1
    card = read_card(config.lifter.weights)
    backend = open_backend(
        config.lifter.weights, config.engine, config.lifter.threads or cores, config.precision
    )
    lifter = Lifter(backend, card)
    front_end = make_front_end(
        config.front_end.kind,
        views=len(config.cameras),
        engine=config.engine,
        threads=config.front_end.threads or cores,
        networks=(config.front_end.detector, config.front_end.pose),
        context=lifter.context_channels > 0,
        precision=config.precision,
        flip_test=config.front_end.flip_test,
    )
    front_end.warm_up(480, 640)
    lifter.warm_up(len(config.cameras))
    return front_end, lifter
