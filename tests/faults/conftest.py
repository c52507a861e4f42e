"""One Firestore database and one undisturbed migration of it, which every run that was disturbed has to equal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict

import pytest

from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.query import server_time
from firelift.local.emulator import clear
from firelift.local.postgres import PostgresServer
from tests.support.gateway import Gateway, gateway
from tests.support.migrating import Ground, Undisturbed, numbered, undisturbed_run
from tests.support.nasty_database import fill, go_on
from tests.support.shared_servers import Shared

PROJECT = "test-faults"


@pytest.fixture(scope="session")
def front(emulator_host: str) -> Iterator[Gateway]:
    """What stands between the runs and the emulator."""
    with gateway(emulator_host) as opened:
        yield opened


@pytest.fixture(scope="session")
def ground(
    shared: Shared,
    prefect_api: str,
    emulator_host: str,
    front: Gateway,
    postgres: PostgresServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Ground:
    """A Firestore database that has gone on changing since the moment at which all runs read it."""

    @contextmanager
    def changing() -> Iterator[str]:
        clear(emulator_host, PROJECT)
        fill(emulator_host, PROJECT)
        with closing(open_firestore(Source(PROJECT, emulator_host=emulator_host))) as firestore:
            read_time = server_time(firestore)
        go_on(emulator_host, PROJECT)
        yield read_time

    read_time = shared.get("database-of-faults", changing)
    directory = tmp_path_factory.mktemp("faults")
    return Ground(prefect_api, front.address, PROJECT, postgres, directory, read_time, numbered())


@pytest.fixture(scope="session")
def undisturbed(shared: Shared, ground: Ground) -> Undisturbed:
    """A run that nothing happened to."""
    return Undisturbed(**json.loads(shared.get("undisturbed", lambda: nullcontext(json.dumps(asdict(undisturbed_run(ground)))))))
