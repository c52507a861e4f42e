"""The task of the phase verification."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from firelift.phases.verification import Tables, TooManyRejects, VerificationFailed, prove
from firelift.postgres.ddl import staging_schema
from firelift.postgres.lock import signature
from firelift.receipts import RootFound, TransformedAll, Verified
from firelift.verification.proof import Limits
from tasks.checkpoint import PHASE
from tasks.world import Run, world


# What a cached result says of the target may be true no longer.
@task(**PHASE | {"cache_policy": NO_CACHE}, name="verification", task_run_name="verification")
def verification(run: Run, roots: Sequence[RootFound], transformed: TransformedAll) -> Verified:
    """The staged tables against the archive. What fails here is taken back before anybody sees it."""
    here = world(run)
    here.begin("verification")
    limits = Limits(here.settings.max_lookup_ms, here.settings.max_count_ms)
    schema = staging_schema(run.migration_id)
    proof = prove(
        here.workers,
        Tables(here.database_url, signature(run.migration_id), schema, here.plan(), here.directory),
        [root.collection for root in roots],
        here.settings.verification_level,
        run.migration_id,
        read_time="",
        limits=limits,
        results=here.workspace.verification_results,
    )
    done = Verified(
        level=proof.level,
        against=proof.against,
        seed=proof.seed,
        passed=not proof.differences_total,
        tables=proof.tables,
        compared=sum(table.compared for table in proof.tables),
        reread=0,
        expectations=0,
        differences_total=proof.differences_total,
        differences=proof.differences,
    )
    if not done.passed:
        first = done.differences[0]
        where = " ".join(filter(None, (first.table, first.key, first.field)))
        raise VerificationFailed(differences=done.differences_total, first=f"{where}: {first.what}")
    if transformed.rejected > here.settings.max_rejects:
        raise TooManyRejects(rejected=transformed.rejected, allowed=here.settings.max_rejects, reasons="; ".join(transformed.reasons))
    here.end("verification", done)
    return done


@task(**PHASE | {"cache_policy": NO_CACHE}, name="skip_verification", task_run_name="verification (switched off)")
def skip_verification(run: Run) -> None:
    """Says in status and reports that nothing was verified."""
    here = world(run)
    option = "--skip-phases" if "verification" in here.settings.skip_phases else "--no-auto-verification"
    here.skip("verification", f"switched off by {option}")
    here.status.warn("Verification was switched off: nothing was compared.", "verification")
