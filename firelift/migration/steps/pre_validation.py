"""The step of the phase pre_validation."""

from __future__ import annotations

from firelift.errors import FireliftError
from firelift.firestore.source import source_label
from firelift.migration.check.read_budget import most_reads
from firelift.migration.context import Migration
from firelift.migration.steps.receipt_validity import with_receipt
from firelift.modes.incremental.baseline import dropped_roots, refuse_earlier_read_time, with_dropped_roots
from firelift.phases.import_ import record_begin
from firelift.phases.pre_validation import Target, survey, validate
from firelift.planning.build import ForecastTables
from firelift.postgres.schema.preflight import check_target, reach
from firelift.postgres.schema.supabase import check_api
from firelift.receipts import Validated
from firelift.settings.small_collections import together


@with_receipt("pre_validation", Validated)
def pre_validation(migration: Migration) -> Validated:
    """Checks both sides, the disk and the names; chooses the snapshot."""
    status = migration.start_phase("pre_validation")
    migration.app_config().check()
    validated = existing_snapshot(migration) or take_snapshot(migration)
    status.set_read_time(validated.read_time)
    if migration.is_test and most_reads(migration.settings) is not None:
        status.warn("A test run reads a sample, to which --max-reads and --max-cost do not apply.")
    for warning in (*validated.warnings, *migration.surroundings.warnings()):
        status.warn(warning)
    migration.finish_phase("pre_validation", validated)
    return validated


def take_snapshot(migration: Migration) -> Validated:
    """A new snapshot, with everything about it found to be in order."""
    options, target = migration.plan_options(), target_of(migration)
    # While Firestore is still counting.
    published = migration.baseline(anew=True).tables if migration.is_increment else {}
    reached = reach(migration.database_url, migration.migration_id) if target else None
    snapshot = migration.workers.call(
        survey, migration.source, migration.settings.read_time, migration.selection, together(migration.settings)
    )
    validated = validate(snapshot, migration.selection, options.naming, options.mapping, migration.directory, target, published)
    if migration.is_increment:
        refuse_earlier_read_time(migration.baseline(), migration.selection, validated.read_time)
        validated = with_dropped_roots(
            validated, dropped_roots(snapshot.roots, snapshot.names, published, migration.selection), empty=not snapshot.names
        )
    if reached is None:
        return validated
    warnings = (*validated.warnings, *filter(None, [reached.warning]))
    return validated.model_copy(update={"postgres_version": reached.version, "warnings": warnings})


def existing_snapshot(migration: Migration) -> Validated | None:
    """The snapshot that an earlier attempt chose, whatever else is to be done again: never another one for half an archive."""
    exists = migration.receipts.file("pre_validation").exists()
    return migration.receipts.last("pre_validation", Validated) if exists else None


def register(migration: Migration, validated: Validated) -> None:
    """The target knows the run from here on: what it is, that it runs, and whether somebody wants it to stop."""
    settings = migration.settings
    # An increment asks whether the tables are of its own database.
    public = settings.public() | {"firestore": source_label(settings)}
    migration.is_new = record_begin(
        migration.database_url, migration.migration_id, settings.migration_mode, public, validated.read_time, migration.token
    )
    migration.is_registered = True


def target_of(migration: Migration) -> Target | None:
    """The checks of the target; a dry run may do without one."""
    if migration.settings.dry_run and migration.settings.database_url is None:
        return None

    def problems(forecast_tables: ForecastTables) -> list[FireliftError]:
        if migration.settings.supabase_url and migration.settings.supabase_key:
            check_api(migration.settings.supabase_url, migration.settings.supabase_key.get_secret_value())
        # Each worker has a connection, and so have the lock, the watch for a stop, and the phase itself.
        where, connections = (migration.database_url, migration.migration_id), migration.settings.max_workers + 3
        found = check_target(*where, migration.target_schema, forecast_tables, connections)
        if migration.is_test:
            warn_of_full_run(migration, found, check_target(*where, migration.settings.target_schema, forecast_tables, connections))
        return found

    return Target(problems)


def warn_of_full_run(migration: Migration, of_test: list[FireliftError], of_full: list[FireliftError]) -> None:
    """A test run needs less of the target than the run that it tries out."""
    known = {str(problem) for problem in of_test}
    for problem in of_full:
        if str(problem) not in known:
            migration.status.warn(f"A full run would be refused: {problem}")
