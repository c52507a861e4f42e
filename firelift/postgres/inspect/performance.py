"""How long a table takes to answer, question after question of one kind."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from psycopg import sql

from firelift.planning.model import UPDATED_AT
from firelift.planning.references import Relation
from firelift.postgres.schema.names import columns_of
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.queries import QUERY

What = Literal["key lookup", "count", "reference lookup", "range scan", "join to parent"]
Key = tuple[str, ...]

LONGEST: Final = 5.0
"""Seconds after which a series of questions ends with the answers that it has."""
A_SCAN: Final = 1000
"""Rows of a range scan; fewer where they are large."""
SCAN_BYTES: Final = 8 << 20
A_REFERENCE: Final = 100
"""Rows that are taken of those which refer to one document."""
BLOCKS: Final = 400
"""Parts of a table, 8 kB each, among whose rows keys are drawn."""


@dataclass(frozen=True)
class Answers:
    """One kind of question to one table: how long each took, in milliseconds, and the rows that came in all of them."""

    what: What
    times: tuple[float, ...]
    rows: int
    query: str
    """The first of the questions."""


def drawn(connection: Connection, table: TargetTable, columns: Sequence[str], wanted: int, seed: int) -> list[Key]:
    """What these columns say in rows drawn at random, none of it NULL; fewer than `wanted` where the table has no more.

    Reads a few hundred parts of a large table, not all of it.
    """
    with translated(f"drawing rows of {table.name}"):
        row = connection.execute(QUERY["table_blocks"], table.parameters).fetchone()
        share = min(100.0, 100 * BLOCKS / max(1, row[0])) if row else 100.0
        sample = sql.SQL("TABLESAMPLE pg_catalog.system ({}) REPEATABLE ({})").format(sql.Literal(share), sql.Literal(seed))
        query = sql.SQL("SELECT {columns} FROM {name} {sample} WHERE {given} ORDER BY {order} LIMIT {wanted}").format(
            columns=columns_of(columns),
            name=table.identifier,
            sample=sample,
            given=sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(sql.Identifier(column)) for column in columns),
            order=sql.SQL("pg_catalog.hashtextextended(pg_catalog.concat_ws('/', {}), {})").format(
                columns_of(table.keys), sql.Literal(seed)
            ),
            wanted=sql.Literal(wanted),
        )
        return [tuple(row) for row in connection.execute(query)]


def is_indexed(connection: Connection, table: TargetTable, columns: Sequence[str]) -> bool:
    """Whether an index begins with these columns."""
    with translated(f"looking at the indexes of {table.name}"):
        indexes = connection.execute(QUERY["indexed_columns"], table.parameters)
        return any(tuple(indexed[: len(columns)]) == tuple(columns) for (indexed,) in indexes)


def key_lookups(connection: Connection, table: TargetTable, keys: Sequence[Key]) -> Answers:
    """Whole rows, one after the other."""
    select = sql.SQL("SELECT * FROM {} WHERE {}")
    name = table.identifier
    return _ask(connection, table, "key lookup", [select.format(name, _equal(table.keys, key)) for key in keys])


def counts(connection: Connection, table: TargetTable, times: int) -> Answers:
    """All rows counted, so many times; `rows` are those that were counted."""
    query = sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(table.identifier)
    answers = _ask(connection, table, "count", [query] * times, warm=False)
    with translated(f"counting {table.name}"):
        counted = connection.execute(query).fetchone()
    return replace(answers, rows=len(answers.times) * (counted[0] if counted else 0))


def reference_lookups(connection: Connection, table: TargetTable, relation: Relation, values: Sequence[Key]) -> Answers:
    """The keys of the first rows that refer to a document, one document after the other."""
    select = sql.SQL("SELECT {} FROM {} WHERE {} LIMIT {}")
    name, keys, most = table.identifier, columns_of(table.keys), sql.Literal(A_REFERENCE)
    return _ask(
        connection, table, "reference lookup", [select.format(keys, name, _equal(relation.columns, value), most) for value in values]
    )


def range_scans(connection: Connection, table: TargetTable, keys: Sequence[Key]) -> Answers:
    """Whole rows in the order of their keys, from each of these keys on."""
    with translated(f"measuring {table.name}"):
        found = connection.execute(QUERY["average_row_size"], table.parameters).fetchone()
    rows = max(1, min(A_SCAN, SCAN_BYTES // max(1, (found and found[0]) or 1)))
    return _ask(connection, table, "range scan", [_from_key(table, sql.SQL("*"), key, rows) for key in keys])


def joins_to_parent(connection: Connection, table: TargetTable, relation: Relation, keys: Sequence[Key]) -> Answers:
    """Keys in their order, from each of these on, with something of their parents."""
    on = sql.SQL(" AND ").join(
        sql.SQL("parent.{} = child.{}").format(sql.Identifier(theirs), sql.Identifier(ours))
        for ours, theirs in zip(relation.columns, relation.referenced, strict=True)
    )
    join = sql.SQL("SELECT child.*, parent.{} FROM ({}) AS child JOIN {} AS parent ON {}")
    parent = sql.Identifier(table.schema, relation.references)
    children = [_from_key(table, columns_of(table.keys), key, A_SCAN) for key in keys]
    return _ask(connection, table, "join to parent", [join.format(sql.Identifier(UPDATED_AT), child, parent, on) for child in children])


def _equal(columns: Sequence[str], values: Sequence[str]) -> sql.Composed:
    pairs = zip(columns, values, strict=True)
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(value)) for column, value in pairs)


def _from_key(table: TargetTable, columns: sql.Composable, key: Key, rows: int) -> sql.Composed:
    return sql.SQL("SELECT {} FROM {} WHERE ({keys}) >= ({}) ORDER BY {keys} LIMIT {}").format(
        columns,
        table.identifier,
        sql.SQL(", ").join(map(sql.Literal, key)),
        sql.Literal(rows),
        keys=columns_of(table.keys),
    )


def _ask(connection: Connection, table: TargetTable, what: What, queries: Sequence[sql.Composed], *, warm: bool = True) -> Answers:
    """The answers are received whole, and not looked at: psycopg's own work is not the target's."""
    texts: list[Any] = [query.as_string(connection).encode() for query in queries]
    times: list[float] = []
    rows = 0
    with translated(f"measuring {table.name}: {what}"), connection.cursor(binary=True) as cursor:
        if warm and texts:
            cursor.execute(texts[0])  # the first question of a session fills the server's catalog caches
        for text in texts:
            begun = time.perf_counter()
            cursor.execute(text)
            times.append((time.perf_counter() - begun) * 1000)
            rows += max(0, cursor.rowcount)
            if sum(times) > LONGEST * 1000:
                break
    return Answers(what, tuple(times), rows, texts[0].decode() if texts else "")
