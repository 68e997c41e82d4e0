"""Reads checkpoints that strangers saved with torch, without running what may be hidden in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from engines.errors import UserError

_MAX_BYTES: Final = 4 << 30
_PREFIX: Final = "module."  # what torch's DataParallel puts before every name


def read_checkpoint(path: Path, keys: Sequence[str]) -> dict[str, Tensor]:
    """Reads the named arrays of a checkpoint.

    Args:
        path: a file that ``torch.save`` wrote: a state dictionary, or a table that holds one.
        keys: under which of the table's keys it may lie.

    Returns:
        The arrays by name, on the CPU, with ``module.`` taken off the names.

    Raises:
        UserError: the file is missing, damaged, no checkpoint, or holds anything but arrays.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; check the path")
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} is too large for a checkpoint of these networks")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for damaged or unsafe files
        # torch's own words recommend to load it unsafely; they are not passed on.
        raise UserError(
            f"{path} is no readable checkpoint: it is damaged, another kind of file, or holds "
            "more than arrays (code in it is never run); get it again from its authors"
        ) from error
    for key in keys:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        raise UserError(f"{path} holds no table of arrays ('{keys[0]}'), so no weights")
    return {str(name).removeprefix(_PREFIX): value for name, value in content.items()}
