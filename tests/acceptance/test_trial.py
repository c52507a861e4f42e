"""Somebody tries a migration out: a sample goes the whole way, beside the target and not into it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from firelift.firestore.channel import Source
from firelift.local.emulator import clear
from firelift.local.writer import Reference
from firelift.postgres.schema.names import scratch_schema
from tests.support.command_line import ONE_WORKER, Operator, is_untouched
from tests.support.prefect_servers import Api, schemas_of, tables_of, text_of
from tests.support.warm_commands import BY_PREFECT, WITHOUT_PREFECT
from tests.support.whole_way import Things, new_source, write

TRY = ("migrate", "--migration-mode", "test", "--sample-size", "5")


def app(source: Source) -> Things:
    users: Things = {f"users/u{n:02}": {"name": f"user {n}"} for n in range(30)}
    orders: Things = {
        f"users/u{n:02}/orders/{o}": {"total": n + 0.5, "item": Reference(f"{source.root}/items/i{n:02}")}
        for n in range(30)
        for o in range(2)
    }
    return {**users, **orders, **{f"items/i{n:02}": {"price": n} for n in range(30)}, "ghosts/x/notes/1": {"text": "boo"}}


@pytest.fixture
def source(emulator_host: str) -> Iterator[Source]:
    with new_source(emulator_host) as source:
        write(source, app(source))
        yield source


@dataclass(frozen=True)
class Poor:
    """A role that may do nothing in the target but make schemas of its own."""

    url: str


@pytest.fixture
def poor(database_url: str) -> Iterator[Poor]:
    name = urlsplit(database_url).path.lstrip("/")
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name}_poor LOGIN PASSWORD 'p'; GRANT CREATE ON DATABASE {name} TO {name}_poor".encode())
        admin.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    parts = urlsplit(database_url)
    yield Poor(parts._replace(netloc=f"{name}_poor:p@{parts.netloc.rpartition('@')[2]}").geturl())
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"DROP OWNED BY {name}_poor CASCADE; DROP ROLE {name}_poor".encode())


@pytest.fixture
def operator(source: Source, tmp_path: Path, prefect_api: str, poor: Poor) -> Operator:
    variables = {**ONE_WORKER, **WITHOUT_PREFECT, "PREFECT_API_URL": prefect_api, "DATABASE_URL": poor.url}
    return Operator(tmp_path, {"FIRESTORE_EMULATOR_HOST": str(source.emulator_host), "GOOGLE_CLOUD_PROJECT": source.project, **variables})


def report_of(operator: Operator) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((operator.workspace / "final-migration-report.json").read_text())
    return report


def test_a_sample_is_verified_reported_and_gone_for_a_role_without_any_right_to_the_target(
    operator: Operator, database_url: str, api: Api
) -> None:
    said = operator.with_(**BY_PREFECT).firelift(*TRY, "--verification-level", "comprehensive")
    assert said.code == 0, said.err
    assert is_untouched(database_url), schemas_of(database_url)
    report = report_of(operator)
    assert (report["mode"], report["status"]) == ("test", "completed")
    assert report["verification"]["passed"]
    rows = {table["table"]: table["rows"] for table in report["tables"]}
    assert (rows["ghosts_notes"], rows["users_orders"]) == (1, 5)
    assert 5 <= rows["users"] <= 10
    assert 5 <= rows["items"] <= 10
    relations = report["phases"]["import"]["result"]["relations"]
    assert {(each["table"], each["references"], each["foreign_key"]) for each in relations} == {
        ("users_orders", "users", True),
        ("users_orders", "items", True),
    }
    estimate = report["estimate"]
    assert (estimate["documents"], estimate["reads"]["documents"]) == (121, 121)
    assert {each["collection"]: each["documents"] for each in estimate["collections"]} == {
        "users": 30,
        "users/*/orders": 60,
        "items": 30,
        "ghosts/*/notes": 1,
    }
    assert estimate["targetBytes"] > 0
    assert "A full run would be refused: The role may not create tables in the target schema" in said.out
    assert "## Estimate for the full run" in said.out
    assert "Nothing of it is left in the target." in said.out
    page = (operator.workspace / "migration-report.html").read_text()
    assert 'id="estimate"' in page
    shown = json.loads(api.artifacts_of(api.run_named(f"test {report['migrationId']}")["id"])["firelift-estimate"])
    assert {"what": "Documents", "value": "121"} in shown


def test_kept_tables_stand_in_a_schema_of_their_own_until_they_are_rolled_back(operator: Operator, database_url: str) -> None:
    said = operator.firelift(*TRY, "--keep", "--migration-id", "try", "--no-auto-verification")
    assert said.code == 0, said.err
    schema = scratch_schema("try")
    assert set(schemas_of(database_url)) == {"firelift", "public", schema}
    assert tables_of(database_url) == {}
    assert tables_of(database_url, schema)["users_orders"] == 5
    assert schema in said.out
    assert "`firelift rollback --migration-id try` removes them" in said.out
    undone = operator.firelift("rollback", "--migration-id", "try")
    assert undone.code == 0, undone.err
    assert is_untouched(database_url)


def test_a_test_run_that_fails_leaves_nothing_behind(operator: Operator, source: Source, database_url: str) -> None:
    write(source, {f"heavy/{token_urlsafe(1050)}/deep/{token_urlsafe(1050)}": {"no": "row holds this key"}})
    said = operator.firelift(*TRY)
    assert said.code == 4, said.err
    assert "More documents were rejected than --max-rejects allows" in said.error
    assert is_untouched(database_url), schemas_of(database_url)
    assert report_of(operator)["rolledBack"]["by"] == "firelift"


def test_a_test_run_that_failed_and_may_go_on_comes_to_its_end(operator: Operator, source: Source, database_url: str) -> None:
    write(source, {f"heavy/{token_urlsafe(1050)}/deep/{token_urlsafe(1050)}": {"no": "row holds this key"}})
    failed = operator.firelift(*TRY, "--no-auto-rollback")
    assert failed.code == 4, failed.err
    drawn = report_of(operator)["sample"]
    assert len(schemas_of(database_url)) == 3
    said = operator.firelift("migrate", "--migration-mode", "test", "--sample-size", "5", "--resume", "--max-rejects", "1")
    assert said.code == 0, said.err
    assert is_untouched(database_url), schemas_of(database_url)
    assert report_of(operator)["sample"] == drawn
    assert report_of(operator)["statistics"]["rowsRejected"] == 1


def test_an_empty_database_and_a_plan_without_a_target_can_be_tried_too(operator: Operator, source: Source, database_url: str) -> None:
    planned = operator.with_(DATABASE_URL=None).firelift("plan", "--migration-mode", "test", "--json")
    assert planned.code == 0, planned.err
    assert json.loads(planned.out)["estimate"]["documents"] == 121
    clear(str(source.emulator_host), source.project)
    said = operator.firelift(*TRY, "--no-auto-verification")
    assert said.code == 0, said.err
    assert is_untouched(database_url), schemas_of(database_url)
    assert report_of(operator)["estimate"]["documents"] == 0


def test_a_test_run_beside_a_migrated_target_takes_its_names_and_changes_nothing(
    operator: Operator, source: Source, database_url: str
) -> None:
    operator = operator.with_(DATABASE_URL=database_url)
    mapping = operator.directory / "names.json"
    mapping.write_text('{"collections": {"users": {"table": "people"}}}')
    assert operator.firelift("migrate", "--no-auto-verification", "--mapping", str(mapping)).code == 0
    before = text_of(database_url)
    said = operator.firelift(*TRY)
    assert said.code == 0, said.err
    assert text_of(database_url) == before
    report = report_of(operator)
    assert "people" in [table["table"] for table in report["tables"]]
    assert report["estimate"]["seconds"]["earlierRun"]
    assert report["warnings"] == []
    assert operator.firelift("rollback").out.splitlines()[0].startswith("migration-")


def test_a_dry_run_reads_the_sample_and_plans_without_touching_the_target(operator: Operator, database_url: str) -> None:
    said = operator.firelift("plan", "--migration-mode", "test", "--sample-size", "5")
    assert said.code == 0, said.err
    assert is_untouched(database_url)
    assert "users/*/orders -> public.users_orders (5 documents" in said.out
    assert "Estimate for the full run:" in said.out
    assert "Nothing has been written to the target." in said.out
    assert report_of(operator)["estimate"]["targetBytes"] is None


def test_the_apps_configuration_stays_as_it_is(operator: Operator) -> None:
    operator.here.mkdir(parents=True)
    config = operator.here / "app.env"
    config.write_text("SCHEMA=old\n")
    said = operator.firelift(*TRY, "--no-auto-verification", "--app-config", "app.env", "--app-config-values", "SCHEMA={target_schema}")
    assert said.code == 0, said.err
    assert config.read_text() == "SCHEMA=old\n"
    assert "leaves the app's configuration" in said.out
