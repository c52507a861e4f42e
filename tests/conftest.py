"""The services that tests run against, and an environment in which nobody's real project is named."""

from __future__ import annotations

import gc
import os
import random
import signal
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import shared_servers, temporary_files

FOREIGN = ("SUPABASE_", "MIGRATION_", "PREFECT_", "GOOGLE_", "GCLOUD_", "GX_", "PG")
for name in [name for name in os.environ if name.startswith(FOREIGN) or name == "DATABASE_URL"]:
    del os.environ[name]
os.environ["DO_NOT_TRACK"] = "1"
os.environ["NO_GCE_CHECK"] = "true"  # google-auth would look for a metadata server in the network
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # see firelift/local
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
# Without the JVM's second compiler the emulator took 3 s of CPU for test_increments.py, instead of 7.
os.environ["JDK_JAVA_OPTIONS"] = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
temporary_files.keep_in_memory()
shared_servers.begin()
_prefect_home = tempfile.TemporaryDirectory(prefix="firelift-prefect-", ignore_cleanup_errors=True)
os.environ["PREFECT_HOME"] = _prefect_home.name
os.environ["XDG_CACHE_HOME"] = str(Path(_prefect_home.name) / "cache")

import httpx  # noqa: E402
import psycopg  # noqa: E402
import pytest  # noqa: E402
from psycopg import sql  # noqa: E402

from firelift.local.emulator import clear, emulator  # noqa: E402
from firelift.local.postgres import PostgresServer  # noqa: E402
from tests.support.prefect_servers import Api, prefect_server  # noqa: E402
from tests.support.scheduling import by_files  # noqa: E402

SHARED = shared_servers.Shared()

# A suite that a script started with `&` has Ctrl-C ignored, and so would have every command it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


TIERS = {
    "unit": "no service, the tier in seconds",
    "property": "Hypothesis",
    "integration": "emulator and Postgres",
    "faults": "things die in mid-run",
    "acceptance": "what an operator starts and sees",
}


def pytest_configure(config: pytest.Config) -> None:
    # Before other processes begin, which must draw the same tests.
    os.environ.setdefault("FIRELIFT_FAULT_SEED", str(random.SystemRandom().randrange(1_000_000)))
    for tier, needs in TIERS.items():
        config.addinivalue_line("markers", f"{tier}: {needs}")


def pytest_collection_finish() -> None:
    # Five thousand tests stay as they are; to look for garbage among them took each process a fortieth of its time.
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    SHARED.close()


def pytest_unconfigure() -> None:
    temporary_files.forget()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        tier = item.path.relative_to(here).parts[0]
        if tier in TIERS:
            item.add_marker(tier)
    # Where several processes share the files, the longest go first.
    items.sort(key=lambda item: item.path.relative_to(here).parts[0] != "faults")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return by_files(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session")
def shared() -> shared_servers.Shared:
    """What the processes of a test run share."""
    return SHARED


@pytest.fixture(scope="session")
def emulator_host(shared: shared_servers.Shared) -> str:
    """`host:port` of a Firestore emulator that all tests share; each has a project of its own."""
    return shared.get("emulator", lambda: emulator(heap_mb=4096))


@pytest.fixture
def project(emulator_host: str) -> Iterator[str]:
    """A project id of this test alone; its default database is emptied afterwards."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    clear(emulator_host, name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that all tests share; each has a database of its own."""
    with PostgresServer(fsync=False) as server:
        yield server


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database of this test alone."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    database = sql.Identifier(name)
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        # The other strategy, which writes all pages to the log, takes three times the CPU.
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 STRATEGY FILE_COPY").format(database))
    yield postgres.url(name)
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


@pytest.fixture(scope="session")
def prefect_api(shared: shared_servers.Shared) -> str:
    """The API's URL of a Prefect server on PostgreSQL that all tests share.

    On SQLite it stood still for a minute now and then, or refused a request (503): "database is locked", says the server then.
    """
    return shared.get("prefect", _prefect_server)


@contextmanager
def _prefect_server() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="firelift-prefect-server-") as home,
        PostgresServer(fsync=False) as own,
        prefect_server(Path(home), own.url()) as url,
    ):
        yield url


@pytest.fixture(scope="session")
def api(prefect_api: str) -> Iterator[Api]:
    with httpx.Client(base_url=prefect_api, timeout=60) as client:
        yield Api(prefect_api, client)
