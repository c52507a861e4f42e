"""Counts the values of each column and finds its lowest and highest: as loaded, and as the target has them now."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NotRequired, TypedDict

import orjson

from firelift.files import read_sealed, write_sealed
from firelift.planning.model import PgType, Plan, TablePlan
from firelift.postgres.inspect.column_stats import ColumnHolds, columns_hold
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Session
from firelift.rfc3339 import MomentOutOfRange, from_microseconds, rfc3339
from firelift.storage.column_stats import LONGEST, Bound, ColumnStats, merged, read_column_stats, rows_directory
from firelift.verification.check import Check, Evidence, Found, Inputs, Row, columns_equal
from firelift.verification.proof import ColumnProved

COLUMNS: Final = "columns.json"
NONE, NOT_COMPARED = "none", "not compared"
_INFINITE: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}
_ENDLESS: Final = {2**63 - 1: "infinity", -(2**63): "-infinity"}


class LoadedColumn(TypedDict):
    """A column as it was loaded, with its bounds as text."""

    present: int
    low: NotRequired[str | None]
    """Absent where the values have no order; None where the bound is a text too long to keep."""
    high: NotRequired[str | None]


LoadedColumns = dict[str, dict[str, LoadedColumn]]
"""By table and column."""


def loaded_columns(run: Path, plan: Plan) -> LoadedColumns:
    """The columns as they were transformed, also written to `columns.json` in the run's directory, which outlives the rows.

    Where the rows have been removed the existing file is the answer.
    """
    if not (run / "tables").is_dir():
        return _recorded(run)
    loaded = {table.table: _loaded_into(run, table) for table in plan.tables}
    write_sealed(run / COLUMNS, orjson.dumps(loaded, option=orjson.OPT_INDENT_2).decode())
    return loaded


def prove_columns(session: Session, schema: str, plan: Plan, run: Path) -> tuple[ColumnProved, ...]:
    """Every column whose loaded values are known."""
    loaded = _recorded(run) or loaded_columns(run, plan)
    with session.open_to_read() as connection:
        return tuple(
            _proved(table.table, dict(table.target_columns())[holds.column], holds, known[holds.column])
            for table in plan.tables
            if (known := loaded.get(table.table))
            for holds in columns_hold(connection, TargetTable(schema, table), LONGEST)
            if holds.column in known
        )


def _recorded(run: Path) -> LoadedColumns:
    try:
        recorded: LoadedColumns = orjson.loads(read_sealed(run / COLUMNS))
    except FileNotFoundError:
        return {}
    return recorded


def _loaded_into(run: Path, table: TablePlan) -> dict[str, LoadedColumn]:
    parts = [read_column_stats(file) for file in sorted(rows_directory(run, table).glob("*.parquet"))]
    types = dict(table.target_columns())
    return {column: _as_loaded(stats, types[column]) for column, stats in merged(table, parts).items()}


def _as_loaded(stats: ColumnStats, pg_type: PgType) -> LoadedColumn:
    loaded = LoadedColumn(present=stats["present"])
    if "low" in stats:
        loaded["low"] = _text(stats["low"], pg_type)
    if "high" in stats:
        loaded["high"] = _text(stats["high"], pg_type)
    return loaded


def _proved(table: str, pg_type: PgType, holds: ColumnHolds, loaded: LoadedColumn) -> ColumnProved:
    return ColumnProved(
        table=table,
        column=holds.column,
        expected_present=loaded["present"],
        present=holds.present,
        expected_low=loaded.get("low"),
        low=_comparable(holds.low, pg_type, loaded.get("low", "")),
        expected_high=loaded.get("high"),
        high=_comparable(holds.high, pg_type, loaded.get("high", "")),
        query=holds.query,
    )


def _comparable(bound: Any, pg_type: PgType, expected: str | None) -> str | None:
    """The bound as text; None where the expected bound was too long to keep, so that nothing can be compared."""
    text = _text(bound, pg_type)
    if expected is None or text is None:
        return None
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _text(bound: Bound | None, pg_type: PgType) -> str | None:
    if bound is None or isinstance(bound, str):
        return bound
    if isinstance(bound, bool):
        return str(bound).lower()
    if isinstance(bound, float):
        return _INFINITE.get(bound) or repr(bound + 0.0)
    return _moment(bound) if pg_type == "timestamptz" else str(bound)


def _moment(stamp: int) -> str:
    """RFC 3339, or for a time that only Postgres has its word or a number."""
    if stamp in _ENDLESS:
        return _ENDLESS[stamp]
    try:
        seconds, nanos = from_microseconds(stamp)
        return rfc3339(seconds, nanos)
    except MomentOutOfRange:
        return f"{stamp} µs after 1970"


def find(inputs: Inputs) -> Found:
    tables = inputs.tables
    columns = prove_columns(tables.session, tables.schema, tables.plan, tables.run)
    return Found(columns, warnings=tuple(_not_known(tables.plan, columns)))


def _not_known(plan: Plan, columns: Sequence[ColumnProved]) -> Iterator[str]:
    """A warning for each table whose loaded columns nobody recorded."""
    known = {column.table for column in columns}
    for table in plan.tables:
        if table.table not in known:
            yield f"{table.table}: what its columns held when they were loaded is not known, so that was not compared."


def frame(evidence: Evidence) -> Iterator[Row]:
    for column in evidence.proof.columns:
        counts = {"table": column.table, "column": column.column, "expected_present": column.expected_present, "present": column.present}
        low = _bound("low", column.expected_low, column.low)
        yield counts | low | _bound("high", column.expected_high, column.high) | {"recompute": column.query}


def _bound(end: str, expected: str | None, found: str | None) -> Row:
    """A bound that was not known beforehand says nothing about the one that was found."""
    if expected is None:
        return {f"expected_{end}": NOT_COMPARED, end: NOT_COMPARED}
    return {f"expected_{end}": expected, end: NONE if found is None else found}


CHECK = Check(
    "columns",
    "All tables: how columns are filled",
    "standard",
    frame,
    find=find,
    expectations=(
        columns_equal("expected_present", "present", "Each column is filled in as many rows as were loaded with it."),
        columns_equal("expected_low", "low", "Each column's lowest value is the lowest that was loaded."),
        columns_equal("expected_high", "high", "Each column's highest value is the highest that was loaded."),
    ),
)
