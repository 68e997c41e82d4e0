"""Trains, exports and evaluates the networks: ``python -m tools.train NETWORK``."""

from __future__ import annotations

import typer

from tools.training.adopt_command import adopt
from tools.training.feature_command import features
from tools.training.lifter_command import lifter
from tools.training.vision_command import detector, pose2d

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def main() -> None:
    """Train, export and evaluate the networks."""


app.command()(features)
app.command()(lifter)
app.command()(detector)
app.command()(pose2d)
app.command()(adopt)


if __name__ == "__main__":
    app()
