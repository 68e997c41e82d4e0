"""What the supervisor tells its processes about the run, through a file in the run's folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from app.config import AppConfig
from engines.errors import UserError

_FILE = "run.json"


class RunSpec(BaseModel):
    """One run, as resolved from the command line and the configuration.

    Attributes:
        mode: which command was given.
        config: the whole configuration.
        headless: no window: the viewer renders off screen, into ``video`` where that is set.
        video: the MP4 file that the off-screen renderer writes, or None.
        record: the recording that starts with the run, or None.
        rig: a rig file to begin with (checked before it is trusted), or None.
        save_rig: where the rig that was found is kept, or None.
        replay: the recording that is played, in mode ``replay``.
        replay_speed: 1.0 is the speed that it was recorded at.
        publish: the address on which other programs get the poses, or None.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["demo", "live", "replay"]
    config: AppConfig
    headless: bool = False
    video: Path | None = None
    record: Path | None = None
    rig: Path | None = None
    save_rig: Path | None = None
    replay: Path | None = None
    replay_speed: float = 1.0
    publish: str | None = None

    def save(self, run_dir: Path) -> None:
        """Writes the file that ``load`` reads.

        Raises:
            UserError: it cannot be written.
        """
        try:
            (run_dir / _FILE).write_text(self.model_dump_json(indent=1), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{run_dir}: cannot be written to: {error.strerror}") from error

    @staticmethod
    def load(run_dir: Path) -> RunSpec:
        """Reads the run of a folder made by ``make_run_dir``."""
        return RunSpec.model_validate_json((run_dir / _FILE).read_text(encoding="utf-8"))


def make_run_dir() -> Path:
    """Makes a folder for one run's sockets and logs that only this user can enter.

    Raises:
        UserError: there is no place for it.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    parent = base if base and os.access(base, os.W_OK) else None
    try:
        return Path(tempfile.mkdtemp(prefix="dsvt-", dir=parent))
    except OSError as error:
        raise UserError(
            f"no folder for the run's sockets can be made: {error}; set TMPDIR to a folder with "
            "room that you may write to"
        ) from error
