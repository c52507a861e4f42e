"""The task of the phase verification."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from expectations import judge
from firelift.modes.incremental.baseline import expected_rows
from firelift.phases.import_ import foreseen_rows
from firelift.phases.verification import Tables, TooManyRejects, VerificationFailed, prove
from firelift.postgres.schema.ddl import staging_schema
from firelift.postgres.session.lock import signature
from firelift.receipts import Completeness, Imported, RootFound, TransformedAll, Validated, Verified
from firelift.run.earlier_runs import earlier_verification
from firelift.verification.proof import Limits, LiveRows, Proof
from firelift.verification.random_sample import new_seed
from tasks.checkpoint import PHASE
from tasks.world import Run, World, world


def nothing_to_verify(run: Run) -> bool:
    """Whether the run is an increment that has found every document as its row says it was."""
    increment = world(run).increment()
    return increment is not None and not increment.touched


@task(**PHASE | {"cache_policy": NO_CACHE}, name="skip_untouched", task_run_name="verification (nothing has changed)")
def skip_untouched(run: Run) -> None:
    """Says that there are no new rows to verify."""
    here = world(run)
    here.workspace.clear_verification()
    here.skip("verification", "nothing was found to have changed, so no row was written: there was none to verify")


# What a cached result says of the target may be true no longer.
@task(**PHASE | {"cache_policy": NO_CACHE}, name="verification", task_run_name="verification")
def verification(run: Run, validated: Validated, transformed: TransformedAll, imported: Imported) -> Verified:
    """The staged tables against the archive. What fails here is taken back before anybody sees it."""
    here = world(run)
    here.begin("verification")
    here.workspace.clear_verification()
    if transformed.rejected > here.settings.max_rejects:
        raise TooManyRejects(rejected=transformed.rejected, allowed=here.settings.max_rejects, reasons="; ".join(transformed.reasons))
    proof = proven(here, validated.roots, validated.read_time, transformed, imported)
    here.check()
    results = here.workspace.verification_results
    done = judge(here.database_url, signature(run.migration_id), here.plan(), proof, results, run.migration_id, here.check)
    # A stop cancels the questions to the target, and what could not be asked looks like a failure.
    here.check()
    for warning in done.warnings:
        here.status.warn(warning, "verification")
    if not done.passed:
        here.status.found_out("verification", done.model_dump(mode="json"))
        raise VerificationFailed(**first_finding(done))
    here.end("verification", done)
    return done


def live_rows(here: World, transformed: TransformedAll) -> tuple[LiveRows, ...] | None:
    """Of an increment: how many rows each table will have with it, beside how many documents Firestore has; None for other runs."""
    increment = here.increment()
    if increment is None:
        return None
    expected = expected_rows(increment, transformed.tables)
    rows = foreseen_rows(here.database_url, here.run.migration_id, here.settings.target_schema, increment)
    return tuple(LiveRows(table=table, expected=expected[table], rows=rows[table]) for table in sorted({*expected} & {*rows}))


def proven(here: World, roots: Sequence[RootFound], read_time: str, transformed: TransformedAll, imported: Imported) -> Proof:
    """What the engine finds out about the staging tables, with the status told how far it is."""
    run, settings = here.run, here.settings
    here.status.restart("verification")
    return prove(
        here.workers,
        Tables(here.database_url, signature(run.migration_id), staging_schema(run.migration_id), here.plan(), here.directory),
        [root.collection for root in roots],
        settings.verification_level,
        new_seed(),
        against="archive",
        source=here.source,
        read_time=read_time,
        relations=imported.relations,
        merged=live_rows(here, transformed),
        departed_chunks=increment.departed_chunks() if (increment := here.increment()) else (),
        limits=Limits(settings.max_lookup_ms, settings.max_count_ms),
        earlier=earlier_verification(here.workspace, settings.target()),
        results=here.workspace.verification_results,
        completeness=Completeness.noted(here.status.data()["statistics"]).said,
        progress=lambda documents: here.status.advance("verification", documents=documents),
    )


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


@task(**PHASE | {"cache_policy": NO_CACHE}, name="skip_verification", task_run_name="verification (switched off)")
def skip_verification(run: Run) -> None:
    """Says in status and reports that nothing was verified."""
    here = world(run)
    option = "--skip-phases" if "verification" in here.settings.skip_phases else "--no-auto-verification"
    here.workspace.clear_verification()
    here.skip("verification", f"switched off by {option}")
    here.status.warn("Verification was switched off: nothing was compared.", "verification")
