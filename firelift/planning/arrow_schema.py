"""The Arrow form of a table: the types of the Parquet files and of COPY."""

from __future__ import annotations

import pyarrow as pa

from firelift.planning.model import PgType, TablePlan

_SCALARS: dict[str, pa.DataType] = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "double precision": pa.float64(),
    "boolean": pa.bool_(),
    "timestamptz": pa.timestamp("us", "UTC"),
    "bytea": pa.binary(),
    "jsonb": pa.string(),
}


def arrow_type(pg_type: PgType) -> pa.DataType:
    if pg_type.endswith("[]"):
        return pa.list_(_SCALARS[pg_type.removesuffix("[]")])
    return _SCALARS[pg_type]


def arrow_schema(table: TablePlan) -> pa.Schema:
    """Every column of the table, in order; only the keys are never null."""
    return pa.schema([pa.field(name, arrow_type(pg_type), nullable=name not in table.keys) for name, pg_type in table.target_columns()])
