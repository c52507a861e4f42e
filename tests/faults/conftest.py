"""One Firestore database and one undisturbed migration of it, which every run that was disturbed has to equal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.query import server_time
from firelift.local.emulator import clear
from firelift.local.postgres import PostgresServer
from tests.support.gateway import Gateway, gateway
from tests.support.migrating import Ground, Undisturbed, numbered, undisturbed_run
from tests.support.nasty_database import fill, go_on

PROJECT = "test-faults"


@pytest.fixture(scope="session")
def front(emulator_host: str) -> Iterator[Gateway]:
    """What stands between the runs and the emulator."""
    with gateway(emulator_host) as opened:
        yield opened


@pytest.fixture(scope="session")
def ground(
    prefect_api: str, emulator_host: str, front: Gateway, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ground]:
    """A Firestore database that has gone on changing since the moment at which all runs read it."""
    clear(emulator_host, PROJECT)
    fill(emulator_host, PROJECT)
    firestore = open_firestore(Source(PROJECT, emulator_host=emulator_host))
    read_time = server_time(firestore)
    firestore.close()
    go_on(emulator_host, PROJECT)
    directory = tmp_path_factory.mktemp("faults")
    yield Ground(prefect_api, front.address, PROJECT, postgres, directory, read_time, numbered())
    clear(emulator_host, PROJECT)


@pytest.fixture(scope="session")
def undisturbed(ground: Ground) -> Undisturbed:
    """A run that nothing happened to."""
    return undisturbed_run(ground)
