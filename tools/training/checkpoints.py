"""Checkpoints: written whole or not at all, read without running anything in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from engines.errors import UserError


def save_atomically(content: object, path: Path) -> None:
    """Saves with `torch.save`, so that ``path`` is always either the old file or the new one."""
    temporary = path.with_suffix(".part")
    torch.save(content, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint without running anything in it.

    Raises:
        UserError: The file is missing or no checkpoint.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the reader raises many kinds for a damaged file
        first = (str(error).splitlines() or ["unreadable"])[0]
        raise UserError(
            f"checkpoint: {path} cannot be read ({first}); delete or replace it"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"checkpoint: {path} holds no checkpoint; delete or replace it")
    return content
