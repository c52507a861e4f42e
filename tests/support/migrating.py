"""Migrations as processes that die: started at a shell, killed with everything they started, and what they leave in target and archive."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import psycopg
from psycopg import sql

from firelift.local.postgres import PostgresServer
from firelift.run.workspace import LOG, STATUS
from tests.support import warm_commands
from tests.support.command_line import FIRELIFT, Operator, Said, can_be_forked
from tests.support.forking import Forked
from tests.support.prefect_servers import CHECKOUT, schemas_of
from tests.support.refreshed_tables import CATALOG
from tests.support.warm_commands import BY_PREFECT, WITHOUT_PREFECT

BATCH = 40
WORKERS = 2
MIGRATION = "the-run"

# `make soak` also runs what differs little from what `make test` runs.
SOAK = "FIRELIFT_KILLS" in os.environ

# The migration finds a table of the target's own: its rows are replaced in publishing, and all else of it must stay.
LIVED_IN = """
    CREATE TABLE public.cities (
        id text COLLATE "C" PRIMARY KEY, name text, note text DEFAULT 'mine', population bigint,
        firestore_created_at timestamptz, firestore_updated_at timestamptz, firestore_residue jsonb
    );
    INSERT INTO public.cities (id, name, population) SELECT 'old-' || n, 'Old ' || n, n FROM generate_series(1, 50) AS n;
    CREATE VIEW public.large_cities AS SELECT id, name FROM public.cities WHERE population > 10000;
    CREATE TABLE public.not_ours (id int PRIMARY KEY, city text);
    INSERT INTO public.not_ours SELECT n, 'city ' || n FROM generate_series(1, 20) AS n;
"""

Content = dict[str, list[str]]


@dataclass(frozen=True)
class Ground:
    """What all runs share: a Prefect server, a Firestore database, a server of targets, and a directory."""

    prefect: str
    firestore: str
    """`host:port` of the emulator, or of what stands in front of it."""
    project: str
    postgres: PostgresServer
    directory: Path
    read_time: str
    _numbers: Iterator[int]

    @contextmanager
    def place(self, **variables: str) -> Iterator[Place]:
        """A working directory, a home and a target for one run."""
        number = next(self._numbers)
        # Other processes of the tests have runs on the same Prefect server.
        name = f"{MIGRATION}-{os.getpid()}-{number}"
        with prepared_target(self.postgres) as url:
            given = {"SUPABASE_DB_URL": url, "PREFECT_API_URL": self.prefect, "FIRESTORE_EMULATOR_HOST": self.firestore, **SETTINGS}
            own = {
                "GOOGLE_CLOUD_PROJECT": self.project,
                "MIGRATION_READ_TIME": self.read_time,
                "MIGRATION_MIGRATION_ID": name,
            }
            with _ended(Place(Operator(self.directory / str(number), given | own | variables), url, name)) as place:
                yield place

    @contextmanager
    def copy(self, place: Place, **variables: str) -> Iterator[Place]:
        """The same once more, working directory and target, as long as nothing runs there."""
        number = next(self._numbers)
        with target(self.postgres, template=urlsplit(place.url).path[1:]) as url:
            operator = Operator(self.directory / str(number), {**place.operator.variables, **SETTINGS, "SUPABASE_DB_URL": url, **variables})
            shutil.copytree(place.workspace, operator.workspace, symlinks=True)
            with _ended(Place(operator, url, place.migration_id)) as copy:
                yield copy


@contextmanager
def _ended(place: Place) -> Iterator[Place]:
    """Nothing that was started from there outlives the block: it would go on asking what the next test asks."""
    try:
        yield place
    finally:
        for started in place.commands:
            if started.running():
                started.kill()


SETTINGS = {
    "MIGRATION_BATCH_SIZE": str(BATCH),
    "MIGRATION_MAX_WORKERS": str(WORKERS),
    "MIGRATION_RANGE_DOCUMENTS": "250",
    # The checkout's code, also where another one is installed.
    "PYTHONPATH": str(CHECKOUT),
    # What is compared here, every row with every row, proves more; Great Expectations takes each run five seconds.
    "MIGRATION_AUTO_VERIFICATION": "false",
    **(BY_PREFECT if SOAK else WITHOUT_PREFECT),
}
VERIFIED = {"MIGRATION_AUTO_VERIFICATION": "true"}
"""For runs to which something happens while they verify."""


def numbered() -> Iterator[int]:
    return itertools.count(1)


@dataclass(frozen=True)
class Place:
    """One run's working directory and target, as somebody at a shell has them."""

    operator: Operator
    url: str
    migration_id: str
    commands: list[Started] = field(default_factory=list, compare=False)
    """All that was started from here."""

    @property
    def workspace(self) -> Path:
        return self.operator.workspace

    @property
    def run(self) -> Path:
        return self.workspace / "runs" / self.migration_id

    def with_(self, **variables: str | None) -> Place:
        return replace(self, operator=self.operator.with_(**variables))

    def start(self, *arguments: str) -> Started:
        """`firelift migrate …` in a session of its own."""
        return self._start("migrate", *arguments)

    def migrate(self, *arguments: str) -> Said:
        return self.start(*arguments).wait()

    def firelift(self, *arguments: str) -> Said:
        return self._start(*arguments).wait()

    def _start(self, *arguments: str) -> Started:
        started = start(self.operator, list(arguments))
        self.commands.append(started)
        return started

    def status(self) -> dict[str, Any]:
        """The run's status, {} before there is one."""
        with suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads((self.run / STATUS).read_bytes())
            return found
        return {}

    def state(self, phase: str) -> str:
        """`pending`, `running`, …: where the phase stands."""
        state: str = self.status().get("progress", {}).get("phases", {}).get(phase, {}).get("state", "pending")
        return state

    def events(self) -> list[str]:
        """What the run's log tells, in its order."""
        return [str(entry["event"]) for entry in json.loads((self.run / LOG).read_bytes())]

    def content(self) -> Content:
        return content(self.url)

    def archived(self) -> Archived:
        return archived(self.run / "archive")


