"""Rows of a published table become the documents again that they stand for, so that a wider column can take them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from firelift.files import write_sealed
from firelift.firestore.values import Document, Value, same_document
from firelift.local.postgres import PostgresServer
from firelift.local.writer import values
from firelift.modes.incremental.rewrite import RewriteInputs, rewrite
from firelift.paths import collection_of, ids_of
from firelift.phases.extraction import read_profile
from firelift.phases.transformation import table_path, transform_collection
from firelift.planning.build import PlanOptions
from firelift.planning.evolve import evolve
from firelift.planning.model import Plan, TablePlan, keep_plan
from firelift.planning.profile import Profiler, profile_to_json
from firelift.postgres.session.connect import Session
from firelift.receipts import Rewritten, RootGroup
from firelift.storage.archive import RangeArchive, ranges, read_chunk, write_digest
from firelift.storage.deleted_keys import deleted_keys_directory, write_deleted_keys
from firelift.transform import UnreadableRow
from firelift.workers import Workers
from tests.support.whole_way import Arrival, arrived

KINDS: list[object] = [1, 2**62, None, 1.5, b"a", Value(string_value="a\0b")]
CHANGED = ("users/15", "users/16", "users/15/orders/a")
GONE = ("users/20", "users/21")


def documents() -> dict[str, dict[str, object]]:
    """Users 10 to 69 and orders of some of them, also below a user that does not exist."""
    found: dict[str, dict[str, object]] = {}
    for number in range(10, 70):
        found[f"users/{number}"] = {"n": number, "name": f"ü{number}", "list": [number], "any": KINDS[number % len(KINDS)]}
    found["users/10"] |= {"n": None, "deep": {"x": [1.5, {"y": None}]}}
    for number in range(10, 30, 5):
        found[f"users/{number}/orders/a"] = {"total": number}
    return found | {"users/nobody/orders/ü": {"total": 1}}


@pytest.fixture(scope="module")
def arrival(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrival]:
    with arrived(emulator_host, postgres, tmp_path_factory.mktemp("first"), documents(), batch_size=25) as there:
        there.check()
        yield there


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(1) as pool:
        yield pool


@pytest.fixture
def run(arrival: Arrival, tmp_path: Path) -> Path:
    """The directory of an incremental run that found some documents new or changed, and two of them gone."""
    archive(tmp_path, arrival.plan.database, {**{path: {"n": "another", "total": 1.5} for path in CHANGED}, "users/new": {"n": 1}})
    gone = deleted_keys_directory(tmp_path, "users")
    gone.mkdir(parents=True)
    write_deleted_keys(tmp_path, "users", "0", pa.table({"id": [ids_of(path)[-1] for path in GONE]}))
    return tmp_path


def archive(run: Path, database: str, found: dict[str, dict[str, Any]]) -> None:
    """As extraction leaves documents."""
    target, profiler = RangeArchive(run / "archive" / "users", 0), Profiler(database)
    target.directory.mkdir(parents=True)
    made = [Document(name=f"{database}/documents/{path}", fields=values(fields)) for path, fields in found.items()]
    for path, document in zip(found, made, strict=True):
        profiler.see(collection_of(path), document)
    moments = [1] * len(made)
    target.write(0, list(found), moments, moments, [document.SerializeToString() for document in made], list(found)[-1], 0)
    write_sealed(target.profile, json.dumps(profile_to_json(profiler.profile)))
    write_digest(target.directory)


def rewritten(
    arrival: Arrival,
    workers: Workers,
    run: Path,
    collection: str = "users",
    *,
    skip_deleted: bool = True,
    before: TablePlan | None = None,
) -> Rewritten:
    heard: list[tuple[str, int, int]] = []
    plan, batch_size = before or arrival.table(collection), 25
    inputs = RewriteInputs(
        Session(arrival.url, "firelift-test"), "public", plan, arrival.plan.database, run, "users", batch_size, skip_deleted=skip_deleted
    )
    done = rewrite(workers, inputs, lambda *counts: heard.append(counts))
    assert (sum(number for _, number, _ in heard), sum(size for _, _, size in heard)) == (done.documents, done.bytes)
    return done


def found(run: Path, prefix: str = "") -> dict[str, Document]:
    """The documents in the archive behind those that the run found itself, of the chunks whose names begin so."""
    chunks = [(part, chunk) for part in ranges(run / "archive" / "users") for chunk in part.chunks() if part.number]
    listed = [pair for part, chunk in chunks if chunk.name.startswith(prefix) for pair in read_chunk(part.file(chunk))]
    assert len(dict(listed)) == len(listed)
    return {path: Document.FromString(data) for path, data in listed}


def check(arrival: Arrival, told: dict[str, Document], *but: str, collections: tuple[str, ...] = ("users",)) -> None:
    """These are the documents of the collections as Firestore has them, without those that changed and without some others."""
    assert set(told) == {path for path in arrival.documents if collection_of(path) in collections and path not in (*CHANGED, *but)}
    assert [path for path in told if not same_document(told[path], arrival.documents[path])] == []


def execute(arrival: Arrival, statement: str) -> None:
    with closing(arrival.connect()) as connection:
        connection.execute(statement.encode())


def test_every_other_row_becomes_its_document_again(arrival: Arrival, workers: Workers, run: Path) -> None:
    done = rewritten(arrival, workers, run)
    check(arrival, found(run), *GONE)
    assert (done.documents, done.skipped, done.deleted_documents, done.chunks) == (56, 4, 0, 3)


def test_rows_of_gone_documents_that_stay_are_rewritten_in_chunks_of_their_own(arrival: Arrival, workers: Workers, run: Path) -> None:
    done = rewritten(arrival, workers, run, skip_deleted=False)
    check(arrival, found(run))
    assert (done.documents, done.skipped, done.deleted_documents) == (58, 2, 2)
    assert set(found(run, done.deleted_chunks)) == {*GONE}


def test_marked_rows_are_rewritten_unless_their_document_is_there_again(arrival: Arrival, workers: Workers, run: Path) -> None:
    execute(arrival, "ALTER TABLE public.users ADD firestore_deleted_at timestamptz")
    try:
        execute(arrival, "UPDATE public.users SET firestore_deleted_at = now() WHERE id IN ('15', '33', '34')")
        done = rewritten(arrival, workers, run, before=arrival.table("users").model_copy(update={"marks_deleted": True}))
    finally:
        execute(arrival, "ALTER TABLE public.users DROP firestore_deleted_at")
    check(arrival, found(run), *GONE)
    assert set(found(run, done.deleted_chunks)) == {"users/33", "users/34"}


def test_nested_tables_are_rewritten_below_their_root_and_beside_each_other(arrival: Arrival, workers: Workers, run: Path) -> None:
    done = [rewritten(arrival, workers, run, collection) for collection in ("users/*/orders", "users")]
    check(arrival, found(run), *GONE, collections=("users", "users/*/orders"))
    assert [rewritten_table.collection for rewritten_table in done] == ["users/*/orders", "users"]


def test_what_a_failed_attempt_left_is_made_anew(arrival: Arrival, workers: Workers, run: Path) -> None:
    spoil = """'{"values": [{"at": ["n"], "is": {"other": 1}}]}'"""
    execute(arrival, f"UPDATE public.users SET firestore_residue = {spoil} WHERE id = '69'")
    try:
        with pytest.raises(UnreadableRow, match=r"table: users, key: \['69'\]"):
            rewritten(arrival, workers, run)
    finally:
        execute(arrival, "UPDATE public.users SET firestore_residue = NULL WHERE id = '69'")
    assert len(found(run)) == 50
    rewritten(arrival, workers, run)
    check(arrival, found(run), *GONE)


def test_a_row_that_no_document_can_have_is_named(arrival: Arrival, workers: Workers, run: Path) -> None:
    execute(arrival, "INSERT INTO public.users (id) VALUES ('mine/too')")
    try:
        with pytest.raises(UnreadableRow, match=r"table: users, key: \['mine/too'\]"):
            rewritten(arrival, workers, run)
    finally:
        execute(arrival, "DELETE FROM public.users WHERE id = 'mine/too'")


def test_what_a_finished_attempt_made_stays(arrival: Arrival, workers: Workers, run: Path) -> None:
    once = rewritten(arrival, workers, run)
    files = {file: file.stat().st_mtime_ns for file in run.rglob("*.parquet")}
    assert rewritten(arrival, workers, run) == once
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*.parquet")} == files


def test_rewritten_documents_take_the_way_of_all_others_into_a_wider_column(arrival: Arrival, workers: Workers, run: Path) -> None:
    before, seen = arrival.table("users"), read_profile(run / "archive", ["users"])
    evolved = evolve(before, seen["users"], frozenset({"users"}), PlanOptions(), "evolve")
    assert evolved.rewrites
    done = rewritten(arrival, workers, run)
    assert read_profile(run / "archive", ["users"])["users"].documents == done.documents + 3
    plan = Plan(database=arrival.plan.database, tables=(evolved.plan, arrival.table("users/*/orders")))
    keep_plan(run, plan)
    transformed = transform_collection(workers, run, RootGroup(collection="users"), lambda _: None)
    assert transformed.documents == done.documents + 4
    assert transformed.tables["users"].rows == done.documents + 3
    assert table_path(run, evolved.plan, f"users/{5000:04}-{0:06}").is_file()
