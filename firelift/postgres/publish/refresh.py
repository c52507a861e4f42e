"""Gives tables that exist in the target the rows that a run has staged for them, in the transaction that publishes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from psycopg import sql

from firelift.planning.model import DELETED_AT, TablePlan
from firelift.postgres.inspect.key_filter import KeyFilter
from firelift.postgres.publish.backups import Changes
from firelift.postgres.publish.merge import Merge
from firelift.postgres.publish.replace_rows import RowReplacement, analyze, replace_rows
from firelift.postgres.publish.retype import empty_as, require_again, retype
from firelift.postgres.schema.compatibility import ExistingTable, retyped_columns
from firelift.postgres.schema.control import saved_tables
from firelift.postgres.schema.ddl import add_columns, add_soft_delete_column
from firelift.postgres.schema.foreign_keys import ForeignKey, add_foreign_key, drop, foreign_keys_of, is_ours, orphans, refuse_broken
from firelift.postgres.schema.indexes import Index, create_index, drop_index, overfull
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY


class Refresh(NamedTuple):
    """A table of the plan that is in the target already."""

    plan: TablePlan
    existing: ExistingTable
    merge: Merge | None = None
    """How the staged rows are merged into the table's own; None where they replace all of them."""

    @property
    def name(self) -> str:
        return self.plan.table

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.plan.target_columns())

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name in self.columns if name not in self.existing.columns)

    @property
    def retyped(self) -> tuple[str, ...]:
        """Columns that get another type, in which every row is rewritten."""
        return self.merge.retyped(self.plan) if self.merge else retyped_columns(self.existing, self.plan)

    @property
    def added(self) -> tuple[str, ...]:
        """Every column that the table gets."""
        return (*self.missing, DELETED_AT) if self.merge and self.merge.adds_soft_delete_column else self.missing

    def staged(self, staging: str) -> KeyFilter:
        """The keys of the rows that are written, and of those that go."""
        deleted = (self.merge.deleted.table,) if self.merge and self.merge.deleted.table else ()
        return KeyFilter(staging, (self.plan.table, *deleted), self.plan.keys)


class Wanted(NamedTuple):
    """A foreign key of ours that the target should have."""

    source: str
    columns: tuple[str, ...]
    references: str
    referenced: tuple[str, ...]

    @property
    def relation(self) -> tuple[str, tuple[str, ...], str]:
        return self.source, self.columns, self.references


def lock(connection: Connection, staging: str, schema: str, refreshes: Sequence[Refresh]) -> None:
    """Locks the tables in one order, at once as strongly as will be needed, for a lock made stronger later deadlocks.

    Readers still see the old rows until the commit, unless columns must be added, an index must go or a foreign key between these
    tables must wait: then they wait as well. Writers wait, and so does everyone who would add a reference to a row that may be deleted.
    Raises TooLongForIndex.
    """
    if not refreshes:
        return
    names = sorted(refreshed.name for refreshed in refreshes)
    mode = (
        "ACCESS EXCLUSIVE"
        if any(refreshed.added or refreshed.retyped for refreshed in refreshes)
        or _must_alter_keys(connection, schema, names)
        or any(_overfull(connection, staging, schema, refreshes).values())
        else "EXCLUSIVE"
    )
    listed = sql.SQL(", ").join(sql.Identifier(schema, name) for name in names)
    connection.execute(sql.SQL("LOCK TABLE {} IN {} MODE").format(listed, sql.SQL(mode)))


def refresh(connection: Connection, staging: str, schema: str, refreshes: Sequence[Refresh]) -> dict[str, Changes]:
    """Replaces the rows, or merges the staged ones with them; returns what else was changed, by table.

    New columns of the plan are added, and others get the type that the plan has now; those that the plan no longer has become NULL in
    every row that is written; the user's own stay. A foreign key of ours that the new rows would break is dropped, as it would not be
    made either, and so is an index of ours that cannot hold a row; those of the user's must hold. Raises TooLongForIndex, CannotRetype,
    NotRewritten, and the errors of `replace_rows`.
    """
    if not refreshes:
        return {}
    published = [saved.plan for saved in saved_tables(connection, schema).values()]
    for refreshed in refreshes:
        _add_columns(connection, schema, refreshed)
    changes = {refreshed.name: _changes(refreshed) for refreshed in refreshes}
    # Before a column gets its new type, too: what a link was indexed for may be a text of any length from now on.
    for table, indexes in _overfull(connection, staging, schema, refreshes).items():
        for index in indexes:
            drop_index(connection, schema, index)
        changes[table] = _with(changes[table], indexes_dropped=indexes)
    # Before any row is written: PostgreSQL alters no table on which foreign keys are still to be checked.
    for refreshed in refreshes:
        if refreshed.retyped:
            dropped = _drop_hindering(connection, schema, refreshed)
            if refreshed.merge:
                retyped = retype(connection, schema, refreshed.plan, refreshed.retyped, refreshed.staged(staging))
            else:
                retyped = empty_as(connection, schema, refreshed.plan, refreshed.retyped)
            changes[refreshed.name] = _with(changes[refreshed.name], columns_retyped=retyped, foreign_keys_dropped=dropped)
    replacements = {refreshed.name: _replacement(staging, schema, refreshed, published) for refreshed in refreshes}
    after = {refreshed.name: replacements[refreshed.name].future_rows(_others(refreshed)) for refreshed in refreshes}
    others = []
    for key in foreign_keys_of(connection, schema, list(replacements)):
        if not is_ours(key):
            others += [] if key.source_schema == schema and key.source in replacements else [key]
        elif orphans(connection, key, schema, after)[0]:
            drop(connection, key)
            table = key.source if key.source in changes else key.references
            changes[table] = _with(changes[table], foreign_keys_dropped=(*changes[table].foreign_keys_dropped, key))
    refuse_broken(connection, others, schema, after)
    replace_rows(connection, list(replacements.values()))
    for refreshed in refreshes:
        if refreshed.merge is None:
            require_again(connection, schema, refreshed.name, changes[refreshed.name].columns_retyped)
        # A merge of a few rows leaves the statistics as good as they were.
        if refreshed.merge is None or refreshed.added or refreshed.retyped:
            analyze(connection, schema, refreshed.name)
    return changes


