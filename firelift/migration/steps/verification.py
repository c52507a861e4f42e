"""The step of the phase verification."""

from __future__ import annotations

from collections.abc import Sequence

from firelift.migration.context import Migration
from firelift.modes.incremental.plan_changes import expected_rows
from firelift.phases.import_ import rows_after_merge
from firelift.phases.verification import TooManyRejects, VerificationFailed, prove
from firelift.postgres.schema.names import staging_schema
from firelift.postgres.session.lock import session_of
from firelift.receipts import Completeness, Imported, RootCollection, TransformedAll, Validated, Verified
from firelift.run.earlier_runs import earlier_verification
from firelift.settings.verification_level import LEVELS
from firelift.verification.inputs import Known, Tables, Verification
from firelift.verification.proof import Limits, LiveRows, Proof
from firelift.verification.random_sample import new_seed


def nothing_to_verify(migration: Migration) -> bool:
    """Whether the run is an increment that has found every document as its row says it was."""
    increment = migration.increment()
    return increment is not None and not increment.touched


def skip_untouched(migration: Migration) -> None:
    """Says that there are no new rows to verify."""
    migration.workspace.clear_verification()
    migration.skip("verification", "nothing was found to have changed, so no row was written: there was none to verify")


# What a cached result says of the target may be true no longer.
def verification(migration: Migration, validated: Validated, transformed: TransformedAll, imported: Imported) -> Verified:
    """The staged tables against the archive. What fails migration is taken back before anybody sees it."""
    migration.start_phase("verification")
    migration.workspace.clear_verification()
    if transformed.rejected > migration.settings.max_rejects:
        raise TooManyRejects(rejected=transformed.rejected, allowed=migration.settings.max_rejects, reasons="; ".join(transformed.reasons))
    proof = collect_proof(migration, validated.roots, validated.read_time, transformed, imported)
    migration.check()
    results = migration.workspace.verification_results
    done = migration.surroundings.suites.validate(
        session_of(migration.database_url, migration.migration_id),
        migration.plan(),
        proof,
        results,
        migration.migration_id,
        migration.check,
    )
    # A stop cancels the questions to the target, and what could not be asked looks like a failure.
    migration.check()
    for warning in done.warnings:
        migration.status.warn(warning, "verification")
    if not done.passed:
        migration.status.record_findings("verification", done.model_dump(mode="json"))
        raise VerificationFailed(**first_finding(done))
    migration.finish_phase("verification", done)
    return done


def live_rows(migration: Migration, transformed: TransformedAll) -> tuple[LiveRows, ...] | None:
    """Of an increment: how many rows each table will have with it, beside how many documents Firestore has; None for other runs."""
    increment = migration.increment()
    if increment is None:
        return None
    expected = expected_rows(increment, transformed.tables)
    rows = rows_after_merge(migration.database_url, migration.migration_id, migration.settings.target_schema, increment)
    return tuple(LiveRows(table=table, expected=expected[table], rows=rows[table]) for table in sorted({*expected} & {*rows}))


def collect_proof(
    migration: Migration, roots: Sequence[RootCollection], read_time: str, transformed: TransformedAll, imported: Imported
) -> Proof:
    """What the engine finds out about the staging tables, with the status told how far it is."""
    settings = migration.settings
    migration.status.restart("verification")
    tables = Tables(
        session_of(migration.database_url, migration.migration_id),
        staging_schema(migration.migration_id),
        migration.plan(),
        migration.directory,
    )
    known = Known(
        relations=imported.relations,
        merged=live_rows(migration, transformed),
        deleted_chunks=increment.deleted_chunks() if (increment := migration.increment()) else (),
        earlier=earlier_verification(migration.workspace, settings.target()),
        completeness=Completeness.noted(migration.status.data()["statistics"]).in_words,
    )
    verification = Verification(
        tables,
        roots=[root.collection for root in roots],
        level=LEVELS[settings.verification_level],
        seed=new_seed(),
        read_time=read_time,
        results=migration.workspace.verification_results,
        limits=Limits(settings.max_lookup_ms, settings.max_count_ms),
        source=migration.source,
        known=known,
    )
    return prove(migration.workers, verification, lambda documents: migration.status.advance("verification", documents=documents))


def first_finding(done: Verified) -> dict[str, object]:
    """How much is wrong, and the first of it: table, key and field, but no value, as this goes into logs."""
    counts: dict[str, object] = {"differences": done.differences_total, "failed_expectations": done.failed_total}
    if done.differences:
        # A document says more than a count that does not add up.
        first = next((found for found in done.differences if found.key != "*"), done.differences[0])
        where = " ".join(filter(None, (first.table, first.key, first.field)))
        return counts | {"first": f"{where}: {first.what}"}
    if done.failed:
        failed = done.failed[0]
        return counts | {"first": f"{failed.table}{f'.{failed.column}' if failed.column else ''}: {failed.expectation}"}
    return counts


def skip_verification(migration: Migration) -> None:
    """Says in status and reports that nothing was verified."""
    option = "--skip-phases" if "verification" in migration.settings.skip_phases else "--no-auto-verification"
    migration.workspace.clear_verification()
    migration.skip("verification", f"switched off by {option}")
    migration.status.warn("Verification was switched off: nothing was compared.", "verification")
