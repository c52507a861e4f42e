"""Prefect's temporary server on SQLite: what made it stand still on Python 3.11 cannot happen."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import prefect
import pytest

from firelift.local.prefect_server import tables
from firelift.local.prefect_server.server import temporary_server
from firelift.local.prefect_server.steady import EPHEMERAL, THREAD, TRIED
from firelift.local.prefect_server.tables import make_tables, written_down
from tests.support.prefect_tables import UNKNOWN, migrated_by_prefect

# What a process of Prefect's finds when it has loaded its collections, as a server does before it serves.
LOOK = """
import asyncio, gc, json, sqlite3, sys, threading, time, weakref
before = set(sys.modules)
from prefect.plugins import load_prefect_collections
known = set(sys.modules)
loaded = load_prefect_collections()["firelift"]
more = sorted(name for name in set(sys.modules) - known if name.startswith("firelift"))

class Left:
    "Garbage in a cycle, as the traceback of a failed statement makes it."
    def __init__(self): self.cycle = self

where = []
left = Left()
gone = weakref.finalize(left, lambda: where.append(threading.current_thread().name))
del left
deadline = time.monotonic() + 60
kept = []
while not where and time.monotonic() < deadline:
    kept.append([kept])  # what a busy event loop does: it makes objects
    if len(kept) % 1000 == 0: time.sleep(0.001)

import sqlalchemy
from prefect.server.database.configurations import AioSqliteConfiguration

