"""What the tests ask of a Prefect server and start beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from signal import SIGTERM
from typing import Any

import httpx
import psycopg
from psycopg import sql

from firelift.local.postgres import PostgresServer
from firelift.local.sample_app import sample_documents
from firelift.local.server import ServerProcess, free_port

PREFECT = str(Path(sys.executable).with_name("prefect"))
CHECKOUT = Path(__file__).parents[2]
PHASES = ["pre_validation", "extraction", "transformation", "import", "verification", "post_migration"]

# Everything the server tells about runs: where a secret might turn up.
TELLING = [
    "artifacts",
    "block_documents",
    "deployments",
    "flow_runs",
    "flows",
    "logs",
    "task_runs",
    "variables",
    "work_pools",
]


@dataclass
class Api:
    """A Prefect server's REST API."""

    url: str
    client: httpx.Client

    def get(self, path: str) -> Any:
        return self.client.get(f"/{path}").raise_for_status().json()

    def post(self, path: str, **body: Any) -> Any:
        return self.client.post(f"/{path}", json=body).raise_for_status().json()

    def every(self, kind: str, **filters: Any) -> list[dict[str, Any]]:
        """All there are of a kind, page by page."""
        found: list[dict[str, Any]] = []
        while page := self.post(f"{kind}/filter", limit=200, offset=len(found), **filters):
            found += page
        return found

    def runs_of(self, deployment: str, since: datetime | None = None) -> list[dict[str, Any]]:
        """The deployment's runs, the newest first; `since`: without those of other tests before that moment."""
        runs = self.every("flow_runs", deployments={"name": {"any_": [deployment]}}, sort="START_TIME_DESC")
        return [run for run in runs if since is None or datetime.fromisoformat(run["created"]) >= since]

    def run_named(self, name: str) -> dict[str, Any]:
        (run,) = self.every("flow_runs", flow_runs={"name": {"any_": [name]}})
        return run

    def tasks_of(self, run: str) -> list[dict[str, Any]]:
        """The run's own task runs in the order in which they began."""
        found = self.every("task_runs", flow_runs={"id": {"any_": [run]}})
        return sorted(found, key=lambda task: str(task["start_time"]))

    def subflows_of(self, run: str) -> list[dict[str, Any]]:
        return self.every("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [run]}})

    def artifacts_of(self, run: str) -> dict[str, Any]:
        """What a flow run has left to read, by key."""
        found = self.every("artifacts", artifacts={"flow_run_id": {"any_": [run]}, "type": {"any_": ["markdown", "table"]}})
        return {artifact["key"]: artifact["data"] for artifact in found}

    def everything(self, since: datetime) -> str:
        """All that the server tells about anything, of events and log entries those since then, as text."""
        return "\n".join([*(self._text_of(kind, since) for kind in TELLING), self._events(since)])

    def _text_of(self, kind: str, since: datetime) -> str:
        filters = {"sort": "TIMESTAMP_ASC", "logs": {"timestamp": {"after_": since.isoformat()}}} if kind == "logs" else {}
        return repr(self.every(kind, **filters))

    def _events(self, since: datetime) -> str:
        # Fifty a page, and the tests before have left thousands.
        page = self.post("events/filter", limit=50, filter={"occurred": {"since": since.isoformat()}})
        text = [repr(page["events"])]
        while page["next_page"]:
            page = self.client.get(page["next_page"]).raise_for_status().json()
            text.append(repr(page["events"]))
        return "\n".join(text)


def environment(**more: str) -> dict[str, str]:
    return os.environ | more


def prefect(api: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """One call of the command `prefect`, in the checkout."""
    return run([PREFECT, "--no-prompt", *arguments], environment(PREFECT_API_URL=api, **more))


def run(command: Sequence[str], environment: Mapping[str, str], cwd: Path = CHECKOUT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, timeout=300, check=False)


@contextmanager
def prefect_server(home: Path, database: str | None = None) -> Iterator[str]:
    """The API's URL of a Prefect server as an operator starts it, with a home of its own; on SQLite unless given a PostgreSQL URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    command = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    kept = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": database.replace("://", "+asyncpg://")} if database else {}
    # A new schedule has its first run within seconds, not within a minute.
    own = {"PREFECT_HOME": str(home), "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}
    server = ServerProcess(command, log=home / "server.log", environment=environment(**own, **kept))
    try:
        server.wait_until(lambda: _healthy(url), timeout=180)
        yield url
    finally:
        server.stop(SIGTERM)


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def eventually(seconds: float, found: Callable[[], Any]) -> Any:
    """What `found` returns as soon as it is something; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.25)
    return result


@contextmanager
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database for more than one test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 STRATEGY FILE_COPY").format(sql.Identifier(name)))
        yield postgres.url(name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def tables_of(database_url: str, schema: str = "public") -> dict[str, int]:
    """Every table of a schema with its number of rows."""
    with psycopg.connect(database_url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]).fetchall()
        return {name: _count(connection, schema, name) for (name,) in names}


def schemas_of(database_url: str) -> list[str]:
    """The schemas that are not PostgreSQL's own."""
    with psycopg.connect(database_url) as connection:
        query = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1"
        return [name for (name,) in connection.execute(query)]


def text_of(database_url: str) -> str:
    """Every row of every table of a database, as text."""
    with psycopg.connect(database_url) as connection:
        tables = connection.execute("SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^pg_'").fetchall()
        return "\n".join(_rows(connection, schema, table) for schema, table in tables)


def text_below(directory: Path) -> str:
    """Every file below a directory, as text."""
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in directory.rglob("*") if path.is_file())


def sample_tables(project: str) -> dict[str, int]:
    """The tables that the sample app becomes, with their numbers of rows."""
    paths = (path.split("/") for path, _ in sample_documents(f"projects/{project}/databases/(default)"))
    return dict(Counter("_".join(path[::2]) for path in paths))


def _count(connection: psycopg.Connection, schema: str, table: str) -> int:
    found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, table))).fetchone()
    assert found is not None
    return int(found[0])


def _rows(connection: psycopg.Connection, schema: str, table: str) -> str:
    return repr(connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))).fetchall())
