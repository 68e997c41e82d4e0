"""Reads checkpoints that strangers saved with torch, without running what may be hidden in them."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from engines.errors import UserError

_MAX_BYTES: Final = 4 << 30
_PREFIX: Final = "module."  # what torch's DataParallel puts before every name
_ARCHIVE: Final = b"PK\x03\x04"
"""How a file begins that ``torch.save`` wrote since 2020; older ones are bare pickles."""

_PLAIN: Final = (torch.float32, torch.float16, torch.bfloat16)


def read_checkpoint(path: Path, keys: Sequence[str]) -> dict[str, Tensor]:
    """Reads the named arrays of a checkpoint.

    A file takes no more memory than it has bytes: nothing in it is compressed, and no array is
    larger than what the file holds of it (a view that repeats one number may claim terabytes).

    Args:
        path: a file that ``torch.save`` wrote: a state dictionary, or a table that holds one.
        keys: under which of the table's keys it may lie.

    Returns:
        The arrays by name, on the CPU, with ``module.`` taken off the names; of any type.

    Raises:
        UserError: the file is missing, damaged, no checkpoint, or holds anything but plain arrays.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; check the path")
    if path.stat().st_size > _MAX_BYTES:
        raise _too_large(path)
    try:
        _check_archive(path)
        with warnings.catch_warnings():  # what torch thinks of the kinds of arrays in it
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
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
    for name, value in content.items():
        _check_array(path, str(name), value)
    return {str(name).removeprefix(_PREFIX): value.detach() for name, value in content.items()}


def check_values(path: Path, name: str, value: Tensor) -> None:
    """Checks that an array holds what weights are.

    Args:
        path: where it comes from, for messages.
        name: of the parameter, for messages.
        value: of any shape.

    Raises:
        UserError: it is no plain array, its numbers are of another kind, or some are not finite.
    """
    if value.layout != torch.strided or value.dtype not in _PLAIN:
        kind = value.dtype if value.layout == torch.strided else value.layout
        raise UserError(f"{path}: '{name}' holds {kind}, not plain numbers")
    if not bool(torch.isfinite(value).all()):
        raise UserError(f"{path}: '{name}' has values that are not finite")


def _too_large(path: Path) -> UserError:
    return UserError(f"{path} is too large for a checkpoint of these networks")


def _check_archive(path: Path) -> None:
    """Refuses archives that would grow in memory.

    Raises:
        UserError: something in it is compressed, which torch never does, or is too large.
        OSError: it cannot be read.
        zipfile.BadZipFile: it is no whole archive.
    """
    with path.open("rb") as file:
        if file.read(len(_ARCHIVE)) != _ARCHIVE:
            return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise UserError(
            f"{path} is no checkpoint as torch writes them: it is compressed inside; "
            "get it again from its authors"
        )
    if sum(entry.file_size for entry in entries) > _MAX_BYTES:
        raise _too_large(path)


def _check_array(path: Path, name: str, value: Tensor) -> None:
    """Refuses whatever is not an array whose every number lies in the file.

    Raises:
        UserError: it is sparse, nested, quantised, without content, or larger than its content.
    """
    plain = (
        type(value) in (Tensor, nn.Parameter)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_nested or value.is_quantized)
    )
    if not plain:
        raise UserError(f"{path}: '{name}' is no plain array, so no weights")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise UserError(
            f"{path}: '{name}' claims shape {tuple(value.shape)}, "
            "and the file does not hold that many numbers"
        )
