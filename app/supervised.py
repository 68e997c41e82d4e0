"""One supervised process: started, watched, restarted with back-off, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

from app.clock import now_ns
from app.process import EXIT_USER_ERROR
from app.process_table import ProcessEntry
from app.run_messages import Heartbeat, ProcessHealth

_BACK_OFF_S = (0.3, 0.6, 1.2, 2.4, 5.0)
_MAX_RESTARTS_A_MINUTE = 5
_STUCK_S = 20.0
_STUCK_LOOP_S = 30.0  # a set may wait for a network's first run on a GPU
_SILENT_START_S = 60.0  # imports on a busy machine take their time
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_MINUTE_NS = 60_000_000_000
_FATAL = "Fatal Python error"  # of faulthandler; a stack and a list of modules follow
_LAST_BYTES = 65_536
_LARGEST_LOG = 4_000_000  # run folders often lie in memory

Outcome = Literal["running", "finished", "failed"]


class SupervisedProcess:
    """A row of the supervisor's table."""

    def __init__(self, entry: ProcessEntry, run_dir: Path) -> None:
        """Prepares the row; ``reconcile`` starts the process.

        Args:
            entry: what to start.
            run_dir: folder of the run; logs go to its ``logs`` folder.
        """
        self.entry = entry
        self._run_dir = run_dir
        self._child: subprocess.Popen[bytes] | None = None
        self._starts_ns: list[int] = []
        self._next_start_ns = 0
        self._exit_code: int | None = None
        self._beat: Heartbeat | None = None
        self._outcome: Outcome = "running"
        self._ended_by_us = ""

    @property
    def outcome(self) -> Outcome:
        """Whether it runs (or will again), has done its work, or has given up."""
        return self._outcome

    @property
    def state(self) -> str:
        """Its own last word."""
        if self._outcome != "running":
            return self._outcome
        if self._child is None:
            return "restarting" if self._starts_ns else "starting"
        return self._beat.state if self._beat is not None else "starting"

    @property
    def running(self) -> bool:
        """Whether the process exists now."""
        return self._child is not None and self._child.poll() is None

    @property
    def log_path(self) -> Path:
        """Where its standard error goes."""
        return self._run_dir / "logs" / f"{self.entry.name}.log"

    @property
    def error(self) -> str:
        """The one line that it left for the user, or how it ended and the last line of its log."""
        with contextlib.suppress(OSError):
            text = (self._run_dir / f"{self.entry.name}.error").read_text(encoding="utf-8")
            return text.strip()
        with contextlib.suppress(OSError):
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_BYTES))
                lines = log.read().decode("utf-8", errors="replace").splitlines()
            last = _last_word(lines)
            if last and self.crashed:
                how = self._ended_by_us or _how_it_ended(self._exit_code or 0)
                return f"{how}; in its log: {last}"
            if last:
                return last
        return "" if self._exit_code is None else f"nothing ({_how_it_ended(self._exit_code)})"

    @property
    def crashed(self) -> bool:
        """Whether it last ended otherwise than with its work done or a mistake of the user's."""
        return self._exit_code not in (None, 0, EXIT_USER_ERROR)

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, len(self._starts_ns) - 1)

    @property
    def exit_code(self) -> int | None:
        """Of the last time that it ended."""
        return self._exit_code

    def hear(self, beat: Heartbeat) -> None:
        """Takes a heartbeat; one of an earlier start is ignored."""
        if self._child is not None and beat.pid == self._child.pid:
            self._beat = beat

    def reconcile(self) -> None:
        """Starts it if it should run and does not; notices that it ended or is stuck."""
        if self._outcome != "running":
            return
        self._trim_log()
        if self._child is None:
            if now_ns() >= self._next_start_ns:
                self._start()
            return
        code = self._child.poll()
        if code is not None:
            self._ended(code)
        elif self._is_stuck():
            self._ended_by_us = "did not answer and was ended"
            self._child.kill()

    def kill(self) -> None:
        """Ends it for good, at the end of a run: that is no crash."""
        self._ended_by_us = "was ended with the run"
        self._exit_code = 0
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal if it runs."""
        if self.running and self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """Waits for its end; True once it is gone."""
        if self._child is None:
            return True
        try:
            code = self._child.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            return False
        if not self._ended_by_us:
            self._exit_code = code
        return True

    def health(self) -> ProcessHealth:
        """Its row for people."""
        age = None if self._beat is None else (now_ns() - self._beat.at_ns) * 1e-6
        return ProcessHealth(
            process=self.entry.name,
            module=self.entry.module,
            pid=self._child.pid if self.running and self._child is not None else None,
            running=self.running,
            state=self.state,
            restarts=self.restarts,
            exit_code=self._exit_code,
            heartbeat_age_ms=age,
            detail=self._beat.detail if self._beat is not None else "",
        )

    def _trim_log(self) -> None:
        """Begins a log anew that has grown large, as of a camera with damaged pictures."""
        with contextlib.suppress(OSError):
            if self.log_path.stat().st_size > _LARGEST_LOG:
                os.truncate(self.log_path, 0)

    def _start(self) -> None:
        self.log_path.parent.mkdir(exist_ok=True)
        self._starts_ns.append(now_ns())
        self._beat = None
        self._ended_by_us = ""
        command = [sys.executable, "-m", self.entry.module]
        command += ["--run-dir", str(self._run_dir), "--name", self.entry.name]
        command += ["--parent", str(os.getpid())]
        root = str(Path(__file__).resolve().parents[1])
        path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
        if self.entry.nice:
            command = ["nice", "-n", str(self.entry.nice), *command]
        threads = dict.fromkeys(_THREAD_VARIABLES, "1") if self.entry.one_thread else {}
        with self.log_path.open("ab") as log:
            # Its own session: a Ctrl-C in the terminal reaches the supervisor alone, which then
            # stops the others in order.
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **threads},
            )

    def _ended(self, code: int) -> None:
        self._exit_code = code
        self._child = None
        if code == 0:
            self._outcome = "finished"
        elif code == EXIT_USER_ERROR:
            self._outcome = "failed"
        else:
            minute_ago = now_ns() - _MINUTE_NS
            recent = sum(start > minute_ago for start in self._starts_ns)
            if recent > _MAX_RESTARTS_A_MINUTE:
                self._outcome = "failed"
                return
            pause = _BACK_OFF_S[min(recent, len(_BACK_OFF_S)) - 1]
            self._next_start_ns = now_ns() + int(pause * 1e9)

    def _is_stuck(self) -> bool:
        if self._beat is None:
            return now_ns() - self._starts_ns[-1] > _SILENT_START_S * 1e9
        turned_ns = self._beat.turned_ns
        if turned_ns and now_ns() - turned_ns > _STUCK_LOOP_S * 1e9:
            return True
        return now_ns() - self._beat.at_ns > _STUCK_S * 1e9


def _last_word(lines: list[str]) -> str:
    """What a log says of the end: the last line, or how the interpreter died."""
    fatal = next((line for line in reversed(lines) if line.startswith(_FATAL)), "")
    return fatal or next((line for line in reversed(lines) if line.strip()), "")


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    if code == -signal.SIGKILL:
        return "ended by SIGKILL (as when memory runs out)"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
