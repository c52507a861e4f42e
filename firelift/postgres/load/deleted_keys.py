"""Stages the keys of rows whose documents are gone, beside a run's staged tables."""

from __future__ import annotations

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from psycopg import sql
from psycopg.types.json import Jsonb

from firelift.planning.model import TablePlan
from firelift.postgres.schema.control import CONTROL_SCHEMA
from firelift.postgres.schema.ddl import beside, columns_of, create_keys, staging_schema
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.ownership import refuse_foreign_in_own
from firelift.postgres.session.queries import QUERY


def gone_table(table: str) -> str:
    """The name of the staging table with the gone keys of a table."""
    return beside("gone", table)


def create_gone(connection: Connection, migration_id: str, table: TablePlan) -> None:
    """Makes the staging table for a table's gone keys; one that is there already stays. Call it after `create_staging`."""
    with translated(f"creating the staging table of gone rows of {table.table}"), connection.transaction():
        connection.execute(create_keys(table, staging_schema(migration_id), gone_table(table.table)))
        # IF NOT EXISTS takes whatever has the name.
        refuse_foreign_in_own(connection, staging_schema(migration_id))


def load_gone(connection: Connection, migration_id: str, table: TablePlan, chunk: str, keys: pa.Table) -> int:
    """Writes a chunk of gone keys and its receipt in one transaction; a chunk that was received before is passed over.

    `keys` has the columns of `table.keys`; `chunk` is a name that no other chunk of the run has. Returns how many keys the chunk has.
    """
    rows = keys.select(list(table.keys)).cast(pa.schema([(key, pa.string()) for key in table.keys]))
    receipt = {"migration_id": migration_id, "chunk": chunk, "rows": Jsonb({gone_table(table.table): rows.num_rows})}
    with translated(f"loading the gone rows of {chunk}"), connection.transaction():
        refuse_foreign_in_own(connection, CONTROL_SCHEMA, staging_schema(migration_id))
        if rows.num_rows and connection.execute(QUERY["claim_chunk"], receipt).fetchone() is not None:
            _copy(connection, sql.Identifier(staging_schema(migration_id), gone_table(table.table)), table, rows)
    return int(rows.num_rows)


def has_gone(connection: Connection, migration_id: str, table: str) -> bool:
    """Whether the run has made a staging table of gone keys for a table."""
    names = connection.execute(QUERY["relation_names"], {"schemas": [staging_schema(migration_id)]})
    return gone_table(table) in {name for (name,) in names}


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
