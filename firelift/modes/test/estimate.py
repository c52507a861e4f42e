"""Estimation: what a test run found out, made into an estimate of the full run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from firelift.formatting import counted
from firelift.modes.test.costs import CollectionSeen, Estimate, Pace, estimate
from firelift.planning.model import Plan
from firelift.postgres.publish.scratch_schema import Weight
from firelift.receipts import CollectionSampled, Sampled, TransformedAll, Validated
from firelift.run.earlier_runs import earlier_full_run
from firelift.run.reports.reads import counts_billed
from firelift.run.timestamps import now, seconds_between
from firelift.run.workspace import Workspace
from firelift.storage.archive import file_name
from firelift.storage.column_stats import rows_directory


def estimate_full_run(
    workspace: Workspace,
    sampled: Sampled,
    plan: Plan,
    weights: Mapping[str, Weight],
    status: Mapping[str, Any],
    target: str | None,
    range_documents: int,
    read_price: float,
) -> Estimate:
    """From the run's directory and its status; `weights` are those of the tables in the target, by name."""
    validated = Validated.model_validate(status["results"]["pre_validation"])
    transformed = TransformedAll.model_validate(status["results"]["transformation"])
    seen = list(_seen(workspace.run, sampled, plan, transformed, weights))
    return estimate(
        seen,
        read=validated.documents,
        counts=sum(counts_billed(root.documents, range_documents) for root in validated.roots),
        pace=earlier_pace(workspace, target) or _own_pace(sampled, status),
        read_price=read_price,
    )


def _seen(run: Path, sampled: Sampled, plan: Plan, transformed: TransformedAll, weights: Mapping[str, Weight]) -> Iterator[CollectionSeen]:
    tables = {table.collection: table for table in plan.tables}
    packed = {name: _packed(run, part.collection, part.bytes) for part in sampled.parts for name in part.collections}
    for sample in (one for one in sampled.collections if one.documents != 0):
        table, counts = tables.get(sample.collection), transformed.tables.get(sample.collection)
        weight = weights.get(table.table) if table else None
        rows = counts.rows if counts else 0
        held = sample.drawn + sample.needed
        yield CollectionSeen(
            collection=sample.collection,
            table=table.table if table else None,
            documents=sample.documents,
            exact=sample.exact,
            sampled=held,
            archive_bytes=sample.bytes * packed.get(sample.collection.split("/", 1)[0], 1.0),
            tables_bytes=_size(rows_directory(run, table)) if table else 0,
            target_bytes=_weighed(weight, rows, sample.documents, held),
        )


def _weighed(weight: Weight | None, rows: int, documents: int | None, held: int) -> int | None:
    """Of the whole table; None where nothing was loaded, or where nobody knows how many documents there are."""
    return weight.of(rows, round(documents * rows / held)) if weight and held and documents is not None else None


def _packed(run: Path, root: str, size: int) -> float:
    """How much of a document's bytes the archive of its root collection, and of those archived with it, takes."""
    return _size(run / "archive" / file_name(root)) / size if size else 1.0


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*.parquet"))


def _own_pace(sampled: Sampled, status: Mapping[str, Any]) -> Pace:
    phases = status["progress"]["phases"]
    documents = sum(part.documents for part in sampled.parts)
    seconds = {name: seconds_between(phase["startedAt"], phase["finishedAt"] or now()) for name, phase in phases.items()}
    return Pace(
        run=None,
        seconds={name: took for name, took in seconds.items() if took is not None},
        documents={name: documents for name in phases} | {"extraction": sampled.reads},
    )


def earlier_pace(workspace: Workspace, target: str | None) -> Pace | None:
    """How long the phases of the latest full run in this working directory took; None where there was none."""
    report = earlier_full_run(workspace, target)
    if report is None or not report["statistics"]["documentsRead"]:
        return None
    phases = report["phases"]
    return Pace(
        run=report["migrationId"],
        seconds={name: phase["durationSeconds"] for name, phase in phases.items() if phase["durationSeconds"] is not None},
        documents={name: report["statistics"]["documentsRead"] for name in phases},
    )


def warnings_of(sample: CollectionSampled) -> Iterator[str]:
    """Warnings about a collection, for readers of the sample's tables."""
    if sample.left_out:
        why = "more than a sample may have, so rows that refer to them lead nowhere here"
        yield f"{sample.collection}: {counted(sample.left_out, 'document')} that others need left out of the sample, {why}"
