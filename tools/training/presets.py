"""Training presets in YAML: every key known, every value checked."""

from __future__ import annotations

import difflib
from dataclasses import is_dataclass
from pathlib import Path
from typing import TypeVar, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from engines.errors import UserError

T = TypeVar("T")


def load_preset(path: Path, kind: type[T]) -> T:
    """Reads a preset into a dataclass.

    Args:
        path: The YAML file.
        kind: A dataclass, nested ones included.

    Returns:
        The preset; keys left out keep their defaults.

    Raises:
        UserError: The file is missing, no YAML, or holds an unknown key or an impossible value.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"preset: {path} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = " ".join(str(error).split())
        raise UserError(f"preset: {path} is no valid YAML ({first})") from error
    content = {} if content is None else content
    try:
        _check_keys(content, kind, "")
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise UserError(f"preset: {path}: {place}: {problem['msg']}") from error
    except ValueError as error:
        raise UserError(f"preset: {path}: {error}") from error


def _check_keys(content: object, kind: type, place: str) -> None:
    """Raises ValueError at the first key that the dataclass, or one inside it, does not have."""
    if not isinstance(content, dict):
        raise ValueError(f"{place or 'the file'} must hold keys and values, not {content!r}")
    known = get_type_hints(kind)
    for key, value in content.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1, 0.4)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"unknown key {place}{key}; {hint}")
        if is_dataclass(known[key]):
            _check_keys(value, known[key], f"{place}{key}.")
