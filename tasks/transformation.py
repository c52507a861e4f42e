"""The tasks of the phase transformation."""

from __future__ import annotations

from prefect import task

from firelift.migration.context import Run
from firelift.migration.lifecycle import migration_of
from firelift.migration.steps import planning as planning_steps
from firelift.migration.steps import transformation as steps
from firelift.receipts import Extracted, Planned, RootCollection, Transformed, TransformedAll
from tasks.checkpoint import INNER, PHASE


@task(**PHASE, name="planning", task_run_name="planning")
def planning(run: Run, extracted: list[Extracted]) -> Planned:
    """Tables, columns and types for everything that was archived."""
    return planning_steps.planning(migration_of(run), extracted)


@task(**INNER, name="transform", task_run_name="transform {root.label}")
def transform(run: Run, root: RootCollection) -> Transformed:
    """Root collections, with everything beneath them, as typed rows."""
    return steps.transform(migration_of(run), root)


@task(**PHASE, name="transformation", task_run_name="transformation")
def transformation(run: Run, transformed: list[Transformed], extracted: list[Extracted]) -> TransformedAll:
    """Everything that was extracted is rows: what became of the documents of every collection."""
    return steps.transformation(migration_of(run), transformed, extracted)
