"""The step that plans the tables, which the phase transformation begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial

from firelift.firestore.source import source_label
from firelift.formatting import counted
from firelift.migration.context import Migration
from firelift.migration.deletions import losses_of, told_of_refilled
from firelift.migration.steps.receipt_validity import with_receipt
from firelift.modes.incremental.baseline import known_fields
from firelift.modes.incremental.plan_changes import plan_increment, write_increment
from firelift.modes.incremental.rewrite import RewriteInputs, rewrite
from firelift.phases.extraction import read_profile
from firelift.phases.planning import (
    dropped_collections,
    existing_plan,
    published_plans,
    write_plan,
    write_sql,
)
from firelift.phases.pre_validation import refuse
from firelift.planning.absent_fields import lacking_of
from firelift.planning.build import make_plan
from firelift.planning.deletion_limits import WOULD_STOP, too_many
from firelift.planning.increment import Increment
from firelift.planning.model import PLAN, Plan, TablePlan
from firelift.planning.profile import Profile
from firelift.postgres.schema.preflight import check_tables, lock_warning
from firelift.postgres.session.connection import Connection
from firelift.postgres.session.lock import session_of
from firelift.receipts import Extracted, Planned, Rewritten, RootCollection, Validated


@with_receipt("transformation", Planned)
def planning(migration: Migration, extracted: list[Extracted]) -> Planned:
    """Tables, columns and types for everything that was archived."""
    status = migration.start_phase("transformation")
    profile = read_profile(migration.workspace.archive, [part.collection for part in extracted])
    fields = (
        known_fields(migration.baseline(), profile)
        if migration.is_increment
        else {collection: seen.fields for collection, seen in profile.items()}
    )
    for unknown in migration.plan_options().mapping.idle(fields):
        place = "sample, which need not mean the database" if migration.is_test else "database"
        status.warn(f"--mapping names what is not in the {place}: {unknown}", "transformation")
    target = (migration.database_url, migration.migration_id) if migration.settings.database_url is not None else None
    earlier = published_plans(*target, migration.settings.target_schema) if target else {}
    if migration.is_increment:
        plan = existing_plan(migration.directory) or planned_increment(migration, extracted, profile)
    else:
        made = partial(make_plan, migration.source.name, profile, migration.plan_options(), earlier)
        plan = existing_plan(migration.directory, made, partial(warn_of_mended, migration)) or made()
        for gone in () if migration.is_test else dropped_collections(earlier, plan, migration.selection):
            told = "there is no document of it any more; its table keeps the rows of the last migration"
            status.warn(f"{gone.collection} → {gone.table}: {told}", "transformation")
    increment = migration.increment()
    write_plan(migration.directory, plan, profile, migration.plan_options(), earlier, increment)
    unchanged = others_of(plan, earlier) if increment else ()
    documents = {collection: seen.documents for collection, seen in profile.items()}
    with session_of(*target).open() if target else nullcontext() as connection:
        write_sql(migration.directory, connection, plan, migration.settings.target_schema, migration.settings.foreign_keys, unchanged)
        # Only now tables and columns are known; still nothing has been written to the target.
        if connection:
            before = increment.before() if increment else None
            refuse(check_tables(connection, migration.target_schema, plan.tables, before, lacking_of(plan, profile)))
            if warning := lock_warning(connection, migration.target_schema, plan.tables):
                status.warn(warning, "transformation")
            if not migration.is_test:
                hold_back(migration, connection, plan, documents, increment)
    return Planned(tables=len(plan.tables), columns=sum(len(table.columns) for table in plan.tables), plan=PLAN)


def others_of(plan: Plan, earlier: Mapping[str, TablePlan]) -> tuple[TablePlan, ...]:
    """The published tables that are not in the plan, without one that was dropped and whose name the plan gives to another collection."""
    collections, names = {table.collection for table in plan.tables}, {table.table for table in plan.tables}
    return tuple(table for table in earlier.values() if table.collection not in collections and table.table not in names)


def warn_of_mended(migration: Migration, file: str) -> None:
    migration.status.warn(f"{file} was not as it had been written: it was made of the archive again", "transformation")


def hold_back(migration: Migration, connection: Connection, plan: Plan, documents: Mapping[str, int], increment: Increment | None) -> None:
    """Raises TooManyDeletions where the run would take out more rows than it may; a dry run only says so."""
    schema = migration.settings.target_schema
    refused = too_many(losses_of(connection, schema, plan, documents, increment), migration.settings.max_deletes)
    if refused and migration.settings.dry_run:
        migration.status.warn(f"{WOULD_STOP}: {refused}", "transformation")
    elif refused:
        raise refused
    for told in told_of_refilled(connection, schema, plan, source_label(migration.settings)) if increment is None else ():
        migration.status.warn(told, "transformation")


def planned_increment(migration: Migration, extracted: Sequence[Extracted], profile: Profile) -> Plan:
    """The plans of the tables that change; what is done to each of them is written down beside them."""
    settings, database = migration.settings, migration.source.name
    rewriting = partial(_rewrite, migration, extracted)
    changes = [change for part in extracted for change in part.changes]
    planned = plan_increment(
        database, migration.baseline(), profile, changes, migration.plan_options(), settings.schema_changes, settings.deletes, rewriting
    )
    write_increment(migration.directory, planned.increment)
    tables = planned.increment.tables
    migration.status.add_statistics(
        new=sum(table.new for table in tables), changed=sum(table.changed for table in tables), gone=sum(table.deleted for table in tables)
    )
    for table in planned.increment.tables:
        if table.scanned and table.deleted and not table.keys:
            what = {"propagate": "to be deleted", "mark": "to be marked as deleted", "ignore": "left as before"}[settings.deletes]
            migration.status.warn(
                f"{table.collection}: Firestore has no document of it any more; {counted(table.deleted, 'row')} {what}", "transformation"
            )
    for step in (step for table in planned.increment.tables for step in table.steps):
        migration.status.warn(f"the schema changes: {step}", "transformation")
    for step in planned.frozen:
        migration.status.warn(f"kept in firestore_residue, because of --schema-changes freeze: {step}", "transformation")
    for warning in planned.warnings:
        migration.status.warn(warning, "transformation")
    return planned.plan


def _rewrite(migration: Migration, extracted: Sequence[Extracted], before: TablePlan) -> Rewritten:
    """Every other row of a table whose columns hold something else now, as documents again."""
    root = before.collection.partition("/")[0]
    inputs = RewriteInputs(
        session_of(migration.database_url, migration.migration_id),
        migration.settings.target_schema,
        before,
        migration.source.name,
        migration.directory,
        next((part.collection for part in extracted if root in part.collections), root),
        migration.settings.batch_size,
        skip_deleted=migration.settings.deletes == "propagate",
    )
    return rewrite(migration.workers, inputs, lambda *_: None)


def roots_with_changes(migration: Migration, validated: Validated, extracted: Sequence[Extracted]) -> tuple[RootCollection, ...]:
    """The root collections of which documents go on from migration: all, or of an increment those in which it found something."""
    increment = migration.increment()
    if increment is None:
        return validated.roots
    rewritten = increment.rewritten()
    documents = {part.collection: part.documents + sum(rewritten.get(name, 0) for name in part.collections) for part in extracted}
    return tuple(root for root in validated.roots if documents.get(root.collection))
