"""The published tables with which an incremental run compares Firestore."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Final

import pyarrow as pa

from firelift.errors import ConfigurationError, FireliftError
from firelift.files import read_sealed, write_sealed
from firelift.firestore.changed_since import Since
from firelift.firestore.discovery import DiscoveredRoot
from firelift.firestore.query import root_range
from firelift.paths import Exactly, Selection
from firelift.planning.increment import Increment, SchemaChanges
from firelift.planning.model import DELETED_AT, TablePlan
from firelift.planning.profile import Profile
from firelift.postgres.schema.compatibility import existing_tables
from firelift.postgres.schema.control_schema import SavedTable, saved_tables, sources_of_tables
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.lock import session_of
from firelift.receipts import Extracted, RootCollection, Validated
from firelift.storage.archive import read_parquet
from firelift.storage.deleted_keys import deleted_key_files


class ColumnsMissing(ConfigurationError):
    """A published table lacks columns of its plan, so its rows no longer hold whole documents."""

    remedy = "Run a full migration, which fills the table anew; or put the columns back with what they held."


class SourceMismatch(ConfigurationError):
    """Tables of the target hold the documents of another Firestore database; an incremental run would take all of them for deleted."""

    remedy = (
        "Give the database that they came from, or another --target-schema; --exclude-collections leaves tables alone. "
        "A full run puts this database's documents in place of the others."
    )


class ReadTimeTooEarly(ConfigurationError):
    """The tables hold a later snapshot than the one that is to be read, and an incremental run only goes forward."""

    remedy = "Use a later --read-time; `firelift rollback` takes back what later runs have brought."


class BaselineChanged(FireliftError):
    """Since this run compared Firestore with the target, another run, or a rollback, has changed what the tables hold."""

    remedy = "Start a new run: the rows that this run was compared with are no longer there."


BASELINE: Final = "baseline.json"
OVERLAP: Final = timedelta(minutes=5)
"""A field is given its time before its document is committed, which a transaction may put off for 270 s."""


@dataclass(frozen=True)
class Baseline:
    """The published tables with which an increment is compared: those that the target has, with their plans."""

    tables: Mapping[str, SavedTable]
    """By collection path."""
    columns: Mapping[str, frozenset[str]]
    """By table: the columns it has, the user's own too."""

    def below(self, roots: Collection[str], selection: Selection) -> tuple[SavedTable, ...]:
        """The selected tables of root collections and of everything beneath them."""
        return tuple(
            saved for collection, saved in self.tables.items() if collection.partition("/")[0] in roots and selection.takes(collection)
        )

    def selection(self, selection: Selection, policy: SchemaChanges) -> Selection:
        """The collections to read: with `freeze` only those that have a table."""
        return Exactly(filter(selection.takes, self.tables)) if policy == "freeze" else selection

    def since(self, tables: Sequence[SavedTable], field: str | None, full_scan_every: int) -> Since | None:
        """The field by which changed documents are found, and since when; None where it is time to compare all keys.

        It begins a little before the tables were published: a document found a second time has the update time of its row.
        """
        if field is None or any(saved.runs_since_scan + 1 >= full_scan_every for saved in tables):
            return None
        return Since(field, min(saved.watermark for saved in tables if saved.watermark is not None) - OVERLAP)


def read_baseline(url: str, migration_id: str, target_schema: str, selection: Selection, source: str) -> Baseline:
    """The tables that earlier runs published, without those dropped later.

    `source` says which Firestore database is read. Raises SourceMismatch and ColumnsMissing for selected tables.
    """
    with session_of(url, migration_id).open() as connection:
        saved = saved_tables(connection, target_schema)
        found = existing_tables(connection, target_schema, [table.plan.table for table in saved.values()])
        sources = sources_of_tables(connection, target_schema)
    there = {name: table for name, table in saved.items() if table.plan.table in found and table.watermark is not None}
    columns = {name: frozenset(existing.columns) for name, existing in found.items()}
    taken = {collection: table.plan for collection, table in there.items() if selection.takes(collection)}
    if others := {plan.table: sources[name] for name, plan in taken.items() if sources.get(name, source) != source}:
        raise SourceMismatch(tables=", ".join(others), came_from=", ".join(sorted({*others.values()})), to_be_read=source)
    for plan in taken.values():
        if lacking := [name for name in _own_columns(plan) if name not in columns[plan.table]]:
            raise ColumnsMissing(table=f"{target_schema}.{plan.table}", columns=", ".join(lacking))
    return Baseline(there, columns)


