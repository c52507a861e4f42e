"""Many migrations one after the other in one process, which has all libraries loaded: a second or two each instead of ten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.support.prefect_servers import CHECKOUT, environment

MAIN = """
import sys
from tests.support.flow_runner import serve
serve(sys.stdin, sys.stdout)
"""
READY = "ready\n"


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

    def __init__(self, prefect_api: str, log: Path) -> None:
        self._log = log
        self._environment = environment(PREFECT_API_URL=prefect_api, PREFECT_LOGGING_LEVEL="WARNING", PYTHONPATH=str(CHECKOUT))
        self.process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        self._is_ready = False
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", MAIN],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
                start_new_session=True,
            )

    def migrate(self, variables: Mapping[str, str], **options: Any) -> Outcome:
        """Runs the flow with these environment variables and options to its end."""
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


def serve(asked: IO[str], answers: IO[str]) -> None:
    """In the process: a migration for each line, an answer for each migration."""
    sys.stdout = sys.stderr
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    from flows.migration import migration

    answers.write(READY)
    answers.flush()
    # To end a flow's heartbeat costs up to a second.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        _serve(migration, asked, answers)


def _serve(migration: Callable[..., Any], asked: IO[str], answers: IO[str]) -> None:
    for line in asked:
        request = json.loads(line)
        before = dict(os.environ)
        os.environ.update(request["variables"])
        try:
            found: dict[str, Any] = {"report": migration(**request["options"])}
        except BaseException as error:
            traceback.print_exc()
            found = {"error": type(error).__name__, "message": str(error)}
        finally:
            os.environ.clear()
            os.environ.update(before)
        answers.write(json.dumps(found) + "\n")
        answers.flush()
