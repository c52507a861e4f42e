"""Prefect's temporary server on SQLite: what made it stand still on Python 3.11 cannot happen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from firelift.temporary_server.steady import EPHEMERAL, THREAD, TRIED

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
    assert found["modules"] == ["firelift", "firelift.temporary_server", "firelift.temporary_server.steady"]


def test_the_version_of_prefect_that_is_installed_is_one_that_was_tried() -> None:
    """A new one: see that the first test here passes with it, then name it in TRIED."""
    from importlib.metadata import version

    assert version("prefect") in TRIED


@pytest.mark.parametrize("version", ["3.8.7", "3.9.0"])
def test_a_version_of_prefect_that_was_not_tried_is_left_as_it_is(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from firelift.temporary_server import steady

    touched: list[str] = []
    monkeypatch.setattr(steady, "version", lambda _: version)
    monkeypatch.setattr(steady, "begin_immediate", lambda: touched.append("transactions"))
    monkeypatch.setattr(steady, "collect_garbage_apart", lambda: touched.append("garbage"))
    steady.steady()
    assert "transactions" not in touched
