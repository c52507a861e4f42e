"""The tasks of the phase verification."""

from __future__ import annotations

from prefect import task

from firelift.migration.context import Run
from firelift.migration.lifecycle import migration_of
from firelift.migration.steps import verification as steps
from firelift.receipts import Imported, TransformedAll, Validated, Verified
from tasks.checkpoint import NOT_KEPT, PHASE


@task(**PHASE | NOT_KEPT, name="skip_untouched", task_run_name="verification (nothing has changed)")
def skip_untouched(run: Run) -> None:
    """Says that there are no new rows to verify."""
    steps.skip_untouched(migration_of(run))


# What a cached result says of the target may be true no longer.
@task(**PHASE | NOT_KEPT, name="verification", task_run_name="verification")
def verification(run: Run, validated: Validated, transformed: TransformedAll, imported: Imported) -> Verified:
    """The staged tables against the archive. What fails here is taken back before anybody sees it."""
    return steps.verification(migration_of(run), validated, transformed, imported)


@task(**PHASE | NOT_KEPT, name="skip_verification", task_run_name="verification (switched off)")
def skip_verification(run: Run) -> None:
    """Says in status and reports that nothing was verified."""
    steps.skip_verification(migration_of(run))
