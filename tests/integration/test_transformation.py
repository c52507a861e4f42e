"""The steps of the phase transformation over a run's directory of which a part was lost, and beside a target that has changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

import expectations
from firelift.files import FileChanged, write_sealed
from firelift.firestore.values import Document
from firelift.local.writer import values
from firelift.migration.context import Migration, Run
from firelift.migration.steps.planning import planning
from firelift.migration.steps.transformation import transformation
from firelift.migration.surroundings import Surroundings
from firelift.paths import collection_of
from firelift.phases.planning import PlanLost
from firelift.phases.transformation import ArchiveIncomplete, receipts_are_whole, transform_collection
from firelift.planning.model import PLAN, Plan, read_plan
from firelift.planning.profile import Profiler, profile_to_json
from firelift.postgres.schema.compatibility import ColumnTypeMismatch
from firelift.postgres.schema.control_schema import create_control, save_table
from firelift.postgres.session.connect import connect
from firelift.receipts import Extracted, Transformed
from firelift.settings.settings import Settings
from firelift.storage.archive import ArchiveDamaged, ChunkDamaged, RangeArchive, write_digest
from firelift.verification.compare import rejected_paths
from firelift.workers import Workers

DATABASE = "projects/lab/databases/(default)"


@pytest.fixture
def here(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Migration]:
    """A migration that is about to plan."""
    monkeypatch.setenv("SUPABASE_DB_URL", database_url)
    monkeypatch.chdir(tmp_path)
    told = {"project_id": "lab", "firestore_emulator_host": "127.0.0.1:9", "working_dir": str(tmp_path / "workspace"), "max_workers": 1}
    settings = Settings.load(**told)
    with Workers(1) as workers:
        migration = Migration(Run(migration_id="the-run", settings=settings.public()), settings, workers, Surroundings(expectations))
        yield migration
        migration.close()


def archived(here: Migration, collection: str, documents: int, name: str = "one", more: Sequence[str] = ()) -> Extracted:
    """Documents in the archive, as extraction leaves them."""
    archive, profiler = RangeArchive(here.workspace.archive / collection, 0), Profiler(DATABASE)
    archive.directory.mkdir()
    paths = [*(f"{collection}/{number}" for number in range(documents)), *more]
    made = [Document(name=f"{DATABASE}/documents/{path}", fields=values({"name": f"{name} {path}"})) for path in paths]
    for path, document in zip(paths, made, strict=True):
        profiler.see(collection_of(path), document)
    for number, (path, document) in enumerate(zip(paths, made, strict=True)):
        archive.write(number, [path], [1], [2], [document.SerializeToString()], path, 0)
    write_sealed(archive.profile, json.dumps(profile_to_json(profiler.profile)))
    digest = write_digest(archive.directory)
    return Extracted(
        collection=collection, documents=len(paths), skipped=0, bytes=1, chunks=len(paths), ranges=1, reads=len(paths), digest=digest
    )


def transformed(here: Migration, part: Extracted) -> Transformed:
    return transform_collection(here.workers, here.directory, part, lambda _: None)


def planned(here: Migration) -> Plan:
    return read_plan(here.directory)


def publish_meanwhile(url: str, plan: Plan) -> None:
    """Another run publishes the first table under another name."""
    with closing(connect(url, "firelift-test")) as connection:
        create_control(connection)
        save_table(connection, "another", "public", plan.tables[0].model_copy(update={"table": "people"}), None)


def test_all_that_was_extracted_is_transformed(here: Migration) -> None:
    extracted = [archived(here, "rooms", 0), archived(here, "users", 3)]
    planning(here, extracted)
    done = transformation(here, [transformed(here, part) for part in extracted], extracted)
    assert done.transformedRecords == 3


@pytest.mark.parametrize("lost", ["archive", "archive/users"])
def test_an_archive_that_is_lost_is_not_an_empty_collection(here: Migration, lost: str) -> None:
    extracted = [archived(here, "rooms", 2), archived(here, "users", 3)]
    planning(here, extracted)
    gone = here.directory / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    parts = [transformed(here, part) for part in extracted]
    named = "rooms, extracted: 2" if lost == "archive" else "users, extracted: 3"
    with pytest.raises(ArchiveIncomplete, match=f"collection: {named}, transformed: 0.*start a new run"):
        transformation(here, parts, extracted)


def shortened(listing: Path) -> None:
    listing.write_text("".join(listing.read_text().splitlines(keepends=True)[:-1]))


def garbled(listing: Path) -> None:
    listing.write_text(listing.read_text().replace('"documents"', '"docs"', 1))


def swapped(listing: Path) -> None:
    first, *rest = listing.read_text().splitlines(keepends=True)
    listing.write_text("".join([*rest, first]))


@pytest.mark.parametrize("change", [shortened, garbled, swapped, Path.unlink])
def test_a_list_of_chunks_that_has_changed_is_found(here: Migration, change: Callable[[Path], None]) -> None:
    extracted = archived(here, "users", 3)
    planning(here, [extracted])
    change(here.workspace.archive / "users" / "0000.jsonl")
    with pytest.raises(ArchiveDamaged, match=r"archive/users.*Start a new run"):
        transformed(here, extracted)


def test_the_archive_of_another_run_is_found(here: Migration) -> None:
    """Whole in itself, with as many documents."""
    mine = archived(here, "users", 3)
    planning(here, [mine])
    shutil.rmtree(here.workspace.archive / "users")
    archived(here, "users", 3, name="another")
    with pytest.raises(ArchiveDamaged, match="collection: users"):
        transformation(here, [transformed(here, mine)], [mine])


def changed(file: Path) -> None:
    """One bit, in the middle, where Parquet itself sees nothing of it."""
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


def exchanged(file: Path) -> None:
    shutil.copy(file.with_name("0000-000002.parquet"), file)


@pytest.mark.parametrize("change", [changed, exchanged, Path.unlink])
def test_a_chunk_that_has_changed_is_found_when_it_is_read(here: Migration, change: Callable[[Path], None]) -> None:
    extracted = archived(here, "users", 3)
    planning(here, [extracted])
    change(here.workspace.archive / "users" / "0000-000001.parquet")
    with pytest.raises(ChunkDamaged, match=r"archive/users/0000-000001.parquet.*--resume"):
        transformed(here, extracted)


def test_a_plan_by_which_chunks_were_transformed_stays(here: Migration, database_url: str) -> None:
    """Prefect's results are lost, and meanwhile the target has got other plans."""
    extracted = [archived(here, "users", 3)]
    receipt = planning(here, extracted)
    before = planned(here)
    transformed(here, extracted[0])
    publish_meanwhile(database_url, before)
    assert planning(here, extracted) == receipt
    assert planned(here) == before


