"""``python -m tools.weights``: what weights there are, and how to get them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from engines.errors import UserError
from engines.weights_cache import cache_folder, import_file, load
from tools.download import download
from tools.weights_registry import (
    REGISTRY,
    ModelEntry,
    cached_file,
    condition,
    look_up,
    read_registry,
)

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

RegistryOption = Annotated[
    Path, typer.Option("--registry", help="Another registry file.", show_default=False)
]
_console = Console(highlight=False, soft_wrap=True)


@app.callback()
def main() -> None:
    """Tell which weights there are, fetch or import them, and check their hashes."""


@app.command("list")
def list_models(registry: RegistryOption = REGISTRY) -> None:
    """Show every model: what it is for, its terms, and whether it is here."""
    table = Table(show_lines=True)
    for column in ("name", "state"):
        table.add_column(column, no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("what for · from · terms")
    for name, entry in read_registry(registry).items():
        size = sum(file.size or 0 for file in entry.files)
        shown = f"{size / 2**20:.1f} MB" if size else "–"
        text = f"{entry.purpose}\n{entry.origin}\n{entry.licence}"
        table.add_row(name, condition(name, entry).state, shown, text)
    Console().print(table)
    _console.print(f"kept in {cache_folder()}", markup=False)


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="Which; see 'list'.")],
    registry: RegistryOption = REGISTRY,
) -> None:
    """Download models that have a public address, check them, and make them ready."""
    entries = read_registry(registry)
    for name in names:
        _fetch(name, look_up(entries, name))


@app.command("import")
def import_(
    name: Annotated[str, typer.Argument(help="Which; see 'list'.")],
    files: Annotated[list[Path], typer.Argument(help="Its files.")],
    registry: RegistryOption = REGISTRY,
) -> None:
    """Take in weights that you downloaded yourself, after checking all of them."""
    entry = look_up(read_registry(registry), name)
    if entry.format == "tflite":
        if len(files) != 1:
            raise UserError(f"give one file: {entry.files[0].name} or the wheel that holds it")
        import_file(cached_file(entry), files[0])
        _console.print(f"{name} is ready", markup=False)
        return
    _import(name, entry, files)


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all that are here.")] = None,
    registry: RegistryOption = REGISTRY,
) -> None:
    """Check what is here by hash."""
    entries = read_registry(registry)
    bad = 0
    for name in names or entries:
        found = condition(name, look_up(entries, name))
        if names or found.state in ("ready", "damaged"):
            _console.print(f"{name}: {found.state} {found.detail}".rstrip(), markup=False)
            bad += found.state != "ready"
    if bad:
        raise typer.Exit(1)


def _fetch(name: str, entry: ModelEntry) -> None:
    if condition(name, entry).state == "ready":
        _console.print(f"{name} is ready already", markup=False)
        return
    if entry.format == "tflite":
        with _console.status(f"fetching {name}"):
            load(cached_file(entry))
        _console.print(f"{name} is ready", markup=False)
        return
    if entry.format == "shipped":
        raise UserError(f"{name} is part of the repository: get its files with the sources")
    if not entry.fetchable:
        wanted = " ".join(file.name for file in entry.files)
        where = entry.by_hand or entry.origin
        raise UserError(
            f"{name} has no public address: get {wanted} from {where}; "
            f"then run python -m tools.weights import {name} {wanted}"
        )
    folder = cache_folder().parent / "downloads"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error
    paths: list[Path] = []
    for file in entry.files:
        assert file.url is not None and file.sha256 is not None and file.size is not None
        path = folder / file.name
        if not path.is_file():
            download(file.url, path, file.size, file.sha256, _console)
        paths.append(path)
    _import(name, entry, paths)
    # Taken in, it is not needed any more; else the next try need not download it again.
    for path in paths:
        path.unlink(missing_ok=True)


def _import(name: str, entry: ModelEntry, files: list[Path]) -> None:
    from tools.weights_import import import_model  # torch takes seconds to import

    if entry.format == "shipped":
        raise UserError(f"{name} is part of the repository and is not imported")
    with _console.status(f"importing {name}") as status:
        path = import_model(name, entry, files, lambda text: status.update(f"{name}: {text}"))
    _console.print(f"{name} is ready: {path}", markup=False)


def run() -> None:
    """Runs the command; a user's mistake is one line and exit status 2."""
    try:
        app()
    except UserError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        sys.exit(2)


if __name__ == "__main__":
    run()
