"""Incremental runs by a schedule: in step with Firestore, one at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from firelift.firestore.channel import Source
from firelift.run.workspace import REPORT
from tests.support.deployments import start
from tests.support.prefect_servers import Api, eventually
from tests.support.synced_database import Copy


def test_increments_are_scheduled_but_not_switched_on_and_a_test_run_is_a_deployment(deployed: str, api: Api) -> None:
    incremental, test = (api.get(f"deployments/name/migration/{name}") for name in ("incremental", "test"))
    ((cron, active),) = [(each["schedule"]["cron"], each["active"]) for each in incremental["schedules"]]
    assert (cron, active) == ("0 * * * *", False)
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
