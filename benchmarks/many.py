"""Measures `firelift migrate` of many collections with few documents: whole, kept in step while nothing changes, and below one root."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from benchmarks.measure import Usage, run_measured
from benchmarks.run import BIN, REPORT, WrongMigration, environment, prefect_server, say
from firelift.firestore.values import Value
from firelift.local.emulator import Emulator
from firelift.local.postgres import PostgresServer
from firelift.local.writer import values, write_documents

ROOTS, OF_PLAIN, DOCUMENTS = 500, 100, 20
BELOW, OF_BELOW = 1200, 3


@dataclass(frozen=True)
class Bar:
    """What is measured, and the seconds that it may take on two cores."""

    name: str
    most: float


WHOLE = Bar(f"{ROOTS} root collections of {DOCUMENTS} documents, verified", 60)
IDLE = Bar("an increment of them in which nothing has changed", 15)
NESTED = Bar(f"{BELOW} tables from subcollections of one root, verified", 180)
PLAIN = Bar(f"{OF_PLAIN} of the root collections by plain `firelift migrate`, with its own temporary server", 45)


def roots(number: int) -> Iterator[tuple[str, dict[str, Value]]]:
    for collection in range(number):
        for document in range(DOCUMENTS):
            yield f"c{collection:04}/d{document:02}", values(_fields(document))


def below() -> Iterator[tuple[str, dict[str, Value]]]:
    """Subcollections, each of another name, below the documents of one root collection."""
    for collection in range(BELOW):
        for document in range(OF_BELOW):
            yield f"root/d{collection:04}/s{collection:04}/x{document}", values(_fields(document))


def _fields(number: int) -> dict[str, object]:
    return {"name": f"name {number}", "number": number, "score": number * 1.5, "even": number % 2 == 0, "tags": ["a", "b"]}


@dataclass(frozen=True)
class Bench:
    """The services, and a directory for everything that the runs leave."""

    host: str
    url: str
    api: str | None
    directory: Path

    def load(self, project: str, documents: Iterator[tuple[str, dict[str, Value]]]) -> int:
        numbers = count()
        write_documents(self.host, f"projects/{project}/databases/(default)", (each for each, _ in zip(documents, numbers, strict=False)))
        return next(numbers)

    def migrate(self, project: str, documents: int, *options: str) -> Usage:
        """One run; raises WrongMigration unless it moved, or compared, so many documents."""
        made = self.directory / project
        made.mkdir(exist_ok=True)
        source = ["--firestore-emulator-host", self.host, "--project-id", project]
        target = ["--target-schema", project.replace("-", "_"), "--working-dir", "workspace"]
        usage = run_measured([str(BIN / "firelift"), "migrate", *source, *target, *options], self._environment(), made)
        report = json.loads((made / "workspace" / REPORT).read_text())
        moved = report["statistics"]["documentsRead"] or report["statistics"].get("keysCompared")
        if report["status"] != "completed" or moved != documents:
            raise WrongMigration(f"{project}: {report['status']} with {moved} documents instead of {documents}")
        say(f"  {project}: {usage.wall:.1f} s, CPU {usage.cpu:.1f} s")
        return usage

    def _environment(self) -> dict[str, str]:
        server = {"PREFECT_API_URL": self.api} if self.api else {}
        return environment(DATABASE_URL=self.url, PREFECT_HOME=str(self.directory / "prefect"), **server)


def measure() -> list[tuple[Bar, Usage]]:
    made = tempfile.TemporaryDirectory(prefix="firelift-benchmark-")
    with made as directory, PostgresServer() as postgres, Emulator(heap_mb=2048) as emulator:
        here = Path(directory)
        with prefect_server(here / "prefect") as api:
            bench = Bench(emulator.host, postgres.url(), api, here)
            documents = bench.load("many-roots", roots(ROOTS))
            standing = [(WHOLE, bench.migrate("many-roots", documents))]
            standing += [(IDLE, bench.migrate("many-roots", documents, "--migration-mode", "incremental"))]
            standing += [(NESTED, bench.migrate("many-below", bench.load("many-below", below())))]
        plain = Bench(emulator.host, postgres.url(), None, here)
        return [*standing, (PLAIN, plain.migrate("some-roots", plain.load("some-roots", roots(OF_PLAIN))))]


def as_markdown(measured: list[tuple[Bar, Usage]]) -> str:
    lines = ["| Many collections | at most s | took s | CPU s |", "|---|---|---|---|"]
    lines += [f"| {bar.name} | {bar.most:g} | {usage.wall:.1f} | {usage.cpu:.1f} |" for bar, usage in measured]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single figure there")
    asked = parser.parse_args()
    measured = measure()
    if asked.json:
        asked.json.write_text(json.dumps([{**asdict(bar), **asdict(usage)} for bar, usage in measured], indent=2) + "\n")
    print(as_markdown(measured), end="")
    if slow := [bar.name for bar, usage in measured if usage.wall > bar.most]:
        sys.exit(f"slower than they may be: {'; '.join(slow)}")


if __name__ == "__main__":
    main()
