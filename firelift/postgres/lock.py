"""The lock that keeps two runs from writing one target at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg

from firelift.errors import FireliftError
from firelift.postgres.connect import LONGEST_NAME, Connection, connect
from firelift.postgres.errors import translated
from firelift.postgres.queries import QUERY

# An advisory lock belongs to one database, so one key is enough for all of them.
LOCK_KEY = int.from_bytes(b"firelift", "big")
SIGNED_WITH = "firelift "


class TargetLocked(FireliftError):
    """Another run of Firelift is writing this target."""

    remedy = "Wait until it ends or stop it; its lock goes away with its process."


class LockLost(FireliftError):
    """The connection that held the target's lock broke, so another run may have started."""

    retry = True
    remedy = "Go on with --resume."


class TargetLock:
    """The lock in our hands, for as long as its connection lives."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check(self) -> None:
        """Raises LockLost if the lock is gone; worth asking before what cannot be undone."""
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error as error:
            raise LockLost() from error


def signature(migration_id: str) -> str:
    """The application_name of a run's connections."""
    return (SIGNED_WITH + migration_id)[:LONGEST_NAME]


@contextmanager
def target_lock(url: str, migration_id: str) -> Iterator[TargetLock]:
    """Holds the target's lock on a connection of its own; raises TargetLocked with the other run's migration id."""
    with closing(connect(url, signature(migration_id))) as connection:
        with translated("taking the target's lock"):
            taken = _one(connection.execute(QUERY["take_lock"], {"key": LOCK_KEY}))
            if not taken:
                raise TargetLocked(by=_holder(connection))
        yield TargetLock(connection)


def running_migration(connection: Connection) -> str | None:
    """The migration that holds the target's lock; None where nobody holds it, or nobody knows whose it is."""
    row = connection.execute(QUERY["lock_holder"], {"key": LOCK_KEY}).fetchone()
    if row is None:
        return None
    name = row[0]
    if isinstance(name, str) and name.startswith(SIGNED_WITH):
        return name.removeprefix(SIGNED_WITH)
    try:
        unfinished = _one(connection.execute(QUERY["unfinished_migration"]))
    except psycopg.errors.UndefinedTable:
        return None
    return None if unfinished is None else str(unfinished)


def _holder(connection: Connection) -> str:
    return running_migration(connection) or "unknown"


def _one(cursor: psycopg.Cursor[tuple[object, ...]]) -> object:
    row = cursor.fetchone()
    return row[0] if row else None
