"""Where built TensorRT engines are kept, and how a stale or foreign one is told apart.

An engine file is code for the GPU: TensorRT checks it little and can crash on a bad one. So a file
is used only if its key matches (network, TensorRT, GPU, shapes, precision), its content has the
hash that was noted when our own build wrote it, and nobody but the user could have written it.
The same goes for the kernels that TensorRT for RTX compiles for an engine when it first runs, and
for what a builder has measured, of which TensorRT checks itself for which GPU and version it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from engines.errors import UserError
from engines.weights_cache import cache_folder

Kind = Literal["engine", "kernels"]
"""What a file holds; it is also how its name ends."""

_TIMING: Final = "timing.cache"


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything that an engine depends on.

    Attributes:
        onnx_sha256: of the network file.
        tensorrt: which one, and its exact version.
        gpu: name of the card.
        capability: its compute capability, e.g. ``8.9``.
        platform: operating system and processor.
        views: the profiles' numbers of views as text, e.g. ``4;1-4-8``.
        precision: of the network file.
    """

    onnx_sha256: str
    tensorrt: str
    gpu: str
    capability: str
    platform: str
    views: str
    precision: str

    def digest(self) -> str:
        """64 hexadecimal digits that differ whenever anything above differs."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StoredEngine:
    """A checked file from the cache.

    Attributes:
        key: what it was stored under.
        plan: what TensorRT serialised: the engine, or its kernels.
        metadata: the network file's own words on itself.
    """

    key: EngineKey
    plan: bytes
    metadata: Mapping[str, str]


def engine_folder() -> Path:
    """The folder of built engines, made for the user alone.

    Raises:
        UserError: it cannot be made.
    """
    folder = cache_folder().parent / "engines"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from error
    return folder


def engine_path(network: Path, key: EngineKey, kind: Kind = "engine") -> Path:
    """Where the engine of a network with this key is kept, or its kernels."""
    return engine_folder() / f"{network.stem}-{key.digest()[:16]}.{kind}"


def store(
    network: Path,
    key: EngineKey,
    plan: bytes,
    metadata: Mapping[str, str],
    kind: Kind = "engine",
) -> Path:
    """Keeps an engine that has just been built, or its kernels.

    Returns:
        Its file.

    Raises:
        UserError: it cannot be written.
    """
    path = engine_path(network, key, kind)
    _keep(path, plan, {"key": asdict(key), "metadata": dict(metadata)})
    return path


def find(network: Path, key: EngineKey, kind: Kind = "engine") -> StoredEngine | None:
    """What we ourselves stored under this key; None where there is nothing to be trusted."""
    kept = _kept(engine_path(network, key, kind))
    if kept is None:
        return None
    plan, note = kept
    metadata = note.get("metadata")
    if note.get("key") != asdict(key) or not isinstance(metadata, dict):
        return None
    return StoredEngine(key, plan, {str(name): str(value) for name, value in metadata.items()})


def store_timing(content: bytes) -> None:
    """Keeps what the builder has measured, for later builds of any network.

    Raises:
        UserError: it cannot be written.
    """
    _keep(engine_folder() / _TIMING, content, {})


def find_timing() -> bytes:
    """What earlier builds of ours have measured; empty where there is nothing to be trusted."""
    kept = _kept(engine_folder() / _TIMING)
    return b"" if kept is None else kept[0]


def _keep(path: Path, content: bytes, note: Mapping[str, object]) -> None:
    """Writes a file, and beside it a note that holds its hash.

    Raises:
        UserError: it cannot be written.
    """
    noted = {**note, "sha256": hashlib.sha256(content).hexdigest()}
    try:
        _write(path, content)
        _write(_note_path(path), json.dumps(noted, indent=1).encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def _kept(path: Path) -> tuple[bytes, dict[str, object]] | None:
    """A file that ``_keep`` wrote, and its note; None unless both are ours and it is unchanged."""
    if not (_only_ours(path) and _only_ours(_note_path(path))):
        return None
    try:
        note = json.loads(_note_path(path).read_bytes())
        content = path.read_bytes()
    except (OSError, ValueError):
        return None
    if not isinstance(note, dict) or note.get("sha256") != hashlib.sha256(content).hexdigest():
        return None
    return content, note


def _note_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _only_ours(path: Path) -> bool:
    """Whether the file is there, is the user's own, and nobody else may write it."""
    try:
        status = path.lstat()
    except OSError:
        return False
    if not stat.S_ISREG(status.st_mode):
        return False
    if not hasattr(os, "getuid"):  # Windows: the user's cache folder is private by default
        return True
    others = stat.S_IWGRP | stat.S_IWOTH
    return status.st_uid == os.getuid() and not status.st_mode & others


def _write(path: Path, content: bytes) -> None:
    scratch = path.with_name(path.name + ".part")
    try:
        scratch.touch(mode=0o600)
        scratch.write_bytes(content)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
