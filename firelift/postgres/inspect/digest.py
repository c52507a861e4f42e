"""A table's content as one short text: equal texts mean equal rows, to the last bit."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from firelift.planning.model import Frozen
from firelift.postgres.inspect.key_filter import KeyFilter
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY

LANES = 4
"""Eight bytes each: the whole sha256."""


class Digest(Frozen):
    """How many rows a table has, and what they come to."""

    rows: int
    value: str


def digest(connection: Connection, schema: str, table: str, columns: Sequence[str], among: KeyFilter | None = None) -> Digest:
    """Counts and digests the rows of a table, with `among` only those that have its keys.

    One pass on the server, in whatever order the rows are; 0.5 s for 100 000 rows of 16 columns.

    A row is hashed in PostgreSQL's binary form, which distinguishes -0.0 from 0.0 and one NaN from another and holds each value's
    length and type, so that no two rows have the same bytes. The hashes (sha256) are added up, as four 64-bit sums without overflow.
    They are not XORed: a row that occurs twice would cancel itself out. Two different tables have the same digest by accident in 1 of
    2^256 cases; it is no defence against somebody who searches for such a pair. The order of `columns` matters, the names do not.
    """
    values = sql.SQL(", ").join(_hashed(name, binary) for name, binary in _forms(connection, schema, table, columns))
    row = connection.execute(_sums(values, _source(schema, table, among))).fetchone()
    assert row is not None, "an aggregate has one row"
    return Digest(rows=row[0], value=row[1])


def _source(schema: str, table: str, among: KeyFilter | None) -> sql.Composed:
    if among is None:
        return sql.SQL("ONLY {}").format(sql.Identifier(schema, table))
    return sql.SQL("({}) AS target").format(among.rows_query(schema, table, sql.SQL("target.*")))


def _sums(values: sql.Composed, source: sql.Composed) -> sql.Composed:
    lanes = sql.SQL(", ").join(
        sql.SQL("pg_catalog.sum(('x' || pg_catalog.encode(pg_catalog.substr(hash, {}, 8), 'hex'))::bit(64)::bigint)").format(
            sql.Literal(1 + 8 * lane)
        )
        for lane in range(LANES)
    )
    # OFFSET 0 keeps the planner from computing the hash once a lane.
    return sql.SQL(
        "SELECT pg_catalog.count(*), pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat_ws(':', "
        "pg_catalog.count(*), {}), 'UTF8')), 'hex') "
        "FROM (SELECT pg_catalog.sha256(pg_catalog.record_send(ROW({}))) AS hash FROM {} OFFSET 0) AS hashed"
    ).format(lanes, values, source)


def _forms(connection: Connection, schema: str, table: str, columns: Sequence[str]) -> list[tuple[str, bool]]:
    textual = {name for (name,) in connection.execute(QUERY["columns_without_binary_form"], {"schema": schema, "table": table})}
    return [(name, name not in textual) for name in columns]


def _hashed(name: str, binary: bool) -> sql.Composed:
    return (sql.SQL("{}") if binary else sql.SQL("{}::text")).format(sql.Identifier(name))
