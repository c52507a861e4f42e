"""Deployments as an operator makes, runs and breaks them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from firelift.firestore.channel import Source
from firelift.local.postgres import PostgresServer
from firelift.local.sample_app import load_sample
from firelift.local.writer import values, write_documents
from firelift.run.workspace import REPORT
from firelift.settings.fields import SECRETS
from firelift.settings.settings import PUBLIC_FIELDS, Settings
from tests.support.command_line import QUICKLY
from tests.support.prefect_servers import (
    CHECKOUT,
    Api,
    environment,
    eventually,
    prefect,
    sample_tables,
    schemas_of,
    tables_of,
    text_below,
    text_of,
    worker,
)
from tests.support.synced_database import Copy

WRONG_PASSWORD = "canary-4f1c-Wr0ng"


@pytest.fixture(scope="module")
def deployed(prefect_api: str) -> str:
    """The API of a server to which the checkout is deployed."""
    created = prefect(prefect_api, "work-pool", "create", "firelift", "--type", "process")
    assert created.returncode == 0, created.stderr
    done = prefect(prefect_api, "deploy", "--all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("FIRELIFT_HOME is not set here") == 1
    return prefect_api


def start(api: str, deployment: str, *parameters: str, flow: str = "migration") -> tuple[int, str]:
    """Runs a deployment and waits for its end; returns exit code and output."""
    given = [argument for parameter in parameters for argument in ("--param", parameter)]
    done = prefect(api, "deployment", "run", f"{flow}/{deployment}", "--watch", "--watch-interval", "1", *given)
    return done.returncode, done.stdout + done.stderr


def result_of(api: str, deployment: str, **parameters: str) -> Any:
    """What `run_deployment(...)` gets of a run."""
    asked = f"run_deployment({deployment!r}, parameters={parameters!r}, poll_interval=1, as_subflow=False).state.result()"
    script = f"import json; from prefect.deployments import run_deployment; print('result:', json.dumps({asked}))"
    called = subprocess.run([sys.executable, "-c", script], env=environment(PREFECT_API_URL=api), capture_output=True, text=True)
    assert called.returncode == 0, called.stderr
    return json.loads(called.stdout.partition("result:")[2])


def subflows_below(api: Api, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The flow runs that the run's tasks have started."""
    tasks = {task["id"] for task in api.tasks_of(run["id"])}
    return [each for each in api.every("flow_runs") if each["parent_task_run_id"] in tasks]


