"""What the tests of this tier share beside the servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.flow_runner import Runner


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A working directory of this test alone."""
    return tmp_path / "workspace"


@pytest.fixture(scope="module")
def runner(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """A process in which the tests of a file have their migrations run."""
    started = Runner(prefect_api, tmp_path_factory.mktemp("runner") / "log")
    yield started
    started.close()
