"""The demo: a sample app in a Firestore emulator, migrated into a PostgreSQL server, both on this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firelift.cli.run import run_migration
from firelift.formatting import count
from firelift.settings.settings import Settings, forget_surroundings

if TYPE_CHECKING:
    from firelift.local.postgres import PostgresServer

HOME = Path("demo-workspace")
PROJECT = "demo-firelift"
EMULATOR_VARIABLES = ("FIRESTORE_EMULATOR_HOST", "FIRESTORE_EMULATOR_JAR", "FIRESTORE_EMULATOR_JAR_URL")


@dataclass(frozen=True)
class Demo:
    """A source with the sample in it and an empty target."""

    emulator_host: str
    database_url: str
    psql: str
    """A command line that opens the target."""
    settings: Mapping[str, str]
    """What a worker elsewhere on this machine has to have in its environment for the same source and target; no password."""


def run_demo(keep: bool, verbose: bool, show: Callable[[dict[str, Any]], None]) -> None:
    """Migrate the sample and show the report; `keep` leaves the servers running until Ctrl-C."""
    with local_services(HOME) as demo:
        report = run_migration(demo_settings(demo, verbose))
        show(report)
        print(_how_to_look(demo, keep), file=sys.stderr)
        if keep:
            _wait_for_ctrl_c()


def demo_settings(demo: Demo, verbose: bool = False) -> Settings:
    return Settings.load(
        firestore_emulator_host=demo.emulator_host,
        project_id=PROJECT,
        database_url=demo.database_url,
        working_dir=HOME / "migration",
        verbose=verbose,
    )


@contextmanager
def local_services(home: Path) -> Iterator[Demo]:
    """Firestore and PostgreSQL, fresh, with the sample loaded."""
    from firelift.local.postgres import PostgresServer, stop_server
    from firelift.local.sample_app import load_sample

    data = home / "postgres"
    # Enterable by others: as root, the server runs under another account. What lies inside is private.
    home.mkdir(exist_ok=True)
    home.chmod(0o711)
    stop_server(data)
    shutil.rmtree(data, ignore_errors=True)
    _say("starting a Firestore emulator and a PostgreSQL server ...")
    with _firestore() as host, PostgresServer(data) as postgres:
        forget_surroundings()
        _say(f"loaded {count(load_sample(host, PROJECT))} sample documents")
        yield Demo(host, postgres.url(), _psql(postgres), _settings(host, postgres))


@contextmanager
def _firestore() -> Iterator[str]:
    """`host:port` of an emulator without documents of the demo; of a server of our own where none is installed, and none is asked for."""
    from firelift.local.emulator import JavaNotFound, clear, emulator
    from firelift.local.emulator_jar import EmulatorNotFound
    from firelift.local.firestore_server.server import FirestoreServer
    from firelift.local.firestore_server.stored import StoredAnswers, StoredDatabase

    asked_for = any(os.environ.get(name) for name in EMULATOR_VARIABLES)
    with ExitStack() as stack:
        try:
            host = stack.enter_context(emulator(fetch=asked_for))
            clear(host, PROJECT)
        except (EmulatorNotFound, JavaNotFound) as missing:
            if asked_for:
                raise
            _say(f"{str(missing).partition('. ')[0]}: Firelift's own server, which keeps documents in memory, stands in for it")
            host = stack.enter_context(FirestoreServer(StoredAnswers(StoredDatabase()))).address
        yield host


def _settings(host: str, postgres: PostgresServer) -> dict[str, str]:
    return {
        "FIRESTORE_EMULATOR_HOST": host,
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "DATABASE_URL": f"postgresql://{postgres.user}@127.0.0.1:{postgres.port}/postgres",
        "PGPASSFILE": str(postgres.pgpass),
    }


def _psql(postgres: PostgresServer) -> str:
    return f"PGPASSFILE={shlex.quote(str(postgres.pgpass))} psql -h 127.0.0.1 -p {postgres.port} -U {postgres.user} postgres"


def _how_to_look(demo: Demo, keep: bool) -> str:
    reports = HOME / "migration"
    lines = ["", f"Reports: {reports}/migration-executive-summary.md and {reports}/final-migration-report.json"]
    if keep:
        lines += ["The tables, until you press Ctrl-C here:", *_commands(demo)]
        lines += ["The same source and target for another shell, or for the worker of a deployment:", *_exports(demo)]
    else:
        lines += ["The servers have been stopped. `firelift demo --keep` leaves them running, so that you can run:", *_commands(demo)]
    return "\n".join(lines)


def _commands(demo: Demo) -> list[str]:
    commands = [r"\dt", r"\d users", "SELECT * FROM users LIMIT 3", "SELECT * FROM users WHERE firestore_residue IS NOT NULL"]
    return [f"  {demo.psql} -x -c {shlex.quote(command)}" for command in commands]


def _exports(demo: Demo) -> list[str]:
    return [f"  export {name}={shlex.quote(value)}" for name, value in demo.settings.items()]


def _wait_for_ctrl_c() -> None:
    # Whoever ends it otherwise wants the servers gone, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        _say("stopping")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
