"""The task of a rollback."""

from __future__ import annotations

from prefect import task
from prefect.logging import get_run_logger

from firelift.home import refuse_wrong_home
from firelift.migration.rollback import roll_back_run
from firelift.migration.undo_text import rollback_text
from firelift.postgres.publish.rollback import RolledBack
from firelift.run.reports import note_rollback
from firelift.settings.settings import RunLocation, Target
from tasks.checkpoint import ALWAYS, NOT_KEPT, PHASE
from tasks.reasons import reasons_first


# What the target holds is the only truth about it: nothing is kept of a rollback, so that it can be done again.
@task(**PHASE | NOT_KEPT | ALWAYS, name="rollback", task_run_name="rollback")
def roll_back_target(migration_id: str | None, force: bool) -> RolledBack:
    """Puts the target back as it was before a run, under the target's lock."""
    reasons_first()
    refuse_wrong_home()
    target = Target.load(migration_id=migration_id)
    place = RunLocation.load()
    # A worker has no directory of its own unless it is told one.
    started_in = place.working_dir if "working_dir" in place.model_fields_set else None
    done = roll_back_run(target.url(), target.migration_id, force, target.target_schema, started_in)
    note_rollback(place.working_dir, done.model_dump(mode="json"))
    get_run_logger().info(rollback_text(done))
    return done
