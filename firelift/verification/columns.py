"""How many values each column holds and between which bounds: as loaded, and as the target has it now."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final, NotRequired, TypedDict

import orjson

from firelift.files import read_sealed, write_sealed
from firelift.planning.model import PgType, Plan, TablePlan
from firelift.postgres.inspect.column_stats import ColumnHolds, columns_hold
from firelift.postgres.inspect.reading import reading
from firelift.storage.column_stats import LONGEST, Bound, Fact, facts_in, merged, rows_directory
from firelift.times import MomentOutOfRange, from_microseconds, rfc3339
from firelift.verification.proof import ColumnProved

COLUMNS: Final = "columns.json"
_INFINITE: Final = {math.inf: "Infinity", -math.inf: "-Infinity"}
_ENDLESS: Final = {2**63 - 1: "infinity", -(2**63): "-infinity"}


class Told(TypedDict):
    """A column as it was loaded, its bounds as text."""

    present: int
    low: NotRequired[str | None]
    """Not there where no value has an order; None where it is a text too long to keep."""
    high: NotRequired[str | None]


ToldOf = dict[str, dict[str, Told]]
"""By table and column."""


def column_facts(run: Path, plan: Plan) -> ToldOf:
    """What the transformed rows hold, also written to `columns.json` in the run's directory: it outlives the rows.

    A table with a file of an earlier version of Firelift, which kept no facts, is left out. Where the rows are gone the file that
    stands is the answer.
    """
    if not (run / "tables").is_dir():
        return _kept(run)
    told = {table.table: facts for table in plan.tables if (facts := _told_of(run, table)) is not None}
    write_sealed(run / COLUMNS, orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
    return told


def prove_columns(url: str, session: str, schema: str, plan: Plan, run: Path) -> tuple[ColumnProved, ...]:
    """Every column of every table of which is known what was loaded into it."""
    told = _kept(run) or column_facts(run, plan)
    with reading(url, session) as connection:
        return tuple(
            _proved(table.table, dict(table.target_columns())[holds.column], holds, known[holds.column])
            for table in plan.tables
            if (known := told.get(table.table))
            for holds in columns_hold(connection, schema, table, LONGEST)
            if holds.column in known
        )


def _kept(run: Path) -> ToldOf:
    try:
        kept: ToldOf = orjson.loads(read_sealed(run / COLUMNS))
    except FileNotFoundError:
        return {}
    return kept


def _told_of(run: Path, table: TablePlan) -> dict[str, Told] | None:
    parts = [facts_in(file) for file in sorted(rows_directory(run, table).glob("*.parquet"))]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    types = dict(table.target_columns())
    return {column: _told(fact, types[column]) for column, fact in merged(table, known).items()}


def _told(fact: Fact, pg_type: PgType) -> Told:
    told = Told(present=fact["present"])
    if "low" in fact:
        told["low"] = _text(fact["low"], pg_type)
    if "high" in fact:
        told["high"] = _text(fact["high"], pg_type)
    return told


def _proved(table: str, pg_type: PgType, holds: ColumnHolds, told: Told) -> ColumnProved:
    return ColumnProved(
        table=table,
        column=holds.column,
        expected_present=told["present"],
        present=holds.present,
        expected_low=told.get("low"),
        low=_found(holds.low, pg_type, told.get("low", "")),
        expected_high=told.get("high"),
        high=_found(holds.high, pg_type, told.get("high", "")),
        query=holds.query,
    )


def _found(bound: Any, pg_type: PgType, expected: str | None) -> str | None:
    """As text; None beside a bound that was too long to keep, with which nothing can be compared."""
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
    """RFC 3339, or for what only Postgres has: its word, or a number."""
    if stamp in _ENDLESS:
        return _ENDLESS[stamp]
    try:
        seconds, nanos = from_microseconds(stamp)
        return rfc3339(seconds, nanos)
    except MomentOutOfRange:
        return f"{stamp} µs after 1970"
