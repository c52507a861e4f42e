"""The task of the phase post_migration."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from firelift.phases.import_ import record_end
from firelift.phases.post_migration import drop
from firelift.postgres.supabase import check_api
from firelift.receipts import AppConfigUpdated, Finished, Freed, Published
from tasks.checkpoint import PHASE
from tasks.world import Run, World, world


@task(**PHASE | {"cache_policy": NO_CACHE}, name="post_migration", task_run_name="post_migration")
def post_migration(run: Run, published: Published | None) -> Finished:
    """The app is told, the end is written down in the target, what was only needed on the way is dropped."""
    here = world(run)
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
