"""Where network files lie: those of the repository, and those that a person has imported."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final, Literal

from engines.errors import UserError
from engines.weights_cache import cache_folder

SHIPPED_FOLDER: Final = Path(__file__).resolve().parents[1] / "weights"
Precision = Literal["fp32", "fp16"]
SOURCE_KEY: Final = "dsvt.source"
"""What an export calls, in its metadata, the SHA-256 of the file that it was made from.

By it an export that is older than its network is told. Files that ship say nothing of it: the JSON
file beside them holds their hashes.
"""
_SUFFIXES: Final = (".onnx", ".safetensors")
_HALF: Final = ".fp16.onnx"


def check_shipped(path: Path) -> None:
    """Checks a shipped ``.onnx`` or ``.safetensors`` file by the hash in the JSON file beside it.

    Raises:
        UserError: the description is missing or broken, or the file is another one.
    """
    card = path.with_suffix(".json")
    key = "sha256_safetensors" if path.suffix == ".safetensors" else "sha256"
    advice = "take the files from the same release"
    try:
        expected = str(json.loads(card.read_text(encoding="utf-8"))[key])
    except FileNotFoundError as error:
        raise UserError(f"{card}: missing beside the weights; {advice}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{card}: does not say the weights' hash; {advice}") from error
    try:
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {advice}") from error
    if actual != expected:
        raise UserError(f"{path}: not the weights that {card.name} describes; {advice}")


def export_of(path: Path, precision: Precision) -> Path:
    """Where a network's export in a precision lies, or will lie once it is made.

    Half precision is for engines on a GPU. It lies beside the network where the network was
    imported, else in the user's cache folder, under a name that holds the network's hash, so that
    a changed network is never taken for its old export.

    Args:
        path: the network's ``.onnx`` file; one that is in half precision itself is taken as it is.
        precision: which.

    Raises:
        UserError: the network cannot be read.
    """
    if precision == "fp32" or path.name.endswith(_HALF):
        return path
    if path.parent == cache_folder():
        return path.with_name(path.stem + _HALF)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return cache_folder() / f"{path.stem}-{digest[:16]}{_HALF}"


def find_model(name: str) -> Path:
    """Finds a network by name or path.

    Args:
        name: a path that ends in ``.onnx`` or ``.safetensors``, or a name such as ``yolov3``, which
            is looked for in the repository's ``weights`` folder, then among the imported ones.

    Returns:
        The ``.onnx`` file, or the ``.safetensors`` file where that is all there is.

    Raises:
        UserError: there is none; the text says how to get it.
    """
    if name.endswith(_SUFFIXES):
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(f"network not found: {path} (check the path)")
        return path
    for folder in (SHIPPED_FOLDER, cache_folder()):
        for suffix in _SUFFIXES:
            path = folder / (name + suffix)
            if path.is_file():
                return path
    raise UserError(
        f"network '{name}' is neither in {SHIPPED_FOLDER} nor in {cache_folder()}: "
        "see python -m tools.weights list, then fetch or import it"
    )
