"""Disables the user's triggers while rows are replaced.

A refresh is no act of an application: a trigger that audits, sends mail or stamps `updated_at` would do so for every row and change what
came from Firestore. `session_replication_role` would disable foreign keys as well and needs a superuser; disabling by name needs the
table's owner, holds only inside the transaction, and every trigger gets the very mode back that it had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg import sql

from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY

ENABLE = {"O": "ENABLE TRIGGER", "A": "ENABLE ALWAYS TRIGGER", "R": "ENABLE REPLICA TRIGGER"}


@contextmanager
def triggers_disabled(connection: Connection, schema: str, tables: Sequence[str]) -> Iterator[None]:
    """Inside, no trigger of the user's fires on these tables. After an error the transaction's end puts everything back."""
    enabled = connection.execute(QUERY["enabled_triggers"], {"schema": schema, "tables": list(tables)}).fetchall()
    for table, trigger, _ in enabled:
        _alter(connection, schema, table, "DISABLE TRIGGER", trigger)
    yield
    for table, trigger, mode in enabled:
        _alter(connection, schema, table, ENABLE[mode], trigger)


def _alter(connection: Connection, schema: str, table: str, how: str, trigger: str) -> None:
    connection.execute(sql.SQL("ALTER TABLE {} {} {}").format(sql.Identifier(schema, table), sql.SQL(how), sql.Identifier(trigger)))
