"""Rows that go in by COPY come out the same, each chunk exactly once."""

from __future__ import annotations

import struct
from contextlib import closing
from typing import Any

import pytest

from firelift.errors import FireliftError
from firelift.planning.arrow_schema import arrow_schema
from firelift.planning.model import ColumnKind, PgType, TablePlan
from firelift.postgres.inspect.rows import count_rows, read_rows
from firelift.postgres.load.copy import load_chunk
from firelift.postgres.load.staging import finish_types
from firelift.postgres.schema.control_schema import loaded_chunks
from firelift.postgres.schema.names import staging_schema
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session import errors
from firelift.postgres.session.connect import connect
from tests.support.postgres_tables import HOSTILE, RUN, as_arrow, bits, load, plan, row, started, values

STAGING = staging_schema(RUN)
YEAR_1, YEAR_9999 = -62_135_596_800_000_000, 253_402_300_799_999_999
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
INF = float("inf")
STRANGE_NAN: float = struct.unpack("!d", bytes.fromhex("fff8000000000001"))[0]
FLOATS = [0.0, -0.0, 5e-324, 1.797e308, 0.1, INF, -INF, float("nan"), STRANGE_NAN, 2.0**53 + 2]
STRINGS = ["", " ", "\\N", "\\.", "a\tb\r\nc", "'\"", "\ufffd", "\U0010ffff", "é", "é", "\ufeffx", "👨‍👩‍👧", "{}", "NULL"]

EVERYTHING = plan(
    "everything",
    s="string",
    i="integer",
    d="double",
    b="boolean",
    t="timestamp",
    y="bytes",
    r="reference",
    ss="strings",
    ii="integers",
    dd="doubles",
    bb="booleans",
    tt="timestamps",
    v="vector",
    j="json",
)
NOTHING: list[Any] = [None] * 14
ROWS = [
    row(
        EVERYTHING, "a", "x", 1, 1.0, True, 0, b"", "p/q", STRINGS, [INT_MIN, INT_MAX], FLOATS, [True, False], [YEAR_1, -1, 0], FLOATS, "{}"
    ),
    row(EVERYTHING, "b", *NOTHING),
    row(EVERYTHING, "c", "", INT_MIN, -0.0, False, YEAR_1, b"\0\xff", "", [], [], [], [], [], [], "[]"),
    row(EVERYTHING, "d", "x", INT_MAX, STRANGE_NAN, True, YEAR_9999, b"y", "", [""], [0], [0.0], [True], [YEAR_9999], [1.5] * 2048, "null"),
    *[row(EVERYTHING, f"s{n:02}", text, n, *NOTHING[2:]) for n, text in enumerate(STRINGS)],
    *[row(EVERYTHING, f"t{n:02}", None, n, number, *NOTHING[3:]) for n, number in enumerate(FLOATS)],
]


def read(connection: Any, table: TablePlan, keys: list[list[str]] | None = None) -> list[Any]:
    return [bits(found) for found in read_rows(connection, TargetTable(STAGING, table), keys)]


def test_every_type_comes_back_bit_for_bit(database_url: str) -> None:
    with started(database_url, EVERYTHING) as connection:
        load(connection, STAGING, [(EVERYTHING, ROWS)])
        finish_types(connection, TargetTable(STAGING, EVERYTHING))
        assert read(connection, EVERYTHING) == bits(ROWS)


def test_columns_have_the_types_of_the_plan_once_finished(database_url: str) -> None:
    with started(database_url, EVERYTHING) as connection:
        for _ in range(2):
            finish_types(connection, TargetTable(STAGING, EVERYTHING))
        shown = connection.execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
            [f"{STAGING}.everything"],
        ).fetchall()
    spelled: dict[PgType, str] = {"timestamptz": "timestamp with time zone", "timestamptz[]": "timestamp with time zone[]"}
    assert shown == [(name, spelled.get(pg_type, pg_type)) for name, pg_type in EVERYTHING.target_columns()]


def test_a_table_of_nothing_but_keys_is_loaded(database_url: str) -> None:
    bare = plan("users/*/orders/*/items")
    rows = [row(bare, "u", "o", "a"), row(bare, "u", "o", "b")]
    with started(database_url, bare) as connection:
        load(connection, STAGING, [(bare, rows)])
        assert read(connection, bare) == rows
        assert count_rows(connection, TargetTable(STAGING, bare)) == 2


def test_hostile_names_are_only_names(database_url: str) -> None:
    columns: dict[str, ColumnKind] = {HOSTILE + "1": "string", '"': "integer", "%": "timestamps", "select": "json"}
    table = plan("x", parent=None, table=HOSTILE, **columns)
    rows = [row(table, HOSTILE, HOSTILE, 1, [5], '{"%s": "\\""}')]
    with started(database_url, table) as connection:
        load(connection, STAGING, [(table, rows)])
        finish_types(connection, TargetTable(STAGING, table))
        assert read(connection, table) == rows
        assert read(connection, table, [[HOSTILE]]) == rows
        assert count_rows(connection, TargetTable(STAGING, table)) == 1
        assert loaded_chunks(connection, RUN)["c1"].rows == {HOSTILE: 1}


def test_rows_come_in_byte_order_of_their_keys(database_url: str) -> None:
    ids = ["a", "B", "é", "é", "👍", "\uffee", "Z ", "a b", "a/b", "ab", "10", "9"]
    table = plan("t")
    with started(database_url, table) as connection:
        load(connection, STAGING, [(table, [row(table, name) for name in ids])])
        assert [found[0] for found in read(connection, table)] == sorted(ids, key=str.encode)


