"""The tasks of the phase pre_validation, and the one that looks at both sides without a migration."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.logging import get_run_logger

from firelift.firelift_home import refuse_wrong_home
from firelift.migration.check.readiness import Checked, check_both_sides
from firelift.migration.check.readiness_text import check_text
from firelift.migration.context import Run
from firelift.migration.lifecycle import migration_of
from firelift.migration.steps import pre_validation as steps
from firelift.phases.pre_validation import NotReady
from firelift.receipts import Validated
from firelift.settings.settings import Settings
from tasks.checkpoint import NOT_KEPT, PHASE
from tasks.prefect_log import reasons_first


# It says soon what is wrong: the checks themselves wait for what may only be late.
@task(**PHASE | {"retries": 0}, name="pre_validation", task_run_name="pre_validation")
def pre_validation(run: Run) -> Validated:
    """Checks both sides, the disk and the names; chooses the snapshot."""
    return steps.pre_validation(migration_of(run))


@task(**PHASE | NOT_KEPT, name="register", task_run_name="register")
def register(run: Run, validated: Validated) -> None:
    """The target knows the run from here on: what it is, that it runs, and whether somebody wants it to stop."""
    steps.register(migration_of(run), validated)


# What both sides hold now is the question: no earlier answer will do.
@task(**PHASE | NOT_KEPT, name="check", task_run_name="check")
def look_at_both_sides(options: dict[str, Any]) -> Checked:
    """Raises NotReady with everything that would keep a migration from running."""
    reasons_first()
    refuse_wrong_home()
    found = check_both_sides(Settings.load(**options))
    get_run_logger().info(check_text(found))
    if not found.ready:
        raise NotReady(**{f"problem_{number}": problem.rstrip(".") for number, problem in enumerate(found.problems, 1)})
    return found
