"""Merging the rows of an incremental run into published tables: which rows, how many there will be, and that there are as many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from psycopg import sql

from firelift.errors import FireliftError
from firelift.formatting import counted
from firelift.planning.increment import Increment, TableIncrement
from firelift.planning.model import CREATED_AT, DELETED_AT, UPDATED_AT, TablePlan
from firelift.postgres.inspect.key_filter import same_key
from firelift.postgres.inspect.rows import count_rows
from firelift.postgres.load.deleted_keys import deleted_keys_table, has_deleted_keys
from firelift.postgres.publish.replace_rows import DeletedRows
from firelift.postgres.schema.compatibility import ExistingTable
from firelift.postgres.schema.control_schema import saved_tables
from firelift.postgres.schema.names import staging_schema
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated


class PlanChanged(FireliftError):
    """While the migration ran, a table of the target was published again or dropped."""

    remedy = "Start a new run: this one has compared Firestore with what the table was before."


class RowCountMismatch(FireliftError):
    """After the merge a table would not hold as many rows as Firestore has documents, so nothing was changed."""

    exit_code = 4
    remedy = "Look for what else writes to the table, then start a new run, or a full one."


class DeletedKeysMissing(FireliftError):
    """The staging schema does not have all keys of the rows that are to be deleted."""

    remedy = "Start a new run."


class Merge(NamedTuple):
    """How staged rows are merged into a table that was published before."""

    before: TablePlan
    deleted: DeletedRows

    @property
    def adds_soft_delete_column(self) -> bool:
        """Whether the table gets `firestore_deleted_at` now, with the first row that is soft-deleted."""
        return bool(self.deleted.table and self.deleted.soft_deleted_at) and not self.before.marks_deleted

    def retyped(self, plan: TablePlan) -> tuple[str, ...]:
        """Columns that have another type by the new plan."""
        types = dict(self.before.target_columns())
        return tuple(name for name, pg_type in plan.target_columns() if types.get(name, pg_type) != pg_type)

    def saved(self, plan: TablePlan) -> TablePlan:
        """The new plan as the target remembers it."""
        return plan.model_copy(update={"marks_deleted": self.before.marks_deleted or self.adds_soft_delete_column})


def merge_planned(migration_id: str, table: TableIncrement, increment: Increment, read_time: datetime) -> Merge | None:
    """How the run's rows will get into one of its tables; None for one that is migrated whole."""
    if table.before is None:
        return None
    staging = staging_schema(migration_id)
    if increment.deletes == "ignore" or not table.deleted:
        return Merge(table.before, DeletedRows(staging, None))
    soft_deleted_at = read_time if increment.deletes == "mark" else None
    return Merge(table.before, DeletedRows(staging, deleted_keys_table(table.table), soft_deleted_at))


def merge_of(connection: Connection, migration_id: str, table: TableIncrement, increment: Increment, read_time: datetime) -> Merge | None:
    """The same once everything is staged. Raises DeletedKeysMissing."""
    merge = merge_planned(migration_id, table, increment, read_time)
    if merge and merge.deleted.table:
        has_keys = has_deleted_keys(connection, migration_id, table.table)
        staged = _count(connection, sql.Identifier(merge.deleted.schema, merge.deleted.table)) if has_keys else 0
        if staged != table.deleted:
            raise DeletedKeysMissing(table=table.table, deleted=table.deleted, staged=staged)
    return merge


def refuse_other_plans(connection: Connection, target_schema: str, increment: Increment, existing: Mapping[str, ExistingTable]) -> None:
    """Raises PlanChanged where a table is not what the run compared Firestore with."""
    saved = saved_tables(connection, target_schema)
    others = [
        table.table
        for table in increment.tables
        if table.before and (table.table not in existing or table.collection not in saved or saved[table.collection].plan != table.before)
    ]
    if others:
        raise PlanChanged(schema=target_schema, tables=", ".join(others))


def refuse_other_counts(connection: Connection, schema: str, plans: Sequence[TablePlan], expected: Mapping[str, int]) -> None:
    """Raises RowCountMismatch where a table has other than the expected number of live rows."""
    found = {plan.table: count_rows(connection, TargetTable(schema, plan)) for plan in plans if plan.table in expected}
    wrong = {table: found.get(table) for table, rows in expected.items() if found.get(table) != rows}
    if wrong:
        said = {table: "no table" if rows is None else counted(rows, "row") for table, rows in wrong.items()}
        raise RowCountMismatch(**{f"{schema}.{table}": f"{rows} instead of {expected[table]}" for table, rows in said.items()})


def rows_after(connection: Connection, migration_id: str, target_schema: str, increment: Increment) -> dict[str, int]:
    """How many live rows each changed table of the increment will have, by table; reads only.

    Ask when everything is staged and keys are on the staged tables. Soft-deleted rows do not count, nor do rows that will be.
    """
    with translated("foreseeing the rows of the merged tables"):
        touched = [table for table in increment.tables if table.touched]
        return {table.table: _rows_after(connection, migration_id, target_schema, table, increment) for table in touched}


def _rows_after(connection: Connection, migration_id: str, schema: str, table: TableIncrement, increment: Increment) -> int:
    staged = sql.Identifier(staging_schema(migration_id), table.table)
    if table.before is None:
        return _count(connection, staged)
    published = TargetTable(schema, table.before)
    rows = count_rows(connection, published) + _arriving(connection, staged, published)
    if table.deleted and increment.deletes != "ignore":
        deleted = sql.Identifier(staging_schema(migration_id), deleted_keys_table(table.table))
        rows -= _leaving(connection, deleted, published)
    return rows


def _arriving(connection: Connection, staged: sql.Identifier, table: TargetTable) -> int:
    """Staged rows whose document has no live row yet. A soft-deleted row that is only rewritten stays soft-deleted."""
    join = sql.SQL("{} AS staged LEFT JOIN {} AS target ON {}").format(staged, *_target(table, "staged"))
    absent = sql.SQL("target.{} IS NULL").format(sql.Identifier(table.keys[-1]))
    if not table.plan.marks_deleted:
        return _count(connection, join + sql.SQL(" WHERE ") + absent)
    again = sql.SQL("{} OR target.{} IS NOT NULL AND (target.{c}, target.{u}) IS DISTINCT FROM (staged.{c}, staged.{u})").format(
        absent, sql.Identifier(DELETED_AT), c=sql.Identifier(CREATED_AT), u=sql.Identifier(UPDATED_AT)
    )
    return _count(connection, join + sql.SQL(" WHERE ") + again)


def _leaving(connection: Connection, deleted: sql.Identifier, table: TargetTable) -> int:
    join = sql.SQL("{} AS deleted JOIN {} AS target ON {}").format(deleted, *_target(table, "deleted"))
    if not table.plan.marks_deleted:
        return _count(connection, join)
    return _count(connection, join + sql.SQL(" WHERE target.{} IS NULL").format(sql.Identifier(DELETED_AT)))


def _target(table: TargetTable, alias: str) -> tuple[sql.Identifier, sql.Composed]:
    return table.identifier, same_key(table.keys, "target", alias)


def _count(connection: Connection, source: sql.Composable) -> int:
    row = connection.execute(sql.SQL("SELECT pg_catalog.count(*) FROM {}").format(source)).fetchone()
    return int(row[0]) if row else 0
