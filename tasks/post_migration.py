"""The task of the phase post_migration."""

from __future__ import annotations

from prefect import task

from firelift.migration.context import Run
from firelift.migration.lifecycle import migration_of
from firelift.migration.steps import post_migration as steps
from firelift.receipts import Finished, Published, TransformedAll
from tasks.checkpoint import NOT_KEPT, PHASE


@task(**PHASE | NOT_KEPT, name="post_migration", task_run_name="post_migration")
def post_migration(run: Run, published: Published | None, transformed: TransformedAll) -> Finished:
    """The app is told, the end is written down in the target, what was only needed on the way is dropped."""
    return steps.post_migration(migration_of(run), published, transformed)
