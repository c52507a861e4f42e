"""The steps of the phase transformation."""

from __future__ import annotations

from collections.abc import Mapping

from firelift.migration.context import Migration
from firelift.migration.steps.planning import warn_of_mended
from firelift.migration.steps.receipt_validity import with_receipt
from firelift.phases.transformation import archived_documents, refuse_incomplete, transform_collection
from firelift.receipts import Extracted, RootCollection, Transformed, TransformedAll, summed, tallied
from firelift.verification.checks.columns import loaded_columns


@with_receipt("transformation", Transformed)
def transform(migration: Migration, root: RootCollection) -> Transformed:
    """Root collections, with everything beneath them, as typed rows."""
    status = migration.start_phase("transformation")
    expected = archived_documents(migration.directory, root)
    for name, documents in expected.items():
        status.restart_collection("transformation", name)
        status.expect("transformation", name, documents=documents)
    with migration.surroundings.progress("transformation", root.label, sum(expected.values())) as advance:

        def progress(done: Mapping[str, int]) -> None:
            for name, documents in done.items():
                status.advance("transformation", name, documents=documents)
            advance(sum(done.values()))

        return transform_collection(migration.workers, migration.directory, root, progress)


@with_receipt("transformation", TransformedAll)
def transformation(migration: Migration, transformed: list[Transformed], extracted: list[Extracted]) -> TransformedAll:
    """Everything that was extracted is rows: what became of the documents of every collection."""
    increment = migration.increment()
    refuse_incomplete(extracted, transformed, increment.rewritten() if increment else {})
    tables = summed([part.tables for part in transformed])
    done = TransformedAll(
        transformedRecords=sum(counts.rows for counts in tables.values()),
        tables=tables,
        rejected=sum(counts.rejected for counts in tables.values()),
        residue=sum(counts.residue for counts in tables.values()),
        reasons=tallied([part.reasons for part in transformed]),
    )
    # Kept beside the rows: verification holds the target against it, also when the Parquet files are gone.
    loaded_columns(migration.directory, migration.plan())
    status = migration.start_phase("transformation")
    for file in (file for part in transformed for file in part.remade):
        warn_of_mended(migration, file)
    for part in transformed:
        for name, counts in part.counts().items():
            status.set_counts("transformation", name, **counts)
    status.add_statistics(rowsRejected=done.rejected, residueRows=done.residue)
    for reason, count in done.reasons.items():
        status.warn(f"documents rejected: {count}, because {reason}", "transformation")
    migration.finish_phase("transformation", done)
    return done
