"""Reads a configuration file; every mistake is one line: file, line, key, what to do."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from app.config import schema
from app.config.ignored_settings import ignored_settings
from engines.errors import UserError

_MAX_BYTES = 1 << 20


def load_config(path: Path) -> schema.AppConfig:
    """Reads and checks a configuration file.

    Args:
        path: YAML file. Relative paths in it are relative to its folder, except those that
            begin with ``weights/``, ``capture/`` or ``out``, which are relative to the
            repository or, for ``out``, to the current folder.

    Raises:
        UserError: not readable, not YAML, or not a valid configuration; the text names the place.
    """
    text = _read(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path}{_mark(error)}: not valid YAML: {_problem(error)}") from error
    except ValueError as error:  # e.g. of something that looks like a date and is none
        raise UserError(f"{path}: not valid YAML: {error}; put such a value in quotes") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested too deeply to be a configuration") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected a mapping with at least the key 'cameras'")
    try:
        config = schema.AppConfig.model_validate(data)
    except ValidationError as error:
        raise UserError(_explain(path, node, error)) from error
    for key, text in ignored_settings(config):
        line = _line_of(node, [*key.split(".")])
        raise UserError(f"{path}:{line}: '{key}' {text}")
    return _resolve_paths(config, path.resolve().parent)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{path}: larger than 1 MiB, that is no configuration file")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such configuration file; see the folder configs/") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file (UTF-8), so no configuration") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _mark(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f":{mark.line + 1}" if mark is not None else ""


def _problem(error: yaml.YAMLError) -> str:
    return str(getattr(error, "problem", None) or error).splitlines()[0]


def _explain(path: Path, node: yaml.Node | None, error: ValidationError) -> str:
    details = error.errors()
    # A misspelt key explains why another is missing: it comes first.
    first = next((d for d in details if d["type"] == "extra_forbidden"), details[0])
    keys = [part for part in first["loc"] if not _is_union_tag(part, first)]
    line = _line_of(node, keys)
    where = f"{path}:{line}" if line else str(path)
    name = _dotted(keys)
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return f"{where}: {_say(first, keys, name)}{more}"


def _say(detail: ErrorDetails, keys: list[int | str], name: str) -> str:
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = _fields_at(detail["loc"][:-1])
        near = difflib.get_close_matches(str(keys[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "known here: " + ", ".join(sorted(known))
        return f"unknown key '{name}'; {hint}"
    if kind == "missing":
        return f"'{name}' is missing"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if kind == "value_error" and not keys:
        return message
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        given = detail["input"].get("kind") if isinstance(detail["input"], dict) else None
        kinds = ["webcam", "file", "stream", "synthetic"]
        near = difflib.get_close_matches(str(given), kinds, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return f"'{name}.kind' must be one of {', '.join(kinds)}, not {given!r}{hint}"
    given = detail["input"]
    if keys and keys[-1] == "url":  # it may hold a password
        return f"'{name}' {message}" if kind == "value_error" else f"'{name}': {message}"
    shown = repr(given) if isinstance(given, (str, int, float, bool, type(None))) else "this"
    return f"'{name}' = {shown[:60]}: {message}" if keys else message


def _is_union_tag(part: int | str, detail: ErrorDetails) -> bool:
    """Pydantic names the chosen member of a union in the location; a person did not write it."""
    loc = detail["loc"]
    index = loc.index(part)
    if part in ("webcam", "file", "stream", "synthetic"):
        return index > 0 and loc[index - 1] == "source"
    return isinstance(part, str) and (
        part.startswith(("literal[", "constrained-", "function-")) or part in ("int", "str")
    )


def _fields_at(loc: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = schema.AppConfig
    sources: dict[str, type[BaseModel]] = {
        "webcam": schema.WebcamSource,
        "file": schema.FileSource,
        "stream": schema.StreamSource,
        "synthetic": schema.SyntheticSource,
    }
    for part in loc:
        if part == "cameras":
            model = schema.CameraConfig
        elif isinstance(part, str) and part in sources:
            model = sources[part]
        elif isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                model = annotation
    return list(model.model_fields)


def _line_of(node: yaml.Node | None, keys: list[int | str]) -> int | None:
    line = None
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if getattr(k, "value", None) == str(key)]
            if not found:
                break
            line = found[0][0].start_mark.line + 1
            node = found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            if key >= len(node.value):
                break
            node = node.value[key]
            line = node.start_mark.line + 1
    return line


def _dotted(keys: list[int | str]) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else (f".{key}" if text else key)
    return text


def _resolve_paths(config: schema.AppConfig, folder: Path) -> schema.AppConfig:
    data: dict[str, Any] = config.model_dump()
    repository = Path(__file__).resolve().parents[2]

    def resolve(path: Path) -> Path:
        if path.is_absolute():
            return path
        if path.parts[:1] == ("out",):
            return Path.cwd() / path
        beside = folder / path
        shipped = path.parts[:1] in (("weights",), ("capture",)) and (repository / path).exists()
        return repository / path if shipped and not beside.exists() else beside

    for camera in data["cameras"]:
        if camera["source"]["kind"] == "file":
            camera["source"]["path"] = resolve(camera["source"]["path"])
    for role in ("detector", "pose"):
        chosen = data["front_end"][role]
        if chosen.endswith((".onnx", ".safetensors")):  # else it is a name
            data["front_end"][role] = str(resolve(Path(chosen)))
    data["lifter"]["weights"] = resolve(data["lifter"]["weights"])
    for role in ("lenses", "fixed"):
        if data["calibration"][role] is not None:
            data["calibration"][role] = resolve(data["calibration"][role])
    data["recorder"]["folder"] = resolve(data["recorder"]["folder"])
    if data["truth"] is not None:
        data["truth"] = resolve(data["truth"])
    return schema.AppConfig.model_validate(data)
