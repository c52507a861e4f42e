"""The task of the phase post_migration."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from firelift.phases.import_ import record_end
from firelift.postgres.supabase import check_api
from firelift.receipts import Published, Receipt
from tasks.checkpoint import PHASE
from tasks.world import Run, world


class Finished(Receipt):
    """What readers of the target see, or would see after a real run."""

    tables: tuple[str, ...]
    published: bool


@task(**PHASE | {"cache_policy": NO_CACHE}, name="post_migration", task_run_name="post_migration")
def post_migration(run: Run, published: Published | None) -> Finished:
    """The end is written down: in the target, in the status, in the reports."""
    here = world(run)
    if published is not None:
        # Also where the phase is left out: a run without an end in the target passes for one that goes on.
        record_end(here.database_url, run.migration_id, "completed", here.status.data()["statistics"])
    if "post_migration" in here.settings.skip_phases:
        here.skip("post_migration", "left out by --skip-phases")
        return Finished(tables=(), published=published is not None)
    here.begin("post_migration")
    if published is not None and here.settings.supabase_url and here.settings.supabase_key:
        check_api(here.settings.supabase_url, here.settings.supabase_key.get_secret_value())
    done = Finished(tables=tuple(table.table for table in here.plan().tables), published=published is not None)
    here.end("post_migration", done)
    return done
