"""The rows that a planned run would take out of the target, table by table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from firelift.formatting import counted
from firelift.planning.deletion_limits import Loss
from firelift.planning.increment import Increment, TableIncrement
from firelift.planning.model import Plan, TablePlan
from firelift.postgres.inspect.published_keys import count_live
from firelift.postgres.schema.compatibility import existing_tables
from firelift.postgres.schema.control_schema import saved_plans, sources_of_tables
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection


def losses_of(
    connection: Connection, target_schema: str, plan: Plan, documents: Mapping[str, int], increment: Increment | None
) -> list[Loss]:
    """What each table that the run looks at would lose; `documents` says how many every collection of the plan has."""
    differences = [table for table in increment.tables if table.before] if increment else []
    merged = {table.table for table in differences}
    refilled = [table for table in plan.tables if table.table not in merged]
    return [
        *(_of_difference(connection, target_schema, table) for table in differences),
        *_of_refilled(connection, target_schema, refilled, documents),
    ]


def _of_difference(connection: Connection, schema: str, table: TableIncrement) -> Loss:
    assert table.before is not None, "a difference is one from a table that was published"
    rows = table.keys - table.new + table.deleted if table.scanned else count_live(connection, TargetTable(schema, table.before))
    return Loss(table.table, rows, 0 if table.keeps_deleted else table.deleted)


def _of_refilled(connection: Connection, schema: str, tables: list[TablePlan], documents: Mapping[str, int]) -> Iterator[Loss]:
    """Of tables whose rows are all replaced: by how much they shrink. Their own plans say which rows stand for documents."""
    published = {plan.table: plan for plan in saved_plans(connection, schema).values()}
    standing = existing_tables(connection, schema, [table.table for table in tables])
    for table in tables:
        if table.table in standing:
            rows = count_live(connection, TargetTable(schema, published.get(table.table, table)))
            yield Loss(table.table, rows, max(0, rows - documents.get(table.collection, 0)))


def told_of_refilled(connection: Connection, target_schema: str, plan: Plan, source: str) -> list[str]:
    """What a full run does to tables beyond bringing them up to date, in sentences."""
    published, sources = saved_plans(connection, target_schema), sources_of_tables(connection, target_schema)
    before = {table.collection: published[table.collection].table for table in plan.tables if table.collection in published}
    standing = existing_tables(connection, target_schema, [*(table.table for table in plan.tables), *before.values()])
    told = []
    for table in plan.tables:
        last, came_from = before.get(table.collection), sources.get(table.collection, source)
        if last == table.table and came_from != source:
            told.append(f"{table.table}: this run replaces the rows that came from {came_from} with those of {source}")
        if last not in (None, table.table) and last in standing:
            told.append(f"{table.collection}: its table is {table.table} now; {last} stays as the last run left it")
        if last != table.table and table.table in standing and (rows := count_live(connection, TargetTable(target_schema, table))):
            told.append(f"{table.table}: this run replaces {counted(rows, 'row')} that no run has put there, as far as is recorded")
    return told
