"""Many migrations one after the other in one process, which has all libraries loaded: a second or two each instead of ten."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.support import warm_workers
from tests.support.forking import Forked, fork_server_here
from tests.support.prefect_servers import CHECKOUT, environment
from tests.support.warm_commands import CARRIED_OUT, WITHOUT_PREFECT, read_settings_of_prefect, warm_server

PROGRAM = "tests.support.flow_runner:become"
READY = "ready\n"

Migrate = Callable[..., Any]
"""Takes options as the flow does; returns the final report."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its final report, or the error."""

    report: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    """The name of the error's class."""
    message: str = ""

    @property
    def increment(self) -> dict[str, Any]:
        """The sums of what an incremental run did: new, changed, gone, unchanged, …"""
        found: dict[str, Any] = self.report["increment"]["totals"]
        return found


class Runner:
    """The process, and what it was asked last."""

    def __init__(self, log: Path, prefect_api: str | None = None) -> None:
        """Runs are flow runs of the server at `prefect_api`; without one, `firelift.migrate` carries them out."""
        self._log = log
        by = {"PREFECT_API_URL": prefect_api, "PREFECT_LOGGING_LEVEL": "WARNING"} if prefect_api else WITHOUT_PREFECT
        self._environment = environment(PYTHONPATH=str(CHECKOUT), **by)
        self.process = self._start()

    def _start(self) -> Forked:
        self._is_ready = False
        (stdin, ours), (theirs, stdout) = os.pipe(), os.pipe()
        with self._log.open("ab") as log:
            reply = warm_server().fork(PROGRAM, {"environment": self._environment}, [stdin, stdout, log.fileno()])
        os.close(stdin)
        os.close(stdout)
        return Forked(reply, stdin=os.fdopen(ours, "w"), stdout=os.fdopen(theirs))

    def migrate(self, variables: Mapping[str, str], **options: Any) -> Outcome:
        """A migration with these environment variables and options to its end."""
        self.begin(variables, **options)
        found = self.end()
        assert found is not None, f"the process died: {self._log.read_text(errors='replace')[-3000:]}"
        return found

    def begin(self, variables: Mapping[str, str], **options: Any) -> None:
        """Returns as the run begins."""
        if self.process.poll() is not None:
            self.process = self._start()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if not self._is_ready:
            assert self.process.stdout.readline() == READY, f"the process died: {self._log.read_text(errors='replace')[-3000:]}"
            self._is_ready = True
        self.process.stdin.write(json.dumps({"variables": dict(variables), "options": options}) + "\n")
        self.process.stdin.flush()

    def end(self) -> Outcome | None:
        """How it ended; None where the process died on the way."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return Outcome(**json.loads(line)) if line.endswith("\n") else None

    @contextmanager
    def killing(self, seconds: float) -> Iterator[None]:
        """Inside, the process with all it started is killed (-9) after so many seconds; begin the run before."""
        timer = threading.Timer(seconds, self.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()


def become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """The process that was asked for, in one that has everything loaded."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(CHECKOUT)
    without_prefect = os.environ.pop(CARRIED_OUT, None) == WITHOUT_PREFECT[CARRIED_OUT]
    if not without_prefect:
        read_settings_of_prefect()
    # Flows run in threads, and a process that has threads must not fork. It is of this process's session, so that both are killed.
    forking = fork_server_here()
    warm_workers.begin_with(warm_workers.by(lambda: forking))
    serve(sys.stdin, sys.stdout, _without_prefect() if without_prefect else _by_prefect())


@contextmanager
def _by_prefect() -> Iterator[Migrate]:
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.migration import migration

    # To end a flow's heartbeat costs up to a second.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield migration


@contextmanager
def _without_prefect() -> Iterator[Migrate]:
    from firelift.migration.api import migrate
    from firelift.settings.settings import Settings

    yield lambda **options: migrate(Settings.load(**options)).report


def serve(asked: IO[str], answers: IO[str], way: AbstractContextManager[Migrate]) -> None:
    """In the process: a migration for each line, an answer for each migration."""
    sys.stdout = sys.stderr
    with way as migrate:
        answers.write(READY)
        answers.flush()
        _serve(migrate, asked, answers)


def _serve(migrate: Migrate, asked: IO[str], answers: IO[str]) -> None:
    for line in asked:
        request = json.loads(line)
        before = dict(os.environ)
        os.environ.update(request["variables"])
        try:
            found: dict[str, Any] = {"report": migrate(**request["options"])}
        except BaseException as error:
            traceback.print_exc()
            found = {"error": type(error).__name__, "message": str(error)}
        finally:
            os.environ.clear()
            os.environ.update(before)
        answers.write(json.dumps(found) + "\n")
        answers.flush()