async def others_may_write(path):
    config = AioSqliteConfiguration(f"sqlite+aiosqlite:///{path}")
    session = await config.session(await config.engine())
    async with session, config.begin_transaction(session):
        await session.execute(sqlalchemy.text("SELECT 1"))
        try:
            sqlite3.connect(path, timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True

others = asyncio.run(others_may_write(sys.argv[1]))
print(json.dumps({"loaded": repr(loaded), "modules": more, "freed_in": where[0], "others_may_write": others}))
"""

OF_ANOTHER_WORLD = "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('of another world');"
# What a database carries with it, but for what Prefect sets itself whenever it opens one.
OF_THE_FILE = ("page_size", "auto_vacuum", "encoding", "user_version", "application_id")


def look(directory: Path, **variables: str) -> dict[str, Any]:
    command = [sys.executable, "-c", LOOK, str(directory / "some.db")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, cwd=directory, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_temporary_server_frees_garbage_beside_its_event_loop_and_waits_for_its_turn_before_it_begins(tmp_path: Path) -> None:
    found = look(tmp_path, **{EPHEMERAL: "1"})
    assert not found["others_may_write"]
    assert found["freed_in"] == (THREAD if sys.version_info[:2] == (3, 11) else "MainThread")


def test_no_other_process_of_prefect_notices(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert found["others_may_write"]
    assert found["freed_in"] == "MainThread"
    assert found["modules"] == ["firelift", "firelift.local", "firelift.local.prefect_server", "firelift.local.prefect_server.steady"]


def test_the_version_of_prefect_that_is_installed_is_one_that_was_tried() -> None:
    """A new one: see that the first test here passes with it, then name it in TRIED."""
    from importlib.metadata import version

    assert version("prefect") in TRIED


@pytest.mark.parametrize("version", ["3.8.7", "3.9.0"])
def test_a_version_of_prefect_that_was_not_tried_is_left_as_it_is(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from firelift.local.prefect_server import steady

    touched: list[str] = []
    monkeypatch.setattr(steady, "version", lambda _: version)
    monkeypatch.setattr(steady, "begin_immediate", lambda: touched.append("transactions"))
    monkeypatch.setattr(steady, "collect_garbage_apart", lambda: touched.append("garbage"))
    steady.steady()
    assert "transactions" not in touched


@pytest.fixture(scope="module")
def migrated() -> Iterator[Path]:
    with migrated_by_prefect() as database:
        yield database


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "firelift"


def test_the_tables_that_are_written_down_are_those_that_prefect_s_migrations_leave(migrated: Path, tmp_path: Path) -> None:
    """After a new version of Prefect: `python -m tests.support.prefect_tables`."""
    made = tmp_path / "made.db"
    assert make_tables(made, prefect.__version__)
    assert contents(made) == contents(migrated)


def contents(database: Path) -> dict[str, Any]:
    """All that a connection can tell of it, in an order of its own.

    Where Prefect's migrations change a table, its constraints and indexes come in the order of a set, which is another in each process.
    """
    with closing(sqlite3.connect(database)) as connection:
        things = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        names = [name for kind, name, _, _ in things if kind == "table"]
        assert len(names) > 30
        return {
            "things": sorted(described(connection, *thing) for thing in things),
            "columns": {name: connection.execute(f'PRAGMA table_xinfo("{name}")').fetchall() for name in names},
            "rows": {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in names},
            "file": {name: connection.execute(f"PRAGMA {name}").fetchone() for name in OF_THE_FILE},
        }


def described(connection: sqlite3.Connection, kind: str, name: str, table: str, sql: str | None) -> tuple[str, ...]:
    """The letters of its statement, by line; SQLite numbers the index of a constraint, which has none, as the constraints come."""
    if sql is not None:
        return (kind, name, table, *sorted(line.rstrip(", ") for line in sql.splitlines()))
    return (kind, table, *(str(column) for column in connection.execute(f'PRAGMA index_xinfo("{name}")')))


def test_a_first_server_is_ready_made_and_prefect_finds_nothing_to_migrate(cache: Path) -> None:
    with temporary_server(prefect.__version__, os.environ) as server:
        before = contents(server.database)["things"]
        server.wait(300)
        assert contents(server.database)["things"] == before
        assert begin_at_once(server.url, children=1, times=1) == [httpx.codes.CREATED] * 2
    # It is made as quickly as it would be copied.
    assert not cache.exists()


def test_a_version_of_prefect_whose_tables_are_not_written_down_makes_them_by_its_migrations_once(migrated: Path, cache: Path) -> None:
    with temporary_server(UNKNOWN, os.environ) as server:
        server.wait(300)
    kept = cache / f"prefect-{UNKNOWN}.db"
    assert contents(kept) == contents(migrated)
    with temporary_server(UNKNOWN, os.environ) as server:
        assert contents(server.database) == contents(kept)
        server.wait(300)


def test_tables_with_which_no_server_starts_are_made_by_prefect(
    migrated: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "HERE", tmp_path)
    written_down(UNKNOWN).write_text(OF_ANOTHER_WORLD)
    with temporary_server(UNKNOWN, os.environ) as server:
        server.wait(300)
    assert contents(cache / f"prefect-{UNKNOWN}.db") == contents(migrated)


def test_a_kept_database_with_which_no_server_starts_is_made_anew_and_twelve_at_once_are_refused_nothing(cache: Path) -> None:
    """As it was, 43 of 55 flow runs were answered with 503, "database is locked"."""
    cache.mkdir(mode=0o700)
    kept = cache / f"prefect-{UNKNOWN}.db"
    with closing(sqlite3.connect(kept)) as connection:
        connection.executescript(OF_ANOTHER_WORLD)
    with temporary_server(UNKNOWN, os.environ) as server:
        server.wait(300)
        directory = server.database.parent
        refused = [status for status in begin_at_once(server.url, children=12, times=5) if status != httpx.codes.CREATED]
    assert refused == []
    assert not directory.exists()
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT count(*) FROM flow_run").fetchone() == (0,)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() != ("of another world",)


def begin_at_once(api: str, children: int, times: int) -> list[int]:
    """What the server answers to flow runs that begin in `children` threads, `times` one after another in each."""

    def begin(child: int) -> list[int]:
        with httpx.Client(base_url=api, timeout=120) as client:
            flow = client.post("/flows/", json={"name": f"child {child}"}).raise_for_status().json()["id"]
            return [status for _ in range(times) for status in begin_one(client, flow)]

    with ThreadPoolExecutor(children) as threads:
        return [status for statuses in threads.map(begin, range(children)) for status in statuses]


def begin_one(client: httpx.Client, flow: str) -> list[int]:
    made = client.post("/flow_runs/", json={"flow_id": flow, "state": {"type": "PENDING"}})
    if made.is_error:
        return [made.status_code]
    run = made.json()["id"]
    running = client.post(f"/flow_runs/{run}/set_state", json={"state": {"type": "RUNNING"}})
    return [made.status_code, running.status_code]


@pytest.mark.parametrize(
    ("chosen", "own"),
    [
        ({}, True),
        ({"PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:////somewhere/else.db"}, False),
        ({"PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://a@db.example/prefect"}, False),
        ({"PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "s3-bucket/receipts"}, False),
    ],
)
def test_a_database_that_the_user_has_chosen_is_the_user_s(chosen: dict[str, str], own: bool) -> None:
    asked = "from tasks.prefect_server import has_a_database; from prefect.settings import Settings; print(has_a_database(Settings()))"
    done = subprocess.run([sys.executable, "-c", asked], env={**os.environ, **chosen}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(not own)]
