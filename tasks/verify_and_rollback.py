"""The tasks that work on a published target: verify it, and roll it back."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.logging import get_run_logger

import expectations
from firelift.firelift_home import refuse_wrong_home
from firelift.migration.published.verify_published import verify_published
from firelift.migration.rollback import roll_back_run
from firelift.migration.rollback_text import rollback_message, rollback_text
from firelift.migration.steps.verification import first_finding
from firelift.phases.verification import TargetDiffers
from firelift.receipts import RolledBack, Verified
from firelift.run.reports import note_rollback
from firelift.run.reports.verify_text import verified_message
from firelift.settings.settings import Settings
from firelift.settings.target import RunLocation, Target
from firelift.verification.proof import Against
from tasks.checkpoint import NOT_KEPT, PHASE
from tasks.flow_run import announce
from tasks.prefect_log import reasons_first


# What the target holds now is the question: no earlier answer will do.
@task(**PHASE | NOT_KEPT, name="verify", task_run_name="verify")
def verify_target(options: dict[str, Any], against: Against | None, seed: str | None) -> Verified:
    """Compares a published target with its documents; raises TargetDiffers where it does not say the same."""
    reasons_first()
    refuse_wrong_home()
    logger = get_run_logger()
    done = verify_published(Settings.load(**options), against, seed, logger.info, expectations)
    logger.info(verified_message(done))
    logger.info(f"results in {', '.join(run.results for run in done.runs)}")
    for warning in done.warnings:
        logger.warning(warning)
    if not done.passed:
        raise TargetDiffers(**first_finding(done), results=done.results)
    return done


# What the target holds is the only truth about it: nothing is kept of a rollback, so that it can be done again.
@task(**PHASE | NOT_KEPT, name="rollback", task_run_name="rollback")
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
    facts = {"schema": target.target_schema, "said": rollback_message(done)}
    announce("rolled-back", done.migration_id, {"firelift.schema": target.target_schema}, facts)
    return done
