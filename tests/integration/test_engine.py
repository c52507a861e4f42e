"""The engine runs a migration by itself: without Prefect, and on from where an earlier attempt ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

import expectations
import firelift
from firelift.errors import FireliftError
from firelift.firestore.channel import Source
from firelift.local.emulator import clear
from firelift.migration.context import Run
from firelift.migration.execution import InlineSteps
from firelift.migration.lifecycle import open_migration
from firelift.migration.migrate import migrate
from firelift.migration.surroundings import Surroundings
from firelift.settings.settings import Settings
from tests.support.whole_way import Things, write

DOCUMENTS: Things = {"users/ada": {"name": "Ada"}, "users/ada/orders/1": {"total": 1.5}, "teams/a": {"n": 1}}

WITHOUT_PREFECT = """
import json, sys

class NoPrefect:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "prefect":
            raise ModuleNotFoundError("there is no prefect here", name=name)

sys.meta_path.insert(0, NoPrefect())
import expectations
import firelift
from firelift.migration.context import Run
from firelift.migration.execution import InlineSteps
from firelift.migration.lifecycle import open_migration
from firelift.migration.migrate import migrate
from firelift.migration.surroundings import Surroundings
from firelift.settings.settings import Settings

settings = Settings.load(**json.loads(sys.argv[1]))
run = Run(migration_id=settings.migration_id, settings=settings.public())
with open_migration(run, Surroundings(expectations)) as migration:
    migrate(migration, InlineSteps(migration))
print(json.dumps({"status": migration.reported["status"], "verified": migration.reported["verification"]["passed"]}))
"""


@pytest.fixture
def options(emulator_host: str, project: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("SUPABASE_DB_URL", database_url)
    write(Source(project, emulator_host=emulator_host), DOCUMENTS)
    place = {"project_id": project, "firestore_emulator_host": emulator_host, "working_dir": str(tmp_path / "workspace")}
    return {**place, "migration_id": "by-itself", "max_workers": 1}


def rows(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        tables = ("users", "users_orders", "teams")
        return {table: connection.execute(f"SELECT count(*) FROM public.{table}").fetchone()[0] for table in tables}  # type: ignore[index]


def test_the_whole_way_needs_no_prefect(options: dict[str, Any], database_url: str) -> None:
    command = [sys.executable, "-c", WITHOUT_PREFECT, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"SUPABASE_DB_URL": database_url}, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {"status": "completed", "verified": True}
    assert rows(database_url) == {"users": 1, "users_orders": 1, "teams": 1}


class Counted(InlineSteps):
    """Counts the steps that are really done, and fails at one of them."""

    def __init__(self, *arguments: Any, fails_at: str = "") -> None:
        super().__init__(*arguments)
        self.done: list[str] = []
        self._fails_at = fails_at

    def _retried(self, step: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if step.__name__ == self._fails_at:
            raise Broken()
        self.done.append(step.__name__)
        return super()._retried(step, *arguments, **options)


class Broken(FireliftError):
    """Something broke."""

    recovery = "after_fix"
    remedy = "Continue with --resume."


def attempt(options: dict[str, Any], fails_at: str = "") -> list[str]:
    settings = Settings.load(**options)
    run = Run(migration_id="by-itself", settings=settings.public())
    with open_migration(run, Surroundings(expectations), settings) as migration:
        steps = Counted(migration, fails_at=fails_at)
        migrate(migration, steps)
    return steps.done


def test_a_second_attempt_does_only_what_the_first_has_not_done(options: dict[str, Any], database_url: str) -> None:
    with pytest.raises(Broken):
        attempt(options, fails_at="load")
    done = attempt(options | {"resume": True})
    assert "extract" not in done
    assert "transform" not in done
    assert done[-3:] == ["verification", "publish", "post_migration"]
    assert rows(database_url) == {"users": 1, "users_orders": 1, "teams": 1}


def test_an_increment_gives_a_new_collection_the_name_of_a_table_that_was_dropped(
    options: dict[str, Any], emulator_host: str, project: str, database_url: str
) -> None:
    """The table of `Users` is `users`, and so is that of `users`."""
    source = Source(project, emulator_host=emulator_host)
    clear(emulator_host, project)
    write(source, {"Users/ada": {"name": "Ada"}, "teams/a": {"n": 1}})
    carry_out(options | {"migration_id": "first"})
    clear(emulator_host, project)
    write(source, {"users/bob": {"name": "Bob"}, "teams/a": {"n": 1}})
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP TABLE public.users")
    report = carry_out(options | {"migration_id": "second", "migration_mode": "incremental", "max_deletes": "100%"})
    assert report["status"] == "completed"
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT id, name FROM public.users").fetchall() == [("bob", "Bob")]


def carry_out(options: dict[str, Any]) -> dict[str, Any]:
    return firelift.migrate(Settings.load(**options)).report
