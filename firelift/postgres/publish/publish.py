"""Makes a run's staged tables the target's, in one transaction: a list of stages, which can be described before it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from firelift.errors import FireliftError
from firelift.planning.increment import Increment
from firelift.planning.model import TablePlan
from firelift.postgres.load.constraints import CheckedRelation, ForeignKeys
from firelift.postgres.publish.backups import kept_tables
from firelift.postgres.publish.stages.ending import checking, recording, relations_now
from firelift.postgres.publish.stages.existing_tables import backing_up, locking, writing
from firelift.postgres.publish.stages.new_tables import DigestNew, making_schema, moving
from firelift.postgres.publish.stages.stage import Done, Stage, described, evaluate
from firelift.postgres.publish.target_facts import (
    Found,
    Publication,
    Refresh,
    fitting,
    foreseen,
    found_before_lock,
    found_under_lock,
    merges_of,
    new_tables,
)
from firelift.postgres.schema.compatibility import existing_tables
from firelift.postgres.schema.control_schema import CONTROL_SCHEMA, saved_tables
from firelift.postgres.schema.name_conflicts import in_the_way, summary
from firelift.postgres.schema.names import backup_schema
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.foreign_owners import refuse_foreign, refuse_foreign_schema, schema_exists
from firelift.postgres.session.lock_capacity import explaining_locks


class NameTakenMeanwhile(FireliftError):
    """While the migration ran, something else took the name of one of its tables."""

    recovery = "after_fix"
    remedy = "Drop or rename it, then run again."


class NothingStaged(FireliftError):
    """The staging schema of this run no longer exists, and its tables are not published."""

    remedy = "Start a new run."


class NoLongerPublished(FireliftError):
    """This run was published, but some of its tables no longer exist."""

    # Whoever resumes the run has not asked for the rest of its tables to be removed.
    recovery = "after_fix"
    remedy = (
        "Start a new run; or restore what is missing, or take the whole run back with `firelift rollback`, "
        "and continue with --resume, which reads nothing again."
    )


def publish(
    connection: Connection,
    migration_id: str,
    target_schema: str,
    tables: Sequence[TablePlan],
    read_time: datetime,
    increment: Increment | None = None,
    *,
    foreign_keys: ForeignKeys = "report",
    expected_rows: Mapping[str, int] | None = None,
) -> tuple[CheckedRelation, ...]:
    """Makes every staged table the target's and remembers its plan with `read_time` as watermark.

    A new table moves to the target schema with its keys, indexes and foreign keys, closed to the public API. A table that exists there
    gets the staged rows in place of its own, which are copied to the backup schema, and keeps all else. Calling it again after it
    succeeded does nothing. Raises NameTakenMeanwhile, TableChangedMeanwhile, ForeignKeyBroken, RefusedByConstraint, TooLongForIndex,
    NothingStaged, NoLongerPublished.

    With an `increment` a table that was published before keeps its rows but for the staged ones, which are merged by key, and those whose
    keys are staged as deleted; only these are copied to the backup schema. Unchanged tables get `read_time` as watermark too. Then
    `expected_rows` are the live rows that each table must have. The relations of the changed tables get their foreign keys as
    `foreign_keys` says and are returned; a soft-deleted row counts there like any other. Also raises PlanChanged,
    DeletedKeysMissing, RowCountMismatch, CannotRetype, NotRewritten, OrphanedRows.
    """
    publication = Publication(migration_id, target_schema, tuple(tables), read_time, increment, foreign_keys, expected_rows or {})
    with explaining_locks(connection, len(tables)), translated("publishing the tables"), connection.transaction():
        refuse_foreign(connection, own=[CONTROL_SCHEMA, publication.staging, backup_schema(migration_id)])
        if not schema_exists(connection, publication.staging):
            _must_be_published(connection, publication)
            return relations_now(connection, target_schema, increment) if increment else ()
        return _published(connection, publication).relations


def _published(connection: Connection, publication: Publication) -> Done:
    """Each part of the stages is built from what is found after the part before it: the lock may have waited for a change."""
    done, exists = Done(), schema_exists(connection, publication.target_schema)
    evaluate(connection, making_schema(publication, exists=exists), done)
    _refuse_taken(connection, publication)
    merges = merges_of(connection, publication)
    refreshes = fitting(connection, publication, publication.tables, merges)
    evaluate(connection, digesting(publication, refreshes), done)
    evaluate(connection, locking(publication, found_before_lock(connection, publication, refreshes)), done)
    refreshes = fitting(connection, publication, [refreshed.plan for refreshed in refreshes], merges)
    rows = {table: content.rows for table, content in done.contents.items()}
    evaluate(connection, stages_of(publication, found_under_lock(connection, publication, refreshes, rows)), done)
    return done


def before_and_lock(publication: Publication, found: Found) -> Iterator[Stage]:
    """What can be done while others still read and write the tables, and then the lock."""
    yield from digesting(publication, found.refreshes)
    yield from locking(publication, found)


def digesting(publication: Publication, refreshes: Sequence[Refresh]) -> Iterator[Stage]:
    """The new tables, which nobody else sees."""
    if new := new_tables(publication.tables, refreshes):
        yield DigestNew(publication.staging, new)


def stages_of(publication: Publication, found: Found) -> Iterator[Stage]:
    """All that publishing does under the lock, in order."""
    yield from backing_up(publication, found)
    yield from writing(publication, found)
    yield from moving(publication, found)
    yield from checking(publication, found)
    yield from recording(publication, found)


def foreseen_stages(connection: Connection, publication: Publication, new_rows: Mapping[str, int]) -> tuple[str, ...]:
    """What publishing would do to the target as it is now, line by line; reads only. `new_rows`: of each table, as far as known.

    Left out is what only staged rows show: an index that cannot hold a value.
    """
    with translated("foreseeing what publishing does"), connection.transaction():
        exists = schema_exists(connection, publication.target_schema)
        found = foreseen(connection, publication, new_rows)
    parts = making_schema(publication, exists=exists), before_and_lock(publication, found), stages_of(publication, found)
    return tuple(line for part in parts for line in described(part))


def _must_be_published(connection: Connection, publication: Publication) -> None:
    where = (publication.migration_id, publication.target_schema)
    if missing := unpublished(connection, *where, publication.tables, publication.increment):
        raise NothingStaged(schema=publication.staging, tables=", ".join(missing))


def unpublished(
    connection: Connection, migration_id: str, target_schema: str, tables: Sequence[TablePlan], increment: Increment | None = None
) -> list[str]:
    """The tables that the target did not get from this run; of an increment also those in which nothing changes.

    Raises NoLongerPublished where they were dropped: publishing them again would overwrite the backup of the old rows.
    """
    wanted = {table.table: table.collection for table in tables}
    wanted |= {planned.table: planned.collection for planned in increment.tables if planned.before} if increment else {}
    with translated("looking for what this run has published"):
        saved = saved_tables(connection, target_schema)
        ours = {collection for collection, table in saved.items() if table.migration_id == migration_id}
        existing = existing_tables(connection, target_schema, list(wanted))
        dropped = [table for table, collection in wanted.items() if collection in ours and table not in existing]
        if dropped and kept_tables(connection, migration_id):
            raise NoLongerPublished(schema=target_schema, tables=", ".join(dropped))
    return [table for table, collection in wanted.items() if collection not in ours or table not in existing]


def _refuse_taken(connection: Connection, publication: Publication) -> None:
    refuse_foreign_schema(connection, publication.target_schema)
    if taken := in_the_way(connection, publication.target_schema, [table.table for table in publication.tables]):
        raise NameTakenMeanwhile(schema=publication.target_schema, taken=summary(taken))
