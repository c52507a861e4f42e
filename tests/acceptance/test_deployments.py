"""Deployments as an operator makes, runs and breaks them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from firelift.local.postgres import PostgresServer
from firelift.local.sample_app import load_sample
from firelift.local.writer import values, write_documents
from firelift.run.workspace import REPORT
from firelift.settings.fields import SECRETS
from firelift.settings.settings import PUBLIC_FIELDS, Settings
from tests.support.deployments import logs_of, result_of, source, start, worker, worker_as_usual
from tests.support.prefect_servers import (
    CHECKOUT,
    Api,
    eventually,
    prefect,
    sample_tables,
    schemas_of,
    tables_of,
    text_below,
    text_of,
)

WRONG_PASSWORD = "canary-4f1c-Wr0ng"


@pytest.fixture
def ready(deployed: str, for_worker: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """A worker that is started as an operator starts it, and starts its runs so."""
    with worker_as_usual(deployed, tmp_path / "worker", **for_worker):
        yield deployed


def test_plan_writes_nothing_and_full_moves_everything(
    began: datetime, ready: str, api: Api, emulator_host: str, project: str, database_url: str, tmp_path: Path, workspace: Path
) -> None:
    load_sample(emulator_host, project)

    code, said = start(ready, "plan")
    assert code == 0, said
    assert schemas_of(database_url) == ["public"]
    assert tables_of(database_url) == {}

    (planned,) = api.runs_of("plan", began)
    assert {*api.artifacts_of(planned["id"])} == {"firelift-summary", "firelift-tables", "firelift-plan"}
    assert "users -> public.users (" in api.artifacts_of(planned["id"])["firelift-plan"]
    assert "nothing has been written to the target" in planned["state"]["message"]

    report = result_of(ready, "migration/full")
    assert report == json.loads((workspace / REPORT).read_bytes())
    assert tables_of(database_url) == sample_tables(project)

    (run,) = api.runs_of("full", began)
    assert (planned["name"].split()[0], run["name"]) == ("plan", f"full {report['migrationId']}")
    assert (planned["tags"], run["tags"]) == (["full", "plan", project, "public"], ["full", project, "public"])
    assert run["state_name"] == "Completed"
    loaded = f"{report['statistics']['rowsLoaded']:,} rows loaded, {len(report['tables'])} tables of {report['target']}."
    assert run["state"]["message"].startswith("Completed: every document read is a row of the target")
    assert run["state"]["message"].endswith(loaded)
    left = api.artifacts_of(run["id"])
    assert left["firelift-summary"] == (workspace / "migration-executive-summary.md").read_text()
    assert {row["table"]: row["rows"] for row in json.loads(left["firelift-tables"])} == sample_tables(project)
    logged = [(entry["level"], entry["message"]) for entry in logs_of(api, run)]
    assert (logging.INFO, f"import completed, {report['statistics']['rowsLoaded']:,} rows") in logged
    assert [message for level, message in logged if level == logging.WARNING] == [each["message"] for each in report["warnings"]]

    password = urlsplit(database_url).password
    assert password
    assert password not in api.everything(began)
    assert password not in text_below(workspace) + text_below(tmp_path)
    assert password not in text_of(database_url)


def test_a_wrong_password_fails_the_run_says_so_and_is_told_nowhere(
    began: datetime,
    deployed: str,
    api: Api,
    emulator_host: str,
    project: str,
    postgres: PostgresServer,
    database_url: str,
    tmp_path: Path,
    workspace: Path,
) -> None:
    write_documents(emulator_host, f"projects/{project}/databases/(default)", [("users/ada", values({"name": "Ada"}))])
    wrong = postgres.url(urlsplit(database_url).path.lstrip("/"), password=WRONG_PASSWORD)
    with worker(
        deployed,
        tmp_path / "worker",
        SUPABASE_DB_URL=wrong,
        MIGRATION_WORKING_DIR=str(workspace),
        **source(emulator_host, project),
    ):
        code, said = start(deployed, "full")

    assert code == 1
    run = api.runs_of("full")[0]
    assert run["state_type"] == "FAILED"
    assert "PostgreSQL refused the user or the password" in run["state"]["message"]
    assert any("PostgreSQL refused the user or the password" in entry["message"] for entry in logs_of(api, run))

    assert WRONG_PASSWORD not in said
    assert WRONG_PASSWORD not in api.everything(began)
    assert WRONG_PASSWORD not in text_below(workspace) + text_below(tmp_path)
    assert WRONG_PASSWORD not in text_of(database_url)
    assert schemas_of(database_url) == ["public"]


def test_a_wrong_directory_to_work_in_is_said_by_name_when_deploying_and_when_running(deployed: str, api: Api, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    done = prefect(deployed, "deploy", "--all", FIRELIFT_HOME=str(nowhere))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: FIRELIFT_HOME does not name a directory")
    assert str(nowhere) in line
    with worker(deployed, tmp_path / "worker", FIRELIFT_HOME=str(nowhere)):
        assert start(deployed, "plan")[0] == 1
        assert start(deployed, "target", flow="rollback")[0] == 1
    for run in (api.runs_of("plan")[0], api.runs_of("target")[0]):
        assert run["state_type"] == "FAILED"
        assert f"FIRELIFT_HOME does not name a directory to work in (directory: {nowhere}" in run["state"]["message"]


@pytest.mark.parametrize(
    "parameter",
    [
        "batch_size=0",
        'naming="kebab-case"',
        'migration_mode="sideways"',
        "max_workers=1000",
        'colour="blue"',
        'database_url="postgresql://x"',
    ],
)
def test_a_bad_parameter_is_refused_before_there_is_a_run(deployed: str, api: Api, parameter: str) -> None:
    before = len(api.runs_of("full"))
    code, _ = start(deployed, "full", parameter)
    assert code != 0
    assert len(api.runs_of("full")) == before


def test_the_form_of_a_run_shows_every_setting_with_its_description_and_choices(deployed: str, api: Api) -> None:
    schema = api.get("deployments/name/migration/full")["parameter_openapi_schema"]
    properties = schema["properties"]
    assert sorted(properties, key=lambda name: properties[name]["position"]) == list(PUBLIC_FIELDS)
    assert not set(SECRETS) & set(properties)
    for name, shown in properties.items():
        assert shown["description"] == Settings.model_fields[name].description
    assert "snake_case" in repr(properties["naming"])
    assert "preserve" in repr(properties["naming"])
    assert not schema.get("required")


def test_a_second_run_at_a_time_is_cancelled(deployed: str, api: Api) -> None:
    for name in ("full", "plan"):
        deployment = api.get(f"deployments/name/migration/{name}")
        assert deployment["global_concurrency_limit"]["limit"] == 1
        assert deployment["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
        assert deployment["enforce_parameter_schema"] is True


def test_a_deployment_with_a_schedule_really_gets_a_run(deployed: str, api: Api) -> None:
    """Prefect 3.9.0 with SQLAlchemy 2.1 looks healthy and schedules nothing; nothing else would notice."""
    flow = api.post("flows/", name="scheduled-by-a-test")
    schedule = {"schedule": {"interval": 3600.0, "timezone": "UTC"}, "active": True}
    deployment = api.post("deployments/", name="hourly", flow_id=flow["id"], schedules=[schedule])
    runs = eventually(120, lambda: api.every("flow_runs", deployments={"id": {"any_": [deployment["id"]]}}))
    assert {run["state_name"] for run in runs} == {"Scheduled"}
    assert all(run["auto_scheduled"] for run in runs)


def test_the_image_copies_what_is_there() -> None:
    lines = (CHECKOUT / "deployments" / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]]
    sources = [word for word in copied if not word.startswith("--")]
    assert sources
    assert [word for word in sources if not (CHECKOUT / word).exists()] == []
    assert {"flows", "tasks", "expectations", "firelift", "requirements.lock"} <= {word.rstrip("/") for word in sources}
