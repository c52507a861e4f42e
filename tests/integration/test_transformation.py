"""The tasks of the phase transformation over a run's directory of which a part was lost, and beside a target that has changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from firelift.archive import ArchiveDamaged, ChunkDamaged, RangeArchive, write_digest
from firelift.files import write_whole
from firelift.firestore.values import Document
from firelift.local.writer import values
from firelift.paths import collection_of
from firelift.phases.planning import PLAN, PlanLost
from firelift.phases.transformation import ArchiveIncomplete, transform_collection
from firelift.plan import Plan
from firelift.postgres.connect import connect
from firelift.postgres.control import create_control, save_table
from firelift.postgres.fit import OtherColumnType
from firelift.profile import Profiler, profile_to_json
from firelift.receipts import Extracted, Transformed
from firelift.settings import Settings
from tasks import world as worlds
from tasks.transformation import planning, transformation
from tasks.world import Run, World, world

DATABASE = "projects/lab/databases/(default)"


@pytest.fixture
def run(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run that is about to plan."""
    monkeypatch.setenv("SUPABASE_DB_URL", database_url)
    monkeypatch.chdir(tmp_path)
    told = {"project_id": "lab", "firestore_emulator_host": "127.0.0.1:9", "working_dir": str(tmp_path / "workspace"), "max_workers": 1}
    run = Run(migration_id="the-run", settings=Settings.load(**told).public())
    yield run
    if here := worlds._worlds.pop(run.migration_id, None):
        here.workers.stop()
        here.close()


@pytest.fixture
def here(run: Run) -> World:
    return world(run)


def archived(here: World, collection: str, documents: int, name: str = "one") -> Extracted:
    """Documents in the archive, as extraction leaves them."""
    archive, profiler = RangeArchive(here.workspace.archive / collection, 0), Profiler(DATABASE)
    archive.directory.mkdir()
    paths = [f"{collection}/{number}" for number in range(documents)]
    made = [Document(name=f"{DATABASE}/documents/{path}", fields=values({"name": f"{name} {path}"})) for path in paths]
    for path, document in zip(paths, made, strict=True):
        profiler.see(collection_of(path), document)
    for number, (path, document) in enumerate(zip(paths, made, strict=True)):
        archive.write(number, [path], [1], [2], [document.SerializeToString()], path, 0)
    write_whole(archive.profile, json.dumps(profile_to_json(profiler.profile)))
    digest = write_digest(archive.directory)
    return Extracted(
        collection=collection, documents=documents, passed=0, bytes=1, chunks=documents, ranges=1, reads=documents, digest=digest
    )


def transformed(here: World, part: Extracted) -> Transformed:
    return transform_collection(here.workers, here.directory, part, lambda _: None)


def planned(here: World) -> Plan:
    return Plan.model_validate_json((here.directory / PLAN).read_text())


def publish_meanwhile(url: str, plan: Plan) -> None:
    """Another run publishes the first table under another name."""
    with closing(connect(url, "firelift-test")) as connection:
        create_control(connection)
        save_table(connection, "another", "public", plan.tables[0].model_copy(update={"table": "people"}), None)


def test_all_that_was_extracted_is_transformed(run: Run, here: World) -> None:
    extracted = [archived(here, "rooms", 0), archived(here, "users", 3)]
    planning.fn(run, extracted)
    done = transformation.fn(run, [transformed(here, part) for part in extracted], extracted)
    assert done.transformedRecords == 3


@pytest.mark.parametrize("lost", ["archive", "archive/users"])
def test_an_archive_that_is_lost_is_not_an_empty_collection(run: Run, here: World, lost: str) -> None:
    extracted = [archived(here, "rooms", 2), archived(here, "users", 3)]
    planning.fn(run, extracted)
    gone = here.directory / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    parts = [transformed(here, part) for part in extracted]
    named = "rooms, extracted: 2" if lost == "archive" else "users, extracted: 3"
    with pytest.raises(ArchiveIncomplete, match=f"collection: {named}, transformed: 0.*start a new run"):
        transformation.fn(run, parts, extracted)


