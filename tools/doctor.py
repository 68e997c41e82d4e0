"""``python -m tools.doctor``: what is there, what is missing, and what that costs. One screen."""

from __future__ import annotations

import sys


def main() -> None:
    """Say what is there, what is missing, and what that costs."""
    import typer
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tools.doctor_checks import CHECKS, examine

    marks = {"good": ("✓", "green"), "lacking": ("–", "yellow"), "broken": ("✗", "red")}
    table = Table(box=None, padding=(0, 1), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    broken = False
    for check in CHECKS:
        finding = examine(check)
        mark, colour = marks[finding.state]
        text = finding.found if not finding.cost else f"{finding.found}: {finding.cost}"
        table.add_row(Text(mark, style=colour), finding.area, Text(text))
        broken = broken or finding.state == "broken"
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if broken:
        raise typer.Exit(1)


def run() -> None:
    """Runs the command; a user's mistake is one line and exit status 2.

    Nothing but Python itself is imported before this, so that a missing package is one line too.
    """
    try:
        import typer

        from engines.errors import UserError
    except ModuleNotFoundError as error:
        _say_missing(error)
    try:
        typer.run(main)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        _say_missing(error)


def _say_missing(error: ModuleNotFoundError) -> None:
    print(
        f"error: the package '{error.name}' is not installed for {sys.executable}: "
        "run make, or python -m pip install -r requirements.txt",
        file=sys.stderr,
    )
    sys.exit(2)


if __name__ == "__main__":
    run()
