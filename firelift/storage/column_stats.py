"""What each column of a Parquet file of rows holds: how many values, the lowest and the highest. Kept in the file itself.

Parquet's own statistics would do for some types only: they do not tell an array that is NULL from an empty one, they order as text
what is jsonb, and a single text of over 4 KiB costs the column its range.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NotRequired, TypedDict

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firelift.planning.model import PgType, TablePlan
from firelift.storage.archive import file_name

LONGEST: Final = 1000
"""Characters of the longest text that is kept."""
_RANGED: Final[frozenset[PgType]] = frozenset({"text", "bigint", "double precision", "boolean", "timestamptz"})
_KEY: Final = b"firelift.columns"

Bound = str | int | float | bool


class Fact(TypedDict):
    """One column. Timestamps are microseconds since 1970; NaN is no number here, and -0.0 is 0.0."""

    present: int
    """Values that are not NULL."""
    low: NotRequired[Bound | None]
    """Not there where no value has an order; None where it is a text too long to keep."""
    high: NotRequired[Bound | None]


Facts = dict[str, Fact]
"""By column."""


def rows_directory(run: Path, table: TablePlan) -> Path:
    """Where a run keeps the rows of a table: one file a chunk."""
    return run / "tables" / file_name(table.table)


def with_facts(rows: pa.Table, table: TablePlan) -> pa.Table:
    """The rows, with the facts of their columns for the file they will be."""
    facts = {name: _fact(rows.column(name), pg_type) for name, pg_type in table.target_columns()}
    return rows.replace_schema_metadata({_KEY: json.dumps(facts, ensure_ascii=False)})


def facts_in(file: Path) -> Facts | None:
    """The facts of a file's columns; None for a file that was written without them."""
    kept = (pq.read_metadata(file).metadata or {}).get(_KEY)
    return None if kept is None else json.loads(kept)


def merged(table: TablePlan, parts: Sequence[Facts]) -> Facts:
    """The facts of a whole table, of those of its files."""
    return {name: _merged([part[name] for part in parts if name in part]) for name, _ in table.target_columns()}


def _merged(parts: Sequence[Fact]) -> Fact:
    fact = Fact(present=sum(part["present"] for part in parts))
    lows, highs = [part["low"] for part in parts if "low" in part], [part["high"] for part in parts if "high" in part]
    if lows:
        fact["low"] = None if None in lows else min(lows)  # type: ignore[type-var]
    if highs:
        fact["high"] = None if None in highs else max(highs)  # type: ignore[type-var]
    return fact


def _fact(column: pa.ChunkedArray, pg_type: PgType) -> Fact:
    fact = Fact(present=len(column) - column.null_count)
    if pg_type not in _RANGED or not fact["present"]:
        return fact
    bounds = pc.min_max(column.cast(pa.int64()) if pg_type == "timestamptz" else column)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low == low:  # only NaN has no order
        fact["low"], fact["high"] = _kept(low), _kept(high)
    return fact


def _kept(bound: Any) -> Bound | None:
    if isinstance(bound, str) and len(bound) > LONGEST:
        return None
    kept: Bound = bound + 0.0 if isinstance(bound, float) else bound
    return kept
