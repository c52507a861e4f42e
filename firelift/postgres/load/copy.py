"""Loads chunks of rows into staging tables, each exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from pgpq.encoders import StringEncoderBuilder
from pgpq.schema import Jsonb as JsonbOutput
from psycopg import sql
from psycopg.types.json import Jsonb

from firelift.planning.arrow_schema import arrow_schema
from firelift.planning.model import PgType, TablePlan
from firelift.postgres.schema.control_schema import CONTROL_SCHEMA, LoadedChunk
from firelift.postgres.schema.names import columns_of
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.foreign_owners import refuse_foreign_in_own
from firelift.postgres.session.lock_capacity import explaining_locks
from firelift.postgres.session.queries import QUERY

TableRows = tuple[TargetTable, pa.Table]
"""One table's share of a chunk."""

# The encoder holds a second copy of a batch's bytes in memory; a chunk of 5000 documents may be 5 GB.
BATCH_BYTES = 8 << 20


def load_chunk(connection: Connection, migration_id: str, chunk: str, pieces: Sequence[TableRows]) -> LoadedChunk:
    """Writes a chunk's rows and its receipt in one transaction; the receipt of a chunk that was loaded before is only read back.

    Returns the receipt that is in the target.
    """
    loaded = LoadedChunk(chunk=chunk, rows=_count(pieces))
    with explaining_locks(connection, len(pieces)), translated(f"loading chunk {chunk}"), connection.transaction():
        refuse_foreign_in_own(connection, CONTROL_SCHEMA, *sorted({table.schema for table, _ in pieces}))
        if not _claim(connection, migration_id, loaded):
            return _receipt(connection, migration_id, chunk)
        for table, rows in pieces:
            copy_rows(connection, table, rows)
    return loaded


def copy_rows(connection: Connection, table: TargetTable, rows: pa.Table) -> None:
    """Sends rows by binary COPY; `rows` has the columns of `arrow_schema(table)`."""
    if not rows.num_rows:
        return
    columns = columns_of(table.columns)
    command = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(table.identifier, columns)
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        for piece in _encoded(table.plan, rows):
            copy.write(piece)


def _count(pieces: Sequence[TableRows]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for table, rows in pieces:
        counted[table.name] += rows.num_rows
    return dict(counted)


def _claim(connection: Connection, migration_id: str, loaded: LoadedChunk) -> bool:
    given = {"migration_id": migration_id, "chunk": loaded.chunk, "rows": Jsonb(loaded.rows)}
    return connection.execute(QUERY["claim_chunk"], given).fetchone() is not None


def _receipt(connection: Connection, migration_id: str, chunk: str) -> LoadedChunk:
    row = connection.execute(QUERY["loaded_chunk"], {"migration_id": migration_id, "chunk": chunk}).fetchone()
    assert row is not None, "the chunk was claimed"
    return LoadedChunk(chunk=row[0], rows=row[1])


def _encoded(table: TablePlan, rows: pa.Table) -> Iterator[bytes]:
    schema = arrow_schema(table)
    if not rows.schema.equals(schema):
        rows = rows.select(schema.names).cast(schema)
    encoder = ArrowToPostgresBinaryEncoder.new_with_encoders(schema, _encoders(table, schema))
    yield encoder.write_header()
    for batch in rows.to_batches(max_chunksize=_rows_a_batch(rows)):
        yield encoder.write_batch(batch)
    yield encoder.finish()


def _rows_a_batch(rows: pa.Table) -> int:
    return max(1, int(BATCH_BYTES * rows.num_rows // max(1, rows.nbytes)))


def _encoders(table: TablePlan, schema: pa.Schema) -> dict[str, Any]:
    return {name: _encoder(schema.field(name), pg_type) for name, pg_type in table.target_columns()}


def _encoder(field: pa.Field, pg_type: PgType) -> Any:
    if pg_type == "jsonb":
        return StringEncoderBuilder.new_with_output(field, JsonbOutput())
    return ArrowToPostgresBinaryEncoder.infer_encoder(field)
