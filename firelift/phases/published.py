"""A published target, once more: which tables a run published, from which snapshot, and the documents to compare them with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from firelift.errors import ConfigurationError
from firelift.files import write_whole
from firelift.firestore.channel import Source
from firelift.increment import read_increment
from firelift.paths import Exactly
from firelift.phases.extraction import extract_collection
from firelift.phases.planning import PLAN
from firelift.phases.pre_validation import root_found, survey
from firelift.phases.transformation import receipts_stand, transform_collection
from firelift.plan import Plan, TablePlan
from firelift.postgres.connect import connect
from firelift.postgres.control import SavedTable, migration, saved_tables
from firelift.postgres.lock import signature
from firelift.receipts import Completeness, Imported, RelationChecked, Validated
from firelift.run.kept import receipt_file
from firelift.run.workspace import STATUS, Workspace
from firelift.together import MOST
from firelift.workers import Workers

# As a migration has them by default: how the documents are cut changes nothing about what they say.
BATCH, RANGE = 5000, 500_000


class NothingPublished(ConfigurationError):
    """The target holds no table that this run published."""

    remedy = "Check --database-url, --target-schema and --migration-id; what was rolled back or replaced by a later run cannot be verified."


class NoArchive(ConfigurationError):
    """The run's archive is not in the working directory, or not whole."""

    remedy = "Name the right --working-dir, or give --against firestore to read the documents again as of the run's snapshot."


@dataclass(frozen=True)
class PublishedRun:
    """What the target says of a run's tables."""

    migration_id: str
    read_time: str
    """The snapshot they hold, RFC 3339."""
    tables: Mapping[str, TablePlan]
    """By collection path; those that a later run has replaced since are not among them."""
    replaced: tuple[str, ...]
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


def published_run(url: str, migration_id: str | None, target_schema: str) -> PublishedRun:
    """The run of this name, by default the latest that published into the schema. Raises NothingPublished."""
    with closing(connect(url, signature("verify"))) as connection:
        saved = saved_tables(connection, target_schema)
        wanted = migration_id or _latest(saved.values())
        tables = {collection: table for collection, table in saved.items() if table.migration_id == wanted}
        moment = next((table.watermark for table in tables.values()), None)
        if wanted is None or moment is None:
            raise NothingPublished(schema=target_schema, **({"migration_id": wanted} if wanted else {}))
        record = migration(connection, wanted) or {}
    return PublishedRun(
        migration_id=wanted,
        read_time=_rfc3339(moment),
        tables={collection: table.plan for collection, table in tables.items()},
        replaced=tuple(collection for collection in saved if collection not in tables),
        settings=record.get("settings") or {},
    )


def _latest(saved: Iterable[SavedTable]) -> str | None:
    """The run whose tables hold the latest snapshot."""
    dated = [(table.watermark, table.migration_id) for table in saved if table.watermark is not None]
    return max(dated)[1] if dated else None


def archived(workspace: Workspace, published: PublishedRun) -> Documents:
    """The run's own archive. Raises NoArchive where it is not there, not whole, or that of another snapshot."""
    receipt, plan = receipt_file(workspace, "pre_validation"), workspace.run / PLAN
    if not receipt.is_file() or not plan.is_file():
        raise NoArchive(directory=str(workspace.run))
    if read_increment(workspace.run) is not None:
        raise NoArchive(directory=str(workspace.run), why="the run was an increment, so its archive holds only what had changed")
    validated = Validated.model_validate_json(receipt.read_text())
    if _moment(validated.read_time) != _moment(published.read_time):
        raise NoArchive(directory=str(workspace.run), its_snapshot=validated.read_time, published=published.read_time)
    roots = tuple(root.collection for root in validated.roots)
    if lacking := [root for root in roots if not receipts_stand(workspace.run, root)]:
        raise NoArchive(directory=str(workspace.run), incomplete=", ".join(lacking))
    whole = Plan.model_validate_json(plan.read_text())
    kept = tuple(table for table in whole.tables if table.collection in published.tables)
    completeness = Completeness.noted((workspace.read_json(STATUS) or {}).get("statistics") or {}).said
    return Documents(workspace.run, whole.model_copy(update={"tables": kept}), roots, recorded_relations(workspace), completeness)


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
    write_whole(scratch / PLAN, plan.model_dump_json(indent=1))
    extracted = []
    for root in roots:
        archive, moment = scratch / "archive", snapshot.read_time
        where, how = (source, root, archive, moment), (selection, BATCH, RANGE)
        extracted.append(extract_collection(workers, *where, *how, lambda _, documents, __: progress(documents)))
        transform_collection(workers, scratch, root, lambda _: None)
    names = tuple(root.collection for root in roots)
    return Documents(scratch, plan, names, recorded_relations(workspace), Completeness.of(extracted).said)


def recorded_relations(workspace: Workspace) -> tuple[RelationChecked, ...] | None:
    """The relations of a run with their orphans, as they were when its rows were loaded; None where there is no record of it."""
    receipt = receipt_file(workspace, "import")
    return Imported.model_validate_json(receipt.read_text()).relations if receipt.is_file() else None


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
