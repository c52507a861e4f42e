"""The tasks of the phase pre_validation."""

from __future__ import annotations

from prefect import task

from firelift.migration.context import Run
from firelift.migration.lifecycle import migration_of
from firelift.migration.steps import pre_validation as steps
from firelift.receipts import Validated
from tasks.checkpoint import NOT_KEPT, PHASE


# It says soon what is wrong: the checks themselves wait for what may only be late.
@task(**PHASE | {"retries": 0}, name="pre_validation", task_run_name="pre_validation")
def pre_validation(run: Run) -> Validated:
    """Checks both sides, the disk and the names; chooses the snapshot."""
    return steps.pre_validation(migration_of(run))


@task(**PHASE | NOT_KEPT, name="register", task_run_name="register")
def register(run: Run, validated: Validated) -> None:
    """The target knows the run from here on: what it is, that it runs, and whether somebody wants it to stop."""
    steps.register(migration_of(run), validated)
