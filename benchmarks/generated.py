"""Measures `firelift migrate` of millions of generated documents: evenly spread, skewed, and from a Firestore that makes it hard."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.generated_source import PROJECT, RULES, SHAPES
from benchmarks.measure import CommandFailed, run_measured
from benchmarks.run import BIN, REPORT, ROOT, WrongMigration, environment, prefect_server, say
from firelift.errors import FireliftError
from firelift.local.firestore_server.database import Scan
from firelift.local.postgres import PostgresServer


@dataclass(frozen=True)
class Case:
    """Which documents, and how they are served."""

    documents: int
    shape: str = "even"
    rules: str = "quiet"
    workers: int | None = None
    """None: as many as `firelift migrate` takes by itself."""

    def __str__(self) -> str:
        return f"{self.documents:,} {self.shape}, {self.rules}{f', {self.workers} workers' if self.workers else ''}"


@dataclass(frozen=True)
class Measured:
    """One migration: seconds, and bytes at the highest; and what the source has taken for itself."""

    case: Case
    wall: float
    cpu: float
    pss: int
    source_cpu: float
    source_rss: int
    phases: dict[str, float]

    def __str__(self) -> str:
        speed = self.case.documents / self.wall
        each = self.cpu / self.case.documents * 1e6
        phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.phases.items() if seconds > 0.5)
        return (
            f"{self.wall:.1f} s ({speed:,.0f} documents/s), CPU {self.cpu:.1f} s ({each:.0f} µs a document), {self.pss / 1e6:.0f} MB; "
            f"source {self.source_cpu:.1f} s, {self.source_rss / 1e6:.0f} MB; {phases}"
        )


class Bench:
    """The services that stay over all cases."""

    def __init__(self, directory: Path, database_url: str, prefect_api: str) -> None:
        self._directory, self._number = directory, 0
        self._environment = environment(DATABASE_URL=database_url, PREFECT_API_URL=prefect_api, PREFECT_HOME=str(directory / "prefect"))

    def measure(self, case: Case) -> Measured:
        self._number += 1
        ended: list[dict[str, float]] = []
        with tempfile.TemporaryDirectory(dir=self._directory) as made, source(case, ended) as address:
            command = [str(BIN / "firelift"), "migrate", "--firestore-emulator-host", address, "--project-id", PROJECT]
            options = ["--target-schema", f"generated_{self._number}", "--working-dir", "workspace", "--no-auto-verification"]
            options += ["--max-workers", str(case.workers)] if case.workers else []
            usage = run_measured([*command, *options], self._environment, Path(made))
            report = json.loads((Path(made) / "workspace" / REPORT).read_text())
        moved, expected = report["statistics"]["rowsLoaded"], expected_documents(case)
        if report["status"] != "completed" or moved != expected:
            raise WrongMigration(f"{case}: {report['status']} with {moved} rows instead of {expected}")
        phases = {phase: facts["durationSeconds"] or 0.0 for phase, facts in report["phases"].items()}
        (taken,) = ended
        found = Measured(case, usage.wall, usage.cpu, usage.pss, taken["cpu"], int(taken["rss"]), phases)
        say(f"{case}: {found}")
        return found


def expected_documents(case: Case) -> int:
    return SHAPES[case.shape](case.documents).count(Scan(), None)


@contextmanager
def source(case: Case, ended: list[dict[str, float]]) -> Iterator[str]:
    """The address of a Firestore with the documents; what it has taken is added to `ended`."""
    command = [sys.executable, "-m", "benchmarks.generated_source", str(case.documents), case.shape, case.rules]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["address"]
        process.stdin.close()
        ended.append(json.loads(process.stdout.readline()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generated", description=__doc__)
    parser.add_argument("--documents", type=int, action="append", metavar="N", help="how many; give it again for more sizes [1000000]")
    parser.add_argument("--shape", choices=SHAPES, action="append", help="[all]")
    parser.add_argument("--rules", choices=RULES, action="append", help="[quiet, and rough only for the even shape]")
    parser.add_argument("--workers", type=int, action="append", metavar="N", help="worker processes [as many as processors]")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single figure there")
    asked = parser.parse_args()
    cases = [
        Case(documents, shape, rules, workers)
        for documents in asked.documents or [1_000_000]
        for shape in asked.shape or SHAPES
        for rules in asked.rules or ("quiet", "rough")
        if asked.rules or rules == "quiet" or shape == "even"
        for workers in asked.workers or [None]
    ]
    with (
        tempfile.TemporaryDirectory(prefix="firelift-benchmark-") as directory,
        PostgresServer() as postgres,
        prefect_server(Path(directory) / "prefect") as api,
    ):
        bench = Bench(Path(directory), postgres.url(), api)
        try:
            found = [bench.measure(case) for _ in range(asked.rounds) for case in cases]
        except (FireliftError, CommandFailed, WrongMigration) as error:
            sys.exit(f"error: {error}")
    if asked.json:
        asked.json.write_text(json.dumps([asdict(one) for one in found], indent=2) + "\n")
    for case in cases:
        rounds = [one for one in found if one.case == case]
        wall, cpu = median(one.wall for one in rounds), median(one.cpu for one in rounds)
        memory = max(one.pss for one in rounds) / 1e6
        print(f"| {case} | {wall:.1f} s | {case.documents / wall:,.0f}/s | {cpu / case.documents * 1e6:.0f} µs | {memory:.0f} MB |")


if __name__ == "__main__":
    main()
