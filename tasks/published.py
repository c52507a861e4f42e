"""The task that verifies a published target."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.logging import get_run_logger

import expectations
from firelift.home import refuse_wrong_home
from firelift.migration.steps.verification import first_finding
from firelift.migration.verify_published import verify_published
from firelift.phases.verification import TargetDiffers
from firelift.receipts import Verified
from firelift.run.reports.verify_text import verified_message
from firelift.settings.settings import Settings
from firelift.verification.proof import Against
from tasks.checkpoint import ALWAYS, NOT_KEPT, PHASE
from tasks.reasons import reasons_first


# What the target holds now is the question: no earlier answer will do.
@task(**PHASE | NOT_KEPT | ALWAYS, name="verify", task_run_name="verify")
def verify_target(options: dict[str, Any], against: Against | None, seed: str | None) -> Verified:
    """Compares a published target with its documents; raises TargetDiffers where it does not say the same."""
    reasons_first()
    refuse_wrong_home()
    logger = get_run_logger()
    done = verify_published(Settings.load(**options), against, seed, logger.info, expectations)
    logger.info(verified_message(done))
    logger.info(f"results in {', '.join(run.results for run in done.runs)}")
    for warning in done.warnings:
        logger.warning(warning)
    if not done.passed:
        raise TargetDiffers(**first_finding(done), results=done.results)
    return done