def logs_of(api: Api, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was logged of a flow run and its tasks, when all of it has come."""

    def there() -> list[dict[str, Any]]:
        logged = api.every("logs", logs={"flow_run_id": {"any_": [run["id"]]}}, sort="TIMESTAMP_ASC")
        # Tasks say so of themselves before it.
        ended = (entry for entry in logged if entry["task_run_id"] is None and "Finished in state" in entry["message"])
        return logged if any(ended) else []

    logged: list[dict[str, Any]] = eventually(60, there)
    return logged


def source(emulator_host: str, project: str) -> dict[str, str]:
    return {"FIRESTORE_EMULATOR_HOST": emulator_host, "GOOGLE_CLOUD_PROJECT": project}


@pytest.fixture
def ready(deployed: str, emulator_host: str, project: str, database_url: str, tmp_path: Path, workspace: Path) -> Iterator[str]:
    """The deployed API with a worker on this test's project and database."""
    with worker(
        deployed,
        tmp_path / "worker",
        SUPABASE_DB_URL=database_url,
        MIGRATION_WORKING_DIR=str(workspace),
        **source(emulator_host, project),
        **QUICKLY,
    ):
        yield deployed


def test_plan_writes_nothing_and_full_moves_everything(
    ready: str, api: Api, emulator_host: str, project: str, database_url: str, tmp_path: Path, workspace: Path
) -> None:
    load_sample(emulator_host, project)

    code, said = start(ready, "plan")
    assert code == 0, said
    assert schemas_of(database_url) == ["public"]
    assert tables_of(database_url) == {}

    (planned,) = api.runs_of("plan")
    assert {*api.artifacts_of(planned["id"])} == {"firelift-summary", "firelift-tables", "firelift-plan"}
    assert "users -> public.users (" in api.artifacts_of(planned["id"])["firelift-plan"]
    assert "nothing has been written to the target" in planned["state"]["message"]

    report = result_of(ready, "migration/full")
    assert report == json.loads((workspace / REPORT).read_bytes())
    assert tables_of(database_url) == sample_tables(project)

    (run,) = api.runs_of("full")
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
    assert password not in api.everything()
    assert password not in text_below(workspace) + text_below(tmp_path)
    assert password not in text_of(database_url)


def test_a_rollback_is_a_deployment_too(ready: str, api: Api, emulator_host: str, project: str, database_url: str) -> None:
    write_documents(emulator_host, f"projects/{project}/databases/(default)", [("users/ada", values({"name": "Ada"}))])
    code, said = start(ready, "target", flow="rollback")
    assert code == 1, said
    failed, *_ = api.runs_of("target")
    assert "The target knows of no migration" in failed["state"]["message"]
    messages = [entry["message"] for entry in logs_of(api, failed)]
    told = next(n for n, message in enumerate(messages) if message.startswith("The target knows of no migration"))
    assert told <= min(n for n, message in enumerate(messages) if "Traceback" in message)

    assert start(ready, "full", 'migration_id="the-first"')[0] == 0
    assert tables_of(database_url) == {"users": 1}
    taken_back = result_of(ready, "rollback/target")
    assert taken_back["migration_id"] == "the-first"
    assert tables_of(database_url) == {}
    run, *_ = api.runs_of("target")
    assert (run["name"], run["state_name"]) == ("rollback the latest run", "Completed")
    assert run["state"]["message"] == "the-first is rolled back: 1 table removed."
    assert any("public.users: removed: the run had created it" in entry["message"] for entry in logs_of(api, run))
    assert start(ready, "target", 'database_url="postgresql://x"', flow="rollback")[0] != 0

    password = urlsplit(database_url).password
    assert password
    assert password not in api.everything()


def test_a_verification_is_a_deployment_too(ready: str, api: Api, emulator_host: str, project: str, database_url: str) -> None:
    write_documents(emulator_host, f"projects/{project}/databases/(default)", [("users/ada", values({"name": "Ada"}))])
    assert start(ready, "full", 'migration_id="verified-later"')[0] == 0
    result = result_of(ready, "verify/published", verification_level="comprehensive")
    assert (result["passed"], result["level"], result["against"], result["compared"]) == (True, "comprehensive", "archive", 1)
    assert [(table["table"], table["rows"], table["compared"]) for table in result["tables"]] == [("users", 1, 1)]
    assert [run["migration_id"] for run in result["runs"]] == ["verified-later"]
    (passed,) = api.runs_of("published")
    assert passed["state"]["message"].startswith(
        "All expectations are met. comprehensive: 1 table, 1 of 1 document compared with the archive"
    )
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE public.users SET name = 'ada'")
    code, said = start(ready, "published", 'migration_id="verified-later"', 'against="firestore"', flow="verify")
    assert code == 1, said
    failed, *_ = api.runs_of("published")
    assert failed["name"] == "verify verified-later"
    assert "users ada name: value" in failed["state"]["message"]
    assert tables_of(database_url) == {"users": 1}
    assert start(ready, "published", 'against="memory"', flow="verify")[0] != 0


def test_increments_are_scheduled_but_not_switched_on_and_a_test_run_is_a_deployment(deployed: str, api: Api) -> None:
    incremental, test = (api.get(f"deployments/name/migration/{name}") for name in ("incremental", "test"))
    ((cron, active),) = [(each["schedule"]["cron"], each["active"]) for each in incremental["schedules"]]
    assert (cron, active) == ("*/15 * * * *", False)
    assert api.runs_of("incremental") == []
    assert incremental["parameters"] == {"migration_mode": "incremental"}
    assert test["parameters"] == {"migration_mode": "test"}
    for deployment in (incremental, test):
        assert {"deletes", "schema_changes", "changed_since_field", "sample_size"} <= deployment["parameter_openapi_schema"][
            "properties"
        ].keys()


@pytest.fixture
def copy(emulator_host: str, project: str, database_url: str) -> Copy:
    return Copy(Source(project, emulator_host=emulator_host), database_url)


def test_scheduled_runs_keep_the_target_in_step_and_never_overlap(ready: str, api: Api, copy: Copy, workspace: Path) -> None:
    copy.write({f"users/{n}": {"name": f"user {n}"} for n in range(40)} | {"teams/red": {"size": 2}})
    with somebody_writing(copy):
        with scheduled(api, "incremental", seconds=5):
            eventually(240, lambda: len(runs_in(api, "COMPLETED")) >= 3)
        eventually(120, lambda: not runs_in(api, "PENDING", "RUNNING", "SCHEDULED"))
    ended = api.runs_of("incremental")
    assert {run["state_type"] for run in ended} <= {"COMPLETED", "CANCELLED"}
    assert all(run["auto_scheduled"] for run in ended)

    code, said = start(ready, "incremental")
    assert code == 0, said
    report = json.loads((workspace / REPORT).read_bytes())
    copy.equal(report["readTime"])
    assert copy.ask("SELECT name FROM users WHERE id = 'last'") == [("written last",)]

    # One that finds another at work.
    copy.write({"users/late": {"name": "Late"}})
    with psycopg.connect(copy.url) as reader:
        reader.execute("LOCK TABLE public.users IN ACCESS EXCLUSIVE MODE")
        first = begun(api, "incremental")
        eventually(120, lambda: copy.ask("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype = 'relation'") == [(True,)])
        runs = copy.ask("SELECT count(*) FROM firelift.migrations")
        second = begun(api, "incremental")
        eventually(60, lambda: api.get(f"flow_runs/{second}")["state_type"] == "CANCELLED")
        assert copy.ask("SELECT count(*) FROM firelift.migrations") == runs
        assert api.get(f"flow_runs/{first}")["state_type"] == "RUNNING"
        reader.rollback()
    eventually(120, lambda: api.get(f"flow_runs/{first}")["state_type"] == "COMPLETED")
    copy.equal(json.loads((workspace / REPORT).read_bytes())["readTime"])
    assert copy.ask("SELECT name FROM users WHERE id = 'late'") == [("Late",)]


def begun(api: Api, deployment: str) -> str:
    """A run of the deployment that is due now; its id."""
    found = api.get(f"deployments/name/migration/{deployment}")
    run: str = api.post(f"deployments/{found['id']}/create_flow_run", state={"type": "SCHEDULED"})["id"]
    return run


def runs_in(api: Api, *states: str) -> list[dict[str, Any]]:
    return [run for run in api.runs_of("incremental") if run["state_type"] in states]


@contextmanager
def scheduled(api: Api, deployment: str, seconds: float) -> Iterator[None]:
    """The deployment with one more schedule, by which a run is due every so often."""
    found = api.get(f"deployments/name/migration/{deployment}")
    often = {"schedule": {"interval": seconds, "timezone": "UTC"}, "active": True}
    (made,) = api.client.post(f"/deployments/{found['id']}/schedules", json=[often]).raise_for_status().json()
    yield
    api.client.delete(f"/deployments/{found['id']}/schedules/{made['id']}").raise_for_status()


@contextmanager
def somebody_writing(copy: Copy) -> Iterator[None]:
    """Documents come, change and go meanwhile, and fields and types with them."""
    ended = threading.Event()

    def keep_writing() -> None:
        for number in count():
            copy.write(
                {
                    f"users/{number % 40}": {"name": f"written {number}", "age": number + 0.5 if number % 7 == 0 else number},
                    f"users/{number % 40}/orders/{number % 9}": {"total": number},
                    f"users/new-{number}": {"name": "New", "by": f"field {number % 3}"},
                }
            )
            copy.delete(f"users/{(number * 11) % 40}", f"users/new-{number - 5}")
            if ended.wait(0.1):
                break
        copy.write({"users/last": {"name": "written last"}})

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


REFUSING = """
    CREATE TABLE public.users (
        id text COLLATE "C" PRIMARY KEY, name text CHECK (name <> 'Ada'),
        firestore_created_at timestamptz, firestore_updated_at timestamptz, firestore_residue jsonb
    )
"""


def test_a_failed_run_goes_on_by_a_retry_or_as_a_new_run_of_its_id(
    ready: str, api: Api, emulator_host: str, project: str, database_url: str
) -> None:
    write_documents(emulator_host, f"projects/{project}/databases/(default)", [("users/ada", values({"name": "Ada"}))])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(REFUSING)
        code, said = start(ready, "full")
        assert code == 1, said
        failed, *_ = api.runs_of("full")
        assert "A constraint of the target refuses the rows" in failed["state"]["message"]
        for run in [failed, *(sub for sub in subflows_below(api, failed) if sub["state_type"] == "FAILED")]:
            said_of_run = [entry["message"] for entry in logs_of(api, run) if entry["level"] >= logging.ERROR]
            trace = next(place for place, message in enumerate(said_of_run) if "Traceback" in message)
            reasons = [message for message in said_of_run[:trace] if message.startswith("A constraint of the target refuses the rows")]
            assert reasons, said_of_run
            assert "\n" not in reasons[0]
        assert any(entry["message"].startswith("failed in import: A constraint") for entry in logs_of(api, failed))
        summary = api.artifacts_of(failed["id"])["firelift-summary"]
        assert "**Failed in import" in summary
        connection.execute("ALTER TABLE public.users DROP CONSTRAINT users_name_check")

    retried = prefect(ready, "flow-run", "retry", failed["id"])
    assert retried.returncode == 0, retried.stdout + retried.stderr
    eventually(120, lambda: api.get(f"flow_runs/{failed['id']}")["state_name"] == "Completed")
    assert tables_of(database_url) == {"users": 1}
    states = eventually(
        60, lambda: {task["name"]: task["state_name"] for task in api.tasks_of(failed["id"]) if task["state_name"] == "Cached"}
    )
    assert {"pre_validation", "extraction", "planning", "transformation"} <= states.keys()

    with psycopg.connect(database_url) as connection:
        ((migration_id, status),) = connection.execute("SELECT migration_id, status FROM firelift.migrations").fetchall()
    assert status == "completed"
    assert start(ready, "target", flow="rollback")[0] == 0
    assert tables_of(database_url) == {"users": 0}
    assert start(ready, "full", f'migration_id="{migration_id}"', "resume=true")[0] == 0
    assert tables_of(database_url) == {"users": 1}


def test_a_wrong_password_fails_the_run_says_so_and_is_told_nowhere(
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
    assert WRONG_PASSWORD not in api.everything()
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
