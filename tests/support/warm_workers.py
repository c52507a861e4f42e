"""A run's worker processes as forks: to start an interpreter that imports the engine takes a second, and tests start a thousand of them.

They are what they are otherwise: processes of their own that take calls over a pipe, end with it and can be killed. What their start does
is tested by commands that are started in the ordinary way, and by tests/unit/test_workers.py.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, Protocol

from firelift import workers
from firelift.firestore import fields
from firelift.workers import Worker
from tests.support.forking import Forked, ForkServer

PROGRAM = "tests.support.warm_workers:become"
FEWEST_TOGETHER = "FIRELIFT_TEST_FEWEST_TOGETHER"
"""So many documents are looked at together, in place of what large collections need."""
THREADS = Path("/proc/self/task")


class Process(Protocol):
    pid: int

    def wait(self) -> int: ...

    def kill(self) -> None: ...


Start = Callable[[int, Sequence[str]], Process]
"""Starts a worker process that takes its calls from a descriptor and imports these modules."""

_start_worker = Worker.__init__


def begin_with(start: Start) -> None:
    """From now on this process starts its workers so."""

    def start_warm(self: Worker, modules: Sequence[str] = ()) -> None:
        self.pipe, theirs = Pipe()
        self.process = start(theirs.fileno(), modules)  # type: ignore[assignment]
        theirs.close()

    Worker.__init__ = start_warm  # type: ignore[method-assign]


def begin_as_usual() -> None:
    Worker.__init__ = _start_worker  # type: ignore[method-assign]


def by(server: Callable[[], ForkServer]) -> Start:
    """Asks a process that forks."""

    def start(descriptor: int, modules: Sequence[str]) -> Process:
        request = {"environment": dict(os.environ), "modules": list(modules)}
        return Forked(server().fork(PROGRAM, request, [descriptor]))

    return start


def fork_while_alone() -> None:
    """As long as this process has one thread its workers are forks of it, and its children; later it starts them as usual."""

    def start_worker(self: Worker, modules: Sequence[str] = ()) -> None:
        if not _has_one_thread():
            _start_worker(self, modules)
            return
        self.pipe, theirs = Pipe()
        self.process = _Child(theirs.fileno(), modules)  # type: ignore[assignment]
        theirs.close()

    Worker.__init__ = start_worker  # type: ignore[method-assign]


def become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """The worker, in a process that was forked for it."""
    os.environ.clear()
    os.environ.update(request["environment"])
    fields.fewest_together = int(os.environ.pop(FEWEST_TOGETHER, fields.fewest_together))
    _serve(descriptors[0], request["modules"])


class _Child:
    """A fork of this process; the part of `subprocess.Popen` that a worker is used by."""

    def __init__(self, descriptor: int, modules: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _serve(descriptor, modules)

    def wait(self) -> int:
        with self._lock:
            if self._status is None:
                self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            return self._status

    def kill(self) -> None:
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _serve(descriptor: int, modules: Sequence[str]) -> None:
    """Never returns. Holds nothing open but its own pipe: the end of another worker's pipe would keep that one alive."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.closerange(3, descriptor)
        os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))
        workers.serve(descriptor, modules)
    finally:
        os._exit(1)


def _has_one_thread() -> bool:
    return threading.active_count() == 1 and (not THREADS.is_dir() or len([*THREADS.iterdir()]) == 1)
