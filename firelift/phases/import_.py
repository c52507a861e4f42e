"""Import: loads rows into staging tables, one transaction a chunk, then adds keys and foreign keys; once verified, publishes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from firelift.errors import ConfigurationError, FireliftError
from firelift.modes.incremental.baseline import deleted_keys_of, refuse_changed_baseline
from firelift.phases.pre_validation import refuse
from firelift.phases.transformation import existing_receipt, table_path, transform_again
from firelift.planning.increment import Increment
from firelift.planning.model import Plan, TablePlan, read_plan
from firelift.postgres.load.constraints import CheckedRelation, ForeignKeys, constrain
from firelift.postgres.load.copy import load_chunk
from firelift.postgres.load.deleted_keys import create_deleted_keys
from firelift.postgres.load.deleted_keys import load_deleted_keys as load_gone_keys
from firelift.postgres.load.staging import create_staging, staging_token
from firelift.postgres.publish.backups import Changes, kept_tables, make_left_indexes
from firelift.postgres.publish.merge import rows_after
from firelift.postgres.publish.publish import foreseen_stages, publish, unpublished
from firelift.postgres.publish.target_facts import Publication
from firelift.postgres.schema.control_schema import (
    create_control,
    forget_run,
    has_published,
    published_later,
    record_finish,
    record_progress,
    record_start,
)
from firelift.postgres.schema.names import staging_schema
from firelift.postgres.schema.preflight import check_tables
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.lock import session_of
from firelift.receipts import ChunkTransformed, Imported, Loaded, Published, RelationChecked, RootGroup, by_root, tallied
from firelift.storage.archive import ArchiveDamaged, ChunkDamaged, StoredFile, file_name, ranges, read_parquet
from firelift.storage.deleted_keys import deleted_keys_directory
from firelift.workers import Workers

Progress = Callable[[Mapping[str, int]], None]
"""Is called with the rows loaded since its last call, by root collection."""


class StagingMissing(ConfigurationError):
    """Import can only be skipped while the tables exist into which an earlier attempt of this run loaded its rows."""

    remedy = "Do not skip import: the rows are loaded again from the working directory."


class NewerSnapshotPublished(ConfigurationError):
    """Since this run began, another run has published a later snapshot, which must not be replaced with an older one."""

    remedy = "Start a new run; `firelift rollback` of the later one comes first if the older snapshot is really wanted."


def record_begin(url: str, migration_id: str, mode: str, settings: dict[str, Any], read_time: str, token: str | None = None) -> bool:
    """Creates the control schema and records the run as running; returns whether the target did not know it yet."""
    # In one transaction: until it ends no run into another schema may take the control schema for unused and drop it.
    with session_of(url, migration_id).open() as connection, connection.transaction():
        create_control(connection)
        new = record_start(connection, migration_id, mode, settings, token)
        record_progress(connection, migration_id, phase="extraction", read_time=datetime.fromisoformat(read_time))
    return new


def refuse_older_snapshot(
    url: str, migration_id: str, plan: Plan, target_schema: str, read_time: str, increment: Increment | None = None
) -> None:
    """For a resumed run: raises NewerSnapshotPublished where a later snapshot, or this one already, has been published meanwhile."""
    # An increment also moves on the tables in which nothing changes.
    moved_on = {table.collection for table in increment.tables} if increment else set()
    collections = moved_on | {table.collection for table in plan.tables}
    with session_of(url, migration_id).open() as connection:
        later = published_later(connection, migration_id, target_schema, datetime.fromisoformat(read_time))
        by = {later[collection] for collection in collections if collection in later}
        if by or has_published(connection, migration_id):
            raise NewerSnapshotPublished(migration_id=migration_id, by=", ".join(sorted(by)) or "a later run")


def prepare(url: str, migration_id: str, plan: Plan, target_schema: str, increment: Increment | None = None) -> str:
    """Makes the run's staging tables, and returns a token of their schema; refuses what the target has already and cannot take the rows."""
    with session_of(url, migration_id).open() as connection:
        if increment is not None:
            refuse_changed_baseline(connection, target_schema, increment)
        refuse(check_tables(connection, target_schema, plan.tables, increment.before() if increment else None))
        record_progress(connection, migration_id, phase="import")
        create_staging(connection, migration_id, plan.tables)
        return str(staging_token(connection, migration_id))


def existing_staging(url: str, migration_id: str, loaded_into: str) -> str:
    """The token of the staging schema, which must be the one everything was loaded into; raises StagingMissing."""
    with session_of(url, migration_id).open() as connection:
        token = staging_token(connection, migration_id)
    if token is None or token != loaded_into:
        raise StagingMissing(schema=staging_schema(migration_id))
    return token


