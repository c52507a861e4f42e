"""Reads rows back in the form in which they were sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, Literal

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format

from firelift.planning.model import DELETED_AT
from firelift.postgres.schema.names import columns_of
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.queries import QUERY

_INT64 = Struct("!q")
# Microseconds from 1970 to 2000, where PostgreSQL's own count begins.
_EPOCH = 946_684_800_000_000

FETCH_BYTES = 8 << 20
FEWEST_ROWS, MOST_ROWS = 20, 5000


class Microseconds(Loader):
    """timestamptz as microseconds since 1970 UTC: `datetime` would need a time zone to be right and ends with the year 9999."""

    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        return int(_INT64.unpack(data)[0]) + _EPOCH


class JsonText(Loader):
    """jsonb as its text, after one byte for the version."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        return bytes(data[1:]).decode()


def read_rows(connection: Connection, table: TargetTable, keys: Sequence[Sequence[str]] | None = None) -> Iterator[list[Any]]:
    """Rows with the columns of `table.columns`, in byte order of their keys; with `keys`, only those rows.

    As everywhere here, a row that is marked deleted is left out where the plan knows of such marks.
    Holds a transaction on the connection until the last row is taken.
    """
    query = _select(table, keyed=keys is not None)
    wanted = None if keys is None else {_parameter(place): [key[place] for key in keys] for place in range(len(table.keys))}
    with translated(f"reading {table.name}"), connection.transaction(), connection.cursor(name="firelift_rows", binary=True) as cursor:
        _register(cursor)
        cursor.itersize = _rows_a_fetch(connection, table)
        cursor.execute(query, wanted)
        for row in cursor:
            yield list(row)


def read_keys(connection: Connection, table: TargetTable) -> Iterator[list[tuple[str, ...]]]:
    """The keys of all rows, some thousands at a time, in no particular order; holds a transaction until the last are taken."""
    query = sql.SQL("SELECT {} FROM {}").format(columns_of(table.keys), table.identifier) + live(table, "WHERE")
    with translated(f"reading {table.name}"), connection.transaction(), connection.cursor(name="firelift_keys", binary=True) as cursor:
        cursor.execute(query)
        while keys := cursor.fetchmany(MOST_ROWS):
            yield keys


def count_rows(connection: Connection, table: TargetTable) -> int:
    with translated(f"counting {table.name}"):
        query = sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(table.identifier)
        row = connection.execute(query + live(table, "WHERE")).fetchone()
    return int(row[0]) if row else 0


def _select(table: TargetTable, *, keyed: bool) -> sql.Composed:
    columns = columns_of(table.columns)
    select = sql.SQL("SELECT {} FROM {}").format(columns, table.identifier)
    # In a table that the user made the keys may have another collation; where it is "C" already, the index serves all the same.
    ordered = sql.SQL(" ORDER BY {}").format(
        sql.SQL(", ").join(sql.SQL('{} COLLATE "C"').format(sql.Identifier(key)) for key in table.keys)
    )
    if not keyed:
        return select + live(table, "WHERE") + ordered
    # Side by side: unnest(a, b) would be the same, but only without its schema.
    arrays = sql.SQL(", ").join(
        sql.SQL("pg_catalog.unnest({}::text[])").format(sql.Placeholder(_parameter(place))) for place in range(len(table.keys))
    )
    chosen = sql.SQL(" WHERE ({}) IN (SELECT * FROM ROWS FROM ({}) AS wanted)").format(_escaped(columns_of(table.keys)), arrays)
    return _escaped(select) + chosen + live(table, "AND") + _escaped(ordered)


def live(table: TargetTable, word: Literal["WHERE", "AND"]) -> sql.Composed:
    """A condition that leaves out soft-deleted rows."""
    condition = sql.SQL(" {} {} IS NULL").format(sql.SQL(word), sql.Identifier(DELETED_AT))
    return condition if table.plan.marks_deleted else sql.Composed([])


def _escaped(part: sql.Composed) -> sql.SQL:
    # Beside parameters psycopg takes a percent sign in a name for a placeholder.
    return sql.SQL(part.as_string().replace("%", "%%"))


def _parameter(place: int) -> str:
    return f"key_{place}"


def _register(context: psycopg.ServerCursor[Any]) -> None:
    adapters = context.adapters
    adapters.register_loader("timestamptz", Microseconds)
    adapters.register_loader("jsonb", JsonText)


def _rows_a_fetch(connection: Connection, table: TargetTable) -> int:
    row = connection.execute(QUERY["average_row_size"], table.parameters).fetchone()
    size = row[0] if row and row[0] else FETCH_BYTES // FEWEST_ROWS
    return max(FEWEST_ROWS, min(MOST_ROWS, FETCH_BYTES // max(1, size)))
