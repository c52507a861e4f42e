"""On tables that nobody touched, whatever their plans and documents, the probes of columns and nested values find nothing."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from firelift.firestore.values import Document
from firelift.planning.model import Plan, TablePlan
from firelift.postgres.load.copy import copy_rows
from firelift.postgres.load.staging import finish_types
from firelift.postgres.schema.ddl import create_table
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection, Session, connect
from firelift.storage.archive import write_parquet
from firelift.storage.column_stats import rows_directory, with_column_stats
from firelift.transform import compile_encoder
from firelift.verification.checks.columns import prove_columns
from firelift.verification.checks.nested import prove_nested
from tests.property.test_transform_postgres import SCHEMA, arrow_table
from tests.support.strategies import DATABASE, planned_documents


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with closing(connect(database_url, "test")) as opened:
        yield opened


NUMBERS = itertools.count()


# Every example makes a table of its own in the one database, so the fixture may be shared by all of them.
@settings(
    max_examples=100,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a smaller example would take minutes to find
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(planned=planned_documents(at_most=5))
def test_untouched_tables_hold_what_was_loaded_and_every_value_is_readable(
    connection: Connection, database_url: str, planned: tuple[TablePlan, list[Document]]
) -> None:
    table, documents = planned
    table = table.model_copy(update={"table": f"probed{next(NUMBERS)}"})
    encode = compile_encoder(table, DATABASE)
    rows = arrow_table(table, [encode(document.SerializeToString()) for document in documents])
    connection.execute(create_table(TargetTable(SCHEMA, table), staged=True))
    copy_rows(connection, TargetTable(SCHEMA, table), rows)
    finish_types(connection, TargetTable(SCHEMA, table))
    plan = Plan(database=DATABASE, tables=(table,))
    with tempfile.TemporaryDirectory() as run:
        rows_directory(Path(run), table).mkdir(parents=True)
        for start in range(0, rows.num_rows, 2):
            write_parquet(with_column_stats(rows.slice(start, 2), table), rows_directory(Path(run), table) / f"{start}.parquet")
        columns = prove_columns(Session(database_url, "test"), SCHEMA, plan, Path(run))
    assert len(columns) == len(table.target_columns())
    for column in columns:
        expected = column.expected_present, column.expected_low, column.expected_high
        assert (column.present, column.low, column.high) == expected
    assert [found for found in prove_nested(Session(database_url, "test"), SCHEMA, plan) if found.unreadable] == []
