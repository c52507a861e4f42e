"""A request to stop, left in the target where a running migration sees it, on whatever machine either may be."""

from __future__ import annotations

from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.lock import running_migration
from firelift.postgres.session.queries import QUERY


def request_stop(connection: Connection, migration_id: str | None, target_schema: str) -> str | None:
    """Asks a migration, by default the one that holds the lock of the target schema, to stop; asking again is harmless.

    Returns the id of the migration that was asked, or None where there is none to ask: unknown, ended, or nothing running.
    The request remains until `forget_stop`.
    """
    with translated("requesting the stop"):
        if not _has_migrations(connection):
            return None
        asked = migration_id or running_migration(connection, target_schema)
        row = connection.execute(QUERY["request_stop"], {"migration_id": asked}).fetchone()
    return str(row[0]) if row else None


def forget_stop(connection: Connection, migration_id: str, seconds: float) -> None:
    """For a run that is resumed: a request older than so many seconds stopped an earlier attempt."""
    with translated("forgetting the request to stop"):
        if _has_migrations(connection):
            connection.execute(QUERY["forget_stop"], {"migration_id": migration_id, "seconds": seconds})


def stop_requested(connection: Connection, migration_id: str) -> bool:
    """Whether somebody asked this migration to stop; one indexed row, cheap enough to be read between chunks."""
    with translated("looking for a request to stop"):
        if not _has_migrations(connection):
            return False
        row = connection.execute(QUERY["stop_requested"], {"migration_id": migration_id}).fetchone()
    return row == (True,)


def cancel_statements(connection: Connection, application: str) -> None:
    """Cancels what the connections of this application_name are doing now."""
    with translated("cancelling the run's statements"):
        connection.execute(QUERY["cancel_statements"], {"application": application})


def _has_migrations(connection: Connection) -> bool:
    return connection.execute(QUERY["has_migrations"]).fetchone() == (True,)
