"""The tasks of the phase extraction."""

from __future__ import annotations

from prefect import task

from firelift.migration.context import Run
from firelift.migration.lifecycle import migration_of
from firelift.migration.steps import extraction as steps
from firelift.receipts import Extracted, PhaseReceipt, RootCollection, Sampled, Validated
from tasks.checkpoint import INNER, PHASE


@task(**INNER, name="extract", task_run_name="extract {root.label}")
def extract(run: Run, root: RootCollection, read_time: str) -> Extracted:
    """Root collections, with everything beneath them, into the archive."""
    return steps.extract(migration_of(run), root, read_time)


@task(**PHASE, name="sampling", task_run_name="sampling")
def sampling(run: Run, validated: Validated) -> Sampled:
    """In place of everything a sample of every collection, with what it needs."""
    return steps.sampling(migration_of(run), validated)


@task(**PHASE, name="extraction", task_run_name="extraction")
def extraction(run: Run, extracted: list[Extracted]) -> PhaseReceipt:
    """Everything is archived: the sum, and a word on every stream that broke."""
    return steps.extraction(migration_of(run), extracted)
