"""The rows that a planned run would take out of the target, table by table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing

from firelift.deletions import Loss
from firelift.increment import Increment, TableIncrement
from firelift.plan import Plan, TablePlan
from firelift.postgres.connect import Connection, connect
from firelift.postgres.control import saved_plans, sources_of_tables
from firelift.postgres.fit import standing_tables
from firelift.postgres.lock import signature
from firelift.postgres.standing import count_live


def losses_of(
    url: str, migration_id: str, target_schema: str, plan: Plan, documents: Mapping[str, int], increment: Increment | None
) -> list[Loss]:
    """What each table that the run looks at would lose; `documents` says how many every collection of the plan has."""
    with closing(connect(url, signature(migration_id))) as connection:
        differences = [table for table in increment.tables if table.before] if increment else []
        merged = {table.table for table in differences}
        refilled = [table for table in plan.tables if table.table not in merged]
        return [
            *(_of_difference(connection, target_schema, table) for table in differences),
            *_of_refilled(connection, target_schema, refilled, documents),
        ]


def _of_difference(connection: Connection, schema: str, table: TableIncrement) -> Loss:
    assert table.before is not None, "a difference is one from a table that was published"
    rows = table.keys - table.new + table.gone if table.scanned else count_live(connection, schema, table.before)
    return Loss(table.table, rows, 0 if table.gone_stay else table.gone)


def _of_refilled(connection: Connection, schema: str, tables: list[TablePlan], documents: Mapping[str, int]) -> Iterator[Loss]:
    """Of tables whose rows are all replaced: by how much they shrink. Their own plans say which rows stand for documents."""
    published = {plan.table: plan for plan in saved_plans(connection, schema).values()}
    standing = standing_tables(connection, schema, [table.table for table in tables])
    for table in tables:
        if table.table in standing:
            rows = count_live(connection, schema, published.get(table.table, table))
            yield Loss(table.table, rows, max(0, rows - documents.get(table.collection, 0)))


def rows_from_elsewhere(url: str, migration_id: str, target_schema: str, plan: Plan, source: str) -> dict[str, str]:
    """By table the other Firestore database that the rows came from which the run replaces."""
    with closing(connect(url, signature(migration_id))) as connection:
        sources = sources_of_tables(connection, target_schema)
    return {table.table: sources[table.collection] for table in plan.tables if sources.get(table.collection, source) != source}
