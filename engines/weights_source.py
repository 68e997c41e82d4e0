"""Where files of network weights come from."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from engines.errors import UserError

_FETCH_LIMIT_S: Final = 600.0


class Source(Protocol):
    """Where a weights file comes from."""

    @property
    def described(self) -> str:
        """A few words for messages and licence lists, e.g. ``the wheel of mediapipe 0.10.21``."""
        ...

    @property
    def fetch_hint(self) -> str:
        """What a person types on another machine to get the file that ``import_file`` takes."""
        ...

    def fetch(self, into: Path) -> Path:
        """Brings the file, or an archive that holds it, into an empty folder.

        Raises:
            UserError: it cannot be reached.
        """
        ...

    def brought(self, folder: Path) -> Path | None:
        """The archive that a person put into ``folder``, if there is one."""
        ...

    def member_of(self, archive: Path) -> str | None:
        """The member of ``archive`` that is the file, None where ``archive`` is the file itself."""
        ...


@dataclass(frozen=True, slots=True)
class WheelMember:
    """A data file inside one published wheel.

    Attributes:
        distribution: name in the package index.
        version: exact version.
        member: path inside the wheel.
        python_version: which build of the wheel to take; any one will do for a data file, so it
            is pinned, and the machine's own Python and processor do not matter.
        platform: likewise.
    """

    distribution: str
    version: str
    member: str
    python_version: str = "3.11"
    platform: str = "manylinux_2_28_x86_64"

    @property
    def described(self) -> str:
        """Names the wheel."""
        return f"the wheel of {self.distribution} {self.version}"

    @property
    def fetch_hint(self) -> str:
        """The pip command that downloads the wheel."""
        return " ".join(["python -m pip", *self._arguments()])

    def fetch(self, into: Path) -> Path:
        """Downloads the wheel with pip, from whichever index pip is set up for.

        Raises:
            UserError: pip is missing or cannot get the wheel.
        """
        command = [sys.executable, "-m", "pip", *self._arguments()]
        command += ["--dest", str(into), "--quiet", "--no-input", "--disable-pip-version-check"]
        command += ["--retries", "2", "--timeout", "20"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_FETCH_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise UserError(
                f"pip did not download {self.distribution} {self.version} "
                f"within {_FETCH_LIMIT_S:.0f} s"
            ) from None
        wheels = sorted(into.glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("ERROR")] or lines
            reason = errors[-1] if errors else f"exit status {done.returncode}"
            raise UserError(f"pip could not download {self.distribution} {self.version} ({reason})")
        return wheels[0]

    def brought(self, folder: Path) -> Path | None:
        """A wheel of this version, for any Python and processor."""
        name = self.distribution.replace("-", "_")
        return min(folder.glob(f"{name}-{self.version}-*.whl"), default=None)

    def member_of(self, archive: Path) -> str | None:
        """The member's path for a wheel; None for a bare file."""
        return self.member if archive.suffix == ".whl" else None

    def _arguments(self) -> list[str]:
        return [
            "download",
            "--no-deps",
            "--only-binary=:all:",
            f"--python-version={self.python_version}",
            f"--platform={self.platform}",
            f"{self.distribution}=={self.version}",
        ]
