"""A server process of our own, which never outlives us."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, Signals

from firelift.errors import FireliftError


class ServerDidNotStart(FireliftError):
    """A server on this machine did not start."""

    remedy = "The last lines of its log say why."


@dataclass(frozen=True)
class Account:
    """The system account that a server runs as."""

    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, object]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on.

    It lies below the range that outgoing connections take their ports from (32768 up on Linux, 49152 on macOS): there a client
    that keeps knocking while a server restarts can end up connected to itself, and the port is taken.
    """
    while True:
        port = random.randint(15_000, 32_000)
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
            candidate.bind(("127.0.0.1", port))
            return port


class ServerProcess:
    """One run of a server: started, waited for, stopped by its process id."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        account: Account | None = None,
        outlives_us: bool = False,
    ) -> None:
        arguments = account.popen_arguments() if account else {}
        self._command, self._log = command, log
        # A file, not a pipe: the emulator dies when the reader of its output is gone.
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # type: ignore[call-overload]
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
                env=environment,
                **arguments,
            )
        self._watcher = None if outlives_us else _stop_when_we_die(self.pid)

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    def running(self) -> bool:
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running() or time.monotonic() > deadline:
                self.stop(SIGKILL)
                raise ServerDidNotStart(command=Path(self._command[0]).name, log=str(self._log), last_lines=_tail(self._log))
            time.sleep(0.05)

    def stop(self, signal: Signals, patience: float = 30) -> None:
        """Sends the signal, waits, and kills what has not gone by then."""
        if self.running():
            self._process.send_signal(signal)
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.communicate()
            self._watcher = None


def _stop_when_we_die(pid: int) -> subprocess.Popen[bytes]:
    # The shell reads from a pipe that only we hold, so its end is our end, however we die. PR_SET_PDEATHSIG would not do: it is
    # Linux only and fires when the *thread* that started the server ends.
    script = 'read -r _; kill -s INT "$0"; i=0; while kill -0 "$0" && [ $i -lt 10 ]; do sleep 1; i=$((i+1)); done; kill -s KILL "$0"'
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        ["/bin/sh", "-c", script, str(pid)], stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True, cwd="/"
    )


def _tail(log: Path, lines: int = 8) -> str:
    return " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
