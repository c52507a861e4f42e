"""Measures other ways of the same documents out of Firestore beside `firelift migrate`, in the same minutes.

The others are installed for it, into a directory that is gone afterwards: `dlt` by pip, `firestore-export-import` by npm. What does not
install is left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psycopg

from benchmarks.load import load_benchmark
from benchmarks.measure import CommandFailed, Usage, run_measured
from benchmarks.run import BIN, REPORT, WrongMigration, environment, heap_mb, prefect_server, say
from firelift.local.emulator import Emulator
from firelift.local.postgres import PostgresServer

PROJECT = "demo-peers"
PROGRAMS = Path(__file__).parent / "peer_programs"
COLLECTIONS = ("orgs", "users")
DLT = ("dlt[postgres]==1.31.0", "google-cloud-firestore==2.34.1")
EXPORT = "firestore-export-import@1.7.0"
HEADER = "| way | seconds | CPU | memory | what arrives |\n| --- | ---: | ---: | ---: | --- |"


@dataclass(frozen=True)
class Peer:
    """One way, and what is to be said of what it brings."""

    name: str
    what: str
    command: Callable[[Path], list[str]]
    brought: Callable[[Path], int]
    """How many documents it has brought, out of the directory it ran in."""


@dataclass
class Bench:
    """The services that all share."""

    directory: Path
    postgres: PostgresServer
    host: str
    prefect_api: str
    used: dict[str, list[Usage]] = field(default_factory=dict)

    def peers(self) -> list[Peer]:
        found = [
            Peer(
                "official client and COPY",
                "named collections, each document as jsonb, some types as text",
                self._client,
                self._rows("by_client"),
            ),
            self._with_dlt(),
            self._with_export(),
        ]
        firelift = "everything: typed columns, keys, subcollections; exact"
        return [
            Peer("`firelift migrate`, not verified", firelift, self._firelift("--no-auto-verification"), moved),
            Peer("`firelift migrate` (`standard`)", f"{firelift}, and verified", self._firelift(), moved),
            *filter(None, found),
        ]

    def measure(self, peer: Peer, documents: int) -> None:
        with psycopg.connect(self.postgres.url(), autocommit=True) as admin:
            admin.execute("DROP DATABASE IF EXISTS peer WITH (FORCE)")
            admin.execute("CREATE DATABASE peer")
        with tempfile.TemporaryDirectory(dir=self.directory) as made:
            usage = run_measured(peer.command(Path(made)), self._environment(Path(made)), Path(made))
            brought = peer.brought(Path(made))
        if brought != documents:
            raise WrongMigration(f"{peer.name}: {brought} documents instead of {documents}")
        say(f"{peer.name}: {usage.wall:.1f} s, CPU {usage.cpu:.1f} s, {usage.rss / 1e6:.0f} MB")
        self.used.setdefault(peer.name, []).append(usage)

    @property
    def _url(self) -> str:
        return self.postgres.url("peer")

    def _environment(self, home: Path) -> Mapping[str, str]:
        quiet = {"HOME": str(home), "RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
        own = {"FIRESTORE_EMULATOR_HOST": self.host, "GOOGLE_CLOUD_PROJECT": PROJECT, "PREFECT_API_URL": self.prefect_api}
        return environment(**own, DATABASE_URL=self._url, **quiet)

    def _firelift(self, *options: str) -> Callable[[Path], list[str]]:
        return lambda _: [str(BIN / "firelift"), "migrate", "--working-dir", "workspace", *options]

    def _client(self, _: Path) -> list[str]:
        return [sys.executable, str(PROGRAMS / "client.py"), PROJECT, self._url, *COLLECTIONS]

    def _rows(self, schema: str) -> Callable[[Path], int]:
        def count(_: Path) -> int:
            with psycopg.connect(self._url) as connection:
                asked = (connection.execute(f'SELECT count(*) FROM {schema}."{name}"'.encode()) for name in COLLECTIONS)
                return sum(int(row[0]) for found in asked for row in found)

        return count

    def _with_dlt(self) -> Peer | None:
        place = self.directory / "dlt"
        venv.create(place, with_pip=True)
        python = str(place / "bin" / "python")
        if not installs([python, "-m", "pip", "install", "--quiet", *DLT], place):
            return None
        what = "named collections; columns for maps, child tables for arrays; places and references as text"
        command = [python, str(PROGRAMS / "with_dlt.py"), PROJECT]
        return Peer(f"dlt {DLT[0].partition('==')[2]}", what, lambda _: [*command, self._url, *COLLECTIONS], self._rows("by_dlt"))

    def _with_export(self) -> Peer | None:
        place = self.directory / "export"
        place.mkdir()
        if not installs(["npm", "install", "--silent", EXPORT], place):
            return None
        program = place / "export.js"
        program.write_text((PROGRAMS / "export.js").read_text())
        what = "one JSON file and no database; named collections and what is below them"
        return Peer(
            EXPORT.replace("@", " "), what, lambda made: ["node", str(program), PROJECT, str(made / "all.json"), *COLLECTIONS], exported
        )


def installs(command: list[str], directory: Path) -> bool:
    try:
        done = subprocess.run(command, cwd=directory, env=os.environ, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        say(f"left out: {error}")
        return False
    if done.returncode:
        say(f"left out: {' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.returncode == 0


def moved(directory: Path) -> int:
    return int(json.loads((directory / "workspace" / REPORT).read_text())["statistics"]["rowsLoaded"])


def exported(directory: Path) -> int:
    return sum(map(len, json.loads((directory / "all.json").read_text()).values()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="firelift-peers-") as made,
        PostgresServer() as postgres,
        Emulator(heap_mb(asked.documents)) as emulator,
        prefect_server(Path(made) / "prefect") as api,
    ):
        bench = Bench(Path(made), postgres, emulator.host, api)
        documents = load_benchmark(emulator.host, asked.documents, PROJECT)
        peers = bench.peers()
        try:
            for _ in range(asked.rounds):
                for peer in peers:
                    bench.measure(peer, documents)
        except (CommandFailed, WrongMigration) as error:
            sys.exit(f"error: {error}")
    print(f"{documents:,} documents of the emulator, medians of {asked.rounds}\n\n{HEADER}")
    for peer in peers:
        used = bench.used[peer.name]
        wall, cpu, rss = median(one.wall for one in used), median(one.cpu for one in used), max(one.rss for one in used) / 1e6
        print(f"| {peer.name} | {wall:.1f} s | {cpu:.1f} s | {rss:.0f} MB | {peer.what} |")


if __name__ == "__main__":
    main()
