"""The task of the phase verification."""

from __future__ import annotations

import json
from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE

from firelift.files import write_whole
from firelift.phases.verification import TooManyRejects, VerificationFailed, verify
from firelift.receipts import RootFound, TransformedAll, Verified
from tasks.checkpoint import PHASE
from tasks.world import Run, world


# What a cached result says of the target may be true no longer.
@task(**PHASE | {"cache_policy": NO_CACHE}, name="verification", task_run_name="verification")
def verification(run: Run, roots: Sequence[RootFound], transformed: TransformedAll) -> Verified:
    """The staged tables against the archive. What fails here is taken back before anybody sees it."""
    here = world(run)
    here.begin("verification")
    done = verify(here.database_url, run.migration_id, here.directory, [root.collection for root in roots], here.plan(), transformed.tables)
    write_whole(
        here.workspace.verification_results / "differences.json", json.dumps([found.model_dump() for found in done.differences], indent=1)
    )
    if not done.passed:
        first = done.differences[0]
        raise VerificationFailed(differences=len(done.differences), first=f"{first.table} {first.key}: {first.what}")
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
