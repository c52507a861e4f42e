"""The request to stop a run, as its target hears of it, and the end of what the target is doing for the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from firelift.errors import ConfigurationError, FireliftError
from firelift.postgres import stop
from firelift.postgres.connect import Connection, connect
from firelift.postgres.lock import signature
from firelift.receipts import Receipt
from firelift.run.stop import request_stop
from firelift.run.workspace import NoSuchRun, Workspace


class NothingRuns(ConfigurationError):
    """There is no run to stop."""

    remedy = "`firelift status` shows how the last one stands; name another place with --working-dir, --migration-id or --database-url."


class Asked(Receipt):
    """A run that was asked to stop, and where the request lies: in its directory, in its target, or in both."""

    migration_id: str
    in_directory: bool
    in_target: bool
    unreached: str | None = None
    """Why it could not be left in the target."""


def stop_run(working_dir: Path, migration_id: str | None, url: str | None) -> Asked:
    """Asks a run to stop wherever it can be found: the one named, that of the working directory, or the one that holds the target's lock.

    Raises NothingRuns.
    """
    here = _running(working_dir, migration_id)
    if here is not None:
        request_stop(here)
    wanted = here.migration_id if here else migration_id
    unreached = None
    try:
        there = ask_to_stop(url, wanted) if url else None
    except FireliftError as error:
        if here is None:
            raise
        there, unreached = None, str(error)
    asked = wanted if here else there
    if asked is None:
        raise NothingRuns(**({"migration_id": migration_id} if migration_id else {}), working_dir=str(working_dir))
    return Asked(migration_id=asked, in_directory=here is not None, in_target=there is not None, unreached=unreached)


def _running(working_dir: Path, migration_id: str | None) -> Workspace | None:
    try:
        workspace = Workspace.of(working_dir, migration_id) if migration_id else Workspace.latest(working_dir)
        running = workspace.status().get("status") == "in_progress"
    except NoSuchRun:
        return None
    return workspace if running else None


def ask_to_stop(url: str, migration_id: str | None) -> str | None:
    """Leaves a request to stop in the target for the run that is named, or that holds the lock; its id, None where there is none."""
    with closing(connect(url, signature("stop"))) as connection:
        return stop.request_stop(connection, migration_id)


@contextmanager
def asked_in_target(url: str, migration_id: str) -> Iterator[Callable[[], bool]]:
    """A look whether somebody left such a request, with a connection of its own."""
    connection: Connection | None = None

    def look() -> bool:
        nonlocal connection
        if connection is None or connection.closed or connection.broken:
            connection = connect(url, signature("watch"))
        return stop.stop_requested(connection, migration_id)

    try:
        yield look
    finally:
        if connection is not None:
            connection.close()


def forget_stop_in_target(url: str, migration_id: str, seconds: float) -> None:
    """For a run that goes on: what was asked more than so many seconds ago stopped an earlier attempt."""
    with closing(connect(url, signature("stop"))) as connection:
        stop.forget_stop(connection, migration_id, seconds)


def cancel_statements(url: str, migration_id: str) -> None:
    """Ends what the target is doing for a run at this moment; each such statement fails and leaves nothing behind."""
    with closing(connect(url, signature("stop"))) as connection:
        stop.cancel_statements(connection, signature(migration_id))
