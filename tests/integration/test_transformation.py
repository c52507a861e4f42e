"""The tasks of the phase transformation over a run's directory of which a part was lost, and beside a target that has changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from firelift.archive import RangeArchive
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


def archived(here: World, collection: str, documents: int) -> Extracted:
    """Documents in the archive, as extraction leaves them."""
    archive, profiler = RangeArchive(here.workspace.archive / collection, 0), Profiler(DATABASE)
    archive.directory.mkdir()
    paths = [f"{collection}/{number}" for number in range(documents)]
    made = [Document(name=f"{DATABASE}/documents/{path}", fields=values({"name": path})) for path in paths]
    for path, document in zip(paths, made, strict=True):
        profiler.see(collection_of(path), document)
    for number, (path, document) in enumerate(zip(paths, made, strict=True)):
        archive.write(number, [path], [1], [2], [document.SerializeToString()], path, 0)
    write_whole(archive.profile, json.dumps(profile_to_json(profiler.profile)))
    return Extracted(collection=collection, documents=documents, passed=0, bytes=1, chunks=documents, ranges=1, reads=documents)


def transformed(here: World, part: Extracted) -> Transformed:
    return transform_collection(here.workers, here.directory, part.collection, lambda _: None)


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


@pytest.mark.parametrize("lost", ["archive", "archive/users", "archive/users/0000.jsonl"])
def test_an_archive_that_is_lost_is_not_an_empty_collection(run: Run, here: World, lost: str) -> None:
    extracted = [archived(here, "rooms", 2), archived(here, "users", 3)]
    planning.fn(run, extracted)
    gone = here.directory / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    parts = [transformed(here, part) for part in extracted]
    named = "rooms, extracted: 2" if lost == "archive" else "users, extracted: 3"
    with pytest.raises(ArchiveIncomplete, match=f"collection: {named}, transformed: 0.*start a new run"):
        transformation.fn(run, parts, extracted)


def test_a_chunk_that_is_lost_is_missed(run: Run, here: World) -> None:
    extracted = [archived(here, "users", 3)]
    planning.fn(run, extracted)
    listing = here.workspace.archive / "users" / "0000.jsonl"
    listing.write_text("".join(listing.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ArchiveIncomplete, match="collection: users, extracted: 3, transformed: 2"):
        transformation.fn(run, [transformed(here, part) for part in extracted], extracted)


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
