"""Firelift from Python: a plan, a migration and its rows as pandas has them, without Prefect."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest

import firelift
from firelift.errors import ConfigurationError, FireliftError
from firelift.firestore.channel import Source
from firelift.local.postgres import PostgresServer
from firelift.migration.api import NoSuchTable, RowsNotKept
from firelift.run.workspace import NoSuchRun
from tests.support.whole_way import Things, new_database, new_source, write

MOMENT = datetime(2026, 11, 29, 12, 30, 15, 123456, tzinfo=UTC)
DOCUMENTS: Things = {
    "users/ada": {
        "name": "Ada",
        "age": 36,
        "score": 1.5,
        "on": True,
        "since": MOMENT,
        "key": b"\0\xff",
        "tags": ["a", "b"],
        "more": {"a": [1]},
    },
    "users/bob": {"name": None, "age": None, "score": math.nan, "on": None, "since": None, "key": None, "tags": None, "more": None},
    "users/ada/orders/1": {"total": 9_007_199_254_740_993},
}


@pytest.fixture(scope="module")
def ran(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A plan and a migration of the same documents, and the target."""
    directory = tmp_path_factory.mktemp("api")
    with new_source(emulator_host) as source, new_database(postgres) as url:
        write(source, DOCUMENTS)
        settings = settings_for(source, url, directory)
        planned = firelift.plan(settings)
        with psycopg.connect(url) as connection:
            before = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        yield planned, before, firelift.migrate(settings), url


def settings_for(source: Source, url: str, directory: Path, **options: Any) -> firelift.Settings:
    place = {"project_id": source.project, "firestore_emulator_host": source.emulator_host, "working_dir": directory, "max_workers": 1}
    return firelift.Settings(database_url=url, **place, **options)


def test_a_plan_names_the_tables_and_writes_nothing(ran: Any) -> None:
    planned, before, _, _ = ran
    assert {table.table for table in planned.plan.tables} == {"users", "users_orders"}
    assert (planned.report["status"], planned.report["dryRun"], before) == ("completed", True, (0,))


def test_a_migration_is_published_and_verified(ran: Any) -> None:
    _, _, migrated, url = ran
    assert migrated.report["status"] == "completed"
    assert migrated.report["verification"]["passed"]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM public.users").fetchone() == (2,)


def test_a_frame_has_the_dtypes_that_lose_nothing(ran: Any) -> None:
    users = ran[2].frame("users").set_index("id")
    assert {name: str(users[name].dtype) for name in ("name", "age", "score", "on", "since", "more")} == {
        "name": "string",
        "age": "Int64",
        "score": "double[pyarrow]",
        "on": "boolean",
        "since": "datetime64[us, UTC]",
        "more": "string",
    }
    ada, bob = users.loc["ada"], users.loc["bob"]
    assert (ada["name"], ada["age"], ada["score"], bool(ada["on"]), ada["since"]) == ("Ada", 36, 1.5, True, pd.Timestamp(MOMENT))
    assert (ada["key"], list(ada["tags"])) == (b"\0\xff", ["a", "b"])
    assert [bob[name] is pd.NA for name in ("name", "age", "on", "more")] == [True] * 4
    assert not users["score"].isna()["bob"]
    assert math.isnan(bob["score"])


def test_a_frame_is_found_by_its_table_or_its_collection(ran: Any) -> None:
    migrated = ran[2]
    pd.testing.assert_frame_equal(migrated.frame("users_orders"), migrated.frame("users/*/orders"))
    assert migrated.frame("users_orders")["total"].tolist() == [9_007_199_254_740_993]
    with pytest.raises(NoSuchTable, match="people"):
        migrated.frame("people")


def test_a_run_is_opened_by_its_directory_or_its_working_directory(ran: Any, tmp_path: Path) -> None:
    migrated = ran[2]
    assert firelift.open_run(migrated.directory) == firelift.open_run(str(migrated.directory.parents[1])) == migrated
    for nowhere in (tmp_path, tmp_path / "nowhere", migrated.directory / "tables"):
        with pytest.raises(NoSuchRun):
            firelift.open_run(nowhere)


def test_rows_that_were_changed_or_dropped_make_no_frame(ran: Any) -> None:
    migrated = ran[2]
    [file] = (migrated.directory / "tables" / "users_orders").glob("*.parquet")
    whole = file.read_bytes()
    try:
        file.write_bytes(whole[:-1] + b"x")
        with pytest.raises(FireliftError) as found:
            migrated.frame("users_orders")
        assert str(file) in str(found.value)
        file.unlink()
        with pytest.raises(RowsNotKept, match="users_orders"):
            migrated.frame("users_orders")
    finally:
        file.write_bytes(whole)


def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="projekt"):
        firelift.Settings(projekt="my-app")
