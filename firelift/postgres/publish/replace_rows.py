"""Replaces the rows of tables, or some of them, by those of others of the same names, so that everything that depends on the tables stays.

Rows are merged by key instead of deleted and inserted anew: a row that is there before and after keeps the values in the user's own
columns, and foreign keys that refer to it never notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg import sql

from firelift.errors import FireliftError
from firelift.planning.model import CREATED_AT, DELETED_AT, UPDATED_AT
from firelift.postgres.inspect.key_filter import columns_in, same_key
from firelift.postgres.publish.refusal_causes import CODE, VALUES, TableToWrite, culprit, named_by, said_by
from firelift.postgres.schema.foreign_keys import deferred, foreign_keys_of
from firelift.postgres.schema.indexes import too_long_for_index
from firelift.postgres.schema.names import columns_of
from firelift.postgres.schema.triggers import triggers_disabled
from firelift.postgres.session.as_owner import execute_as, foreign_owners, lend, refuse_left_over
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY


class RefusedByConstraint(FireliftError):
    """A constraint of the target refuses the rows, so nothing was changed."""

    recovery = "after_fix"
    remedy = "Correct the documents, or change or drop what is named; then run again with --resume."


class NotReplaced(FireliftError):
    """After its rows were replaced, a table does not hold what it was given."""

    remedy = "Nothing was changed. Look for what changes rows as they are written, such as foreign keys ON DELETE between these tables."


class DeletedRows(NamedTuple):
    """Which rows of the target are deleted. All others stay, also those that the source does not have."""

    schema: str
    table: str | None
    """Holds their keys; None: no row is deleted."""
    soft_deleted_at: datetime | None = None
    """Given, the rows stay and get this moment in `firestore_deleted_at`."""


class RowReplacement(NamedTuple):
    """A table whose rows are replaced by those of the table of the same name in another schema."""

    source_schema: str
    target_schema: str
    table: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    """Columns to be copied, keys included; both tables have them with the same types."""
    emptied: tuple[str, ...] = ()
    """Columns of the target to become NULL."""
    inserted: tuple[str, ...] = ()
    """Columns that a new row gets and an old one keeps: GENERATED ALWAYS AS IDENTITY."""
    deleted: DeletedRows | None = None
    """None: all rows that the source does not have are deleted."""
    owner: str | None = None
    """The role as which the target is written, where it is not ours."""
    restores_soft_deleted: bool = False
    """The target has `firestore_deleted_at`, and a row whose document exists again loses that moment."""

    @property
    def source(self) -> sql.Identifier:
        return sql.Identifier(self.source_schema, self.table)

    @property
    def target(self) -> sql.Identifier:
        return sql.Identifier(self.target_schema, self.table)

    @property
    def changing(self) -> tuple[str, ...]:
        return tuple(column for column in self.columns if column not in self.keys)

    def future_rows(self, others: Sequence[str]) -> sql.Composed:
        """The rows as they will be, as a subquery; `others` are the target's columns apart from those to be copied."""
        copied = [sql.Identifier("source", column) for column in self.columns]
        listed = [*copied, *(_emptied(column) if column in self.emptied else sql.Identifier("target", column) for column in others)]
        query = sql.SQL("SELECT {} FROM {} AS source LEFT JOIN {} AS target ON {}")
        written = query.format(sql.SQL(", ").join(listed), self.source, self.target, _same_key(self))
        if self.deleted is None:
            return sql.SQL("({})").format(written)
        kept = sql.SQL("SELECT {} FROM {} AS target WHERE NOT EXISTS (SELECT FROM {} AS source WHERE {})").format(
            columns_in("target", [*self.columns, *others]), self.target, self.source, _same_key(self)
        )
        if self.deleted.table and self.deleted.soft_deleted_at is None:
            kept += sql.SQL(" AND NOT EXISTS (SELECT FROM {} AS source WHERE {})").format(_deleted_keys(self.deleted), _same_key(self))
        return sql.SQL("({} UNION ALL {})").format(written, kept)


def replace_rows(connection: Connection, replacements: Sequence[RowReplacement]) -> None:
    """Replaces the rows of all of them. Call it in a transaction that has locked the tables.

    Raises RefusedByConstraint, TooLongForIndex or NotReplaced; the caller's transaction undoes what was done.
    """
    if not replacements:
        return
    schema, tables = replacements[0].target_schema, [replacement.table for replacement in replacements]
    replacements, owned = _by_owners(connection, replacements)
    among = [key for key in foreign_keys_of(connection, schema, tables) if _within(schema, tables, key.source_schema, key.source)]
    inner = [key for key in among if _within(schema, tables, key.references_schema, key.references)]
    with named(connection, replacements):
        with triggers_disabled(connection, schema, tables), deferred(connection, inner):
            _replace(connection, replacements)
            if owned:
                refuse_left_over(connection, schema, tables)
        if owned:
            refuse_left_over(connection, schema, tables)
    for replacement in replacements:
        if any(connection.execute(differs).fetchone() != (False,) for differs in _differences(replacement)):
            raise NotReplaced(table=f"{replacement.target_schema}.{replacement.table}")