def _add_columns(connection: Connection, schema: str, refreshed: Refresh) -> None:
    if refreshed.missing:
        connection.execute(add_columns(TargetTable(schema, refreshed.plan), refreshed.missing))
    if refreshed.merge and refreshed.merge.adds_soft_delete_column:
        connection.execute(add_soft_delete_column(TargetTable(schema, refreshed.plan)))


def _changes(refreshed: Refresh) -> Changes:
    return Changes(columns_added=refreshed.added, keys=refreshed.plan.keys if refreshed.merge else ())


def _overfull(connection: Connection, staging: str, schema: str, refreshes: Sequence[Refresh]) -> dict[str, tuple[Index, ...]]:
    """By table the indexes of ours that cannot hold the rows."""
    keys = foreign_keys_of(connection, schema, [refreshed.name for refreshed in refreshes])
    return {table.name: overfull(connection, staging, schema, table.name, table.columns, keys) for table in refreshes}


def _drop_hindering(connection: Connection, schema: str, refreshed: Refresh) -> tuple[ForeignKey, ...]:
    """Foreign keys of ours whose column will no longer hold what they need."""
    keys = [key for key in foreign_keys_of(connection, schema, [refreshed.name]) if is_ours(key)]
    own = [key for key in keys if (key.source_schema, key.source) == (schema, refreshed.name)]
    hindering = [key for key in own if {*key.columns} & {*refreshed.retyped}]
    for key in hindering:
        drop(connection, key)
    return tuple(hindering)


def add_foreign_keys(connection: Connection, schema: str, wanted: Sequence[Wanted], changes: dict[str, Changes]) -> None:
    """Makes the foreign keys that the target does not have; records those of tables in `changes`."""
    tables = {key.source for key in wanted}
    existing = {(key.relation, key.references_schema) for key in foreign_keys_of(connection, schema, list(tables))}
    for key in wanted:
        if (key.relation, schema) in existing:
            continue
        has_index = _has_index(connection, schema, key)
        index = None if has_index else create_index(connection, schema, key.source, key.columns)
        name = add_foreign_key(connection, schema, key.source, key.columns, key.references, key.referenced)
        if key.source in changes:
            noted = changes[key.source]
            indexes = (*noted.indexes_added, *([index] if index else []))
            left = (*noted.indexes_left, *([] if has_index or index else [key.columns]))
            names = (*noted.foreign_keys_added, name)
            changes[key.source] = _with(noted, foreign_keys_added=names, indexes_added=indexes, indexes_left=left)


def _must_alter_keys(connection: Connection, schema: str, names: Sequence[str]) -> bool:
    keys = foreign_keys_of(connection, schema, names)
    return any({key.source, key.references} <= {*names} or is_ours(key) for key in keys)


def _with(changes: Changes, **changed: object) -> Changes:
    return changes.model_copy(update=changed)


def _others(refreshed: Refresh) -> list[str]:
    return [name for name in refreshed.existing.columns if name not in refreshed.columns]


def _replacement(staging: str, schema: str, refreshed: Refresh, published: Sequence[TablePlan]) -> RowReplacement:
    before = next((plan for plan in published if (plan.collection, plan.table) == (refreshed.plan.collection, refreshed.name)), None)
    once = [name for name, _ in before.target_columns()] if before else []
    if refreshed.merge:
        marks = refreshed.merge.before.marks_deleted
        return RowReplacement(
            staging,
            schema,
            refreshed.name,
            refreshed.plan.keys,
            refreshed.columns,
            _emptied(refreshed, once),
            deleted=refreshed.merge.deleted,
            restores_soft_deleted=marks,
        )
    if before and before.marks_deleted:
        once.append(DELETED_AT)
    return RowReplacement(staging, schema, refreshed.name, refreshed.plan.keys, refreshed.columns, _emptied(refreshed, once))


def _emptied(refreshed: Refresh, once: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in once if name in _others(refreshed) and not refreshed.existing.columns[name].generated)


def _has_index(connection: Connection, schema: str, key: Wanted) -> bool:
    existing = connection.execute(QUERY["leading_indexes"], {"schema": schema, "table": key.source}).fetchall()
    return any(tuple(columns[: len(key.columns)]) == key.columns for (columns,) in existing)
