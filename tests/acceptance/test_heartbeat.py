"""A migration whose process died without a word is marked Crashed by the automation in `deployments/`."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from firelift.local.postgres import PostgresServer
from firelift.local.server import free_port
from tests.support.command_line import FIRELIFT, QUICKLY
from tests.support.prefect_servers import CHECKOUT, Api, environment, eventually, prefect

AUTOMATION = CHECKOUT / "deployments" / "heartbeat.yaml"
# A run's first heartbeat comes at once, and no run of these tests lives to see its second.
SECONDS = 10
WITHIN = re.compile(r"(?<=\bwithin: )\d+")
RUNS = ("ended", "killed")


def documented() -> list[str]:
    """The command that the file itself and the README give."""
    (command,) = [line.partition("prefect ")[2] for line in AUTOMATION.read_text().splitlines() if "automation create" in line]
    assert f"prefect {command}" in (CHECKOUT / "deployments" / "README.md").read_text()
    return shlex.split(command)


@pytest.fixture
def watched(prefect_api: str, api: Api, tmp_path: Path) -> Iterator[str]:
    """The API of a server with the shipped automation, but a short patience; it looks only after runs of this test."""
    every = 'match: {prefect.resource.id: "prefect.flow-run.*"'
    ours = ", ".join(f'"full {name}"' for name in RUNS)
    content = WITHIN.sub(str(SECONDS), AUTOMATION.read_text()).replace(every, f"{every}, prefect.resource.name: [{ours}]")
    assert ours in content
    impatient = tmp_path / "heartbeat.yaml"
    impatient.write_text(content)
    *command, _ = documented()
    done = prefect(prefect_api, *command, str(impatient))
    assert done.returncode == 0, done.stdout + done.stderr
    yield prefect_api
    # Other tests have automations of their own on this server.
    for automation in api.every("automations"):
        if automation["name"] == "firelift-heartbeat":
            api.client.delete(f"/automations/{automation['id']}").raise_for_status()


@contextmanager
def silence() -> Iterator[str]:
    """`host:port` of somebody who takes connections and never says a word: whoever asks there waits."""
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        yield "{}:{}".format(*listener.getsockname())


def start(api: str, name: str, workspace: Path, emulator_host: str, database_url: str) -> subprocess.Popen[bytes]:
    own = {"PREFECT_API_URL": api, "FIRESTORE_EMULATOR_HOST": emulator_host, "SUPABASE_DB_URL": database_url, **QUICKLY}
    command = [FIRELIFT, "migrate", "--project-id", "test-heartbeat", "--migration-id", name, "--working-dir", str(workspace)]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment(**own), stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)


def state(api: Api, name: str) -> Any:
    found = api.every("flow_runs", flow_runs={"name": {"any_": [f"full {name}"]}})
    return found[0]["state"] if found else None


def heartbeats(api: Api, name: str) -> int:
    run = api.run_named(f"full {name}")["id"]
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
    return int(api.post("events/filter", filter=wanted, limit=50)["total"])


def test_a_killed_migration_becomes_crashed_and_one_that_ended_stays_as_it_is(
    watched: str, api: Api, postgres: PostgresServer, database_url: str, workspace: Path
) -> None:
    with silence() as nowhere:
        failed = start(watched, "ended", workspace / "ended", nowhere, postgres.url("postgres", password="wrong"))
        assert failed.wait(timeout=180) != 0
        assert eventually(60, lambda: heartbeats(api, "ended"))
        assert state(api, "ended")["type"] == "FAILED"

        killed = start(watched, "killed", workspace / "killed", nowhere, database_url)
        try:
            eventually(180, lambda: state(api, "killed"))
            eventually(60, lambda: heartbeats(api, "killed"))
            assert state(api, "killed")["type"] == "RUNNING"
        finally:
            os.killpg(killed.pid, SIGKILL)
            killed.wait()
        assert state(api, "killed")["type"] == "RUNNING"

    eventually(120, lambda: state(api, "killed")["type"] == "CRASHED")
    assert "firelift migrate --resume" in state(api, "killed")["message"]
    assert state(api, "ended")["type"] == "FAILED"


def test_a_run_of_the_command_beats_as_long_as_it_lives_and_its_end_waits_for_no_heartbeat(
    prefect_api: str, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from tasks import flow_run as heartbeat

    beats: list[int] = []

    @flow(name="migration", flow_run_name="full beating")
    def beating() -> None:
        with heartbeat.heartbeat():
            beats.append(eventually(60, lambda: heartbeats(api, "beating") >= 3 and heartbeats(api, "beating")))

    with temporary_settings({PREFECT_API_URL: prefect_api}), heartbeat.own_heartbeat():
        monkeypatch.setattr(heartbeat, "_seconds", [0.2])
        beating()
    assert beats[0] >= 3
    eventually(10, lambda: "firelift-heartbeat" not in [thread.name for thread in threading.enumerate()])


def test_its_patience_is_three_heartbeats_of_a_run_with_the_default_settings() -> None:
    from prefect.settings.models.flows import FlowsSettings

    (within,) = WITHIN.findall(AUTOMATION.read_text())
    assert int(within) >= 3 * FlowsSettings.model_fields["heartbeat_frequency"].default