def _by_owners(connection: Connection, replacements: Sequence[RowReplacement]) -> tuple[list[RowReplacement], bool]:
    """The same, with the owners of tables that are not ours, who may read from now on what they get; and whether there is any."""
    owners = foreign_owners(connection, replacements[0].target_schema, [replacement.table for replacement in replacements])
    for replacement in replacements:
        if owner := owners.get(replacement.table):
            keys = [replacement.deleted.table] if replacement.deleted and replacement.deleted.table else []
            lend(connection, owner, replacement.source_schema, [replacement.table, *keys])
    return [replacement._replace(owner=owners.get(replacement.table)) for replacement in replacements], bool(owners)


def _within(schema: str, tables: Sequence[str], key_schema: str, key_table: str) -> bool:
    return key_schema == schema and key_table in tables


def _replace(connection: Connection, replacements: Sequence[RowReplacement]) -> None:
    """Updates come first, before a foreign key ON DELETE CASCADE could take a row that is about to refer to another one.

    A unique column of the user's may be in the way then: its value moves from a deleted row, or two rows exchange theirs. So it
    is set to NULL, which is safe only after the deletions.
    """
    try:
        with connection.transaction():
            _do(connection, replacements, (_update, _delete, _insert))
    except (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation):
        _do(connection, replacements, (_delete, _free_unique_values, _update, _insert))


Step = Callable[[Connection, RowReplacement], None]


def _do(connection: Connection, replacements: Sequence[RowReplacement], steps: Sequence[Step]) -> None:
    for step in steps:
        for replacement in replacements:
            _take(connection, step, replacement)


def _take(connection: Connection, step: Step, replacement: RowReplacement) -> None:
    try:
        with connection.transaction():
            step(connection, replacement)
    except psycopg.errors.ProgramLimitExceeded as error:
        found = too_long_for_index(connection, replacement.target_schema, replacement.table, error)
        if found is None:
            raise
        raise found from error


def _delete(connection: Connection, replacement: RowReplacement) -> None:
    if replacement.deleted is not None:
        _remove(connection, replacement, replacement.deleted)
        return
    query = sql.SQL("DELETE FROM {} AS target WHERE NOT EXISTS (SELECT FROM {} AS source WHERE {})")
    execute_as(connection, replacement.owner, query.format(replacement.target, replacement.source, _same_key(replacement)))


def _remove(connection: Connection, replacement: RowReplacement, deleted: DeletedRows) -> None:
    if deleted.table is None:
        return
    if deleted.soft_deleted_at is None:
        delete = sql.SQL("DELETE FROM {} AS target USING {} AS source WHERE {}")
        execute_as(connection, replacement.owner, delete.format(replacement.target, _deleted_keys(deleted), _same_key(replacement)))
        return
    soft_delete = sql.SQL("UPDATE {} AS target SET {} = {} FROM {} AS source WHERE {} AND {} IS NULL")
    column = sql.Identifier(DELETED_AT)
    where = (_deleted_keys(deleted), _same_key(replacement), sql.Identifier("target", DELETED_AT))
    execute_as(connection, replacement.owner, soft_delete.format(replacement.target, column, sql.Literal(deleted.soft_deleted_at), *where))


def _deleted_keys(deleted: DeletedRows) -> sql.Identifier:
    return sql.Identifier(deleted.schema, str(deleted.table))


def _update(connection: Connection, replacement: RowReplacement) -> None:
    copied = [sql.SQL("{0} = source.{0}").format(sql.Identifier(column)) for column in replacement.changing]
    kept = [_keep_soft_delete()] if replacement.restores_soft_deleted else []
    _set(connection, replacement, [*copied, *kept, *map(_null, replacement.emptied)])


def _keep_soft_delete() -> sql.Composed:
    # A row that is only rewritten in another form belongs to the same document, which is still deleted.
    return sql.SQL("{deleted} = CASE WHEN {same} THEN target.{deleted} END").format(
        deleted=sql.Identifier(DELETED_AT), same=_same_document()
    )


def _same_document() -> sql.Composed:
    return sql.SQL("(target.{0}, target.{1}) IS NOT DISTINCT FROM (source.{0}, source.{1})").format(
        sql.Identifier(CREATED_AT), sql.Identifier(UPDATED_AT)
    )


def _free_unique_values(connection: Connection, replacement: RowReplacement) -> None:
    wanted = {"schema": replacement.target_schema, "table": replacement.table}
    unique = connection.execute(QUERY["unique_columns_to_free"], wanted).fetchall()
    _set(connection, replacement, [_null(column) for (column,) in unique if column in replacement.changing])


