"""Starts a temporary Prefect server, while the command does something else, and stops it."""

from __future__ import annotations

import http.client
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGKILL

from firelift.files import DiskFull, WorkingDirUnusable
from firelift.local.cache import cache_directory
from firelift.local.prefect_server.database import copy_kept, keep, turn_to_make
from firelift.local.prefect_server.steady import EPHEMERAL
from firelift.local.prefect_server.tables import make_tables
from firelift.local.prefect_server.temporary_directory import scratch_directory
from firelift.local.server import ServerDidNotStart, ServerProcess, free_port

UVICORN = ("-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--log-level", "error", "--lifespan", "on")


@contextmanager
def temporary_server(version: str, environment: Mapping[str, str]) -> Iterator[TemporaryServer]:
    """A server of this version of Prefect on its way; gone, and all it knew, at the end."""
    with scratch_directory() as directory, ExitStack() as stack:
        server = TemporaryServer(directory, version, environment, stack)
        server.start()
        try:
            yield server
        finally:
            server.stop()


class TemporaryServer:
    """A Prefect server on 127.0.0.1 with a database of its own, which is ready made where it can be."""

    def __init__(self, directory: Path, version: str, environment: Mapping[str, str], stack: ExitStack) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.database = directory / "prefect.db"
        self._directory, self._version, self._environment, self._stack = directory, version, environment, stack
        self._process: ServerProcess | None = None
        self._kept: Path | None = None
        self._is_ready_made = self._is_to_be_kept = False

    def start(self) -> None:
        self._launch(make_tables(self.database, self._version) or self._copies_kept())

    def wait(self, seconds: float) -> None:
        """Until it serves; raises ServerDidNotStart. A database that was ready made and with which it does not start is made anew."""
        while not self._starts(seconds):
            self._start_anew()
        if self._is_to_be_kept and self._kept is not None:
            _keep(self.database, self._kept)

    def stop(self) -> None:
        if self._process is not None:
            # Nobody will ask it anything again.
            self._process.stop(SIGKILL)
            self._process = None

    def _copies_kept(self) -> bool:
        """Whether there was one to copy; if not, what Prefect's migrations make is kept, by one of those that have them made."""
        cache = cache_directory()
        if cache is None:
            return False
        self._kept = cache / f"prefect-{self._version}.db"
        if copy_kept(self._kept, self.database):
            return True
        self._is_to_be_kept = self._stack.enter_context(turn_to_make(self._kept))
        return False

    def _starts(self, seconds: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait_until(self._serves, seconds)
        except ServerDidNotStart:
            if self._is_ready_made:
                return False
            raise
        return True

    def _start_anew(self) -> None:
        """The tables are not tried twice, and neither is the kept one that was copied."""
        self._forget_database()
        if self._kept is not None:
            self._kept.unlink(missing_ok=True)
        self._launch(self._copies_kept())

    def _launch(self, is_ready_made: bool) -> None:
        self._is_ready_made = is_ready_made
        command = [sys.executable, *UVICORN, "--host", "127.0.0.1", "--port", str(self.port)]
        self._process = ServerProcess(command, log=self._directory / "server.log", environment={**self._environment, **self._own()})

    def _own(self) -> dict[str, str]:
        return {
            EPHEMERAL: "1",
            "PREFECT__SERVER_FINAL": "1",
            "PREFECT_UI_ENABLED": "0",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.database}",
            "PREFECT_SERVER_MEMO_STORE_PATH": str(self._directory / "memo_store.toml"),
            # So that it loads the entry point that keeps it steady; to know all types of blocks it need not.
            "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "true",
            "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        }

    def _serves(self) -> bool:
        """Whether it is there, and no other server that came to the same port before it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/api/admin/settings")
            answer = connection.getresponse()
            # One that wants a password is asked no further.
            return answer.status == http.client.UNAUTHORIZED or str(self._directory) in answer.read().decode()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _forget_database(self) -> None:
        for file in self._directory.glob(f"{self.database.name}*"):
            file.unlink()


def _keep(database: Path, kept: Path) -> None:
    try:
        keep(database, kept)
    except (DiskFull, WorkingDirUnusable, sqlite3.Error) as error:
        slow = "the next temporary Prefect server will be as slow to start as this one"
        print(f"warning: {slow}: {kept} could not be written ({error})", file=sys.stderr)