def test_a_plan_by_which_nothing_was_transformed_is_made_anew(here: Migration, database_url: str) -> None:
    extracted = [archived(here, "users", 3)]
    planning(here, extracted)
    publish_meanwhile(database_url, planned(here))
    planning(here, extracted)
    assert [table.table for table in planned(here).tables] == ["people"]


def retyped(plan: Path) -> None:
    content = plan.read_text()
    assert '"kind": "string"' in content
    plan.write_text(content.replace('"kind": "string"', '"kind": "json"', 1))


def warnings(here: Migration) -> list[str]:
    return [warning["message"] for warning in here.status.data()["warnings"]]


def test_a_plan_with_another_type_for_a_column_is_found_by_whoever_goes_by_it(here: Migration) -> None:
    extracted = archived(here, "users", 3)
    planning(here, [extracted])
    retyped(here.directory / PLAN)
    with pytest.raises(FileChanged, match=r"the-run/plan\.json.*--resume"):
        transformed(here, extracted)
    assert not list((here.directory / "tables").rglob("*.parquet"))
    here.report()
    assert here.reported["plan"] is None


def test_a_plan_that_was_changed_is_made_of_the_archive_again(here: Migration) -> None:
    extracted = archived(here, "users", 3)
    planning(here, [extracted])
    before = (here.directory / PLAN).read_bytes()
    transformed(here, extracted)
    retyped(here.directory / PLAN)
    planning(here, [extracted])
    assert (here.directory / PLAN).read_bytes() == before
    assert [told for told in warnings(here) if "plan.json" in told and "again" in told]


