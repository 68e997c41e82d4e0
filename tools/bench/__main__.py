"""``python -m tools.bench``: measurements, one sub-command a module."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from engines.errors import UserError
from tools.bench.chain import chain
from tools.bench.engines import engines
from tools.bench.pipeline import pipeline
from tools.bench.training import training

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Measure networks, engines, the live chain and training on this machine."""


app.command()(engines)
app.command()(chain)
app.command()(pipeline)
app.command()(training)


def run() -> None:
    """Runs the command; a user's mistake is one line and exit status 2."""
    try:
        app()
    except UserError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    run()
