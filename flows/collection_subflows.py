"""A root collection, or several small ones, through extraction, transformation and import: a subflow each."""

from __future__ import annotations

from prefect import flow, task
from prefect.transactions import CommitMode, transaction

from firelift.migration.context import Run
from firelift.receipts import Extracted, Loaded, RootCollection, Staged, Transformed
from tasks.checkpoint import PHASE
from tasks.extraction import extract
from tasks.import_ import load
from tasks.subflow import subflow
from tasks.transformation import transform


@flow(name="extract-collection", flow_run_name="extract {root.label}", validate_parameters=False)
def extract_collection(run: Run, root: RootCollection, read_time: str) -> Extracted:
    """Firestore → archive."""
    return extract(run, root, read_time)


@flow(name="transform-collection", flow_run_name="transform {root.label}", validate_parameters=False)
def transform_collection(run: Run, root: RootCollection) -> Transformed:
    """Archive → typed rows."""
    return transform(run, root)


@flow(name="load-collection", flow_run_name="load {root.label}", validate_parameters=False)
def load_collection(run: Run, root: RootCollection, transformed: Transformed, staged: Staged) -> Loaded:
    """Typed rows → staging tables."""
    return load(run, root, transformed, staged)


# A flow cannot be mapped itself; a task that calls it can, and nests it rightly in the run graph.
@task(**PHASE, name="extract-collection", task_run_name="extract {root.label}")
def extracting(run: Run, root: RootCollection, read_time: str) -> Extracted:
    with transaction(commit_mode=CommitMode.EAGER):  # else nothing inside is kept until this task ends
        return subflow(extract_collection, run, root, read_time)


@task(**PHASE, name="transform-collection", task_run_name="transform {root.label}")
def transforming(run: Run, root: RootCollection) -> Transformed:
    with transaction(commit_mode=CommitMode.EAGER):
        return subflow(transform_collection, run, root)


@task(**PHASE, name="load-collection", task_run_name="load {root.label}")
def loading(run: Run, root: RootCollection, transformed: Transformed, staged: Staged) -> Loaded:
    with transaction(commit_mode=CommitMode.EAGER):
        return subflow(load_collection, run, root, transformed, staged)
