"""Any document, under any plan, comes back to the bit from a row that went through a real Postgres."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from psycopg import sql

from firelift.firestore.values import Document, same_document
from firelift.planning.arrow_schema import arrow_schema
from firelift.planning.model import TablePlan
from firelift.postgres.inspect.rows import read_rows
from firelift.postgres.load.copy import copy_rows
from firelift.postgres.load.staging import finish_types
from firelift.postgres.schema.ddl import create_table
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection, connect
from firelift.transform import compile_decoder, compile_encoder
from firelift.transform.encode import Row
from tests.support.strategies import DATABASE, planned_documents

SCHEMA = "public"


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with connect(database_url, "test") as opened:
        yield opened


NUMBERS = itertools.count()


# Every example makes a table of its own in the one database, so the fixture may be shared by all of them.
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(planned=planned_documents(at_most=3))
def test_a_row_read_from_postgres_gives_its_document_back_to_the_bit(
    connection: Connection, planned: tuple[TablePlan, list[Document]]
) -> None:
    table, originals = planned
    table = table.model_copy(update={"table": f"t{next(NUMBERS)}"})
    encode, decode = compile_encoder(table, DATABASE), compile_decoder(table, DATABASE)
    stored = through_postgres(connection, table, [encode(original.SerializeToString()) for original in originals])
    by_name = {document.name: document for document in map(decode, stored)}
    assert len(by_name) == len(originals)
    for original in originals:
        assert same_document(by_name[original.name], original)


def through_postgres(connection: Connection, table: TablePlan, rows: list[Row]) -> list[Row]:
    connection.execute(create_table(TargetTable(SCHEMA, table), staged=True))
    copy_rows(connection, TargetTable(SCHEMA, table), arrow_table(table, rows))
    finish_types(connection, TargetTable(SCHEMA, table))
    stored = list(read_rows(connection, TargetTable(SCHEMA, table)))
    connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(SCHEMA, table.table)))
    return stored


def arrow_table(table: TablePlan, rows: list[Row]) -> pa.Table:
    schema = arrow_schema(table)
    columns = [pa.array(cells, field.type) for cells, field in zip(zip(*rows, strict=True), schema, strict=True)]
    return pa.table(columns, schema=schema)
