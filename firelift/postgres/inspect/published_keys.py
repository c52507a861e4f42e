"""The keys that published tables hold, with the time at which each document was written, in Firestore's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from typing import Any, Final

import psycopg
from psycopg import sql

from firelift.paths import NUMBERED, Key, id_order
from firelift.planning.model import DELETED_AT, UPDATED_AT, TablePlan
from firelift.postgres.inspect.rows import Microseconds
from firelift.postgres.schema.names import columns_of
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection, Session
from firelift.postgres.session.errors import translated
from firelift.postgres.session.lock_capacity import explaining_locks

ROWS_HELD: Final = 20_000
"""Of all tables together, as far as each can have `FEWEST_ROWS`: some 10 MB."""
FEWEST_ROWS, MOST_ROWS = 50, 5000


@dataclass(frozen=True)
class Between:
    """The rows below the documents of a root collection from `low` on and before `high`, in Firestore's order; None: no bound."""

    low: str | None = None
    high: str | None = None


@dataclass(frozen=True)
class PublishedKeys:
    """The rows (key columns…, firestore_updated_at in microseconds) of one table in Firestore's key order."""

    rows: Iterator[tuple[Any, ...]]
    numbered: bool = False
    """Some ids may be of the form `__id<int64>__`; without, rows ascend as Python's tuples do."""


@contextmanager
def published_keys(session: Session, schema: str, tables: int, between: Between) -> Iterator[Callable[[TablePlan], PublishedKeys]]:
    """Opens one table after another, up to so many, for reading them all at once: in one snapshot, and in bounded memory.

    Soft-deleted rows are left out. Nothing can be read after the end of the block.
    """
    with session.open_to_read() as connection, explaining_locks(connection, tables):
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        held = max(FEWEST_ROWS, min(MOST_ROWS, ROWS_HELD // max(1, tables)))
        numbers = count()
        with connection.transaction():
            yield lambda table: _ordered(connection, TargetTable(schema, table), between, f"firelift_keys_{next(numbers)}", held)


def count_live(connection: Connection, table: TargetTable) -> int:
    """How many rows have a document: soft-deleted rows do not count."""
    query = sql.SQL("SELECT pg_catalog.count(*) FROM {}{}").format(table.identifier, _where(_live(table)))
    with translated(f"counting {table.name}"):
        row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def written_at(connection: Connection, table: TargetTable, keys: Sequence[Key]) -> dict[Key, int | None]:
    """The firestore_updated_at, in microseconds since 1970, of those keys that have a row which is not soft-deleted."""
    # Side by side: unnest(a, b) would be the same, but only without its schema.
    arrays = sql.SQL(", ").join(
        sql.SQL("pg_catalog.unnest({}::text[])").format(sql.Literal([key[place] for key in keys])) for place in range(len(table.keys))
    )
    chosen = sql.SQL("({}) IN (SELECT * FROM ROWS FROM ({}) AS wanted)").format(columns_of(table.keys), arrays)
    query = sql.SQL("SELECT {} FROM {}{}").format(_columns(table), table.identifier, _where([*_live(table), chosen]))
    with translated(f"looking up keys in {table.name}"), connection.cursor(binary=True) as cursor:
        cursor.adapters.register_loader("timestamptz", Microseconds)
        return {row[:-1]: row[-1] for row in cursor.execute(query)}


def _ordered(connection: Connection, table: TargetTable, between: Between, cursor: str, held: int) -> PublishedKeys:
    with translated(f"reading the keys of {table.name}"):
        numbered = _is_numbered(connection, table)
    return PublishedKeys(_rows(connection, _select(table, between, numbered), table, cursor, held), numbered)


def _rows(connection: Connection, query: sql.Composed, table: TargetTable, name: str, held: int) -> Iterator[tuple[Any, ...]]:
    with translated(f"reading the keys of {table.name}"), connection.cursor(name=name, binary=True) as cursor:
        cursor.adapters.register_loader("timestamptz", Microseconds)
        cursor.execute(query)
        yield from chain.from_iterable(iter(lambda: cursor.fetchmany(held), []))


def _is_numbered(connection: Connection, table: TargetTable) -> bool:
    # One EXISTS for each key column: the first is answered by the index, while an OR inside one EXISTS would read the whole table.
    any_key = [
        sql.SQL("EXISTS (SELECT FROM {} WHERE {} BETWEEN '__id' AND '__ie')").format(table.identifier, _text(key)) for key in table.keys
    ]
    return connection.execute(sql.SQL("SELECT {}").format(sql.SQL(" OR ").join(any_key))).fetchone() == (True,)


def _select(table: TargetTable, between: Between, numbered: bool) -> sql.Composed:
    first = table.keys[0]
    bounds = [bound for bound in (_from(first, between.low, numbered), _before(first, between.high, numbered)) if bound]
    order = sql.SQL(", ").join(term for key in table.keys for term in _order(key, numbered))
    return sql.SQL("SELECT {} FROM {}{} ORDER BY {}").format(_columns(table), table.identifier, _where([*_live(table), *bounds]), order)


def _columns(table: TargetTable) -> sql.Composed:
    return columns_of([*table.keys, UPDATED_AT])


def _live(table: TargetTable) -> list[sql.Composed]:
    return [sql.SQL("{} IS NULL").format(sql.Identifier(DELETED_AT))] if table.plan.marks_deleted else []


def _where(conditions: Sequence[sql.Composed]) -> sql.Composable:
    return sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(conditions)) if conditions else sql.SQL("")


def _order(key: str, numbered: bool) -> list[sql.Composed]:
    # Without numbers this is the order of the primary key's index, which then need not be sorted.
    return [_number(key) + sql.SQL(" NULLS LAST"), _text(key)] if numbered else [_text(key)]


def _from(key: str, low: str | None, numbered: bool) -> sql.Composed | None:
    if low is None:
        return None
    is_text, number, text = id_order(low)
    if is_text:
        behind = sql.SQL("{} >= {}").format(_text(key), sql.Literal(text))
        return sql.SQL("(NOT {} AND {})").format(_is_number(key), behind) if numbered else behind
    return sql.SQL("({} >= {} OR NOT {})").format(_number(key), sql.Literal(number), _is_number(key)) if numbered else None


def _before(key: str, high: str | None, numbered: bool) -> sql.Composed | None:
    if high is None:
        return None
    is_text, number, text = id_order(high)
    if is_text:
        before = sql.SQL("{} < {}").format(_text(key), sql.Literal(text))
        return sql.SQL("({} OR {})").format(_is_number(key), before) if numbered else before
    return sql.SQL("({} AND {} < {})").format(_is_number(key), _number(key), sql.Literal(number))


def _text(key: str) -> sql.Composed:
    return sql.SQL('{} COLLATE "C"').format(sql.Identifier(key))


def _is_number(key: str) -> sql.Composed:
    return sql.SQL("{} ~ {}").format(_text(key), sql.Literal(f"^{NUMBERED}$"))


def _number(key: str) -> sql.Composed:
    """The number in an id that is one, else NULL."""
    return sql.SQL("substring({} FROM {})::numeric").format(_text(key), sql.Literal(f"^{NUMBERED}$"))
