"""The lock that keeps two runs from writing one target schema at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from firelift.errors import FireliftError
from firelift.postgres.session.connect import LONGEST_NAME, Connection, Session
from firelift.postgres.session.errors import translated
from firelift.postgres.session.queries import QUERY

SIGNED_WITH = "firelift "
LOCK_CLASS = int.from_bytes(b"fire", "big")
"""The first half of the advisory lock that a run holds of its target schema; `lock_key` is the second."""


class TargetLocked(FireliftError):
    """Another run of Firelift is writing this target."""

    remedy = "Wait until it ends or stop it; its lock goes away with its process."


class LockLost(FireliftError):
    """The connection that held the target's lock broke, so another run may have started."""

    recovery = "automatic"
    remedy = "Continue with --resume."


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


def lock_key(target_schema: str) -> int:
    """The second half of a schema's lock, as pg_locks shows it."""
    return int.from_bytes(hashlib.sha256(target_schema.encode()).digest()[:4], "big")


def application_name(migration_id: str) -> str:
    """The application_name of a run's connections, another one for every run."""
    name = SIGNED_WITH + migration_id
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}_{hashlib.sha256(migration_id.encode()).hexdigest()[:8]}"


def session_of(url: str, migration_id: str) -> Session:
    """Opens a run's connections: they have its `application_name`."""
    return Session(url, application_name(migration_id))


@contextmanager
def target_lock(url: str, migration_id: str, target_schema: str) -> Iterator[TargetLock]:
    """Holds the lock of a target schema on a connection of its own; raises TargetLocked with the other run's migration id."""
    with session_of(url, migration_id).open() as connection:
        with translated("taking the target's lock"):
            taken = _one(connection.execute(QUERY["take_lock"], _lock(target_schema)))
            if not taken:
                raise TargetLocked(by=_holder(connection, target_schema), schema=target_schema)
        yield TargetLock(connection)


def running_migration(connection: Connection, target_schema: str) -> str | None:
    """The migration that holds the lock of a target schema; None where nobody holds it, or nobody knows whose it is."""
    row = connection.execute(QUERY["lock_holder"], _lock(target_schema)).fetchone()
    if row is None:
        return None
    name, unfinished = row[0], _unfinished(connection, target_schema)
    if isinstance(name, str) and name.startswith(SIGNED_WITH):
        # Of a long id the name has only the beginning.
        return next((migration_id for migration_id in unfinished if application_name(migration_id) == name), name.removeprefix(SIGNED_WITH))
    return unfinished[0] if unfinished else None


def running_elsewhere(connection: Connection, target_schema: str) -> list[str]:
    """The migrations that are at work in other schemas of the database, as far as their sessions say."""
    names = [name for (name,) in connection.execute(QUERY["other_lock_holders"], _lock(target_schema))]
    return sorted(name.removeprefix(SIGNED_WITH) for name in names if isinstance(name, str) and name.startswith(SIGNED_WITH))


def _unfinished(connection: Connection, target_schema: str) -> list[str]:
    """The latest first."""
    try:
        rows = connection.execute(QUERY["unfinished_migrations"], {"target_schema": target_schema}).fetchall()
    except psycopg.errors.UndefinedTable:
        return []
    return [str(migration_id) for (migration_id,) in rows]


def _holder(connection: Connection, target_schema: str) -> str:
    return running_migration(connection, target_schema) or "unknown"


def _lock(target_schema: str) -> dict[str, int]:
    key = lock_key(target_schema)
    return {"class": LOCK_CLASS, "key": key, "signed_key": key - (1 << 32) if key >= 1 << 31 else key}


def _one(cursor: psycopg.Cursor[tuple[object, ...]]) -> object:
    row = cursor.fetchone()
    return row[0] if row else None
