"""Tables of the target against the archive: what is compared at each level, and what is said of what is found."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from firelift.local.postgres import PostgresServer
from firelift.phases.transformation import ArchiveIncomplete
from firelift.phases.verification import DIFFERENCES, prove
from firelift.postgres.session.connect import Connection, Session, kept_open
from firelift.receipts import Difference, TableCompared
from firelift.settings.types import LevelName
from firelift.settings.verification_level import LEVELS
from firelift.storage.archive import ArchiveDamaged, ChunkDamaged
from firelift.storage.transformed import receipt_path
from firelift.verification.inputs import Known, Tables, Verification
from firelift.verification.proof import Limits, Proof
from firelift.workers import Workers
from tests.support.whole_way import Arrival, Things, migrate, new_database, new_source, write

PEOPLE = 230
LONG = "long" * 350
DOCUMENTS: Things = {
    **{f"people/p{number:03}": {"n": number, "name": f"Person {number}"} for number in range(PEOPLE)},
    **{f"people/p{number:03}/pets/cat": {"lives": 9} for number in range(0, PEOPLE, 10)},
    "people/p001/pets/dog": {"owner": "nobody"},
    f"people/{LONG}/pets/{LONG}": {"lives": 7},
}
PETS = PEOPLE // 10 + 1


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(2) as workers:
        yield workers


@pytest.fixture(scope="module")
def arrival(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrival]:
    with new_source(emulator_host) as source, new_database(postgres) as url:
        write(source, DOCUMENTS)
        arrival = migrate(source, url, tmp_path_factory.mktemp("comparison"), batch_size=40)
        with closing(arrival.connect()) as connection:
            connection.execute("CREATE SCHEMA kept; CREATE TABLE kept.people AS TABLE public.people")
        yield arrival


@pytest.fixture
def target(arrival: Arrival) -> Iterator[Connection]:
    """A connection to the target; what is done to people and their pets over it is undone."""
    with closing(arrival.connect()) as connection:
        connection.execute("SET session_replication_role = replica")  # without foreign keys
        yield connection
        connection.execute("DELETE FROM public.people; INSERT INTO public.people SELECT * FROM kept.people")


def proved(
    workers: Workers,
    arrival: Arrival,
    results: Path,
    level: LevelName,
    seed: str = "seed",
    *,
    tables: Tables | None = None,
    progress: Callable[[int], None] = lambda _: None,
    **options: Any,
) -> Proof:
    tables = tables or Tables(Session(arrival.url, "firelift-test"), "public", arrival.plan, arrival.run)
    roots, read_time = [root.collection for root in arrival.validated.roots], arrival.validated.read_time
    verification = Verification(tables, roots, LEVELS[level], seed, read_time, results, Limits(1000, 1000), **options)
    return prove(workers, verification, progress)


def compared(proof: Proof, table: str) -> TableCompared:
    return next(compared_table for compared_table in proof.tables if compared_table.table == table)


def listed(results: Path) -> list[Difference]:
    with (results / DIFFERENCES).open(newline="", encoding="utf-8") as file:
        return [Difference(**row) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("level", "people", "pets"), [("basic", 10, 10), ("standard", 100, PETS), ("comprehensive", PEOPLE, PETS)])
def test_a_level_compares_as_many_documents_as_it_says(
    workers: Workers, arrival: Arrival, tmp_path: Path, level: LevelName, people: int, pets: int
) -> None:
    heard: list[int] = []
    proof = proved(workers, arrival, tmp_path, level, progress=heard.append)
    assert compared(proof, "people") == TableCompared(
        collection="people",
        table="people",
        documents=PEOPLE,
        rejected=0,
        rows=PEOPLE,
        compared=people,
        differing=0,
        whole=people == PEOPLE,
    )
    assert (compared(proof, "people_pets").compared, compared(proof, "people_pets").whole) == (pets, pets == PETS)
    assert sum(heard) == people + pets
    assert sum(piece.documents for piece in proof.pieces) == people + pets
    assert (proof.differences_total, listed(tmp_path)) == (0, [])


def test_the_sample_reaches_over_all_chunks_and_another_seed_draws_others(workers: Workers, arrival: Arrival, tmp_path: Path) -> None:
    keys = [{piece.key for piece in proved(workers, arrival, tmp_path, "basic", seed).pieces if piece.table == "people"} for seed in "aab"]
    assert keys[0] == keys[1] != keys[2]
    assert len({key[:3] for key in keys[0]}) >= 3  # p0…, p1…, p2…


def test_a_rejected_document_is_counted_and_has_no_row_to_compare(workers: Workers, arrival: Arrival, tmp_path: Path) -> None:
    pets = compared(proved(workers, arrival, tmp_path, "comprehensive"), "people_pets")
    assert (pets.documents, pets.rejected, pets.rows, pets.compared, pets.differing) == (PETS + 1, 1, PETS, PETS, 0)


@pytest.mark.parametrize("level", ["basic", "comprehensive"])
def test_a_row_that_is_gone_is_named_whether_it_was_drawn_or_not(
    workers: Workers, arrival: Arrival, target: Connection, tmp_path: Path, level: LevelName
) -> None:
    for number in (0, 7, 229):
        target.execute("DELETE FROM public.people WHERE n = %s", [number])
    proof = proved(workers, arrival, tmp_path, level)
    found = [(difference.key, difference.what, difference.expected, difference.found) for difference in listed(tmp_path)]
    assert ("*", "number of rows", str(PEOPLE), str(PEOPLE - 3)) in found
    assert sorted(key for key, what, *_ in found if what == "missing row") == ["p000", "p007", "p229"]
    assert compared(proof, "people").differing == 3
    assert proof.differences_total == 4


@pytest.mark.parametrize("level", ["basic", "comprehensive"])
def test_a_row_that_nobody_knows_is_named(workers: Workers, arrival: Arrival, target: Connection, tmp_path: Path, level: LevelName) -> None:
    target.execute("INSERT INTO public.people (id, n) VALUES ('p000 ', 0)")
    proof = proved(workers, arrival, tmp_path, level)
    assert [(difference.key, difference.what) for difference in listed(tmp_path)] == [("*", "number of rows"), ("p000 ", "unexpected row")]
    assert compared(proof, "people").differing == 1


def test_as_many_rows_as_expected_may_still_be_others(workers: Workers, arrival: Arrival, target: Connection, tmp_path: Path) -> None:
    target.execute("UPDATE public.people SET id = 'P007' WHERE id = 'p007'")
    proved(workers, arrival, tmp_path, "comprehensive")
    assert {(difference.key, difference.what) for difference in listed(tmp_path)} == {("P007", "unexpected row"), ("p007", "missing row")}


def test_differences_never_end_at_the_first_hundred(workers: Workers, arrival: Arrival, target: Connection, tmp_path: Path) -> None:
    target.execute("UPDATE public.people SET n = n + 1")
    proof = proved(workers, arrival, tmp_path, "comprehensive")
    everything = listed(tmp_path)
    assert proof.differences_total == len(everything) == compared(proof, "people").differing == PEOPLE
    assert sorted(difference.key for difference in everything) == [f"p{number:03}" for number in range(PEOPLE)]
    assert {(difference.field, difference.what) for difference in everything} == {("n", "value")}
    assert proof.differences == tuple(everything[:100])
    assert [file.name for file in tmp_path.iterdir()] == [DIFFERENCES]


def test_a_later_verification_forgets_the_differences_of_an_earlier_one(
    workers: Workers, arrival: Arrival, target: Connection, tmp_path: Path
) -> None:
    target.execute("UPDATE public.people SET n = n + 1")
    assert proved(workers, arrival, tmp_path, "basic").differences_total == 10
    target.execute("UPDATE public.people SET n = n - 1")
    assert proved(workers, arrival, tmp_path, "basic").differences_total == 0
    assert listed(tmp_path) == []


def test_each_level_asks_what_the_one_below_asks_and_more(workers: Workers, arrival: Arrival, tmp_path: Path) -> None:
    known: dict[str, Any] = {"known": Known(relations=arrival.imported.relations), "source": arrival.source}
    basic, standard, comprehensive = (proved(workers, arrival, tmp_path, level, **known) for level in LEVELS)
    assert (basic.relations, basic.columns, basic.rereads, basic.performance) == ((), (), (), ())
    assert (
        {measured.what for measured in standard.performance}
        == {"key lookup", "count"}
        < {measured.what for measured in comprehensive.performance}
    )
    assert standard.relations
    assert standard.columns
    assert standard.rereads == ()
    assert [(reread.table, reread.asked, reread.differing) for reread in comprehensive.rereads] == [
        ("people", LEVELS["comprehensive"].rereads, 0),
        ("people_pets", PETS, 0),
    ]


def test_what_differs_from_firestore_is_among_the_differences(
    workers: Workers, arrival: Arrival, target: Connection, tmp_path: Path
) -> None:
    target.execute("UPDATE public.people SET name = 'nobody'")
    proof = proved(workers, arrival, tmp_path, "comprehensive", source=arrival.source)
    assert [reread.differing for reread in proof.rereads] == [LEVELS["comprehensive"].rereads, 0]
    assert proof.differences_total == len(listed(tmp_path)) == PEOPLE + LEVELS["comprehensive"].rereads


def test_a_lost_archive_is_no_empty_table(workers: Workers, arrival: Arrival, tmp_path: Path) -> None:
    receipt = receipt_path(arrival.run, "people/0000-000002")
    kept = receipt.rename(tmp_path / "kept")
    with pytest.raises(ArchiveIncomplete):
        proved(workers, arrival, tmp_path, "basic")
    kept.rename(receipt)
    listing = arrival.run / "archive" / "people" / "0000.jsonl"
    lines = listing.read_text()
    listing.write_text("".join(lines.splitlines(keepends=True)[:-1]))
    try:
        with pytest.raises(ArchiveDamaged):
            proved(workers, arrival, tmp_path, "comprehensive")
    finally:
        listing.write_text(lines)


def test_a_chunk_that_has_changed_is_no_difference_of_the_target(workers: Workers, arrival: Arrival, tmp_path: Path) -> None:
    chunk = arrival.run / "archive" / "people" / "0000-000000.parquet"
    content = chunk.read_bytes()
    chunk.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    try:
        with pytest.raises(ChunkDamaged, match=r"0000-000000.parquet"):
            proved(workers, arrival, tmp_path, "comprehensive")
    finally:
        chunk.write_bytes(content)


def test_verification_cannot_change_the_target(arrival: Arrival) -> None:
    connection = kept_open(arrival.url, "firelift-test", read_only=True)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("DELETE FROM public.people")
    assert kept_open(arrival.url, "firelift-test", read_only=True) is connection
    connection.close()
    with closing(kept_open(arrival.url, "firelift-test", read_only=True)) as another:
        assert another is not connection


def test_the_tables_of_a_schema_are_compared_and_no_others(workers: Workers, arrival: Arrival, target: Connection, tmp_path: Path) -> None:
    target.execute('CREATE SCHEMA "Other %s"; CREATE TABLE "Other %s".people AS TABLE public.people')
    target.execute('CREATE TABLE "Other %s".people_pets AS TABLE public.people_pets; DELETE FROM public.people')
    other = Tables(Session(arrival.url, "firelift-test"), "Other %s", arrival.plan, arrival.run)
    assert proved(workers, arrival, tmp_path, "comprehensive", tables=other).differences_total == 0


def test_a_table_or_column_that_is_gone_is_a_difference_and_the_others_are_compared(
    workers: Workers, arrival: Arrival, target: Connection, tmp_path: Path
) -> None:
    target.execute("CREATE SCHEMA gone; CREATE TABLE gone.people AS TABLE public.people")
    gone = Tables(Session(arrival.url, "firelift-test"), "gone", arrival.plan, arrival.run)
    proof = proved(workers, arrival, tmp_path, "comprehensive", tables=gone, source=arrival.source)
    assert [(difference.table, difference.key, difference.what) for difference in listed(tmp_path)] == [
        ("people_pets", "*", "missing table")
    ]
    assert compared(proof, "people").compared == PEOPLE
    assert (compared(proof, "people_pets").differing, compared(proof, "people_pets").whole) == (PETS, False)
    target.execute("ALTER TABLE gone.people DROP COLUMN n; CREATE TABLE gone.people_pets AS TABLE public.people_pets")
    proof = proved(workers, arrival, tmp_path, "standard", tables=gone, source=arrival.source)
    assert [(difference.table, difference.field, difference.what) for difference in listed(tmp_path)] == [("people", "n", "missing column")]
    assert compared(proof, "people_pets").compared == PETS


@pytest.mark.parametrize(
    ("schema", "column", "to"),
    [
        ("numbers", "n", "numeric"),
        ("texts", "n", "text"),
        ("objects", "name", "jsonb USING to_jsonb(name)"),
        ("short", "name", "varchar(3) USING substr(name, 1, 3)"),
        ("moments", "firestore_created_at", "timestamp"),
    ],
)
def test_a_column_of_another_type_is_seen_in_every_row(
    workers: Workers, arrival: Arrival, target: Connection, tmp_path: Path, schema: str, column: str, to: str
) -> None:
    target.execute(f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.people AS TABLE public.people".encode())
    target.execute(f"ALTER TABLE {schema}.people ALTER COLUMN {column} TYPE {to}".encode())
    people = arrival.plan.model_copy(update={"tables": (arrival.plan.table_of("people"),)})
    proved(workers, arrival, tmp_path, "comprehensive", tables=Tables(Session(arrival.url, "firelift-test"), schema, people, arrival.run))
    found = listed(tmp_path)
    assert {difference.key for difference in found} == {f"p{number:03}" for number in range(PEOPLE)}
    assert column in {difference.field for difference in found}
