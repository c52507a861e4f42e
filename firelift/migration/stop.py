"""The request to stop a run, as its target hears of it, and the end of what the target is doing for the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from firelift.errors import ConfigurationError, FireliftError
from firelift.migration.identity import latest_of_schema
from firelift.postgres.session import stop
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.lock import application_name, running_elsewhere, session_of
from firelift.receipts import StopRequest
from firelift.run.stop_request import request_stop
from firelift.run.workspace import NoSuchRun, Workspace


class NoRunningMigration(ConfigurationError):
    """There is no run to stop."""

    remedy = (
        "`firelift status` shows how the last one stands; name another place with --working-dir, --migration-id, --database-url or "
        "--target-schema."
    )


def stop_run(working_dir: Path, migration_id: str | None, url: str | None, target_schema: str, *, of_schema: bool = False) -> StopRequest:
    """Asks a run to stop wherever it can be found: the one named, that of the working directory, or the one that writes the target schema.

    `of_schema`: also of the working directory only one that writes this schema. Raises NoRunningMigration.
    """
    here = _running(working_dir, migration_id, target_schema if of_schema else None)
    if here is not None:
        request_stop(here)
    wanted = here.migration_id if here else migration_id
    unreached, others = None, list[str]()
    try:
        there, others = ask_to_stop(url, wanted, target_schema) if url else (None, others)
    except FireliftError as error:
        if here is None:
            raise
        there, unreached = None, str(error)
    run_id = wanted if here else there
    if run_id is None:
        elsewhere = {"at_work_in_other_schemas": ", ".join(others)} if others else {}
        named = {"migration_id": migration_id} if migration_id else {}
        raise NoRunningMigration(**named, working_dir=str(working_dir), **({"target_schema": target_schema} if url else {}), **elsewhere)
    return StopRequest(migration_id=run_id, in_directory=here is not None, in_target=there is not None, unreached=unreached)


def _running(working_dir: Path, migration_id: str | None, target_schema: str | None) -> Workspace | None:
    try:
        workspace = _meant(working_dir, migration_id, target_schema)
        running = workspace is not None and workspace.status().get("status") == "in_progress"
    except NoSuchRun:
        return None
    return workspace if running else None


def _meant(working_dir: Path, migration_id: str | None, target_schema: str | None) -> Workspace | None:
    if migration_id:
        return Workspace.of(working_dir, migration_id)
    return latest_of_schema(working_dir, target_schema) if target_schema else Workspace.latest(working_dir)


def ask_to_stop(url: str, migration_id: str | None, target_schema: str) -> tuple[str | None, list[str]]:
    """Leaves a request to stop in the target for the run that is named, or that writes the schema.

    Returns its id, None where there is none, and which runs are at work in other schemas of the database.
    """
    with session_of(url, "stop").open() as connection:
        return stop.request_stop(connection, migration_id, target_schema), running_elsewhere(connection, target_schema)


@contextmanager
def asked_in_target(url: str, migration_id: str) -> Iterator[Callable[[], bool]]:
    """A look whether somebody left such a request, with a connection of its own."""
    connection: Connection | None = None

    def look() -> bool:
        nonlocal connection
        if connection is None or connection.closed or connection.broken:
            connection = session_of(url, "watch").connect()
        return stop.stop_requested(connection, migration_id)

    try:
        yield look
    finally:
        if connection is not None:
            connection.close()


def forget_stop_in_target(url: str, migration_id: str, seconds: float) -> None:
    """For a run that goes on: what was asked more than so many seconds ago stopped an earlier attempt."""
    with session_of(url, "stop").open() as connection:
        stop.forget_stop(connection, migration_id, seconds)


def cancel_statements(url: str, migration_id: str) -> None:
    """Ends what the target is doing for a run at this moment; each such statement fails and leaves nothing behind."""
    with session_of(url, "stop").open() as connection:
        stop.cancel_statements(connection, application_name(migration_id))
