"""``python -m tools.train adopt``: the lifter reads another light CPN than it was trained with."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from engines.errors import UserError
from engines.lifter import read_card
from engines.model_files import check_shipped
from tools.outputs import write_text


def adopt(
    folder: Annotated[
        Path, typer.Option(help="Where lifter.onnx, pose2d.onnx and what belongs to them lie.")
    ] = Path("weights"),
) -> None:
    """Let the lifter read the image context of the light CPN beside it.

    A light CPN that was trained further tells the same as before, mostly better. Measure first
    whether the lifter does better with it (tools.train lifter --evaluate). Both the new one and the
    one that the lifter was trained with stay named in lifter.json.
    """
    try:
        lifter, pose2d = folder / "lifter.onnx", folder / "pose2d.onnx"
        known = read_card(lifter).context_of
        if not known:
            raise UserError(f"{lifter}: has no image stream")
        check_shipped(pose2d)
        digest = str(_read(pose2d.with_suffix(".json"))["weights_digest"])
        if digest == known:
            print(f"{lifter} reads {pose2d} already")
            return
        path = lifter.with_suffix(".json")
        write_text(path, json.dumps(_adopted(_read(path), digest), indent=2) + "\n")
        print(f"{lifter} reads {pose2d} ({digest}) from now on; before: {known}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error


def _adopted(card: dict[str, Any], digest: str) -> dict[str, Any]:
    """The lifter's description with another pose network; the order of its lines stays."""
    trained_with = card.pop("context_trained_with", card["context_of"])
    out: dict[str, Any] = {}
    for key, value in card.items():
        out[key] = digest if key == "context_of" else value
        if key == "context_of" and trained_with != digest:
            out["context_trained_with"] = trained_with
    return out


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
