"""A published target, once more: which tables a run published, from which snapshot, and the documents to compare them with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from firelift.errors import ConfigurationError, FireliftError
from firelift.files import FileChanged
from firelift.firestore.channel import Source
from firelift.firestore.source import source_of
from firelift.paths import Exactly
from firelift.phases.extraction import extract_collection
from firelift.phases.pre_validation import root_found, survey
from firelift.phases.transformation import receipts_are_whole, transform_collection
from firelift.planning.increment import read_increment
from firelift.planning.model import PLAN, Plan, TablePlan, keep_plan, read_plan
from firelift.postgres.schema.control_schema import SavedTable, migration, saved_tables
from firelift.postgres.session.lock import session_of
from firelift.receipts import Completeness, Extracted, Imported, RelationChecked, Validated
from firelift.run.receipt_files import Receipts
from firelift.run.workspace import Workspace
from firelift.settings.settings import Settings
from firelift.settings.small_collections import MOST
from firelift.storage.archive import file_name, read_digest
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.workers import Workers

# As a migration has them by default: how the documents are cut changes nothing about what they say.
BATCH, RANGE = 5000, 500_000


class NothingPublished(ConfigurationError):
    """The target holds no table that this run published."""

    remedy = "Check --database-url, --target-schema and --migration-id; what was rolled back or replaced by a later run cannot be verified."


class NoArchive(ConfigurationError):
    """The run's archive is not in the working directory, or not whole."""

    remedy = "Name the right --working-dir, or give --against firestore to read the documents again as of the run's snapshot."


class NothingToCompareWith(FireliftError):
    """Neither the run's archive nor Firestore says any more what its tables should hold."""

    remedy = "Name the --working-dir that has the run's archive, or migrate again: what the new run publishes can be verified."


@dataclass(frozen=True)
class PublishedRun:
    """What the target says of a run's tables."""

    migration_id: str
    read_time: str
    """The snapshot they hold, RFC 3339."""
    tables: Mapping[str, TablePlan]
    """By collection path; those that a later run has replaced since are not among them."""
    others: Mapping[str, str]
    """The other published tables of the schema, with the run that each is of."""
    settings: Mapping[str, Any]
    """Those of the run, without secrets."""


@dataclass(frozen=True)
class Documents:
    """A directory with documents, plan and receipts, as a run's own is, and the roots that are in it."""

    run: Path
    plan: Plan
    roots: tuple[str, ...]
    relations: tuple[RelationChecked, ...] | None
    """What the run found when it loaded the rows; None where nobody knows."""
    completeness: str = ""
    """How it was shown that they are all; empty where nobody knows."""


def published_runs(url: str, migration_id: str | None, target_schema: str) -> tuple[PublishedRun, ...]:
    """The run of this name, by default every one of which the schema holds a table, latest snapshot first. Raises NothingPublished."""
    with session_of(url, "verify").open() as connection:
        saved = saved_tables(connection, target_schema)
        wanted = [name for name in _latest_first(saved.values()) if migration_id in (None, name)]
        if not wanted:
            raise NothingPublished(schema=target_schema, **({"migration_id": migration_id} if migration_id else {}))
        return tuple(_run(saved, name, migration(connection, name) or {}) for name in wanted)


def _run(saved: Mapping[str, SavedTable], name: str, record: Mapping[str, Any]) -> PublishedRun:
    own = {collection: table for collection, table in saved.items() if table.migration_id == name}
    return PublishedRun(
        migration_id=name,
        read_time=next(_rfc3339(table.watermark) for table in own.values() if table.watermark is not None),
        tables={collection: table.plan for collection, table in own.items()},
        others={collection: table.migration_id for collection, table in saved.items() if collection not in own},
        settings=record.get("settings") or {},
    )


def _latest_first(saved: Iterable[SavedTable]) -> list[str]:
    dated = {table.migration_id: table.watermark for table in saved if table.watermark is not None}
    return sorted(dated, key=lambda name: (dated[name], name), reverse=True)


def recorded_source(settings: Settings, published: PublishedRun) -> Source:
    """The run's database, reached with today's credentials."""
    recorded = {name: published.settings[name] for name in ("project_id", "firestore_database") if published.settings.get(name)}
    return source_of(settings.model_copy(update=recorded))


def archived(workspace: Workspace, published: PublishedRun) -> Documents:
    """The run's own archive. Raises NoArchive where it is not there, not whole, or that of another snapshot; FileChanged."""
    receipts, plan = Receipts(workspace.run), workspace.run / PLAN
    if not receipts.file("pre_validation").is_file() or not plan.is_file():
        raise NoArchive(directory=str(workspace.run))
    if read_increment(workspace.run) is not None:
        raise NoArchive(directory=str(workspace.run), why="the run was an increment, so its archive holds only what had changed")
    validated = receipts.last("pre_validation", Validated)
    if _moment(validated.read_time) != _moment(published.read_time):
        raise NoArchive(directory=str(workspace.run), its_snapshot=validated.read_time, published=published.read_time)
    roots = tuple(root.collection for root in validated.roots)
    if lacking := [root for root in roots if not receipts_are_whole(workspace.run, root)]:
        raise NoArchive(directory=str(workspace.run), incomplete=", ".join(lacking))
    told = {root: _extracted(workspace, root) for root in roots}
    if others := [root for root, receipt in told.items() if receipt and receipt.digest != read_digest(workspace.archive / file_name(root))]:
        raise NoArchive(directory=str(workspace.run), not_as_extracted=", ".join(others))
    whole = read_plan(workspace.run)
    kept = tuple(table for table in whole.tables if table.collection in published.tables)
    completeness = "" if None in told.values() else Completeness.of(filter(None, told.values())).in_words
    return Documents(workspace.run, whole.model_copy(update={"tables": kept}), roots, recorded_relations(workspace), completeness)


def _extracted(workspace: Workspace, root: str) -> Extracted | None:
    """What extraction told of a root collection, where its receipt is there."""
    receipts, name = Receipts(workspace.run), f"extract-{file_name(root)}"
    return receipts.last(name, Extracted) if receipts.file(name).is_file() else None


def read_again(
    workers: Workers, source: Source, workspace: Workspace, published: PublishedRun, scratch: Path, progress: Callable[[int], None]
) -> Documents:
    """Every document of the published collections from Firestore as of the run's snapshot, into `scratch`, which is made.

    Raises what reading raises: SnapshotExpired when Firestore no longer keeps that moment.
    """
    # Not by the run's patterns: what a later run has replaced is left out, but not what lies beneath it.
    selection = Exactly(published.tables)
    snapshot = workers.call(survey, source, published.read_time, selection, MOST)
    roots = [root_found(root) for root in snapshot.roots]
    plan = Plan(database=source.name, tables=tuple(published.tables.values()))
    (scratch / "archive").mkdir(mode=0o700, parents=True)
    keep_plan(scratch, plan)
    extracted = []
    for root in roots:
        inputs = ExtractionInputs(source, root, scratch / "archive", snapshot.read_time, selection, BATCH, RANGE)
        extracted.append(extract_collection(workers, inputs, lambda _, documents, __: progress(documents)))
        transform_collection(workers, scratch, root, lambda _: None)
    names = tuple(root.collection for root in roots)
    return Documents(scratch, plan, names, recorded_relations(workspace), Completeness.of(extracted).in_words)


def recorded_relations(workspace: Workspace) -> tuple[RelationChecked, ...] | None:
    """The relations of a run with their orphans, as they were when its rows were loaded; None where there is no record of it."""
    try:
        return Receipts(workspace.run).last("import", Imported).relations
    except (FileNotFoundError, FileChanged):
        return None


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
