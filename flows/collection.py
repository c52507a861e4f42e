"""A root collection, or several small ones, through extraction, transformation and import: a subflow each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from prefect import Task, flow, task, unmapped
from prefect.futures import wait
from prefect.transactions import CommitMode, transaction

from firelift.receipts import Extracted, Loaded, RootFound, Transformed, Validated
from tasks.checkpoint import PHASE
from tasks.extraction import extract, sampling
from tasks.import_ import Staged, load
from tasks.subflow import subflow
from tasks.transformation import transform
from tasks.world import Run


@flow(name="extract-collection", flow_run_name="extract {root.label}", validate_parameters=False)
def extract_collection(run: Run, root: RootFound, read_time: str) -> Extracted:
    """Firestore → archive."""
    return extract(run, root, read_time)


@flow(name="transform-collection", flow_run_name="transform {root.label}", validate_parameters=False)
def transform_collection(run: Run, root: RootFound) -> Transformed:
    """Archive → typed rows."""
    return transform(run, root)


@flow(name="load-collection", flow_run_name="load {root.label}", validate_parameters=False)
def load_collection(run: Run, root: RootFound, transformed: Transformed, staged: Staged) -> Loaded:
    """Typed rows → staging tables."""
    return load(run, root, transformed, staged)


# A flow cannot be mapped itself; a task that calls it can, and nests it rightly in the run graph.
@task(**PHASE, name="extract-collection", task_run_name="extract {root.label}")
def extracting(run: Run, root: RootFound, read_time: str) -> Extracted:
    with transaction(commit_mode=CommitMode.EAGER):  # else nothing inside is kept until this task ends
        return subflow(extract_collection, run, root, read_time)


@task(**PHASE, name="transform-collection", task_run_name="transform {root.label}")
def transforming(run: Run, root: RootFound) -> Transformed:
    with transaction(commit_mode=CommitMode.EAGER):
        return subflow(transform_collection, run, root)


@task(**PHASE, name="load-collection", task_run_name="load {root.label}")
def loading(run: Run, root: RootFound, transformed: Transformed, staged: Staged) -> Loaded:
    with transaction(commit_mode=CommitMode.EAGER):
        return subflow(load_collection, run, root, transformed, staged)


def extract_all(run: Run, validated: Validated) -> list[Extracted]:
    return _each(extracting, run, validated.roots, read_time=validated.read_time)


def sample_all(run: Run, validated: Validated) -> tuple[Validated, list[Extracted]]:
    """A sample in place of everything: what the other phases are to take for the snapshot, and its root collections."""
    sampled = sampling(run, validated)
    return sampled.of(validated), list(sampled.parts)


def transform_all(run: Run, roots: Sequence[RootFound]) -> list[Transformed]:
    return _each(transforming, run, roots)


def load_all(run: Run, roots: Sequence[RootFound], transformed: Sequence[Transformed], staged: Staged) -> list[Loaded]:
    return _each(loading, run, roots, transformed, staged=staged)


def _weight(root: RootFound) -> float:
    """A root collection that Firestore does not count may be the largest."""
    return math.inf if root.documents is None else root.documents


def _each(work: Task[..., Any], run: Run, roots: Sequence[RootFound], *each: Sequence[Any], **shared: Any) -> list[Any]:
    """What the task returns for each root collection, in their order; the largest begins first, as it ends last.

    All come to their end before any error is raised: a collection that failed does not cut the others short.
    """
    order = sorted(range(len(roots)), key=lambda place: -_weight(roots[place]))
    lists = ([given[place] for place in order] for given in (roots, *each))
    alike: Any = {name: unmapped(value) for name, value in shared.items()}
    futures = work.map(unmapped(run), *lists, **alike)
    wait(futures)
    found = {place: future.result() for place, future in zip(order, futures, strict=True)}
    return [found[place] for place in range(len(roots))]
