"""The files of a temporary Prefect server: its database, the one that is kept, and what killed commands have left."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from signal import SIGKILL

import pytest

from firelift.local.cache import cache_directory
from firelift.local.prefect_server import tables
from firelift.local.prefect_server.database import copy_kept, keep, turn_to_make
from firelift.local.prefect_server.tables import make_tables, written_down
from firelift.local.prefect_server.temporary_directory import scratch_directory

HOLDS = """
import sys, time
from firelift.local.prefect_server.temporary_directory import scratch_directory
with scratch_directory() as directory:
    print(directory, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    """A database as a server has it: in two files, the write-ahead log beside it."""
    database = tmp_path / "prefect.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE alembic_version (version_num text)")
        connection.execute("INSERT INTO alembic_version VALUES ('head')")
    return database


def test_what_is_kept_is_one_private_file_of_which_others_are_made(migrated: Path, tmp_path: Path) -> None:
    kept, copy = tmp_path / "kept.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(migrated)):
        keep(migrated, kept)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert copy_kept(kept, copy)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("head",)]


def absent(kept: Path) -> None:
    kept.unlink()


def empty(kept: Path) -> None:
    kept.write_bytes(b"")


def half(kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])


def scrambled(kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:100] + bytes(255 - byte for byte in kept.read_bytes()[100:]))


def unmigrated(kept: Path) -> None:
    with closing(sqlite3.connect(kept)) as connection, connection:
        connection.execute("DELETE FROM alembic_version")


def a_link(kept: Path) -> None:
    kept.replace(kept.with_name("elsewhere.db"))
    kept.symlink_to(kept.with_name("elsewhere.db"))


def a_directory(kept: Path) -> None:
    kept.unlink()
    kept.mkdir()


@pytest.mark.parametrize("harm", [absent, empty, half, scrambled, unmigrated, a_link, a_directory], ids=lambda harm: str(harm.__name__))
def test_what_is_not_whole_is_not_used(harm: object, migrated: Path, tmp_path: Path) -> None:
    assert callable(harm)
    kept, copy = tmp_path / "kept.db", tmp_path / "copy.db"
    keep(migrated, kept)
    harm(kept)
    assert not copy_kept(kept, copy)
    assert not copy.exists()


def test_the_tables_of_the_prefect_that_is_installed_are_written_down_and_make_one_private_file(tmp_path: Path) -> None:
    """That they are its tables shows tests/integration/test_temporary_server.py."""
    database = tmp_path / "prefect.db"
    assert make_tables(database, version("prefect"))
    assert list(tmp_path.iterdir()) == [database]
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


@pytest.mark.parametrize("other", ["3.8.7", "3.9.0", "3.9.1.post1"])
def test_no_other_version_of_prefect_gets_them(other: str, tmp_path: Path) -> None:
    assert not make_tables(tmp_path / "prefect.db", other)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("statements", [b"CREATE TABLE whole (a); CREATE TABLE of words that no SQLite knows", b"\xff\xfe"])
def test_tables_that_cannot_be_made_leave_nothing(statements: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "HERE", tmp_path)
    written_down("1").write_bytes(statements)
    assert not make_tables(tmp_path / "prefect.db", "1")
    assert list(tmp_path.iterdir()) == [written_down("1")]


def test_of_two_first_commands_one_makes_what_is_kept_and_the_other_does_not_wait(tmp_path: Path) -> None:
    with turn_to_make(tmp_path / "kept.db") as first, turn_to_make(tmp_path / "kept.db") as second:
        assert (first, second) == (True, False)
    with turn_to_make(tmp_path / "kept.db") as third:
        assert third


def test_what_a_killed_command_left_is_removed_by_the_next_and_what_a_living_one_has_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    living, killed = (_holding(tmp_path) for _ in range(2))
    try:
        killed[0].send_signal(SIGKILL)
        killed[0].wait()
        foreign = tmp_path / "firelift-server-unfinished"
        foreign.mkdir()
        with scratch_directory() as own:
            assert stat.S_IMODE(own.stat().st_mode) == 0o700
            assert sorted(tmp_path.iterdir()) == sorted([living[1], foreign, own])
        assert sorted(tmp_path.iterdir()) == sorted([living[1], foreign])
    finally:
        living[0].kill()
        living[0].wait()


def _holding(place: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(place)})
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_cache_is_a_private_directory_of_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = cache_directory()
    assert found == tmp_path / "cache" / "firelift"
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_directory() in (tmp_path / ".cache" / "firelift", tmp_path / "Library" / "Caches" / "firelift")


@pytest.mark.parametrize("home", ["", "relative", "/", "/proc/nowhere", "/dev/null"])
def test_without_a_usable_home_there_is_no_cache(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/ones/do/not/count")
    monkeypatch.setenv("HOME", home)
    assert cache_directory() is None


def test_a_cache_in_which_others_may_write_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "firelift").mkdir()
    (tmp_path / "firelift").chmod(0o777)
    assert cache_directory() is None
