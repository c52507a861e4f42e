"""What columns hold, from the files that were loaded and from the tables they were loaded into."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from firelift.files import read_sealed
from firelift.planning.model import ColumnKind, Plan, ReferenceTarget, TablePlan
from firelift.postgres.load.constraints import constrain
from firelift.postgres.schema.names import staging_schema
from firelift.postgres.session.connect import Connection, Session
from firelift.storage.archive import write_parquet
from firelift.storage.column_stats import LONGEST, rows_directory, with_column_stats
from firelift.verification.checks.columns import COLUMNS, loaded_columns, prove_columns
from firelift.verification.proof import ColumnProved
from tests.support.postgres_tables import HOSTILE, RUN, as_arrow, load, plan, row, started

STAGING = staging_schema(RUN)
YEAR_1, YEAR_9999 = -62_135_596_800_000_000, 253_402_300_799_999_999

KINDS = plan(
    "kinds",
    text="string",
    number="integer",
    real="double",
    truth="boolean",
    moment="timestamp",
    raw="bytes",
    path="reference",
    texts="strings",
    moments="timestamps",
    more="json",
    friend=ReferenceTarget(collection="friends", ancestors=("friend_of",)),
)
ROWS = [
    row(KINDS, "a", "", -(2**63), math.nan, False, YEAR_1, b"\0", "a/b", [], [], "{}", "f", "g"),
    row(KINDS, "b", "é", 0, -0.0, False, -1, b"", None, ["x"], [YEAR_1], "null", None, None),
    row(KINDS, "z", "e\u0301 ", 2**63 - 1, -math.inf, None, None, None, None, None, None, None, None, None),
    row(KINDS, "ä", "\uffff", None, 0.0, False, YEAR_9999, None, "\U0001f98a/x", [], None, "[1]", "F", "g"),
    row(KINDS, "\U0001f98a", "\U0001f98a", None, math.nan, None, 0, None, None, None, None, None, None, None),
]
EMPTY = plan("empty", text="string", real="double")
NAMES: dict[str, ColumnKind] = {HOSTILE: "string", "%s": "double"}
WRITTEN = plan("written", **NAMES)
LONG = plan("long", text="string", real="double")


@dataclass
class Loaded:
    """Rows in files and in tables."""

    url: str
    run: Path
    connection: Connection
    plan: Plan

    def proved(self) -> dict[tuple[str, str], ColumnProved]:
        return {(one.table, one.column): one for one in prove_columns(Session(self.url, "firelift-test"), STAGING, self.plan, self.run)}

    def changed(self) -> dict[tuple[str, str], ColumnProved]:
        return {name: one for name, one in self.proved().items() if otherwise(one)}

    def sql(self, query: str) -> None:
        self.connection.execute(query.replace("SCHEMA", STAGING).encode())


def otherwise(one: ColumnProved) -> bool:
    expected = one.expected_present, one.expected_low, one.expected_high
    return (one.present, one.low, one.high) != expected


@pytest.fixture
def here(database_url: str, tmp_path: Path) -> Iterator[Loaded]:
    tables: dict[str, tuple[TablePlan, list[list[Any]]]] = {
        "kinds": (KINDS, ROWS),
        "empty": (EMPTY, []),
        "written": (WRITTEN, [row(WRITTEN, HOSTILE, HOSTILE, 1.5), row(WRITTEN, "x", "x", None)]),
        "long": (LONG, [row(LONG, "a", "x" * (LONGEST + 1), math.nan), row(LONG, "b", "b", math.nan)]),
    }
    plans = tuple(table for table, _ in tables.values())
    with ExitStack() as stack:
        connection = stack.enter_context(started(database_url, *plans))
        for table, rows in tables.values():
            # In chunks of two, as a large table is in many.
            for start in range(0, len(rows), 2):
                part = as_arrow(table, rows[start : start + 2])
                directory = rows_directory(tmp_path, table)
                directory.mkdir(parents=True, exist_ok=True)
                write_parquet(with_column_stats(part, table), directory / f"{start}.parquet")
            load(connection, STAGING, [(table, rows)], table.table)
        constrain(connection, STAGING, plans, "report")
        (tmp_path / "tables").mkdir(exist_ok=True)
        yield Loaded(database_url, tmp_path, connection, Plan(database="projects/lab/databases/(default)", tables=plans))


def test_untouched_tables_hold_what_was_loaded(here: Loaded) -> None:
    proved = here.proved()
    assert set(proved) == {(table.table, name) for table in here.plan.tables for name, _ in table.target_columns()}
    assert here.changed() == {}


@pytest.mark.parametrize(
    ("column", "present", "low", "high"),
    [
        ("id", 5, "a", "\U0001f98a"),
        ("text", 5, "", "\U0001f98a"),
        ("number", 3, str(-(2**63)), str(2**63 - 1)),
        ("real", 5, "-Infinity", "0.0"),
        ("truth", 3, "false", "false"),
        ("moment", 4, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"),
        ("raw", 2, None, None),
        ("path", 2, "a/b", "\U0001f98a/x"),
        ("texts", 3, None, None),
        ("moments", 2, None, None),
        ("more", 3, None, None),
        ("friend", 2, "F", "f"),
        ("friend_of", 2, "g", "g"),
        ("firestore_residue", 0, None, None),
    ],
)
def test_a_column_says_how_much_it_holds_and_between_which_bounds(
    here: Loaded, column: str, present: int, low: str | None, high: str | None
) -> None:
    one = here.proved()["kinds", column]
    assert (one.present, one.low, one.high) == (present, low, high)
    assert (one.expected_present, one.expected_low, one.expected_high) == (present, low, high)


def test_a_text_too_long_to_keep_has_no_bound_and_the_other_one_has(here: Loaded) -> None:
    one = here.proved()["long", "text"]
    assert (one.expected_low, one.low, one.expected_high, one.high) == ("b", "b", None, None)


CHANGES = [
    ("UPDATE SCHEMA.kinds SET text = NULL WHERE id = 'z'", ["text"]),
    ("UPDATE SCHEMA.kinds SET text = text || ' ' WHERE id = '\U0001f98a'", ["text"]),
    ("UPDATE SCHEMA.kinds SET number = number - 1 WHERE number > 0", ["number"]),
    ("UPDATE SCHEMA.kinds SET \"real\" = 'Infinity' WHERE id = 'a'", ["real"]),
    ("UPDATE SCHEMA.kinds SET truth = true WHERE id = 'a'", ["truth"]),
    ("UPDATE SCHEMA.kinds SET moment = moment + interval '1 microsecond' WHERE id = 'a'", ["moment"]),
    ("UPDATE SCHEMA.kinds SET moment = 'infinity' WHERE id = 'ä'", ["moment"]),
    ("UPDATE SCHEMA.kinds SET moment = '4000-01-01 BC' WHERE id = 'a'", ["moment"]),
    ("UPDATE SCHEMA.kinds SET raw = NULL WHERE id = 'b'", ["raw"]),
    ("UPDATE SCHEMA.kinds SET texts = NULL WHERE id = 'a'", ["texts"]),
    ("UPDATE SCHEMA.kinds SET more = NULL WHERE id = 'a'", ["more"]),
    ("UPDATE SCHEMA.kinds SET friend_of = 'h' WHERE id = 'a'", ["friend_of"]),
    ("UPDATE SCHEMA.kinds SET firestore_residue = '{}' WHERE id = 'a'", ["firestore_residue"]),
    ("ALTER TABLE SCHEMA.kinds DROP COLUMN number", ["number"]),
    ("ALTER TABLE SCHEMA.kinds ALTER COLUMN number TYPE text", ["number"]),
    ("DELETE FROM SCHEMA.kinds WHERE id = 'z'", ["firestore_created_at", "firestore_updated_at", "id", "number", "real", "text"]),
]


@pytest.mark.parametrize(("change", "columns"), CHANGES, ids=[change.partition("kinds ")[2][:40] for change, _ in CHANGES])
def test_a_changed_count_or_bound_is_found(here: Loaded, change: str, columns: list[str]) -> None:
    loaded_columns(here.run, here.plan)
    here.sql(change)
    assert sorted(name for _, name in here.changed()) == columns


def test_a_table_that_is_gone_holds_nothing(here: Loaded) -> None:
    here.sql("DROP TABLE SCHEMA.written")
    assert {one.present for (table, _), one in here.changed().items() if table == "written"} == {0}


def test_the_query_says_the_same_again(here: Loaded) -> None:
    for name in ("number", "truth"):
        one = here.proved()["kinds", name]
        assert here.connection.execute(one.query.encode()).fetchone() == (
            one.present,
            json.loads(one.low or ""),
            json.loads(one.high or ""),
        )
    hostile = here.proved()["written", HOSTILE]
    assert here.connection.execute(hostile.query.encode()).fetchone() == (2, HOSTILE, "x")


def test_the_facts_outlive_the_rows(here: Loaded) -> None:
    loaded = loaded_columns(here.run, here.plan)
    shutil.rmtree(here.run / "tables")
    assert loaded_columns(here.run, here.plan) == loaded == json.loads(read_sealed(here.run / COLUMNS))
    assert len(here.proved()) == sum(len(table.target_columns()) for table in here.plan.tables)
    assert here.changed() == {}


def test_more_columns_than_one_answer_takes_are_asked_in_parts(database_url: str, tmp_path: Path) -> None:
    integers: dict[str, ColumnKind] = {f"c{number}": "integer" for number in range(600)}
    wide = plan("wide", **integers)
    rows = [row(wide, "a", *range(600))]
    with started(database_url, wide) as connection:
        load(connection, STAGING, [(wide, rows)])
        write_parquet(with_column_stats(as_arrow(wide, rows), wide), _made(rows_directory(tmp_path, wide)) / "0.parquet")
        here = Loaded(database_url, tmp_path, connection, Plan(database="x", tables=(wide,)))
        assert here.changed() == {}
        assert here.proved()["wide", "c599"].high == "599"


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def test_column_statistics_do_not_hinder_loading() -> None:
    rows = with_column_stats(as_arrow(KINDS, ROWS), KINDS)
    assert rows.schema.equals(as_arrow(KINDS, ROWS).schema)
