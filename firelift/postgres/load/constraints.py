"""Keys, orphan counts and foreign keys: what tables get once their rows are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from psycopg import sql

from firelift.errors import FireliftError
from firelift.planning.model import Frozen, TablePlan
from firelift.planning.references import Relation, relations_of
from firelift.postgres.load.staging import finish_types
from firelift.postgres.schema.ddl import planned_tables
from firelift.postgres.schema.indexes import rows_fit
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.lock_capacity import explaining_locks
from firelift.postgres.session.queries import QUERY

if TYPE_CHECKING:
    from firelift.postgres.schema.tables import PlannedTables

ForeignKeys = Literal["report", "strict", "off"]
MOST_EXAMPLES = 5


class OrphanedRows(FireliftError):
    """Rows refer to documents that are not there, and --foreign-keys strict allows none."""

    remedy = "Correct the documents and run again, or run with --foreign-keys report to migrate them without that foreign key."


class Orphan(Frozen):
    """A row whose reference leads nowhere."""

    key: tuple[str, ...]
    refers_to: tuple[str, ...]


class CheckedRelation(Relation):
    """A relation with the number of its orphaned rows."""

    orphans: int
    examples: tuple[Orphan, ...]
    created: bool
    """True when the foreign key exists."""


def constrain(connection: Connection, schema: str, tables: Sequence[TablePlan], foreign_keys: ForeignKeys | None) -> list[CheckedRelation]:
    """Finishes loaded tables in one transaction: types, primary keys, statistics, and foreign keys where no row is orphaned.

    A row with a NULL among the referring columns refers to nothing (MATCH SIMPLE). May be called again. Raises OrphanedRows when
    `foreign_keys` is "strict" and some row is orphaned. With None relations are not looked at: most rows of an increment refer to rows
    that are not part of it.
    """
    with explaining_locks(connection, len(tables)), translated("adding keys and foreign keys"), connection.transaction():
        existing, planned = _existing_keys(connection, schema), planned_tables(schema, tables)
        for table in tables:
            finish_types(connection, TargetTable(schema, table))
            if (table.table, "p", table.keys) not in existing:
                connection.execute(planned.primary_key(table.table))
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table.table)))
        if foreign_keys is None:
            return []
        keys_of = {table.table: table.keys for table in tables}
        checked = [_check(connection, schema, relation, keys_of[relation.table], foreign_keys) for relation in relations_of(tables)]
        refuse_orphans(checked, foreign_keys)
        for relation in checked:
            if relation.created and (relation.table, "f", relation.columns) not in existing:
                _add_foreign_key(connection, planned, relation)
    return checked


def _existing_keys(connection: Connection, schema: str) -> set[tuple[str, str, tuple[str, ...]]]:
    rows = connection.execute(QUERY["existing_keys"], {"schema": schema})
    return {(table, kind, tuple(columns)) for table, kind, columns in rows}


def _check(connection: Connection, schema: str, relation: Relation, keys: tuple[str, ...], foreign_keys: ForeignKeys) -> CheckedRelation:
    orphans, examples = orphans_of(connection, schema, relation, keys)
    created = foreign_keys != "off" and not orphans
    return CheckedRelation(**relation.model_dump(), orphans=orphans, examples=examples, created=created)


def orphans_of(connection: Connection, schema: str, relation: Relation, keys: Sequence[str]) -> tuple[int, tuple[Orphan, ...]]:
    """How many rows of a relation lead nowhere, and the first few by key; `keys` is its table's key."""
    counted = connection.execute(sql.SQL("SELECT pg_catalog.count(*) {}").format(orphaned(schema, relation))).fetchone()
    orphans = int(counted[0]) if counted else 0
    return orphans, _examples(connection, schema, relation, keys) if orphans else ()


def orphaned(schema: str, relation: Relation) -> sql.Composed:
    """FROM and WHERE of every query for the rows of a relation, called `source`, that lead nowhere."""
    # In tables that the user made the columns may have another collation than our own, and = would not know which to use.
    pairs = [
        sql.SQL('target.{} = source.{} COLLATE "C"').format(sql.Identifier(theirs), sql.Identifier(ours))
        for ours, theirs in zip(relation.columns, relation.referenced, strict=True)
    ]
    refers = [sql.SQL("source.{} IS NOT NULL").format(sql.Identifier(column)) for column in relation.columns]
    return sql.SQL("FROM {} AS source WHERE {} AND NOT EXISTS (SELECT FROM {} AS target WHERE {})").format(
        sql.Identifier(schema, relation.table),
        sql.SQL(" AND ").join(refers),
        sql.Identifier(schema, relation.references),
        sql.SQL(" AND ").join(pairs),
    )


def _examples(connection: Connection, schema: str, relation: Relation, keys: Sequence[str]) -> tuple[Orphan, ...]:
    key = sql.SQL(", ").join(sql.SQL("source.{}").format(sql.Identifier(name)) for name in (*keys, *relation.columns))
    select = sql.SQL("SELECT {} {} ORDER BY {} LIMIT {}")
    order = sql.SQL(", ").join(map(sql.Literal, range(1, len(keys) + 1)))
    rows = connection.execute(select.format(key, orphaned(schema, relation), order, sql.Literal(MOST_EXAMPLES)))
    return tuple(Orphan(key=row[: len(keys)], refers_to=row[len(keys) :]) for row in rows)


def refuse_orphans(checked: Sequence[CheckedRelation], foreign_keys: ForeignKeys) -> None:
    """Raises OrphanedRows where a reference leads nowhere that by `foreign_keys` must not."""
    # A document below one that does not exist is ordinary in Firestore; a reference that leads nowhere is what strict means.
    orphaned = [relation for relation in checked if relation.orphans and relation.kind == "link"]
    if orphaned and foreign_keys == "strict":
        raise OrphanedRows(
            **{
                f"{relation.table} ({', '.join(relation.columns)}) to {relation.references}": (
                    f"{relation.orphans}, such as {'; '.join('/'.join(orphan.key) for orphan in relation.examples)}"
                )
                for relation in orphaned
            }
        )


def _add_foreign_key(connection: Connection, planned: PlannedTables, relation: Relation) -> None:
    index, key = planned.index(relation), planned.foreign_key(relation)
    if index is not None and rows_fit(connection, index.creation):
        connection.execute(index.comment)
    connection.execute(key.creation)
    connection.execute(key.comment)
