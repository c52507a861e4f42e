"""What is said of a Prefect server that the user has named."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from prefect.settings import Settings

from tasks.prefect_server import standstill_warning


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A server's database while a server has it open."""
    with closing(sqlite3.connect(tmp_path / "prefect.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE flow_run (id text)")
        yield connection


def said(
    monkeypatch: pytest.MonkeyPatch, home: Path, python: tuple[int, int] = (3, 11), variables: Mapping[str, str] | None = None
) -> str | None:
    for name, value in {"PREFECT_HOME": str(home), "PREFECT_API_URL": "http://127.0.0.1:4200/api", **(variables or {})}.items():
        monkeypatch.setenv(name, value)
    return standstill_warning(Settings(), python)


def test_a_server_of_this_machine_on_sqlite_is_warned_of_on_python_3_11(
    opened: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = said(monkeypatch, tmp_path)
    assert text is not None
    assert "http://127.0.0.1:4200/api" in text
    assert "PostgreSQL" in text


def test_a_database_that_nobody_has_open_is_no_server_s(
    opened: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.close()
    assert said(monkeypatch, tmp_path) is None


@pytest.mark.parametrize("python", [(3, 12), (3, 13)])
def test_a_newer_python_does_not_stand_still(
    python: tuple[int, int], opened: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(monkeypatch, tmp_path, python) is None


@pytest.mark.parametrize(
    "variables",
    [
        {"PREFECT_API_URL": "http://prefect.example.com:4200/api"},
        {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://a@db.example/prefect"},
    ],
)
def test_of_what_cannot_be_seen_nothing_is_said(
    variables: dict[str, str], opened: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(monkeypatch, tmp_path, variables=variables) is None
