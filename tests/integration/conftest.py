"""Worker processes of this tier are forks (see tests/support/warm_workers.py) and look at all documents together, however few."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.warm_commands import warm_server
from tests.support.warm_workers import FEWEST_TOGETHER, begin_as_usual, begin_with, by


@pytest.fixture(scope="module", autouse=True)
def _warm_workers() -> Iterator[None]:
    begin_with(by(warm_server))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FEWEST_TOGETHER, "1")
        yield
    begin_as_usual()
