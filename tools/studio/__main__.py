"""Command line of the studio: ``python -m tools.studio clip|data|preview``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engines.errors import UserError
from tools.studio.assets import Assets
from tools.studio.clip import make_clip
from tools.studio.generate import Order, Sort, generate
from tools.studio.motion import read_mocap
from tools.studio.preview import contact_sheet
from tools.studio.shards import Split

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Draws synthetic people in rooms. Needs the CC0 body assets and a motion-capture file; "
    "docs/studio.md says where they are published.",
)
AssetsOption = Annotated[
    Path, typer.Option("--assets", help="Folder with 3dobjs/, targets/, rigs/ and base/.")
]
MocapOption = Annotated[Path, typer.Option("--mocap", help="Motion capture, mocap17 .npz file.")]


@app.command()
def clip(
    assets: AssetsOption,
    mocap: MocapOption,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("capture/clips/walk"),
    crf: Annotated[int, typer.Option(help="H.264 quality, lower is better.", min=0, max=51)] = 19,
) -> None:
    """Makes the built-in four-camera clip with its ground truth."""
    make_clip(Assets(assets), mocap, out, crf)


@app.command()
def preview(
    assets: AssetsOption,
    mocap: MocapOption,
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("out/studio.png"),
    columns: Annotated[int, typer.Option(min=1, max=20)] = 5,
    rows: Annotated[int, typer.Option(min=1, max=20)] = 4,
    seed: Annotated[int, typer.Option(help="First of the seeds, one a picture.", min=0)] = 0,
) -> None:
    """Makes a contact sheet of random people, poses and rooms."""
    contact_sheet(Assets(assets), read_mocap(mocap), out, columns, rows, seed)
    typer.echo(f"wrote {out}")


@app.command()
def data(
    assets: AssetsOption,
    mocap: MocapOption,
    out: Annotated[Path, typer.Option(help="Folder to write; one folder a split.")],
    split: Annotated[Split, typer.Option(help="Whose people, clothes, rooms and motions.")],
    sort: Annotated[
        Sort, typer.Option(help="Single poses, motions of several views, or whole pictures.")
    ],
    count: Annotated[int, typer.Option(help="Number of scenes.", min=1, max=100_000)],
    first: Annotated[int, typer.Option(help="Number of the first scene.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Processes.", min=1, max=256)] = 2,
) -> None:
    """Makes training data: scenes with pictures and exact labels. Goes on where it stopped."""
    order = Order(assets, mocap, out, split, sort, first, count, workers)
    typer.echo(f"{generate(order)} scenes in {out / split}")


def main() -> None:
    """Runs the command line; a user's mistake is one line and exit status 2."""
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
