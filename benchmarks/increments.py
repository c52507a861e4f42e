"""Measures `firelift migrate --migration-mode incremental` beside the floor below it: a keys-only stream of the same documents."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.load import users
from benchmarks.measure import Usage, run_measured
from benchmarks.run import BIN, FULL, REPORT, ROOT, WrongMigration, environment, heap_mb, load, positive, prefect_server, say
from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.query import KeyRange, keys_request, server_time
from firelift.firestore.values import Value
from firelift.local.emulator import Emulator
from firelift.local.postgres import PostgresServer
from firelift.local.writer import value_of, write_documents

CHANGED_EVERY = 1000
"""One document in so many is changed: 0.1 %."""

# Issue 5, at 100 000 documents on two cores.
MOST_FLOORS, MOST_BESIDE, MOST_MORE = 1.5, 5.0, 3.0


@dataclass(frozen=True)
class Figures:
    """One size: seconds of the floor's streams and of every measured run, in their order."""

    documents: int
    floors: list[float]
    unchanged: list[Usage]
    changed: list[Usage]

    def allowed(self) -> float:
        return MOST_FLOORS * median(self.floors) + MOST_BESIDE

    def cpu(self) -> float:
        """µs a document when nothing has changed."""
        return median(usage.cpu for usage in self.unchanged) / self.documents * 1e6


@dataclass(frozen=True)
class Bench:
    """A database that has been migrated once."""

    host: str
    url: str
    api: str
    directory: Path
    documents: int

    def migrate(self, *options: str) -> tuple[Usage, dict[str, int]]:
        """One `firelift migrate`, verified as by default; its usage and the figures of its report."""
        source = ["--firestore-emulator-host", self.host, "--project-id", FULL]
        target = ["--target-schema", f"increments_{self.documents}", "--working-dir", "workspace"]
        own = {"DATABASE_URL": self.url, "PREFECT_API_URL": self.api, "PREFECT_HOME": str(self.directory / "prefect-client")}
        usage = run_measured([str(BIN / "firelift"), "migrate", *source, *target, *options], environment(**own), self.directory)
        report = json.loads((self.directory / "workspace" / REPORT).read_text())
        return usage, {"status": report["status"], **(report.get("increment") or {}).get("totals", {})}

    def increment(self, changed: int) -> Usage:
        usage, found = self.migrate("--migration-mode", "incremental")
        if found != {**found, "status": "completed", "new": 0, "changed": changed, "gone": 0}:
            raise WrongMigration(f"an increment of {changed} changed documents came to {found}")
        say(f"  {changed} changed: {usage.wall:.2f} s, CPU {usage.cpu:.2f} s, {usage.rss / 1e6:.0f} MB")
        return usage

    def change(self, number: int) -> int:
        """Gives one document in a thousand another name; returns how many."""
        resource = f"projects/{FULL}/databases/(default)"
        chosen = [
            (path, {**fields, "name": renamed(number)})
            for place, (path, fields) in enumerate(users(resource, self.documents))
            if place % CHANGED_EVERY == 0
        ]
        return write_documents(self.host, resource, chosen)


def renamed(number: int) -> Value:
    return value_of(string_value=f"Renamed {number}")


def floor(host: str) -> float:
    """Seconds of a stream of every key, in a fresh process, its bytes thrown away."""
    command = [sys.executable, "-m", "benchmarks.increments", "--floor", host]
    return float(subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, check=True).stdout)


def stream_keys(host: str) -> float:
    source = Source(FULL, emulator_host=host)
    firestore = open_firestore(source)
    request = keys_request(source, KeyRange(), server_time(firestore))
    started = time.perf_counter()
    for _ in firestore.stream("RunQuery", request):
        pass
    return time.perf_counter() - started


def measured(documents: int, rounds: int, url: str, api: str, directory: Path) -> Figures:
    with Emulator(heap_mb(documents)) as emulator:
        load(emulator.host, documents)
        bench = Bench(emulator.host, url, api, directory, documents)
        say("once in full, and once without measuring")
        bench.migrate()
        bench.increment(0)
        figures = Figures(documents, [], [], [])
        for number in range(1, rounds + 1):
            say(f"round {number} of {rounds}")
            figures.floors.append(floor(emulator.host))
            say(f"  floor: {figures.floors[-1]:.2f} s")
            figures.unchanged.append(bench.increment(0))
            figures.changed.append(bench.increment(bench.change(number)))
        return figures


def as_markdown(figures: Figures) -> str:
    stream, unchanged, changed = (median(times) for times in (figures.floors, walls(figures.unchanged), walls(figures.changed)))
    memory = max(usage.rss for usage in figures.unchanged) / 1e6
    rows = [
        (f"{figures.documents:,} documents, median of {len(figures.floors)}", ""),
        ("floor: a stream of all keys", f"{stream:.2f} s"),
        (
            f"nothing has changed (allowed: {MOST_FLOORS} floors + {MOST_BESIDE:.0f} s = {figures.allowed():.2f} s)",
            f"**{unchanged:.2f} s**",
        ),
        (f"0.1 % have changed (allowed: {MOST_MORE:.0f} s more)", f"**{changed:.2f} s**, {changed - unchanged:+.2f} s"),
        ("client CPU a document when nothing has changed", f"{figures.cpu():.0f} µs"),
        ("peak memory of all Firelift processes, nothing changed, RSS", f"{memory:.0f} MB"),
        ("the same, 0.1 % changed", f"{max(usage.rss for usage in figures.changed) / 1e6:.0f} MB"),
    ]
    head, *rest = (f"| {what} | {figure} |" for what, figure in rows)
    return "\n".join([head, "| --- | ---: |", *rest]) + "\n"


def walls(usages: list[Usage]) -> list[float]:
    return [usage.wall for usage in usages]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.increments", description=__doc__)
    parser.add_argument("--documents", type=positive, action="append", metavar="N", help="how many; give it again for more sizes [100000]")
    parser.add_argument("--rounds", type=positive, default=3, help="how often everything is measured; medians are printed [3]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single figure there")
    parser.add_argument("--floor", metavar="HOST", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.floor:
        print(stream_keys(asked.floor))
        return
    results = []
    made = tempfile.TemporaryDirectory(prefix="firelift-increments-")
    with made as directory, PostgresServer() as postgres, prefect_server(Path(directory) / "prefect") as api:
        for documents in asked.documents or [100_000]:
            own = Path(directory) / str(documents)
            own.mkdir()
            results.append(measured(documents, asked.rounds, postgres.url(), api, own))
    if asked.json:
        asked.json.write_text(json.dumps([asdict(figures) for figures in results], indent=2) + "\n")
    print("\n".join(map(as_markdown, results)), end="")


if __name__ == "__main__":
    main()
