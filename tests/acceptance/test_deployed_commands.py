"""Rollback and verification as deployments, and a failed run of one that is retried."""

from __future__ import annotations

import logging
from datetime import datetime
from urllib.parse import urlsplit

import psycopg

from firelift.local.writer import values, write_documents
from tests.support.deployments import logs_of, result_of, retry, start, subflows_below
from tests.support.prefect_servers import Api, eventually, tables_of


def test_a_rollback_is_a_deployment_too(began: datetime, ready: str, api: Api, emulator_host: str, project: str, database_url: str) -> None:
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
    assert password not in api.everything(began)


def test_a_check_is_a_deployment_too(ready: str, api: Api, emulator_host: str, project: str, database_url: str) -> None:
    write_documents(emulator_host, f"projects/{project}/databases/(default)", [("users/ada", values({"name": "Ada"}))])
    result = result_of(ready, "check/readiness", max_reads=2)
    assert (result["ready"], result["documents"], result["full"]["reads"], result["mostReads"]) == (True, 1, 2, 2)
    run, *_ = api.runs_of("readiness")
    assert run["state"]["message"] == "Ready: 1 document; a full migration: 2 reads billed, $0.00."
    assert any("Documents were only counted" in entry["message"] for entry in logs_of(api, run))
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE VIEW public.users AS SELECT 1")
    code, said = start(ready, "readiness", flow="check")
    assert code == 1, said
    failed, *_ = api.runs_of("readiness")
    assert "The migration cannot start" in failed["state"]["message"]
    assert "users" in failed["state"]["message"]


def test_a_verification_is_a_deployment_too(
    began: datetime, ready: str, api: Api, emulator_host: str, project: str, database_url: str
) -> None:
    write_documents(emulator_host, f"projects/{project}/databases/(default)", [("users/ada", values({"name": "Ada"}))])
    assert start(ready, "full", 'migration_id="verified-later"')[0] == 0
    result = result_of(ready, "verify/published", verification_level="comprehensive")
    assert (result["passed"], result["level"], result["against"], result["compared"]) == (True, "comprehensive", "archive", 1)
    assert [(table["table"], table["rows"], table["compared"]) for table in result["tables"]] == [("users", 1, 1)]
    assert [run["migration_id"] for run in result["runs"]] == ["verified-later"]
    (passed,) = api.runs_of("published", began)
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

    retried = retry(ready, failed["id"])
    assert retried.code == 0, retried.out + retried.err
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
