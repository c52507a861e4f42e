"""The tasks of the phase import, and of publishing, which follows a passed verification."""

from __future__ import annotations

from prefect import task

from firelift.migration.context import Run
from firelift.migration.lifecycle import migration_of
from firelift.migration.steps import import_ as steps
from firelift.receipts import Imported, Loaded, Published, RootCollection, Staged, Transformed, TransformedAll, Validated
from tasks.checkpoint import INNER, NOT_KEPT, PHASE


@task(**PHASE | NOT_KEPT, name="staging", task_run_name="staging")
def staging(run: Run, validated: Validated, transformed: TransformedAll) -> Staged:
    """Empty staging tables, or those in which an earlier attempt of this run left its rows."""
    return steps.staging(migration_of(run), validated, transformed)


@task(**INNER, name="load", task_run_name="load {root.label}")
def load(run: Run, root: RootCollection, transformed: Transformed, staged: Staged) -> Loaded:
    """Root collections, with everything beneath them, into staging."""
    return steps.load(migration_of(run), root, transformed, staged)


@task(**PHASE, name="import", task_run_name="import")
def import_(run: Run, loaded: list[Loaded], staged: Staged) -> Imported:
    """All rows are in: keys, foreign keys where no row is orphaned, statistics."""
    return steps.import_(migration_of(run), loaded, staged)


@task(**PHASE | NOT_KEPT, name="publish", task_run_name="publish")
def publish(run: Run, validated: Validated, transformed: TransformedAll) -> Published:
    """The tables become visible, all in one transaction."""
    return steps.publish(migration_of(run), validated, transformed)