def is_published(url: str, migration_id: str, plan: Plan, target_schema: str, increment: Increment | None = None) -> bool:
    """Whether an earlier attempt of this run has published its tables."""
    with session_of(url, migration_id).open() as connection:
        return (
            bool(plan.tables or (increment and increment.before()))
            and staging_token(connection, migration_id) is None
            and not unpublished(connection, migration_id, target_schema, plan.tables, increment)
        )


class RowsMissing(FireliftError):
    """The number of rows loaded is not the number made from the documents: the working directory is no longer complete."""

    remedy = "Start a new run."


def load_collection(workers: Workers, url: str, migration_id: str, run: Path, root: RootGroup, expected: int, progress: Progress) -> Loaded:
    """Every transformed chunk of root collections into staging, each exactly once; raises RowsMissing unless all rows are there."""
    parts = ranges(run / "archive" / file_name(root.collection))
    calls = [(url, migration_id, run, chunk.name, part.file(chunk)) for part in parts for chunk in part.chunks() if chunk.documents]
    done: list[ChunkLoaded] = []
    for chunk in workers.each(load, calls):
        progress(chunk.shares)
        done.append(chunk)
    rows_of, shares = tallied([chunk.rows for chunk in done]), tallied([chunk.shares for chunk in done])
    if sum(rows_of.values()) != expected:
        raise RowsMissing(collection=root.label, transformed=expected, loaded=sum(rows_of.values()))
    remade = tuple(sorted(file for chunk in done for file in chunk.remade))
    return Loaded(collection=root.collection, beside=root.beside, chunks=len(done), rows=rows_of, shares=shares, remade=remade)


class ChunkLoaded(NamedTuple):
    """One chunk in staging."""

    rows: dict[str, int]
    """By table."""
    shares: dict[str, int]
    """By root collection."""
    remade: tuple[str, ...]
    """Files that had to be made of the archive again."""


def load(url: str, migration_id: str, run: Path, name: str, archived: StoredFile, report: Callable[[Any], None]) -> ChunkLoaded:
    """One chunk's rows and its receipt in one transaction."""
    plan = _plan(run)
    staging, remade = staging_schema(migration_id), list[str]()
    try:
        transformed = existing_receipt(run, name, remade.append) or transform_again(run, name, archived)
        pieces = list(_pieces(run, plan, transformed))
    except ChunkDamaged as damaged:
        if damaged.facts["file"] == str(archived.path):
            raise
        remade.append(str(damaged.facts["file"]))
        pieces = list(_pieces(run, plan, transform_again(run, name, archived)))
    staged = [(TargetTable(staging, table), rows) for table, rows in pieces]
    loaded = load_chunk(session_of(url, migration_id).kept_open(), migration_id, name, staged)
    shares = by_root({table.collection: loaded.rows.get(table.table, 0) for table, _ in pieces})
    return ChunkLoaded(dict(loaded.rows), shares, tuple(remade))


def _pieces(run: Path, plan: Plan, transformed: ChunkTransformed) -> Iterator[tuple[TablePlan, pa.Table]]:
    """The rows of a chunk, table by table; raises ChunkDamaged where they are not those that its documents became."""
    for collection, sha256 in transformed.files.items():
        table = plan.table_of(collection)
        yield table, read_parquet(StoredFile(table_path(run, table, transformed.chunk), sha256))


@lru_cache(maxsize=2)
def _plan(run: Path) -> Plan:
    return read_plan(run)


def load_deleted_keys(url: str, migration_id: str, plan: Plan, run: Path, increment: Increment) -> None:
    """The keys of rows whose documents are gone into staging, each file exactly once."""
    with session_of(url, migration_id).open() as connection:
        for table in plan.tables:
            found = increment.of(table.table)
            if found is not None and found.deleted and increment.deletes != "ignore":
                create_deleted_keys(connection, migration_id, table)
                staged = sum(load_gone_keys(connection, migration_id, table, name, keys) for name, keys in deleted_keys_of(run, table))
                if staged != found.deleted:
                    raise ArchiveDamaged(
                        directory=str(deleted_keys_directory(run, table.collection)), keys_kept=staged, documents_gone=found.deleted
                    )