def check_baseline(baseline: Baseline, run: Path, migration_id: str) -> None:
    """Raises BaselineChanged unless the target holds what the first attempt of this run found there, or what the run itself has published.

    Else a difference from one state of a table would be merged into another state, or become a whole new table.
    """
    file, now = run / BASELINE, {collection: saved.migration_id for collection, saved in baseline.tables.items()}
    if not file.is_file():
        write_sealed(file, json.dumps(now))
    before: dict[str, str] = json.loads(read_sealed(file))
    for collection in before.keys() | now.keys():
        compared, holds = before.get(collection), now.get(collection)
        if holds not in (compared, migration_id):
            raise BaselineChanged(collection=collection, compared_with=compared or "no published rows", holds=holds or "no published rows")


def refuse_earlier_read_time(baseline: Baseline, selection: Selection, read_time: str) -> None:
    """Raises ReadTimeTooEarly where a table that the selection takes holds a later snapshot."""
    moment = datetime.fromisoformat(read_time)
    later = [saved for name, saved in baseline.tables.items() if selection.takes(name) and saved.watermark and saved.watermark > moment]
    if later:
        raise ReadTimeTooEarly(read_time=read_time, tables=", ".join(f"{table.plan.table} ({table.watermark})" for table in later))


def known_fields(baseline: Baseline, profile: Profile) -> dict[str, Collection[str]]:
    """By collection the fields that have a column, and those that the new and changed documents have."""
    known: dict[str, set[str]] = {
        name: {column.top_level_field for column in saved.plan.columns} for name, saved in baseline.tables.items()
    }
    return {name: known.get(name, set()) | set(profile[name].fields if name in profile else ()) for name in known.keys() | profile.keys()}


def skipped(root: RootCollection) -> Extracted:
    """The receipt of root collections that are not read."""
    unread = Extracted(collection=root.collection, documents=0, skipped=root.documents or 0, bytes=0, chunks=0, ranges=0, reads=0)
    return unread.model_copy(update={"beside": root.beside})


def dropped_roots(
    found: Sequence[DiscoveredRoot], names: Collection[str], tables: Collection[str], selection: Selection
) -> list[RootCollection]:
    """Root collections that have tables in the target and no longer any document in Firestore; neighbours as one.

    `names` are all that Firestore has, `found` those that are read.
    """
    deleted = {collection.partition("/")[0] for collection in tables if selection.takes(collection)} - set(names)
    runs = [(is_gone, list(run)) for is_gone, run in groupby(sorted({*deleted, *names}, key=str.encode), key=deleted.__contains__)]
    # Each range ends where the next listed root collection begins.
    ends = [*(root_range(run[0]).start for _, run in runs[1:]), None][: len(runs)]
    # Where Firestore counts, the neighbours' counts say that there is nothing.
    counts = all(root.documents is not None for root in found)
    return [_dropped(run, end, counts) for (is_gone, run), end in zip(runs, ends, strict=True) if is_gone]


def _dropped(roots: Sequence[str], end: str | None, counts: bool) -> RootCollection:
    start, (first, *beside) = root_range(roots[0]).start, roots
    found = RootCollection(collection=first, beside=tuple(beside), start=start, end=end, documents=None)
    return found.model_copy(update={"documents": 0, "each": (0,) * len(roots)}) if counts else found


def with_dropped_roots(validated: Validated, dropped: Sequence[RootCollection], *, empty: bool) -> Validated:
    """All root collections in key order, including those without a document. That the whole database is `empty` stays a warning."""
    roots = sorted([*validated.roots, *dropped], key=lambda root: root.collection.encode())
    return validated.model_copy(
        update={"roots": tuple(roots), "warnings": () if roots and not empty and not validated.roots else validated.warnings}
    )


def _own_columns(plan: TablePlan) -> list[str]:
    return [name for name, _ in plan.target_columns()] + ([DELETED_AT] if plan.marks_deleted else [])


def refuse_changed_baseline(connection: Connection, target_schema: str, increment: Increment) -> None:
    """Raises BaselineChanged unless every table holds what the increment was compared with. Call it under the target's lock."""
    saved = saved_tables(connection, target_schema)
    for table in increment.tables:
        by = saved[table.collection].migration_id if table.collection in saved else None
        if table.before is not None and by != table.base:
            raise BaselineChanged(table=f"{target_schema}.{table.table}", compared_with=table.base, holds=by or "no published rows")


def deleted_keys_of(run: Path, table: TablePlan) -> Iterator[tuple[str, pa.Table]]:
    """The keys of rows whose documents are gone, file by file under a name that no chunk has."""
    for file in deleted_key_files(run, table.collection):
        yield f"gone/{file.path.parent.name}/{file.path.stem}", read_parquet(file, list(table.keys))
