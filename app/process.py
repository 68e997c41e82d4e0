"""What all processes of a run share: arguments, signals, heartbeat, exit codes.

A process module ends with ``if __name__ == "__main__": run_process(main)``; the supervisor starts
it as ``python -m MODULE --run-dir DIR --name NAME``. Exit codes: 0 the work is done, 2 a mistake
that the user must put right (not retried), anything else a crash (restarted).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from setproctitle import setproctitle

from app.bus import Publisher
from app.clock import now_ns
from app.run_messages import Heartbeat
from app.run_spec import RunSpec
from app.stop_signals import set_on_signals
from app.topics import Topic
from engines.errors import UserError

HEARTBEAT_S = 0.5
EXIT_USER_ERROR = 2
_PR_SET_PDEATHSIG = 1

State = Literal["starting", "ready", "finished"]


@dataclass(slots=True)
class _Said:
    """What the heartbeat thread repeats."""

    state: State = "starting"
    detail: str = ""
    turned_ns: int = 0
    changed: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class ProcessContext:
    """What a process knows of itself and its run.

    Attributes:
        name: its row in the process table, e.g. ``camera.left``.
        run_dir: folder of the run's sockets and logs.
        spec: the run.
        stop: set when the process is asked to end; every loop looks at it.
    """

    name: str
    run_dir: Path
    spec: RunSpec
    stop: threading.Event
    _said: _Said

    @property
    def key(self) -> str:
        """The part of the name after the first dot, e.g. the camera's identifier."""
        return self.name.partition(".")[2]

    def ready(self, detail: str = "") -> None:
        """Tells the supervisor that the process does its work from now on."""
        self._said.state = "ready"
        self._said.detail = detail
        self._said.changed.set()

    def turned(self) -> None:
        """Tells the supervisor that the main loop goes round.

        The heartbeat has a thread of its own, which goes on where the loop hangs in a driver: who
        has called this once counts as stuck as soon as no further call follows for long.
        """
        self._said.turned_ns = now_ns()

    def finished(self, detail: str = "") -> None:
        """Tells the supervisor that the work is done."""
        self._said.state = "finished"
        self._said.detail = detail
        self._said.changed.set()


def run_process(main: Callable[[ProcessContext], None]) -> NoReturn:
    """Runs ``main`` as a process of the supervisor and exits with its status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--parent", type=int, help="end when this process, which starts it, ends")
    arguments = parser.parse_args()
    name: str = arguments.name
    run_dir: Path = arguments.run_dir

    setproctitle(f"dsvt {name}")
    faulthandler.enable()
    _stand_back_as_a_session()
    if arguments.parent is not None:
        _die_with_parent(arguments.parent)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    stop = threading.Event()
    set_on_signals(stop)

    said = _Said()
    context = ProcessContext(name, run_dir, RunSpec.load(run_dir), stop, said)
    beat_stop = threading.Event()
    beat = threading.Thread(
        target=_beat, args=(name, run_dir, said, beat_stop), name="heartbeat", daemon=True
    )
    beat.start()
    code = 0
    try:
        main(context)
    except UserError as error:
        (run_dir / f"{name}.error").write_text(str(error), encoding="utf-8")
        print(error, file=sys.stderr)
        code = EXIT_USER_ERROR
    except Exception:
        logging.getLogger(name).exception("crashed")
        code = 1
    beat_stop.set()
    said.changed.set()
    beat.join(timeout=1)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: native threads of inference engines and GL can hang the interpreter's end.
    os._exit(code)


def _beat(name: str, run_dir: Path, said: _Said, stop: threading.Event) -> None:
    with Publisher[Heartbeat](run_dir, Topic.HEARTBEAT, name) as publisher:
        while True:
            ended = stop.is_set()
            publisher.send(
                Heartbeat(
                    process=name,
                    pid=os.getpid(),
                    at_ns=now_ns(),
                    state=said.state,
                    detail=said.detail,
                    turned_ns=0 if said.state == "finished" else said.turned_ns,
                )
            )
            if ended:
                return
            said.changed.wait(HEARTBEAT_S)
            said.changed.clear()


def _stand_back_as_a_session() -> None:
    """Lets this process's niceness count where the kernel shares the cores among sessions.

    With ``sched_autogroup_enabled``, as on desktop systems, every session gets the same share
    whatever its processes' niceness is, and each process of a run is a session of its own.
    """
    with contextlib.suppress(OSError):  # not Linux, or a kernel without it
        Path("/proc/self/autogroup").write_text(str(os.nice(0)), encoding="ascii")


def _die_with_parent(parent: int) -> None:
    """Ends this process when the supervisor dies, however it dies (Linux only).

    Args:
        parent: process id of the supervisor; in a container it may well be 1.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was gone before the call
            os.kill(os.getpid(), signal.SIGTERM)
