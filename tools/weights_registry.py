"""The registry of weights: what exists, what it is for, and what of it is here."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.errors import UserError
from engines.front_ends.blazepose.models import WEIGHTS as BLAZEPOSE
from engines.model_files import SHIPPED_FOLDER, check_shipped
from engines.weights_cache import WeightsFile, cache_folder, read_cached

REGISTRY: Final = SHIPPED_FOLDER / "registry.yaml"

Format = Literal["darknet", "cpn", "dsvtformer", "tflite", "shipped"]
State = Literal["ready", "damaged", "fetch it", "get it by hand", "missing"]


class FileEntry(BaseModel):
    """One file of a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    size: int | None = Field(None, gt=0)
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    url: str | None = Field(None, pattern=r"^https?://")


class ModelEntry(BaseModel):
    """One set of weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    purpose: str
    origin: str
    licence: str
    format: Format
    network: str | None = None
    files: list[FileEntry] = Field(min_length=1)
    by_hand: str | None = None

    @property
    def fetchable(self) -> bool:
        """Whether every file has a public address and a hash to check it by."""
        return all(file.url and file.sha256 and file.size for file in self.files)


class _Registry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # A name becomes a file's name in the cache folder.
    models: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], ModelEntry]


@dataclass(frozen=True, slots=True)
class Condition:
    """What of a model is on this machine.

    Attributes:
        state: in a word.
        detail: the file, or what is wrong with it.
    """

    state: State
    detail: str


def read_registry(path: Path = REGISTRY) -> dict[str, ModelEntry]:
    """Reads the registry.

    Raises:
        UserError: it is missing or malformed.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        return _Registry.model_validate(data).models
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        first = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is no registry of weights: {first}") from error


def look_up(registry: dict[str, ModelEntry], name: str) -> ModelEntry:
    """The entry of a name.

    Raises:
        UserError: there is none.
    """
    if name not in registry:
        raise UserError(f"unknown weights '{name}' (known: {', '.join(registry)})")
    return registry[name]


def cached_file(entry: ModelEntry) -> WeightsFile:
    """The cache's own description of a BlazePose file."""
    wanted = entry.files[0].name
    return next(file for file in BLAZEPOSE if file.name == wanted)


def condition(name: str, entry: ModelEntry) -> Condition:
    """Checks by hash what of a model is on this machine."""
    if entry.format == "tflite":
        file = cached_file(entry)
        if read_cached(file) is not None:
            return Condition("ready", str(cache_folder() / file.name))
        return Condition("fetch it", "")
    if entry.format == "shipped":
        return _shipped([SHIPPED_FOLDER / file.name for file in entry.files])
    note = cache_folder() / f"{name}.json"
    if not note.is_file():
        if entry.fetchable:
            return Condition("fetch it", "")
        return Condition("get it by hand", entry.by_hand or "")
    return _imported(note)


def _shipped(paths: list[Path]) -> Condition:
    for path in paths:
        if not path.is_file():
            return Condition("missing", f"{path} is not in this checkout")
        try:
            check_shipped(path)
        except UserError as error:
            return Condition("damaged", str(error))
    return Condition("ready", str(paths[0]))


def _imported(note: Path) -> Condition:
    try:
        files = json.loads(note.read_text(encoding="utf-8"))["files"]
        wanted = {str(name): str(digest) for name, digest in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Condition("damaged", f"{note} cannot be read: import it again")
    for name, digest in wanted.items():
        path = note.parent / name
        if not path.is_file() or sha256_of(path) != digest:
            return Condition("damaged", f"{path} is missing or changed: import it again")
    return Condition("ready", str(note.parent / next(iter(wanted), "")))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
