"""Reads Darknet network descriptions (``.cfg``).

The format is that of Darknet (Redmon, 2013–2016) as YOLOv3 (Redmon and Farhadi, 2018) uses it:
``[section]`` lines, each followed by ``key=value`` lines. The first section is ``[net]``; every
other one is a layer, numbered from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engines.errors import UserError

_MAX_BYTES: Final = 1 << 20
_MAX_VALUE: Final = 1 << 16
"""No count or size in a real network comes near this; a larger one is a broken file."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section of a cfg file.

    Attributes:
        kind: the word in brackets, e.g. ``convolutional``.
        options: its ``key=value`` lines, values as written.
        where: ``file:line`` of the section's first line, for messages.
    """

    kind: str
    options: Mapping[str, str]
    where: str

    def text(self, key: str, default: str) -> str:
        """The value of ``key`` as written, or the default."""
        return self.options.get(key, default)

    def integer(self, key: str, default: int | None = None, least: int | None = None) -> int:
        """The value of ``key`` as a whole number.

        Raises:
            UserError: it is absent without a default, not a whole number, or out of range.
        """
        if key not in self.options:
            if default is None:
                raise UserError(f"{self.where}: [{self.kind}] needs '{key}='")
            return default
        values = self.integers(key)
        if len(values) != 1 or (least is not None and values[0] < least):
            wanted = "" if least is None else f" of at least {least}"
            raise UserError(
                f"{self.where}: [{self.kind}] {key}={self.options[key]} must be one whole "
                f"number{wanted}"
            )
        return values[0]

    def integers(self, key: str) -> tuple[int, ...]:
        """The comma-separated whole numbers of ``key``.

        Raises:
            UserError: it is absent, or one of them is not a whole number or absurdly large.
        """
        numbers = self.numbers(key)
        if any(value != int(value) for value in numbers):
            raise UserError(
                f"{self.where}: [{self.kind}] {key}={self.options[key]} must be whole numbers"
            )
        return tuple(int(value) for value in numbers)

    def numbers(self, key: str) -> tuple[float, ...]:
        """The comma-separated numbers of ``key``.

        Raises:
            UserError: it is absent, or one of them is not a number or absurdly large.
        """
        if key not in self.options:
            raise UserError(f"{self.where}: [{self.kind}] needs '{key}='")
        written = self.options[key]
        try:
            numbers = tuple(float(part) for part in written.split(",") if part.strip())
        except ValueError as error:
            raise UserError(
                f"{self.where}: [{self.kind}] {key}={written} is not a number"
            ) from error
        if not numbers or not all(abs(value) <= _MAX_VALUE for value in numbers):
            raise UserError(
                f"{self.where}: [{self.kind}] {key}={written} must be numbers up to {_MAX_VALUE}"
            )
        return numbers


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A parsed cfg file: the size of the input and the layers in order.

    Attributes:
        width: input width in pixels.
        height: input height in pixels.
        channels: input channels.
        layers: the sections after ``[net]``; layer 0 is the first.
        name: the file's name, for messages.
    """

    width: int
    height: int
    channels: int
    layers: tuple[Section, ...]
    name: str


def read_cfg(path: Path) -> NetworkConfig:
    """Reads a cfg file.

    Raises:
        UserError: the file is missing, too large, not text, or not a Darknet cfg.
    """
    if not path.is_file():
        raise UserError(f"Darknet cfg not found: {path}")
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} is too large for a Darknet cfg (over {_MAX_BYTES} bytes)")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file, so no Darknet cfg") from error
    return parse_cfg(text, path.name)


def parse_cfg(text: str, name: str) -> NetworkConfig:
    """Parses the text of a cfg file.

    Args:
        text: the file's contents.
        name: what to call it in messages.

    Raises:
        UserError: a line is neither section, option nor comment, or ``[net]`` does not come first.
    """
    sections: list[Section] = []
    options: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        where = f"{name}:{number}"
        if line.startswith("[") and line.endswith("]"):
            options = {}
            sections.append(Section(line[1:-1].strip().lower(), options, where))
        elif "=" in line and sections:
            key, value = line.split("=", 1)
            options[key.strip()] = value.strip()
        else:
            raise UserError(f"{where}: '{line[:60]}' is neither [section] nor key=value")
    if not sections or sections[0].kind not in ("net", "network"):
        raise UserError(f"{name} does not begin with [net], so it is no Darknet cfg")
    if len(sections) == 1:
        raise UserError(f"{name} has no layers")
    net = sections[0]
    return NetworkConfig(
        width=net.integer("width", least=1),
        height=net.integer("height", least=1),
        channels=net.integer("channels", default=3, least=1),
        layers=tuple(sections[1:]),
        name=name,
    )
