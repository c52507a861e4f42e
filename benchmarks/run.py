"""Measures `firelift migrate` in the same minutes and on the same machine as the floor below it, and prints the ratios."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

from benchmarks.floor import CHANNELS
from benchmarks.load import load_benchmark, orgs, users
from benchmarks.measure import CommandFailed, run_measured
from benchmarks.results import LEVELS, Floor, Migration, Result, Round, as_json, as_markdown
from firelift.errors import FireliftError
from firelift.local.emulator import Emulator
from firelift.local.postgres import PostgresServer
from firelift.local.server import ServerProcess, free_port
from firelift.local.writer import write_documents

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
FULL, EMPTY = "benchmark-full", "benchmark-empty"
REPORT = "final-migration-report.json"

# Of the environment this is run in, nothing that changes what Firelift, Prefect or Google's libraries do.
FOREIGN = ("MIGRATION_", "SUPABASE_", "PREFECT_", "DATABASE_URL", "FIRESTORE_", "FIREBASE_", "GOOGLE_", "GCLOUD_", "GRPC_")


class WrongMigration(Exception):
    """A measured migration did not move what it was to move, so its figures say nothing."""


@dataclass
class Bench:
    """The services that stay over all sizes, and fresh names for the migrations."""

    directory: Path
    database_url: str
    prefect_api: str
    rounds: int
    _numbers: Iterator[int] = field(default_factory=count)

    def result(self, documents: int) -> Result:
        """Loads a fresh emulator and measures all rounds."""
        with Emulator(heap_mb(documents)) as emulator:
            loaded = load(emulator.host, documents)
            say("once without measuring, for the caches of disk and Java")
            self.floor(emulator.host, "single-threaded")
            self.migration(emulator.host, EMPTY, 2)
            return Result(documents, [self.round(emulator.host, number, loaded) for number in range(1, self.rounds + 1)])

    def round(self, host: str, number: int, loaded: int) -> Round:
        say(f"round {number} of {self.rounds}")
        ordinary, single = (self.floor(host, channel) for channel in CHANNELS)
        small, full = self.migration(host, EMPTY, 2), self.migration(host, FULL, loaded)
        return Round(ordinary, single, small, full, {level: self.migration(host, FULL, loaded, level) for level in LEVELS})

    def floor(self, host: str, channel: str) -> Floor:
        command = [sys.executable, "-m", "benchmarks.floor", host, FULL, channel]
        printed = subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, check=True).stdout
        floor = Floor(**json.loads(printed))
        say(f"  floor, {channel}: {floor.wall:.2f} s")
        return floor

    def migration(self, host: str, project: str, documents: int, level: str | None = None) -> Migration:
        """One `firelift migrate`, by default without verification."""
        name = f"{project.replace('-', '_')}_{next(self._numbers)}"
        with tempfile.TemporaryDirectory(dir=self.directory, prefix=name) as made:
            usage = run_measured(self._command(host, project, name, level), self._environment(), Path(made))
            report = json.loads((Path(made) / "workspace" / REPORT).read_text())
        moved = {report["statistics"]["documentsRead"], report["statistics"]["rowsLoaded"]}
        if report["status"] != "completed" or moved != {documents}:
            raise WrongMigration(f"{project}: {report['status']} with {moved} documents and rows instead of {documents}")
        verified = f"verified {level}" if level else "not verified"
        say(f"  firelift migrate, {documents} documents, {verified}: {usage.wall:.2f} s, CPU {usage.cpu:.2f} s, {usage.rss / 1e6:.0f} MB")
        return Migration(usage, {phase: facts["durationSeconds"] or 0.0 for phase, facts in report["phases"].items()})

    def _command(self, host: str, project: str, schema: str, level: str | None) -> list[str]:
        verification = ["--verification-level", level] if level else ["--no-auto-verification"]
        source = ["--firestore-emulator-host", host, "--project-id", project]
        target = ["--target-schema", schema, "--working-dir", "workspace"]
        return [str(BIN / "firelift"), "migrate", *source, *target, *verification]

    def _environment(self) -> dict[str, str]:
        return environment(DATABASE_URL=self.database_url, PREFECT_API_URL=self.prefect_api, PREFECT_HOME=str(self.directory / "prefect"))


def heap_mb(documents: int) -> int:
    """The emulator keeps 3 GB for 100 000 of these documents."""
    return min(10_240, max(1024, 3072 * documents // 100_000))


def load(host: str, documents: int) -> int:
    """Fills both databases; returns the number of documents in the full one."""
    empty = f"projects/{EMPTY}/databases/(default)"
    write_documents(host, empty, islice(orgs(), 1))
    write_documents(host, empty, users(empty, 1))
    started = time.perf_counter()
    loaded = load_benchmark(host, documents, FULL)
    say(f"{loaded} documents loaded in {time.perf_counter() - started:.0f} s")
    return loaded


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """Yields the API's address of a Prefect server with a database of its own."""
    home.mkdir()
    port = free_port()
    command = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = ServerProcess(command, log=home / "server.log", environment=environment(PREFECT_HOME=str(home)))
    try:
        server.wait_until(lambda: is_healthy(port), timeout=180)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        server.stop(signal.SIGTERM)


def is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def environment(**more: str) -> dict[str, str]:
    """The environment of every process here: nobody's settings but ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {**kept, "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", **more}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(sizes: list[int], rounds: int) -> list[Result]:
    """All sizes one after the other; every service and file is gone afterwards."""
    made = tempfile.TemporaryDirectory(prefix="firelift-benchmark-")
    with made as directory, PostgresServer() as postgres, prefect_server(Path(directory) / "prefect") as api:
        bench = Bench(Path(directory), postgres.url(), api, rounds)
        return [bench.result(documents) for documents in sizes]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--documents", type=positive, action="append", metavar="N", help="how many; give it again for more sizes [100000]")
    parser.add_argument("--rounds", type=positive, default=3, help="how often everything is measured; medians are printed [3]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single figure there")
    asked = parser.parse_args()
    # A stop runs every `with` on its way out; what a script starts with `&` would ignore SIGINT.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    try:
        results = measure(asked.documents or [100_000], asked.rounds)
    except KeyboardInterrupt:
        sys.exit("stopped")
    except (FireliftError, CommandFailed, WrongMigration) as error:
        sys.exit(f"error: {error}")
    if asked.json:
        asked.json.write_text(json.dumps(as_json(results), indent=2) + "\n")
    print(as_markdown(results), end="")


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


if __name__ == "__main__":
    main()
