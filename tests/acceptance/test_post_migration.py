"""After publishing the app is told, what is not kept is dropped, and the operator hears what to do next."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.command_line import CANARY, ONE_WORKER, Operator, Said, is_untouched
from tests.support.warm_commands import BY_PREFECT, WITHOUT_PREFECT
from tests.support.whole_way import new_source, write

OLD = """# the app
export API_URL="https://old.example.org"  # Firestore
DB_SCHEMA=firestore
SECRET=canary-of-the-app
"""
VALUES = "DB_SCHEMA={target_schema},API_URL=https://new.example.org/x,MIGRATED_BY={migration_id}"
NEW = """# the app
export API_URL="https://new.example.org/x"  # Firestore
DB_SCHEMA=public
SECRET=canary-of-the-app
MIGRATED_BY=mine
"""


@pytest.fixture
def ready(tmp_path: Path, emulator_host: str, prefect_api: str, database_url: str) -> Iterator[Operator]:
    """An operator with an app of three documents and everything a migration needs."""
    with new_source(emulator_host) as source:
        write(source, {"users/ada": {"name": "Ada"}, "users/ada/orders/1": {"total": 3}, "teams/red": {"size": 2}})
        given = {**ONE_WORKER, **WITHOUT_PREFECT, "PREFECT_API_URL": prefect_api, "FIRESTORE_EMULATOR_HOST": emulator_host}
        operator = Operator(tmp_path, {**given, "GOOGLE_CLOUD_PROJECT": source.project, "DATABASE_URL": database_url})
        operator.here.mkdir()
        yield operator


def report_of(operator: Operator) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((operator.workspace / "final-migration-report.json").read_bytes())
    return report


def test_the_app_is_told_and_what_is_not_kept_goes(ready: Operator, database_url: str) -> None:
    app = ready.here / ".env.app"
    app.write_text(OLD)
    options = ["--migration-id", "mine", "--app-config", ".env.app", "--app-config-values", VALUES, "--no-keep-archive", "--no-keep-tables"]
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN pgrst")
        said = ready.with_(**BY_PREFECT).firelift("migrate", *options)
        assert said.code == 0, said.err
        assert [heard.payload for heard in listener.notifies(timeout=30, stop_after=1)] == ["reload schema"]
        analyzed = "SELECT relname::text, reltuples FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"
        assert listener.execute(analyzed).fetchall() == [("teams", 1), ("users", 1), ("users_orders", 1)]

    kept, run = ready.here / ".env.app.before-mine", ready.workspace / "runs" / "mine"
    assert (app.read_text(), kept.read_text()) == (NEW, OLD)
    assert {path.name for path in run.iterdir() if "dropping" in path.name or path.name in ("archive", "tables", "transformed")} == set()
    assert (run / "rejects").is_dir()
    done = report_of(ready)["phases"]["post_migration"]["result"]
    assert [freed["what"] for freed in done["freed"]] == ["tables", "archive"]
    assert all(freed["files"] >= 3 and freed["bytes"] > 500 for freed in done["freed"])
    assert done["app_config"] == {"file": ".env.app", "old_file": str(kept), "changed": ["DB_SCHEMA", "API_URL", "MIGRATED_BY"]}
    (step,) = [step for step in report_of(ready)["nextSteps"] if ".env.app" in step]
    assert all(f"`{name}`" in step for name in (".env.app", str(kept), "DB_SCHEMA", "API_URL", "MIGRATED_BY"))
    assert "new.example" not in step
    assert step.split(".")[-2].strip()[:20] in said.out
    assert "canary-of-the-app" not in "".join(path.read_text() for path in run.rglob("*.*") if path.suffix in (".json", ".md"))

    app.write_text(NEW + "LATER=1\n")
    again = ready.with_(**BY_PREFECT).firelift("migrate", "--resume", "--migration-id", "mine")
    assert again.code == 0, again.err
    assert (app.read_text(), kept.read_text()) == (NEW + "LATER=1\n", OLD)
    assert report_of(ready)["phases"]["post_migration"]["result"] == done

    undone = ready.firelift("rollback")
    assert undone.code == 0, undone.err
    assert f"kept in {kept}." in undone.out
    assert app.read_text() == NEW + "LATER=1\n"


def test_the_archive_stays_where_nothing_was_verified(ready: Operator) -> None:
    said = ready.firelift("migrate", "--migration-id", "mine", "--no-auto-verification", "--no-keep-archive")
    assert said.code == 0, said.err
    assert list((ready.workspace / "runs" / "mine" / "archive").rglob("*.parquet"))
    assert list((ready.workspace / "runs" / "mine" / "tables").rglob("*.parquet"))
    report = report_of(ready)
    assert report["phases"]["post_migration"]["result"]["freed"] == []
    assert any("The archive stays" in warning["message"] for warning in report["warnings"])


def test_a_plan_neither_tells_nor_drops(ready: Operator) -> None:
    (ready.here / "app.json").write_text("{}")
    options = ["--app-config", "app.json", "--app-config-values", '{"a": "{database_host}"}', "--no-keep-archive", "--no-keep-tables"]
    said = ready.with_(DATABASE_URL=None).firelift("plan", "--migration-id", "mine", *options)
    assert said.code == 0, said.err
    assert (ready.here / "app.json").read_text() == "{}"
    assert list((ready.workspace / "runs" / "mine" / "archive").rglob("*.parquet"))
    assert list((ready.workspace / "runs" / "mine" / "tables").rglob("*.parquet"))


SLIPS: dict[str, tuple[str, str]] = {
    "values without a file": ("--app-config-values A=1", "--app-config-values is given without --app-config"),
    "a file without values": ("--app-config .env.app", "--app-config-values, the values to put there, is missing"),
    "no file": ("--app-config nowhere --app-config-values A=1", "there is no file of this name, value: nowhere"),
    "a file that is not JSON": ("--app-config broken.json --app-config-values A=1", "line 1, column 2 is not JSON"),
    "a secret": (
        f"--app-config .env.app --app-config-values A=1,URL=postgresql://me:{CANARY}@h/x",
        "name: URL, problem: it holds a secret",
    ),
    "no value": ("--app-config .env.app --app-config-values A", "--app-config-values"),
    "an unknown place": ("--app-config .env.app --app-config-values A={shema}", "there is no {shema}"),
    "a place without its setting": ("--app-config .env.app --app-config-values A={supabase_url}", "{supabase_url} is not known"),
}


@pytest.mark.parametrize(("options", "words"), SLIPS.values(), ids=SLIPS.keys())
def test_a_slip_is_told_before_anything_starts(options: str, words: str, ready: Operator, database_url: str) -> None:
    (ready.here / ".env.app").write_text(OLD)
    (ready.here / "broken.json").write_text("{canary")
    said: Said = ready.firelift("migrate", *options.split())
    assert (said.code, said.out) == (2, "")
    assert words in said.error
    assert "canary" not in said.err
    assert not ready.workspace.exists()
    assert is_untouched(database_url)
    assert (ready.here / ".env.app").read_text() == OLD
