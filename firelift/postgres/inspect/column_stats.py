"""What the columns of a table hold: how many values, the lowest and the highest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from psycopg import sql

from firelift.planning.model import Frozen, PgType
from firelift.postgres.inspect.rows import Microseconds, live
from firelift.postgres.schema.compatibility import SPELLED, described_tables
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated

A_STATEMENT: Final = 250
"""Columns; PostgreSQL answers with 1664 at most, and each takes three."""


class ColumnHolds(Frozen):
    """One column. `low` and `high` are in its own type, timestamps as microseconds since 1970; None where no value has an order."""

    column: str
    present: int
    low: Any
    high: Any
    query: str
    """The SQL that says so."""


def columns_hold(connection: Connection, table: TargetTable, longest: int) -> Iterator[ColumnHolds]:
    """The statistics of every planned column; reads only. Texts are cut one character after `longest`; the range leaves out NaN.

    A missing column holds no values, and one of another type than planned has no range.
    """
    with translated(f"looking at the columns of {table.name}"):
        existing = described_tables(connection, table.schema, [table.name]).get(table.name)
        types = {name: column.type for name, column in existing.columns.items()} if existing else {}
        columns = table.plan.target_columns()
        for start in range(0, len(columns), A_STATEMENT):
            yield from _hold(connection, table, columns[start : start + A_STATEMENT], types, longest)


def _hold(
    connection: Connection, table: TargetTable, columns: Sequence[tuple[str, PgType]], types: dict[str, str], longest: int
) -> Iterator[ColumnHolds]:
    asked = {name: _asked(name, pg_type if _is(types[name], pg_type) else None, longest) for name, pg_type in columns if name in types}
    source = sql.SQL("SELECT {} FROM {}{}")
    where, rows = table.identifier, live(table, "WHERE")
    found = _row(connection, source.format(sql.SQL(", ").join(asked.values()), where, rows)) if asked else ()
    facts = dict(zip(asked, zip(found[::3], found[1::3], found[2::3], strict=True), strict=True))
    for name, pg_type in columns:
        present, low, high = facts.get(name, (0, None, None))
        query = source.format(asked.get(name) or _asked(name, pg_type, longest), where, rows)
        yield ColumnHolds(column=name, present=present, low=low, high=high, query=query.as_string(connection))


def _is(existing: str, planned: PgType) -> bool:
    return existing == SPELLED.get(planned, planned)


def _row(connection: Connection, query: sql.Composed) -> Sequence[Any]:
    with connection.cursor(binary=True) as cursor:
        cursor.adapters.register_loader("timestamptz", Microseconds)
        return cursor.execute(query).fetchone() or ()


def _asked(name: str, pg_type: PgType | None, longest: int) -> sql.Composed:
    """Count, lowest and highest of a column, as three columns of a SELECT."""
    column = sql.Identifier(name)
    bounds = _BOUNDS.get(pg_type, "NULL, NULL")
    return sql.SQL("pg_catalog.count({column}), " + bounds).format(column=column, most=sql.Literal(longest + 1))


_BOUNDS: Final[dict[PgType | None, Any]] = {
    "text": 'pg_catalog.left(pg_catalog.min({column} COLLATE "C"), {most}), pg_catalog.left(pg_catalog.max({column} COLLATE "C"), {most})',
    "bigint": "pg_catalog.min({column}), pg_catalog.max({column})",
    "double precision": "pg_catalog.min({column}) FILTER (WHERE {column} <> 'NaN'), "
    "pg_catalog.max({column}) FILTER (WHERE {column} <> 'NaN')",
    "boolean": "pg_catalog.bool_and({column}), pg_catalog.bool_or({column})",
    "timestamptz": "pg_catalog.min({column}), pg_catalog.max({column})",
}