def _insert(connection: Connection, replacement: RowReplacement) -> None:
    columns = columns_of([*replacement.columns, *replacement.inserted])
    query = sql.SQL(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} AS source WHERE NOT EXISTS (SELECT FROM {} AS target WHERE {})"
    )
    target, source = replacement.target, replacement.source
    execute_as(connection, replacement.owner, query.format(target, columns, columns, source, target, _same_key(replacement)))


def _set(connection: Connection, replacement: RowReplacement, changes: Sequence[sql.Composed]) -> None:
    if not changes:
        return
    query = sql.SQL("UPDATE {} AS target SET {} FROM {} AS source WHERE {} AND ({})")
    changed = sql.SQL(" OR ").join([_other_content(replacement), *(_not_null(column) for column in replacement.emptied)])
    listed = sql.SQL(", ").join(changes)
    update = query.format(replacement.target, listed, replacement.source, _same_key(replacement), changed)
    execute_as(connection, replacement.owner, update)


def _differences(replacement: RowReplacement) -> Iterator[sql.Composed]:
    """Queries that must all say no once the rows are replaced."""
    target, source, deleted = replacement.target, replacement.source, replacement.deleted
    join = sql.SQL("FULL JOIN" if deleted is None else "RIGHT JOIN")
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} AS target {} {} AS source ON {} WHERE {})")
    yield query.format(target, join, source, _same_key(replacement), _other_content(replacement))
    if deleted and deleted.table:
        there = sql.SQL("SELECT EXISTS (SELECT FROM {} AS target JOIN {} AS source ON {} WHERE {})")
        is_null = sql.SQL("{} IS NULL").format(sql.Identifier("target", DELETED_AT))
        live = sql.SQL("TRUE") if deleted.soft_deleted_at is None else is_null
        yield there.format(target, _deleted_keys(deleted), _same_key(replacement), live)


def _other_content(replacement: RowReplacement) -> sql.Composed:
    # *<> compares bytes: to <> and IS DISTINCT FROM -0.0 is 0.0. Between bare ROWs it would mean each pair of columns.
    return sql.SQL("{}::record *<> {}::record").format(_row("target", replacement.columns), _row("source", replacement.columns))


def _row(of: str, columns: Sequence[str]) -> sql.Composed:
    return sql.SQL("ROW({})").format(columns_in(of, columns))


def _same_key(replacement: RowReplacement) -> sql.Composed:
    return same_key(replacement.keys, "target", "source")


def _emptied(column: str) -> sql.Composed:
    # NULL of the column's own type.
    return sql.SQL("nullif({0}, {0}) AS {1}").format(sql.Identifier("target", column), sql.Identifier(column))


def _null(column: str) -> sql.Composed:
    return sql.SQL("{} = NULL").format(sql.Identifier(column))


def _not_null(column: str) -> sql.Composed:
    return sql.SQL("target.{} IS NOT NULL").format(sql.Identifier(column))


@contextmanager
def named(connection: Connection, replacements: Sequence[RowReplacement]) -> Iterator[None]:
    """What goes wrong inside because of a constraint or an expression of the user's becomes RefusedByConstraint, with its name."""
    try:
        # A part of the transaction that can be rolled back by itself: afterwards the target is asked for the cause.
        with connection.transaction():
            yield
    except psycopg.Error as error:
        if refused := _refused(connection, replacements, error):
            raise refused from error
        raise


def _refused(connection: Connection, replacements: Sequence[RowReplacement], error: psycopg.Error) -> RefusedByConstraint | None:
    # Not the detail: it quotes the row.
    if (error.sqlstate or "")[:2] not in (*VALUES, *CODE):
        return None
    facts = named_by(error)
    if not {"column", "constraint"} & facts.keys():
        tables = [_table_to_write(connection, replacement) for replacement in replacements]
        facts |= culprit(connection, replacements[0].target_schema, error, tables)
    return RefusedByConstraint(**facts, said=said_by(error)) if facts or isinstance(error, psycopg.IntegrityError) else None


def analyze(connection: Connection, schema: str, table: str) -> None:
    """Statistics for the planner; those on expressions of the user's are evaluated only now. Raises RefusedByConstraint."""
    try:
        with connection.transaction():
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(schema, table)))
    except psycopg.Error as error:
        suspects = [name for (name,) in connection.execute(QUERY["expression_statistics"], {"schema": schema, "table": table})]
        if not suspects or (error.sqlstate or "")[:2] not in (*VALUES, *CODE):
            raise
        raise RefusedByConstraint(table=f"{schema}.{table}", object=" or ".join(suspects), said=said_by(error)) from error


def _table_to_write(connection: Connection, replacement: RowReplacement) -> TableToWrite:
    columns = connection.execute(QUERY["existing_columns"], {"schema": replacement.target_schema, "tables": [replacement.table]}).fetchall()
    others = [name for _, name, *_ in columns if name not in replacement.columns]
    return TableToWrite(replacement.table, replacement.future_rows(others), replacement.owner)