def shortened(listing: Path) -> None:
    listing.write_text("".join(listing.read_text().splitlines(keepends=True)[:-1]))


def garbled(listing: Path) -> None:
    listing.write_text(listing.read_text().replace('"documents"', '"docs"', 1))


def swapped(listing: Path) -> None:
    first, *rest = listing.read_text().splitlines(keepends=True)
    listing.write_text("".join([*rest, first]))


@pytest.mark.parametrize("change", [shortened, garbled, swapped, Path.unlink])
def test_a_list_of_chunks_that_has_changed_is_found(run: Run, here: World, change: Callable[[Path], None]) -> None:
    extracted = archived(here, "users", 3)
    planning.fn(run, [extracted])
    change(here.workspace.archive / "users" / "0000.jsonl")
    with pytest.raises(ArchiveDamaged, match=r"archive/users.*Start a new run"):
        transformed(here, extracted)


def test_the_archive_of_another_run_is_found(run: Run, here: World) -> None:
    """Whole in itself, with as many documents."""
    mine = archived(here, "users", 3)
    planning.fn(run, [mine])
    shutil.rmtree(here.workspace.archive / "users")
    archived(here, "users", 3, name="another")
    with pytest.raises(ArchiveDamaged, match="collection: users"):
        transformation.fn(run, [transformed(here, mine)], [mine])


def changed(file: Path) -> None:
    """One bit, in the middle, where Parquet itself sees nothing of it."""
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)


def exchanged(file: Path) -> None:
    shutil.copy(file.with_name("0000-000002.parquet"), file)


@pytest.mark.parametrize("change", [changed, exchanged, Path.unlink])
def test_a_chunk_that_has_changed_is_found_when_it_is_read(run: Run, here: World, change: Callable[[Path], None]) -> None:
    extracted = archived(here, "users", 3)
    planning.fn(run, [extracted])
    change(here.workspace.archive / "users" / "0000-000001.parquet")
    with pytest.raises(ChunkDamaged, match=r"archive/users/0000-000001.parquet.*--resume"):
        transformed(here, extracted)


def test_a_plan_by_which_chunks_were_transformed_stays(run: Run, here: World, database_url: str) -> None:
    """Prefect's results are lost, and meanwhile the target has got other plans."""
    extracted = [archived(here, "users", 3)]
    receipt = planning.fn(run, extracted)
    before = planned(here)
    transformed(here, extracted[0])
    publish_meanwhile(database_url, before)
    assert planning.fn(run, extracted) == receipt
    assert planned(here) == before


def test_a_plan_by_which_nothing_was_transformed_is_made_anew(run: Run, here: World, database_url: str) -> None:
    extracted = [archived(here, "users", 3)]
    planning.fn(run, extracted)
    publish_meanwhile(database_url, planned(here))
    planning.fn(run, extracted)
    assert [table.table for table in planned(here).tables] == ["people"]


def test_a_plan_that_stays_must_still_fit_the_target(run: Run, here: World, database_url: str) -> None:
    extracted = [archived(here, "users", 3)]
    planning.fn(run, extracted)
    transformed(here, extracted[0])
    with closing(connect(database_url, "firelift-test")) as connection:
        connection.execute('CREATE TABLE public.users (id text COLLATE "C" PRIMARY KEY, name bigint)')
    with pytest.raises(OtherColumnType, match=r"public\.users, column: name"):
        planning.fn(run, extracted)


@pytest.mark.parametrize("content", [None, ""], ids=["gone", "empty"])
def test_without_its_plan_a_run_does_not_go_on(run: Run, here: World, content: str | None) -> None:
    extracted = [archived(here, "users", 3)]
    planning.fn(run, extracted)
    transformed(here, extracted[0])
    (here.directory / PLAN).unlink()
    if content is not None:
        (here.directory / PLAN).write_text(content)
    with pytest.raises(PlanLost, match="start a new run"):
        planning.fn(run, extracted)
