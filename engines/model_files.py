"""Where network files lie: those of the repository, and those that a person has imported."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from engines.errors import UserError
from engines.weights_cache import cache_folder

SHIPPED_FOLDER: Final = Path(__file__).resolve().parents[1] / "weights"
_SUFFIXES: Final = (".onnx", ".safetensors")


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


def find_model(name: str, precision: str = "fp32") -> Path:
    """Finds a network by name or path.

    Args:
        name: a path that ends in ``.onnx`` or ``.safetensors``, or a name such as ``yolov3``, which
            is looked for in the repository's ``weights`` folder, then among the imported ones.
        precision: which export to prefer where there are several (``NAME.fp16.onnx``).

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
    names = [f"{name}.{precision}.onnx"] if precision != "fp32" else []
    names += [name + suffix for suffix in _SUFFIXES]
    for folder in (SHIPPED_FOLDER, cache_folder()):
        for candidate in names:
            path = folder / candidate
            if path.is_file():
                return path
    raise UserError(
        f"network '{name}' is neither in {SHIPPED_FOLDER} nor in {cache_folder()}: "
        "see python -m tools.weights list, then fetch or import it"
    )
