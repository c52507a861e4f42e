"""What the tests of this tier share beside the servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.command_line import QUICKLY
from tests.support.deployments import source, worker
from tests.support.flow_runner import Runner
from tests.support.prefect_servers import prefect


@pytest.fixture
def began() -> datetime:
    """The moment at which the test began."""
    return datetime.now(UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A working directory of this test alone."""
    return tmp_path / "workspace"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A process in which the tests of a file have their migrations run, without Prefect."""
    with closing(Runner(tmp_path_factory.mktemp("runner") / "log")) as started:
        yield started


@pytest.fixture(scope="module")
def flow_runner(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """The same where the migrations are flow runs."""
    with closing(Runner(tmp_path_factory.mktemp("flow-runner") / "log", prefect_api)) as started:
        yield started


@pytest.fixture(scope="session")
def deployed(prefect_api: str) -> str:
    """The API of a server to which the checkout is deployed."""
    created = prefect(prefect_api, "work-pool", "create", "firelift", "--type", "process")
    assert created.returncode == 0, created.stderr
    done = prefect(prefect_api, "deploy", "--all")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("FIRELIFT_HOME is not set here") == 1
    return prefect_api


@pytest.fixture
def for_worker(emulator_host: str, project: str, database_url: str, workspace: Path) -> dict[str, str]:
    """What a worker's environment says of this test's project and database."""
    own = {"SUPABASE_DB_URL": database_url, "MIGRATION_WORKING_DIR": str(workspace)}
    return {**own, **source(emulator_host, project), **QUICKLY}


@pytest.fixture
def ready(deployed: str, for_worker: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The deployed API with a worker on this test's project and database."""
    with worker(deployed, tmp_path / "worker", **for_worker):
        yield deployed
