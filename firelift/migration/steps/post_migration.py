"""The step of the phase post_migration."""

from __future__ import annotations

from datetime import datetime

from firelift.files import write_whole
from firelift.migration.context import Migration
from firelift.modes.incremental.plan_changes import expected_rows
from firelift.modes.test.estimate import estimate_full_run
from firelift.modes.test.scratch import throw_away, weights
from firelift.phases.import_ import record_end, would_publish
from firelift.phases.post_migration import drop
from firelift.postgres.publish.target_facts import Publication
from firelift.postgres.schema.supabase import check_api
from firelift.receipts import AppConfigUpdated, Dropped, Finished, Published, Sampled, TableCounts, TransformedAll
from firelift.run.workspace import ESTIMATE


def post_migration(migration: Migration, published: Published | None, transformed: TransformedAll) -> Finished:
    """The app is told, the end is written down in the target, what was only needed on the way is dropped."""
    if migration.is_test:
        return finish_test_run(migration, published)
    if "post_migration" in migration.settings.skip_phases:
        if published is not None:
            # A run without an end in the target passes for one that goes on.
            record_completion(migration, None)
        migration.skip("post_migration", "left out by --skip-phases")
        return Finished(tables=(), published=published is not None)
    migration.start_phase("post_migration")
    done = Finished(tables=tuple(table.table for table in migration.plan().tables), published=published is not None)
    if published is not None:
        if migration.settings.supabase_url and migration.settings.supabase_key:
            check_api(migration.settings.supabase_url, migration.settings.supabase_key.get_secret_value())
        updated = migration.app_config().update(migration.migration_id)
        record_completion(migration, updated)
        done = done.model_copy(update={"app_config": updated, "freed": drop_intermediate_files(migration)})
    elif migration.settings.database_url is not None:
        done = done.model_copy(update={"would_publish": foreseen_publishing(migration, transformed)})
    migration.finish_phase("post_migration", done)
    return done


def foreseen_publishing(migration: Migration, transformed: TransformedAll) -> tuple[str, ...]:
    """What publishing would do to the target; reads only."""
    plan, increment, settings = migration.plan(), migration.increment(), migration.settings
    publication = Publication(
        migration.migration_id,
        migration.target_schema,
        plan.tables,
        datetime.fromisoformat(migration.status.data()["readTime"]),
        increment,
        settings.foreign_keys,
        expected_rows(increment, transformed.tables) if increment else {},
    )
    rows = {table.table: transformed.tables.get(table.collection, TableCounts()).rows for table in plan.tables}
    return would_publish(migration.database_url, publication, rows)


def finish_test_run(migration: Migration, published: Published | None) -> Finished:
    """The end of a test run: what a full one would take is written down, and the sample's tables go, unless they are to be kept.

    None of it can be skipped: the run was asked for to find that out and to leave nothing behind.
    """
    migration.start_phase("post_migration")
    settings, migration_id = migration.settings, migration.migration_id
    sampled = migration.receipts.last("sampling", Sampled)
    weighed = weights(migration.database_url, migration_id, migration.plan()) if published else {}
    status = migration.status.data()
    estimate = estimate_full_run(
        migration.workspace,
        sampled,
        migration.plan(),
        weighed,
        status,
        settings.target(),
        settings.range_documents,
        settings.read_price,
    )
    write_whole(migration.directory / ESTIMATE, estimate.model_dump_json(by_alias=True, indent=1))
    if settings.app_config is not None:
        migration.status.warn("A test run leaves the app's configuration (--app-config) as it is.", "post_migration")
    if published is not None:
        record_completion(migration, None)
    if published is not None and not settings.keep:
        throw_away(migration.database_url, migration_id)
    done = Finished(
        tables=tuple(table.table for table in migration.plan().tables),
        published=published is not None,
        freed=drop_intermediate_files(migration) if published is not None else (),
        scratch_schema=migration.target_schema if published is not None and settings.keep else None,
    )
    migration.finish_phase("post_migration", done)
    return done


def record_completion(migration: Migration, updated: AppConfigUpdated | None) -> None:
    """Writes the end down in the target, with what a rollback will have to tell."""
    told = {"appConfig": {"file": updated.file, "oldFile": updated.old_file}} if updated else {}
    record_end(migration.database_url, migration.migration_id, "completed", migration.status.data()["statistics"] | told)


def drop_intermediate_files(migration: Migration) -> tuple[Dropped, ...]:
    """Drops what the settings do not keep. The archive, the only proof of what Firestore held, stays where nothing was verified."""
    unwanted = [] if migration.settings.keep_tables else ["tables"]
    if not migration.settings.keep_archive:
        if migration.status.state_of("verification") == "completed":
            unwanted.append("archive")
        else:
            migration.status.warn(
                "The archive stays, because nothing was verified: --no-keep-archive is for verified runs.", "post_migration"
            )
    return tuple(drop(migration.directory, what) for what in unwanted)
