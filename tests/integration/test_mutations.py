"""Whatever is changed in a verified target, the comparison finds it and says where; in an untouched one it finds nothing."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from psycopg import sql

from firelift.firestore.channel import Source
from firelift.local.firestore_server.server import FirestoreServer
from firelift.local.firestore_server.stored import StoredAnswers, StoredDatabase
from firelift.local.postgres import PostgresServer
from firelift.phases.verification import DIFFERENCES, Compared, compare_tables, parts_of, stored_chunks
from firelift.planning.model import TYPE_OF
from firelift.postgres.session.connect import Connection, Session
from firelift.receipts import Difference
from firelift.settings.types import LevelName
from firelift.settings.verification_level import LEVELS
from firelift.verification.difference_file import DifferenceFile, join_files
from firelift.verification.inputs import Tables
from firelift.workers import Workers
from tests.support.corruption import CORRUPTIONS, KEYS, STRUCTURAL, Corruption, Planted, corrupt, rich_documents
from tests.support.whole_way import Arrival, migrate, new_database, write

SEEDS = range(3)


@dataclass(frozen=True)
class Verified:
    """A migrated database with a copy of its rows, and workers to compare it with."""

    arrival: Arrival
    workers: Workers
    connection: Connection
    results: Path

    def compare(self, level: LevelName = "comprehensive", seed: str = "seed") -> tuple[Compared, DifferenceFile]:
        """What was found out of all tables, and the differences as they are in differences.csv."""
        arrival = self.arrival
        tables = Tables(Session(arrival.url, "firelift-test"), "public", arrival.plan, arrival.run)
        chunks = stored_chunks(arrival.run, [root.collection for root in arrival.validated.roots])
        with parts_of(self.results) as parts:
            compared = compare_tables(self.workers, tables, chunks, LEVELS[level].documents, seed, parts)
            return compared, join_files(compared.differences, self.results / DIFFERENCES)

    def keep(self) -> None:
        self.connection.execute("CREATE SCHEMA kept")
        for table in KEYS:
            self.connection.execute(_named("CREATE TABLE kept.{0} AS TABLE public.{0}", table))

    def restore(self) -> None:
        with self.connection.transaction():
            for table in KEYS:
                self.connection.execute(_named("DELETE FROM public.{0}", table))
                self.connection.execute(_named("INSERT INTO public.{0} SELECT * FROM kept.{0}", table))


def _named(query: str, table: str) -> sql.Composed:
    return sql.SQL(query).format(sql.Identifier(table))


@pytest.fixture(scope="module")
def verified(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Verified]:
    with FirestoreServer(StoredAnswers(StoredDatabase())) as server, new_database(postgres) as url, Workers(2) as workers:
        source = Source("mutations", emulator_host=server.address)
        write(source, rich_documents(source, enterprise=True))
        arrival = migrate(source, url, tmp_path_factory.mktemp("mutations"), batch_size=50, foreign_keys="off")
        arrival.check()
        with closing(arrival.connect()) as connection:
            here = Verified(arrival, workers, connection, tmp_path_factory.mktemp("results"))
            here.keep()
            yield here


@pytest.fixture
def target(verified: Verified) -> Iterator[Verified]:
    """The verified target; whatever a test does to its rows is undone."""
    yield verified
    verified.restore()


def listed(results: Path) -> list[Difference]:
    with (results / DIFFERENCES).open(newline="", encoding="utf-8") as file:
        return [Difference(**row) for row in csv.DictReader(file)]


def check_found(target: Verified, planted: Planted) -> None:
    """The differences name each corrupted row and the place in it, and nothing else."""
    compared, differences = target.compare()
    everything = listed(target.results)
    found = [difference for difference in everything if difference.key != "*"]
    assert differences.total == len(everything)
    assert differences.first == tuple(everything[:100])
    assert {(difference.table, difference.key) for difference in found} == {(planted.table, "/".join(key)) for key in planted.keys}
    for key in planted.keys:
        places = {difference.field for difference in found if difference.key == "/".join(key)}
        assert any(_at(place, planted.field) for place in places), f"{planted.field} is not among {found}"
    assert all(len(difference.expected) <= 200 and len(difference.found) <= 200 for difference in found)
    assert all(difference.expected != difference.found for difference in found)
    [table] = [table for table in compared.tables if table.table == planted.table]
    assert table.differing == len(planted.keys)
    assert [table.differing for table in compared.tables if table.table != planted.table] == [0] * (len(KEYS) - 1)
    odd = {(piece.table, piece.presence) for piece in compared.pieces if piece.source_digest != piece.target_digest}
    unknown = {"unexpected row"} >= {difference.what for difference in found}
    assert {table for table, _ in odd} == (set() if unknown else {planted.table})


def _at(place: str, field: str) -> bool:
    return place == field or not field or place.startswith((f"{field}.", f"{field}["))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda corruption: corruption.name)
def test_a_corrupted_value_is_found_and_named(target: Verified, corruption: Corruption, seed: int) -> None:
    check_found(target, corrupt(target.connection, corruption, target.arrival.source.root, Random(seed)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", STRUCTURAL)
def test_rows_that_are_not_as_they_were_are_found_and_named(target: Verified, name: str, seed: int) -> None:
    check_found(target, STRUCTURAL[name](target.connection, Random(seed)))


def test_there_is_a_corruption_of_every_column_and_type(verified: Verified) -> None:
    planned = verified.arrival.table("rich")
    assert {column.name for column in planned.columns} - {corruption.column for corruption in CORRUPTIONS} <= {"note"}
    assert {column.kind for column in planned.columns} == set(TYPE_OF)
    assert {column.null_means for column in planned.columns} == {"missing", "null"}
    assert len({corruption.name for corruption in CORRUPTIONS} | set(STRUCTURAL)) >= 30


@pytest.mark.parametrize("level", ["basic", "standard", "comprehensive"])
def test_an_untouched_target_has_no_difference_whatever_the_seed(verified: Verified, level: LevelName) -> None:
    for seed in range(10):
        compared, differences = verified.compare(level, str(seed))
        assert differences.total == 0
        assert [table.differing for table in compared.tables] == [0] * len(KEYS)
        assert all(piece.source_digest == piece.target_digest and piece.presence == "both" for piece in compared.pieces)
    assert listed(verified.results) == []
