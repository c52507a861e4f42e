"""A Prefect server as an operator starts it, shared by all tests of this tier."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM

import httpx
import pytest

from firelift.local.server import ServerProcess, free_port
from tests.acceptance.prefect_world import PREFECT, Api


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API's URL of a `prefect server start` with a home of its own."""
    home, port = tmp_path_factory.mktemp("prefect-server"), free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = ServerProcess(command, log=home / "server.log", environment=os.environ | {"PREFECT_HOME": str(home)})
    try:
        server.wait_until(lambda: _healthy(url), timeout=180)
        yield url
    finally:
        server.stop(SIGTERM)


@pytest.fixture(scope="session")
def api(prefect_api: str) -> Iterator[Api]:
    with httpx.Client(base_url=prefect_api, timeout=60) as client:
        yield Api(prefect_api, client)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A working directory of this test alone."""
    return tmp_path / "workspace"


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
