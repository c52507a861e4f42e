"""A temporary Prefect server answers all the time, also when many collections begin and end at once."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from firelift.local.writer import values, write_documents
from tests.support.command_line import FIRELIFT, QUICKLY, Operator
from tests.support.prefect_servers import tables_of

COLLECTIONS = 20
# Where it stood still it did so for a minute: as long as a statement waits for its lock.
STANDSTILL = 30.0
RUNS = 30 if "FIRELIFT_KILLS" in os.environ else 1


@pytest.mark.timeout(3600)
def test_runs_of_twenty_collections_never_find_it_standing_still(
    emulator_host: str, project: str, database_url: str, tmp_path: Path
) -> None:
    names = [f"c{number:02}" for number in range(COLLECTIONS)]
    write_documents(emulator_host, f"projects/{project}/databases/(default)", [(f"{name}/one", values({"n": 1})) for name in names])
    given = {"FIRESTORE_EMULATOR_HOST": emulator_host, "GOOGLE_CLOUD_PROJECT": project, "DATABASE_URL": database_url}
    # A unit for each collection, so that each has its subflow a phase.
    operator = Operator(tmp_path, {**given, **QUICKLY, "MIGRATION_RANGE_DOCUMENTS": "1", "MIGRATION_MAX_WORKERS": "4"})
    silences = [longest_silence(operator.start([FIRELIFT, "migrate"])) for _ in range(RUNS)]
    print(f"the longest silences of {RUNS} runs, in seconds: {[round(silence, 1) for silence in sorted(silences, reverse=True)]}")
    assert [silence for silence in silences if silence > STANDSTILL] == []
    assert tables_of(database_url) == dict.fromkeys(names, 1)


def longest_silence(command: subprocess.Popen[str]) -> float:
    """For how many seconds on end the command's server, once it had answered, gave no answer until the command ended."""
    answered, longest = None, 0.0
    with command:
        while command.poll() is None:
            port = _port_of_server(command.pid)
            if port is not None and _answers(port):
                answered = time.monotonic()
            elif answered is not None:
                longest = max(longest, time.monotonic() - answered)
            time.sleep(0.2)
        assert command.stderr is not None
        assert command.returncode == 0, command.stderr.read()
    assert answered is not None
    return longest


def _port_of_server(command: int) -> int | None:
    try:
        lines = [child.cmdline() for child in psutil.Process(command).children()]
    except psutil.Error:
        return None
    servers = [line for line in lines if "prefect.server.api.server:create_app" in line]
    return int(servers[0][servers[0].index("--port") + 1]) if servers else None


def _answers(port: int) -> bool:
    try:
        # It reads from the database, which a server that stands still does not.
        asked = {"limit": 1, "sort": "START_TIME_DESC"}
        return httpx.post(f"http://127.0.0.1:{port}/api/flow_runs/filter", json=asked, timeout=5).is_success
    except httpx.HTTPError:
        return False
