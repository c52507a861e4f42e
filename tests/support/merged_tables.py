"""Increments one after the other into a target that a user lives in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from firelift.planning.increment import Deletes, Increment, SchemaStep, TableIncrement
from firelift.planning.model import TablePlan
from firelift.postgres.load.constraints import CheckedRelation, ForeignKeys, constrain
from firelift.postgres.load.copy import load_chunk
from firelift.postgres.load.deleted_keys import create_deleted_keys, load_deleted_keys
from firelift.postgres.load.staging import create_staging
from firelift.postgres.publish.publish import publish
from firelift.postgres.schema.control_schema import create_control, record_finish, record_start, saved_plans
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from tests.support.postgres_tables import as_arrow
from tests.support.refreshed_tables import READ_TIME, TABLES, Rows

Keys = Mapping[str, Sequence[tuple[str, ...]]]
AFTER = READ_TIME + timedelta(hours=1)
LATER = READ_TIME + timedelta(hours=2)


def written(row: list[Any], moment: int, created: int | None = None) -> list[Any]:
    """The row of a document that was written at another moment."""
    return [*row[:-3], row[-3] if created is None else created, moment, row[-1]]


def planned(
    connection: Connection,
    rows: Rows,
    gone: Keys | None = None,
    tables: Sequence[TablePlan] = TABLES,
    *,
    deletes: Deletes = "propagate",
    scanned: bool = True,
    steps: Mapping[str, Sequence[SchemaStep]] | None = None,
) -> Increment:
    """What a run with these new or changed rows and gone keys does to each table."""
    saved = saved_plans(connection, "public")
    return Increment(
        deletes=deletes,
        tables=tuple(
            TableIncrement(
                collection=table.collection,
                table=table.table,
                before=saved.get(table.collection),
                changed=len(rows.get(table.table, [])),
                deleted=len((gone or {}).get(table.table, [])),
                scanned=scanned,
                steps=tuple((steps or {}).get(table.table, ())),
            )
            for table in tables
        ),
    )


def stage_difference(
    connection: Connection, run: str, increment: Increment, rows: Rows, gone: Keys, tables: Sequence[TablePlan]
) -> list[TablePlan]:
    """Everything up to publishing; returns the plans of the tables that are touched."""
    touched = [table for table in tables if (each := increment.of(table.table)) and each.touched]
    create_control(connection)
    record_start(connection, run, "incremental", {"target_schema": "public"})
    schema = create_staging(connection, run, touched)
    load_chunk(connection, run, "c1", [(TargetTable(schema, table), as_arrow(table, rows.get(table.table, []))) for table in touched])
    for table in touched:
        if keys := gone.get(table.table):
            create_deleted_keys(connection, run, table)
            listed = pa.table({name: [key[place] for key in keys] for place, name in enumerate(table.keys)})
            load_deleted_keys(connection, run, table, f"gone/{table.table}", listed)
    constrain(connection, schema, touched, "off")
    return touched


def increase(
    connection: Connection,
    run: str,
    rows: Rows,
    gone: Keys | None = None,
    tables: Sequence[TablePlan] = TABLES,
    *,
    deletes: Deletes = "propagate",
    scanned: bool = True,
    steps: Mapping[str, Sequence[SchemaStep]] | None = None,
    foreign_keys: ForeignKeys = "report",
    expected_rows: Mapping[str, int] | None = None,
    read_time: datetime = AFTER,
) -> tuple[CheckedRelation, ...]:
    """A whole increment."""
    increment = planned(connection, rows, gone, tables, deletes=deletes, scanned=scanned, steps=steps)
    touched = stage_difference(connection, run, increment, rows, gone or {}, tables)
    relations = publish(connection, run, "public", touched, read_time, increment, foreign_keys=foreign_keys, expected_rows=expected_rows)
    record_finish(connection, run, "completed")
    return relations


def moment(day: int) -> int:
    """Microseconds since 1970 of a day in November 2026."""
    return int(datetime(2026, 11, day, tzinfo=UTC).timestamp()) * 1_000_000