def finish(url: str, migration_id: str, plan: Plan, foreign_keys: ForeignKeys | None, loaded: Sequence[Loaded]) -> Imported:
    """Keys, foreign keys where no row is orphaned (None: no relation is looked at), statistics."""
    with session_of(url, migration_id).open() as connection:
        relations = constrain(connection, staging_schema(migration_id), plan.tables, foreign_keys)
    rows = {table.table: 0 for table in plan.tables} | tallied([part.rows for part in loaded])
    return Imported(importedRecords=sum(rows.values()), rows=rows, relations=tuple(map(checked, relations)))


def checked(relation: CheckedRelation) -> RelationChecked:
    examples = tuple(f"{'/'.join(orphan.key)} → {'/'.join(orphan.refers_to)}" for orphan in relation.examples)
    return RelationChecked(
        table=relation.table,
        columns=relation.columns,
        references=relation.references,
        orphans=relation.orphans,
        examples=examples,
        foreign_key=relation.created,
    )


def publish_tables(url: str, migration_id: str, plan: Plan, target_schema: str, read_time: str) -> Published:
    """All tables become the target's in one transaction."""
    with session_of(url, migration_id).open() as connection:
        publish(connection, migration_id, target_schema, plan.tables, datetime.fromisoformat(read_time))
        notes = _index_notes(connection, migration_id, target_schema)
    return Published(target_schema=target_schema, tables=tuple(table.table for table in plan.tables), index_notes=notes)


def _index_notes(connection: Connection, migration_id: str, target_schema: str) -> tuple[str, ...]:
    """In words, the indexes that had to go, and those that cannot be made even now that the rows are published."""
    make_left_indexes(connection, migration_id)
    return tuple(
        note for table in kept_tables(connection, migration_id) for note in _notes_of(f"{target_schema}.{table.table}", table.changes)
    )


def _notes_of(table: str, changes: Changes) -> Iterator[str]:
    for index in changes.indexes_dropped:
        yield (
            f"{table}: the index {index.name} ({', '.join(index.columns)}) that Firelift had made was dropped, because a value that was "
            "published there is longer than the 2704 bytes of an index entry; `firelift rollback` makes it again"
        )
    for columns in changes.indexes_left:
        yield (
            f"{table}: the foreign key ({', '.join(columns)}) was made without an index, because rows that are gone are too long for one "
            "and another session may still see them; when it has ended run VACUUM and CREATE INDEX"
        )


def rows_after_merge(url: str, migration_id: str, target_schema: str, increment: Increment) -> dict[str, int]:
    """By table how many rows will have a document once the increment is merged. Reads only."""
    with session_of(url, migration_id).open_to_read() as connection:
        return rows_after(connection, migration_id, target_schema, increment)


def publish_increment(
    url: str,
    migration_id: str,
    plan: Plan,
    target_schema: str,
    read_time: str,
    increment: Increment,
    foreign_keys: ForeignKeys,
    expected_rows: Mapping[str, int],
) -> Published:
    """The difference becomes part of the tables, and all watermarks move on, in one transaction.

    Raises BaselineChanged, RowCountMismatch.
    """
    with session_of(url, migration_id).open() as connection:
        if staging_token(connection, migration_id) is not None:
            refuse_changed_baseline(connection, target_schema, increment)
        relations = publish(
            connection,
            migration_id,
            target_schema,
            plan.tables,
            datetime.fromisoformat(read_time),
            increment,
            foreign_keys=foreign_keys,
            expected_rows=expected_rows,
        )
        notes = _index_notes(connection, migration_id, target_schema)
    tables = tuple(table.table for table in increment.tables)
    return Published(target_schema=target_schema, tables=tables, relations=tuple(map(checked, relations)), index_notes=notes)


def would_publish(url: str, publication: Publication, rows: Mapping[str, int]) -> tuple[str, ...]:
    """What publishing would do to the target as it is now, line by line. Reads only. `rows`: how many each table would get."""
    with session_of(url, publication.migration_id).open_to_read() as connection:
        return foreseen_stages(connection, publication, rows)


def record_failure(url: str, migration_id: str, status: str) -> None:
    """Records how a run ended that did not complete. What it published stays published."""
    # Under another name than the run's: a stop cancels the run's statements until it has ended, and would cancel this one.
    with session_of(url, "end").open() as connection:
        record_finish(connection, migration_id, status)


def forget_refused(url: str, migration_id: str) -> None:
    """For a run that was refused before it staged anything: the target is as it was."""
    with session_of(url, migration_id).open() as connection:
        if staging_token(connection, migration_id) is None:
            forget_run(connection, migration_id)


def record_end(url: str, migration_id: str, status: str, counts: dict[str, Any] | None = None) -> None:
    with session_of(url, migration_id).open() as connection:
        record_finish(connection, migration_id, status, counts)
