"""The task of the phase post_migration."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from firelift.files import read_sealed, write_whole
from firelift.modes.test.estimate import estimate_full_run
from firelift.modes.test.sample import Sampled
from firelift.modes.test.scratch import throw_away, weights
from firelift.phases.import_ import record_end
from firelift.phases.post_migration import drop
from firelift.postgres.schema.supabase import check_api
from firelift.receipts import AppConfigUpdated, Finished, Freed, Published
from firelift.run.receipt_files import receipt_file
from firelift.run.workspace import ESTIMATE
from tasks.checkpoint import PHASE
from tasks.world import Run, World, world


@task(**PHASE | {"cache_policy": NO_CACHE}, name="post_migration", task_run_name="post_migration")
def post_migration(run: Run, published: Published | None) -> Finished:
    """The app is told, the end is written down in the target, what was only needed on the way is dropped."""
    here = world(run)
    if here.is_test:
        return tried(here, published)
    if "post_migration" in here.settings.skip_phases:
        if published is not None:
            # A run without an end in the target passes for one that goes on.
            finish(here, None)
        here.skip("post_migration", "left out by --skip-phases")
        return Finished(tables=(), published=published is not None)
    here.begin("post_migration")
    done = Finished(tables=tuple(table.table for table in here.plan().tables), published=published is not None)
    if published is not None:
        if here.settings.supabase_url and here.settings.supabase_key:
            check_api(here.settings.supabase_url, here.settings.supabase_key.get_secret_value())
        updated = here.app_config().update(run.migration_id)
        finish(here, updated)
        done = done.model_copy(update={"app_config": updated, "freed": freed(here)})
    here.end("post_migration", done)
    return done


def tried(here: World, published: Published | None) -> Finished:
    """The end of a test run: what a full one would take is written down, and the sample's tables go, unless they are to be kept.

    None of it can be skipped: the run was asked for to find that out and to leave nothing behind.
    """
    here.begin("post_migration")
    settings, migration_id = here.settings, here.run.migration_id
    sampled = Sampled.model_validate_json(read_sealed(receipt_file(here.workspace, "sampling")))
    weighed = weights(here.database_url, migration_id, here.plan()) if published else {}
    status = here.status.data()
    estimate = estimate_full_run(here.workspace, sampled, here.plan(), weighed, status, settings.target(), settings.range_documents)
    write_whole(here.directory / ESTIMATE, estimate.model_dump_json(by_alias=True, indent=1))
    if settings.app_config is not None:
        here.status.warn("A test run leaves the app's configuration (--app-config) as it is.", "post_migration")
    if published is not None:
        finish(here, None)
    if published is not None and not settings.keep:
        throw_away(here.database_url, migration_id)
    done = Finished(
        tables=tuple(table.table for table in here.plan().tables),
        published=published is not None,
        freed=freed(here) if published is not None else (),
        scratch_schema=here.target_schema if published is not None and settings.keep else None,
    )
    here.end("post_migration", done)
    return done


def finish(here: World, updated: AppConfigUpdated | None) -> None:
    """Writes the end down in the target, with what a rollback will have to tell."""
    told = {"appConfig": {"file": updated.file, "oldFile": updated.old_file}} if updated else {}
    record_end(here.database_url, here.run.migration_id, "completed", here.status.data()["statistics"] | told)


def freed(here: World) -> tuple[Freed, ...]:
    """Drops what the settings do not keep. The archive, the only proof of what Firestore held, stays where nothing was verified."""
    unwanted = [] if here.settings.keep_tables else ["tables"]
    if not here.settings.keep_archive:
        if here.status.state_of("verification") == "completed":
            unwanted.append("archive")
        else:
            here.status.warn("The archive stays, because nothing was verified: --no-keep-archive is for verified runs.", "post_migration")
    return tuple(drop(here.directory, what) for what in unwanted)
