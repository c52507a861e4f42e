"""A Firestore database into PostgreSQL: the six phases in order, collections in parallel."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.collection import extract_all, load_all, transform_all
from flows.parameters import takes_settings
from tasks.extraction import extraction
from tasks.import_ import import_, publish, staging
from tasks.post_migration import post_migration
from tasks.pre_validation import pre_validation
from tasks.transformation import planning, transformation
from tasks.verification import skip_verification, verification
from tasks.world import named_run, opened


def run_name() -> str:
    """What the Prefect UI calls the run: `full migration-2026-…`, `plan migration-2026-…`."""
    given = flow_run.parameters
    kind = "plan" if given.get("dry_run") else given.get("migration_mode") or "full"
    return f"{kind} {given.get('migration_id') or flow_run.scheduled_start_time.strftime('%Y-%m-%d %H:%M:%S')}"


@flow(name="migration", flow_run_name=run_name, task_runner=ThreadPoolTaskRunner(max_workers=8))  # type: ignore[arg-type]
@takes_settings
def migration(**options: Any) -> dict[str, Any]:
    """Moves everything, exactly; returns the final report. Secrets come from the environment, never as parameters."""
    run = named_run(options)
    with opened(run) as world:
        validated = pre_validation(run)
        extracted = extract_all(run, validated)
        extraction(run, extracted)
        planning(run, extracted)
        parts = transform_all(run, validated)
        transformed = transformation(run, parts)
        if world.settings.dry_run:
            post_migration(run, None)
            return world.report()
        staging(run, validated, transformed)
        import_(run, load_all(run, validated, parts))
        if world.settings.auto_verification:
            verification(run, list(validated.roots), transformed)
        else:
            skip_verification(run)
        post_migration(run, publish(run, validated))
    return world.report()
