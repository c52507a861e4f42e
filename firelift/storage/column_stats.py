"""Statistics of each column in a Parquet file of rows: the number of values, the lowest and the highest. The file's metadata keeps them.

Parquet's own statistics are enough for some types only: they do not tell a NULL array from an empty one, they order jsonb as text,
and a single text longer than 4 KiB costs the column its range.
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


class ColumnStats(TypedDict):
    """One column. Timestamps are microseconds since 1970; NaN is left out of the range, and -0.0 counts as 0.0."""

    present: int
    """How many values are not NULL."""
    low: NotRequired[Bound | None]
    """Missing where no value has an order; None where it is a text too long to keep."""
    high: NotRequired[Bound | None]


TableStats = dict[str, ColumnStats]
"""By column."""


def rows_directory(run: Path, table: TablePlan) -> Path:
    """Where a run keeps the rows of a table: one file a chunk."""
    return run / "tables" / file_name(table.table)


def with_column_stats(rows: pa.Table, table: TablePlan) -> pa.Table:
    """The rows, with the statistics of their columns in the metadata that the Parquet file will have."""
    stats = {name: _stats(rows.column(name), pg_type) for name, pg_type in table.target_columns()}
    return rows.replace_schema_metadata({_KEY: json.dumps(stats, ensure_ascii=False)})


def read_column_stats(file: Path) -> TableStats:
    """The statistics of a file's columns."""
    stats: TableStats = json.loads(pq.read_metadata(file).metadata[_KEY])
    return stats


def merged(table: TablePlan, parts: Sequence[TableStats]) -> TableStats:
    """The statistics of a whole table, from those of its files."""
    return {name: _merged([part[name] for part in parts if name in part]) for name, _ in table.target_columns()}


def _merged(parts: Sequence[ColumnStats]) -> ColumnStats:
    stats = ColumnStats(present=sum(part["present"] for part in parts))
    lows, highs = [part["low"] for part in parts if "low" in part], [part["high"] for part in parts if "high" in part]
    if lows:
        stats["low"] = None if None in lows else min(lows)  # type: ignore[type-var]
    if highs:
        stats["high"] = None if None in highs else max(highs)  # type: ignore[type-var]
    return stats


def _stats(column: pa.ChunkedArray, pg_type: PgType) -> ColumnStats:
    stats = ColumnStats(present=len(column) - column.null_count)
    if pg_type not in _RANGED or not stats["present"]:
        return stats
    bounds = pc.min_max(column.cast(pa.int64()) if pg_type == "timestamptz" else column)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low == low:  # only NaN has no order
        stats["low"], stats["high"] = _bound(low), _bound(high)
    return stats


def _bound(bound: Any) -> Bound | None:
    if isinstance(bound, str) and len(bound) > LONGEST:
        return None
    # Adding 0.0 makes -0.0 the 0.0 that it equals.
    kept: Bound = bound + 0.0 if isinstance(bound, float) else bound
    return kept
