"""Saves a recording that was cut off: ``python -m tools.recover FILE``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from app.recording.recover import inspect, recover, seal
from engines.errors import UserError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    file: Annotated[Path, typer.Argument(help="The recording (.mcap) that lacks its end.")],
    output: Annotated[
        Path | None,
        typer.Option(help="The new file; by default FILE with '-recovered' in its name."),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Mend FILE itself: what is damaged is cut off.")
    ] = False,
) -> None:
    """Make a whole recording of one that ended with a crash, kill -9 or a power cut.

    All whole chunks are kept: what came in the last 0.4 s is lost, after a power cut also what the
    disk had not yet taken. FILE itself is not changed, unless --in-place is given.
    """
    try:
        if in_place and output is not None:
            raise UserError("--in-place and --output exclude each other; give one of them")
        salvage = inspect(file)
        if salvage.whole and output is None:
            print(f"{file}: whole, nothing to do")
            return
        target = file if in_place else output or file.with_stem(f"{file.stem}-recovered")
        salvage = seal(file) if in_place else recover(file, target)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    if salvage.whole:
        print(f"{target}: a copy of {file}, which is whole")
        return
    print(
        f"{target}: {salvage.messages} messages kept, {salvage.lost} bytes lost ({salvage.damage})"
    )


if __name__ == "__main__":
    app()
