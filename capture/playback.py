"""Keeps the video files of a run in step where the machine cannot play them at their own rate.

Each file is played by a process of its own. Where one of them cannot decode fast enough, the
others would run ahead, and pictures of one instant would no longer meet. So all of them share one
delay: a file that falls behind raises it, and every file waits for it.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Final

_FILE: Final = "playback"
_SLOTS: Final = 8
"""As many cameras as a configuration may have."""
_BYTES: Final = 8


class PlaybackDelay:
    """How far the run's files are behind their times, shared by the processes that play them.

    It lies in a small file in the run's folder that all of them map; each writes its own number
    only, an aligned one of 8 bytes, so that nothing needs to be locked. It never shrinks.
    """

    def __init__(self, run_dir: Path, slot: int) -> None:
        """Joins the run's delay, or makes it.

        Args:
            run_dir: private folder of the run.
            slot: this file's number, its place in the configuration.
        """
        with (run_dir / _FILE).open("ab") as stream:
            stream.truncate(_SLOTS * _BYTES)
        with (run_dir / _FILE).open("r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), _SLOTS * _BYTES)
        self._delays_ns = memoryview(self._map).cast("q")
        self._slot = slot

    @property
    def delay_ns(self) -> int:
        """The largest of all files' delays."""
        return max(self._delays_ns)

    def raise_to(self, delay_ns: int) -> None:
        """Says that this file is so far behind."""
        self._delays_ns[self._slot] = max(delay_ns, self._delays_ns[self._slot])