class Started:
    """A command that runs, with all the processes it starts."""

    def __init__(self, process: subprocess.Popen[bytes] | Forked, files: tuple[Path, Path]) -> None:
        self.process, self._files = process, files

    def running(self) -> bool:
        return self.process.poll() is None

    def family(self) -> list[psutil.Process]:
        """The process and all beneath it."""
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def signal(self, number: signal.Signals) -> None:
        """To the process alone, as `kill` does."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def interrupt(self) -> None:
        """Ctrl-C reaches all processes of a terminal."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """kill -9 of the whole tree."""
        family = self.family()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family)
        self.process.wait()

    def wait(self, timeout: float = 300) -> Said:
        try:
            self.process.wait(timeout)
        except BaseException:
            self.kill()
            raise
        out, err = (file.read_text(errors="replace") for file in self._files)
        return Said(self.process.wait(), out, err)

    def until(self, fact: Callable[[], Any], timeout: float = 120) -> Any:
        """What the fact is as soon as it is something; the command must not end before."""
        deadline = time.monotonic() + timeout
        while not (found := fact()):
            if not self.running():
                said = self.wait()
                raise AssertionError(f"ended with {said.code} before that: {said.err[-2000:]}")
            assert time.monotonic() < deadline, f"not within {timeout} s: {self._files[1].read_text(errors='replace')[-2000:]}"
            time.sleep(0.005)
        return found


_commands = itertools.count(1)


def start(operator: Operator, arguments: list[str]) -> Started:
    """`firelift …`; what it says goes to files, so that whoever survives it holds no pipe of ours."""
    operator.here.mkdir(parents=True, exist_ok=True)
    number = next(_commands)
    files = operator.directory / f"{number}.out", operator.directory / f"{number}.err"
    environment: Mapping[str, str] = {**operator.surroundings(), **operator.variables}
    with files[0].open("wb") as out, files[1].open("wb") as err:
        if can_be_forked(environment):
            return Started(warm_commands.start(arguments, operator.here, environment, files=(out, err), new_session=True), files)
        process = subprocess.Popen(
            [FIRELIFT, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=operator.here,
            env=environment,
            start_new_session=True,
        )
    return Started(process, files)


@contextmanager
def prepared_target(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database in which somebody lives already; dropped afterwards."""
    with target(postgres, template="template0") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(LIVED_IN)
        yield url


