"""Drops old rows that are kept for rollbacks which are no longer wanted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import psycopg

from firelift.postgres.publish.backups import drop_backup_tables
from firelift.postgres.publish.rollback import dependent_objects
from firelift.postgres.schema.names import backup_schema
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.lock_capacity import explaining_locks, tables_in
from firelift.postgres.session.queries import QUERY
from firelift.receipts import ExpiredBackup


def expired_backups(connection: Connection, retention: timedelta, target_schema: str) -> list[ExpiredBackup]:
    """Backups of a target schema at least as old as `retention` by the server's clock, oldest first, with what dropping them frees."""
    with translated("looking for expired backups"), connection.transaction():
        if not _knows_backups(connection):
            return []
        rows = connection.execute(QUERY["expired_backups"], {"retention": retention, "target_schema": target_schema}).fetchall()
    return [ExpiredBackup(**dict(zip(ExpiredBackup.model_fields, row, strict=True))) for row in rows]


def drop_backups(connection: Connection, migration_ids: Sequence[str]) -> list[str]:
    """Drops what is kept for these runs, each in a transaction of its own; returns those that had something.

    They cannot be rolled back then. What a user has built on a backup is not dropped along with it: DependentObjects names it.
    """
    return [migration_id for migration_id in migration_ids if _drop(connection, migration_id)]


def _drop(connection: Connection, migration_id: str) -> bool:
    many = explaining_locks(connection, lambda: tables_in(connection, backup_schema(migration_id)))
    with many, translated("dropping the backup"), connection.transaction():
        if not _knows_backups(connection):
            return False
        try:
            drop_backup_tables(connection, migration_id)
        except psycopg.errors.DependentObjectsStillExist as error:
            raise dependent_objects(error) from error
        return bool(connection.execute(QUERY["record_dropped"], {"migration_id": migration_id}).fetchall())


def _knows_backups(connection: Connection) -> bool:
    return connection.execute(QUERY["knows_backups"]).fetchone() == (True,)