def test_rows_are_read_for_a_list_of_keys(database_url: str) -> None:
    table = plan("users/*/orders", n="integer")
    rows = [row(table, user, order, 1) for user in "ab" for order in "xyz"]
    with started(database_url, table) as connection:
        load(connection, STAGING, [(table, rows)])
        chosen = read(connection, table, [["b", "x"], ["a", "z"], ["a", "nobody"], ["a", "z"]])
        assert chosen == [row(table, "a", "z", 1), row(table, "b", "x", 1)]
        assert read(connection, table, []) == []


def test_large_values_pass(database_url: str) -> None:
    table = plan("t", s="string", y="bytes", j="json")
    mebibyte = 1 << 20
    rows = [row(table, f"{n:02}", "é" * (mebibyte // 2), bytes(range(256)) * 4096, '["' + "x" * mebibyte + '"]') for n in range(24)]
    with started(database_url, table) as connection:
        load(connection, STAGING, [(table, rows)])
        assert read(connection, table) == rows


def test_a_table_read_from_parquet_with_other_arrow_types_is_loaded(database_url: str) -> None:
    import pyarrow as pa

    table = plan("t", s="string", ss="strings")
    rows = [row(table, "a", "x", ["y"]), row(table, "b", "x", [])]
    arrow = as_arrow(table, rows)
    arrow = arrow.set_column(1, "s", arrow["s"].dictionary_encode()).set_column(0, "id", arrow["id"].cast(pa.large_string()))
    with started(database_url, table) as connection:
        load_chunk(connection, RUN, "c1", [(TargetTable(STAGING, table), arrow)])
        assert read(connection, table) == rows


def test_a_chunk_received_before_is_skipped(database_url: str) -> None:
    users, orders = plan("users"), plan("users/*/orders")
    pieces = [
        (TargetTable(STAGING, users), as_arrow(users, [row(users, "a"), row(users, "b")])),
        (TargetTable(STAGING, orders), as_arrow(orders, [])),
        (TargetTable(STAGING, users), as_arrow(users, [row(users, "c")])),
    ]
    with started(database_url, users, orders) as connection:
        first = load_chunk(connection, RUN, "c1", pieces)
        again = load_chunk(connection, RUN, "c1", pieces)
        assert first == again
        assert first.rows == {"users": 3, "users_orders": 0}
        assert count_rows(connection, TargetTable(STAGING, users)) == 3
        assert list(loaded_chunks(connection, RUN)) == ["c1"]


def test_a_second_loader_of_a_chunk_waits_for_the_first_and_then_skips_it(database_url: str) -> None:
    users = plan("users")
    share = [(users, [row(users, "a")])]
    with started(database_url, users) as first, closing(connect(database_url, "second")) as second:
        second.execute("SET lock_timeout = '50ms'")
        with first.transaction():
            load(first, STAGING, share)
            with pytest.raises(errors.TargetBusy):
                load(second, STAGING, share)
        load(second, STAGING, share)
        assert count_rows(second, TargetTable(STAGING, users)) == 1


# The server itself raises these in mid-COPY, from a trigger on the staging table.
FAULTS = [
    ("RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'", errors.TargetDiskFull),
    ("RAISE EXCEPTION 'out of memory' USING ERRCODE = '53200'", errors.TargetOutOfMemory),
    (
        "RAISE EXCEPTION 'out of shared memory' USING ERRCODE = '53200', HINT = 'You might need to increase max_locks_per_transaction.'",
        errors.TooManyLocks,
    ),
    ("RAISE EXCEPTION 'cannot execute in a read-only transaction' USING ERRCODE = '25006'", errors.TargetReadOnly),
    ("RAISE EXCEPTION 'canceling statement due to lock timeout' USING ERRCODE = '55P03'", errors.TargetBusy),
    ("PERFORM pg_terminate_backend(pg_backend_pid())", errors.ConnectionLost),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS, ids=[kind.__name__ for _, kind in FAULTS])
def test_a_chunk_that_fails_leaves_neither_rows_nor_a_receipt(database_url: str, fault: str, kind: type[FireliftError]) -> None:
    first, second = plan("first"), plan("second")
    both = [(first, [row(first, "a")]), (second, [row(second, "a"), row(second, "b")])]
    with started(database_url, first, second) as connection:
        connection.execute(
            f"CREATE FUNCTION {STAGING}.fault() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {fault}; RETURN NEW; END$$;"
            f"CREATE TRIGGER fault BEFORE INSERT ON {STAGING}.second FOR EACH ROW WHEN (NEW.id = 'b')"
            f" EXECUTE FUNCTION {STAGING}.fault()".encode()
        )
        with pytest.raises(kind) as caught:
            load(connection, STAGING, both)
        assert "loading chunk c1" in str(caught.value)
        assert (caught.value.recovery == "automatic") is (kind in (errors.TargetBusy, errors.ConnectionLost))
    with started(database_url, first, second) as connection:
        assert loaded_chunks(connection, RUN) == {}
        assert values(connection, f"SELECT count(*) FROM {STAGING}.first") == [0]
        connection.execute(f"DROP TRIGGER fault ON {STAGING}.second".encode())
        load(connection, STAGING, both)
        assert loaded_chunks(connection, RUN)["c1"].rows == {"first": 1, "second": 2}


def test_reading_from_a_broken_connection_is_a_lost_connection(database_url: str) -> None:
    table = plan("t")
    with started(database_url, table) as connection:
        with pytest.raises(errors.ConnectionLost):
            connection_after_its_end(connection, table)
        assert connection.closed


def connection_after_its_end(connection: Any, table: TablePlan) -> None:
    with errors.translated("ending"):
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    list(read_rows(connection, TargetTable(STAGING, table)))


def test_arrow_columns_are_the_plans() -> None:
    assert arrow_schema(EVERYTHING).names == [name for name, _ in EVERYTHING.target_columns()]