@contextmanager
def target(postgres: PostgresServer, template: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_commands)}"
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(name), sql.Identifier(template)))
    yield postgres.url(name)
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def content(url: str) -> Content:
    """Every table of the target schema, each row once for every time it is there, in key order; columns, keys, views and all else;
    and what Firelift itself remembers, without names and times of runs."""
    with psycopg.connect(url) as connection:
        names = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]
        rows = {f"rows of {name}": _lines(connection, f'SELECT t::text FROM public."{name}" AS t') for name in names}
        catalog = {what: _lines(connection, query) for what, query in CATALOG.items() if what not in ("published", "schemas")}
        remembered = {what: _lines(connection, query) for what, query in REMEMBERED.items()} if "firelift" in schemas_of(url) else {}
        return rows | catalog | remembered


REMEMBERED = {
    "plans": "SELECT collection || table_name || plan::text FROM firelift.tables",
    "backups": "SELECT row(table_name, action, columns, changes, rows_before, digest_before, rows_after, digest_after)::text"
    " FROM firelift.backups",
    "staging": "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'firelift\\_staging%'",
    "runs": "SELECT status FROM firelift.migrations",
}


def _lines(connection: psycopg.Connection, query: str) -> list[str]:
    return sorted(line for (line,) in connection.execute(query.encode()))


def differences(found: Content, wanted: Content) -> list[str]:
    """Where two contents differ, readable: `== {}` of two whole databases is not."""
    told = []
    for what in sorted(found.keys() | wanted.keys()):
        here, there = found.get(what, []), wanted.get(what, [])
        if here != there:
            extra, missing = [line for line in here if line not in there], [line for line in there if line not in here]
            told.append(f"{what}: {len(here)} instead of {len(there)}; too much: {extra[:3]}; missing: {missing[:3]}")
    return told


@dataclass(frozen=True)
class Archived:
    """The chunks that count: those that stand in a list, with what identifies their files."""

    files: dict[str, tuple[int, int, str]]
    """Inode, time of the last change (ns) and SHA-256 by path."""
    documents: int
    """How many documents have been read for them."""
    unlisted: int
    """Files that are no chunk yet."""


def archived(directory: Path) -> Archived:
    files: dict[str, tuple[int, int, str]] = {}
    documents = 0
    for listing in sorted(directory.rglob("[0-9][0-9][0-9][0-9].jsonl")):
        for line in listing.read_text().split("\n")[:-1]:
            chunk = json.loads(line)
            path = listing.parent / f"{chunk['name'].rsplit('/', 1)[1]}.parquet"
            there = path.stat()
            files[str(path.relative_to(directory))] = there.st_ino, there.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()
            documents += chunk["documents"] + chunk["skipped"]
    every = [path for path in directory.rglob("*") if path.name.endswith((".parquet", ".new"))]
    return Archived(files, documents, len(every) - len(files))


def files_below(directory: Path, but: Sequence[str] = ()) -> dict[str, tuple[int, int]]:
    """Every file with its size and the time of its last change (ns), except those with one of these names."""
    there = {path: path.stat() for path in directory.rglob("*") if path.is_file() and path.name not in but}
    return {str(path.relative_to(directory)): (found.st_size, found.st_mtime_ns) for path, found in there.items()}


@dataclass(frozen=True)
class Undisturbed:
    """What a run comes to when nothing happens to it, and how long its phases, and publishing, take."""

    content: Content
    documents: int
    seconds: dict[str, float]


def undisturbed_run(ground: Ground) -> Undisturbed:
    # By Prefect, as what is killed is, at moments that are reckoned from these.
    with ground.place(**BY_PREFECT, **VERIFIED) as place:
        said = place.migrate()
        assert said.code == 0, said.err
        phases: dict[str, dict[str, Any]] = place.status()["progress"]["phases"]
        seconds = {name: _seconds(phase["startedAt"], phase["finishedAt"]) for name, phase in phases.items()}
        seconds["publish"] = _seconds(phases["verification"]["finishedAt"], phases["post_migration"]["startedAt"])
        return Undisturbed(place.content(), place.archived().documents, seconds)


def _seconds(began: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