def test_a_plan_that_was_changed_and_would_be_another_now_is_lost(here: Migration, database_url: str) -> None:
    extracted = archived(here, "users", 3)
    planning(here, [extracted])
    transformed(here, extracted)
    publish_meanwhile(database_url, planned(here))
    retyped(here.directory / PLAN)
    with pytest.raises(PlanLost, match=r"plan\.json.*start a new run"):
        planning(here, [extracted])


TOO_LONG = "users/" + "x" * 2800


@pytest.mark.parametrize("name", ["transformed/users/0000-000003.json", "rejects/users-0000-000003.jsonl"])
@pytest.mark.parametrize("change", [changed, Path.unlink])
def test_a_receipt_or_a_list_of_rejected_documents_that_has_changed_is_made_again(
    here: Migration, name: str, change: Callable[[Path], None]
) -> None:
    extracted = archived(here, "users", 3, more=[TOO_LONG])
    planning(here, [extracted])
    first, file = transformed(here, extracted), here.directory / name
    assert (first.tables["users"].rejected, first.remade) == (1, ())
    before = file.read_bytes()
    change(file)
    done = transformed(here, extracted)
    assert file.read_bytes() == before
    assert done.tables == first.tables
    # A receipt that is not there is none, which happens whenever an attempt dies.
    assert done.remade == (() if change is Path.unlink and name.startswith("transformed") else (str(file),))
    transformation(here, [done], [extracted])
    assert [told for told in warnings(here) if name in told] == [
        f"{file} was not as it had been written: it was made of the archive again" for file in done.remade
    ]


@pytest.mark.parametrize("name", ["transformed/users/0000-000003.json", "rejects/users-0000-000003.jsonl"])
def test_verification_goes_by_no_receipt_and_no_list_of_rejected_documents_that_has_changed(here: Migration, name: str) -> None:
    extracted = archived(here, "users", 3, more=[TOO_LONG])
    planning(here, [extracted])
    transformed(here, extracted)
    assert rejected_paths(here.directory, "users/0000-000003") == {TOO_LONG}
    assert receipts_are_whole(here.directory, "users")
    changed(here.directory / name)
    with pytest.raises(FileChanged, match=f"the-run/{name}"):
        rejected_paths(here.directory, "users/0000-000003")
    assert not receipts_are_whole(here.directory, "users")


def test_a_plan_that_stays_must_still_fit_the_target(here: Migration, database_url: str) -> None:
    extracted = [archived(here, "users", 3)]
    planning(here, extracted)
    transformed(here, extracted[0])
    with closing(connect(database_url, "firelift-test")) as connection:
        connection.execute('CREATE TABLE public.users (id text COLLATE "C" PRIMARY KEY, name bigint)')
    with pytest.raises(ColumnTypeMismatch, match=r"public\.users, column: name"):
        planning(here, extracted)


@pytest.mark.parametrize("content", [None, ""], ids=["gone", "empty"])
def test_without_its_plan_a_run_does_not_go_on(here: Migration, content: str | None) -> None:
    extracted = [archived(here, "users", 3)]
    planning(here, extracted)
    transformed(here, extracted[0])
    (here.directory / PLAN).unlink()
    if content is not None:
        (here.directory / PLAN).write_text(content)
    with pytest.raises(PlanLost, match="start a new run"):
        planning(here, extracted)
