"""What an increment finds: the difference between Firestore and tables that a migration has published."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq

from firelift.firestore.changed_since import Since
from firelift.firestore.channel import Source
from firelift.firestore.discovery import DiscoveredRoot
from firelift.firestore.query import root_range
from firelift.firestore.values import Document
from firelift.modes.incremental.compare import extract_difference
from firelift.modes.incremental.worker import PublishedTables
from firelift.paths import Selection, collection_of, ids_of
from firelift.phases.extraction import read_profile
from firelift.phases.pre_validation import root_found, survey
from firelift.planning.model import TablePlan
from firelift.planning.profile import Profile
from firelift.postgres.schema.control_schema import saved_plans
from firelift.postgres.session.connect import Connection, Session, connect
from firelift.receipts import Extracted, TableChanges
from firelift.rfc3339 import microseconds
from firelift.storage.archive import ranges, read_chunk
from firelift.storage.deleted_keys import deleted_keys_directory
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.workers import Workers
from tests.support.postgres_tables import plan
from tests.support.refreshed_tables import FIRST, migrate
from tests.support.whole_way import everything


@dataclass(frozen=True)
class There:
    """A Firestore database, and a target whose tables hold the keys and times of its documents at `moment`."""

    source: Source
    url: str
    moment: datetime

    def connect(self) -> Connection:
        return connect(self.url, "firelift-test")


def published(source: Source, url: str) -> There:
    """The tables of everything that is in Firestore: published as ever, but without the fields, which nothing here looks at."""
    moment = survey(source, "now", Selection(), 0, print).read_time
    rows: dict[str, list[list[object]]] = {}
    for document in everything(source, moment):
        path = document.name.split("/documents/", 1)[1]
        times = [microseconds(stamp.seconds, stamp.nanos) for stamp in (document.create_time, document.update_time)]
        rows.setdefault(collection_of(path), []).append([*ids_of(path), *times, None])
    plans = [plan(collection) for collection in rows]
    there = There(source, url, datetime.fromisoformat(moment))
    with closing(there.connect()) as connection:
        migrate(connection, FIRST, {table.table: rows[table.collection] for table in plans}, plans)
    return there


@dataclass(frozen=True)
class Found:
    """The difference of a root collection, or of those side by side up to `together` documents, read from the files that it left."""

    extracted: Extracted
    documents: dict[str, Document]
    """By path, in the order of the archive."""
    deleted: dict[str, list[tuple[str, ...]]]
    """Keys by collection."""
    profile: Profile
    heard: tuple[int, int]
    """Documents and bytes that `progress` heard of."""

    def counts(self) -> dict[str, tuple[int, int, int, int]]:
        """Keys, new, changed and gone by collection."""
        return {change.collection: (change.documents, change.new, change.changed, change.deleted) for change in self.extracted.changes}

    def change(self, collection: str) -> TableChanges:
        return next(change for change in self.extracted.changes if change.collection == collection)


def find(
    there: There,
    run: Path,
    root: str = "users",
    *,
    since: Since | None = None,
    together: int = 0,
    selection: Selection | None = None,
    host: str | None = None,
    counts: bool = True,
    workers: int = 1,
    batch_size: int = 5000,
    range_documents: int = 25_000,
    meanwhile: Callable[[], object] = lambda: None,
    plans: Callable[[TablePlan], TablePlan] = lambda plan: plan,
) -> Found:
    """`meanwhile` is called once the snapshot is chosen and nothing is read yet; without `counts` Firestore did not count the documents."""
    selection = selection or Selection()
    snapshot = survey(there.source, "now", Selection(), together, print)
    vanished = DiscoveredRoot(root, root_range(root), 0)
    counted = root_found(next((one for one in snapshot.roots if one.collection_id == root), vanished))
    if not counts:
        counted = counted.model_copy(update={"documents": None, "each": ()})
    with closing(there.connect()) as connection:
        saved = saved_plans(connection, "public")
    tables = tuple(
        plans(plan) for collection, plan in saved.items() if collection.split("/")[0] in counted.collections and selection.takes(collection)
    )
    published = PublishedTables(Session(there.url, "firelift-test"), "public", tables, since)
    meanwhile()
    heard: list[tuple[str, int, int]] = []
    source = replace(there.source, emulator_host=host or there.source.emulator_host)
    archive = run / "archive"
    inputs = ExtractionInputs(source, counted, archive, snapshot.read_time, selection, batch_size, range_documents)
    with Workers(workers) as pool:
        extracted = extract_difference(pool, inputs, run, published, lambda *said: heard.append(said))
    return Found(
        extracted,
        {
            path: Document.FromString(said)
            for part in ranges(inputs.directory)
            for c in part.chunks()
            for path, said in read_chunk(part.file(c))
        },
        {plan.collection: deleted for plan in tables if (deleted := _gone(run, plan))},
        read_profile(run / "archive", [root]),
        (sum(documents for _, documents, _ in heard), sum(size for _, _, size in heard)),
    )


def _gone(run: Path, plan: TablePlan) -> list[tuple[str, ...]]:
    keys: list[tuple[str, ...]] = []
    for file in sorted(deleted_keys_directory(run, plan.collection).glob("*.parquet")):
        table = pq.read_table(file)
        assert table.column_names == list(plan.keys)
        keys += zip(*(column.to_pylist() for column in table.columns), strict=True)
    return keys
