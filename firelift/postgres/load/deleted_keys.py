"""Stages the keys of rows whose documents were deleted, next to a run's staged tables."""

from __future__ import annotations

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql
from psycopg.types.json import Jsonb

from firelift.planning.model import TablePlan
from firelift.postgres.schema.control_schema import CONTROL_SCHEMA
from firelift.postgres.schema.ddl import create_keys
from firelift.postgres.schema.names import columns_of, companion_name, staging_schema
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.foreign_owners import refuse_foreign_in_own
from firelift.postgres.session.queries import QUERY


def deleted_keys_table(table: str) -> str:
    """The name of the staging table with the deleted keys of a table."""
    return companion_name("deleted", table)


def create_deleted_keys(connection: Connection, migration_id: str, table: TablePlan) -> None:
    """Makes the staging table for a table's deleted keys; one that exists already stays. Call it after `create_staging`."""
    with translated(f"creating the staging table of deleted rows of {table.table}"), connection.transaction():
        connection.execute(create_keys(TargetTable(staging_schema(migration_id), table), deleted_keys_table(table.table)))
        # IF NOT EXISTS takes whatever has the name.
        refuse_foreign_in_own(connection, staging_schema(migration_id))


def load_deleted_keys(connection: Connection, migration_id: str, table: TablePlan, chunk: str, keys: pa.Table) -> int:
    """Writes a chunk of deleted keys and its receipt in one transaction; a chunk that was received before is skipped.

    `keys` has the columns of `table.keys`; `chunk` is a name that no other chunk of the run has. Returns how many keys the chunk has.
    """
    rows = keys.select(list(table.keys)).cast(pa.schema([(key, pa.string()) for key in table.keys]))
    receipt = {"migration_id": migration_id, "chunk": chunk, "rows": Jsonb({deleted_keys_table(table.table): rows.num_rows})}
    with translated(f"loading the deleted rows of {chunk}"), connection.transaction():
        refuse_foreign_in_own(connection, CONTROL_SCHEMA, staging_schema(migration_id))
        if rows.num_rows and connection.execute(QUERY["claim_chunk"], receipt).fetchone() is not None:
            _copy(connection, sql.Identifier(staging_schema(migration_id), deleted_keys_table(table.table)), table, rows)
    return int(rows.num_rows)


def has_deleted_keys(connection: Connection, migration_id: str, table: str) -> bool:
    """Whether the run has made a staging table of deleted keys for a table."""
    names = connection.execute(QUERY["relation_names"], {"schemas": [staging_schema(migration_id)]})
    return deleted_keys_table(table) in {name for (name,) in names}


def _copy(connection: Connection, into: sql.Identifier, table: TablePlan, rows: pa.Table) -> None:
    encoder = ArrowToPostgresBinaryEncoder(rows.schema)
    command = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(into, columns_of(table.keys))
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        copy.write(encoder.write_header())
        for batch in rows.to_batches():
            copy.write(encoder.write_batch(batch))
        copy.write(encoder.finish())
    # Without statistics the planner would take it for a large table.
    connection.execute(sql.SQL("ANALYZE {}").format(into))
