"""Plans, rows and roles that the tests of the Postgres room share."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from firelift.planning.arrow_schema import arrow_schema
from firelift.planning.build import ForecastTables, TableForecast
from firelift.planning.model import Column, ColumnKind, ReferenceTarget, TablePlan
from firelift.postgres.load.copy import load_chunk
from firelift.postgres.load.staging import create_staging
from firelift.postgres.schema.control_schema import create_control, record_start
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection, connect

RUN = "migration-2026-11-22T10-30-00-123Z-abc123"
ODD = {
    "DateStyle": "'SQL, DMY'",
    "IntervalStyle": "sql_standard",
    "TimeZone": "'Asia/Kathmandu'",
    "array_nulls": "off",
    "backslash_quote": "off",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "exit_on_error": "on",
    "extra_float_digits": "-15",
    "gin_fuzzy_search_limit": "1",
    "idle_in_transaction_session_timeout": "'1s'",
    "idle_session_timeout": "'1s'",
    "jit": "on",
    "lock_timeout": "10",
    "quote_all_identifiers": "on",
    "row_security": "on",
    "search_path": "public, pg_catalog",
    "standard_conforming_strings": "off",
    "statement_timeout": "300",
    "transform_null_equals": "on",
    "xmloption": "document",
}
"""Defaults that a role or a database may have, in PostgreSQL's spelling, none of which must matter."""
HOSTILE = """a"; DROP TABLE x; -- %s %(x)s $1 \\ ' 🔥"""


def plan(collection: str, /, *, parent: str | None = None, table: str | None = None, **columns: ColumnKind | ReferenceTarget) -> TablePlan:
    """A plan with the contract's names and keys."""
    parts = collection.split("/*/")
    return TablePlan(
        collection=collection,
        table=table or "_".join(parts),
        keys=(*(f"{part}_id" for part in parts[:-1]), "id"),
        columns=tuple(_column(name, kind) for name, kind in columns.items()),
        parent=parent,
    )


def _column(name: str, kind: ColumnKind | ReferenceTarget) -> Column:
    if isinstance(kind, ReferenceTarget):
        return Column(name=name, path=(name,), kind="link", reference=kind)
    return Column(name=name, path=(name,), kind=kind)


def row(table: TablePlan, *values: Any) -> list[Any]:
    """A row whose last three columns say nothing special."""
    return [*values, 1_700_000_000_000_000, 1_700_000_000_000_001, None]


def as_arrow(table: TablePlan, rows: Sequence[Sequence[Any]]) -> pa.Table:
    schema = arrow_schema(table)
    columns = [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(schema)]
    return pa.Table.from_arrays(columns, schema=schema)


def bits(value: Any) -> Any:
    """The value with every float as its bits, so that NaN equals NaN and -0.0 differs from 0.0."""
    if isinstance(value, float):
        return struct.pack("!d", value).hex()
    return [bits(element) for element in value] if isinstance(value, list) else value


@contextmanager
def started(url: str, *tables: TablePlan) -> Iterator[Connection]:
    """A connection to a target in which a run has made its staging tables."""
    with closing(connect(url, "firelift-test")) as connection:
        create_control(connection)
        record_start(connection, RUN, "full", {"target_schema": "public"})
        create_staging(connection, RUN, tables)
        yield connection


def load(connection: Connection, schema: str, rows: Sequence[tuple[TablePlan, Sequence[Sequence[Any]]]], chunk: str = "c1") -> None:
    load_chunk(connection, RUN, chunk, [(TargetTable(schema, table), as_arrow(table, share)) for table, share in rows])


def values(connection: Connection, query: str) -> list[Any]:
    """The first column of a query's rows."""
    return [first for first, *_ in connection.execute(query.encode())]


def named(*tables: str) -> ForecastTables:
    """Root collections' tables of these names are to come."""
    return lambda _: TableForecast(tables={name: name for name in tables})


def as_role(url: str, role: str, password: str) -> str:
    """The same database for another role."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}:{password}@{parts.hostname}:{parts.port}").geturl()
