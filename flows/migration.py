"""A Firestore database into PostgreSQL: the six phases in order, collections in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner

from firelift.errors import Stopped
from firelift.receipts import Extracted, Loaded, Published, RootFound, Transformed, TransformedAll, Validated
from flows.collection import extract_all, load_all, sample_all, transform_all
from flows.parameters import takes_settings
from tasks.artifacts import completed
from tasks.checkpoint import checkpoints_in
from tasks.extraction import extraction
from tasks.heartbeat import heartbeat
from tasks.import_ import import_, publish, staging
from tasks.post_migration import post_migration
from tasks.pre_validation import pre_validation, register
from tasks.transformation import moved_roots, planning, transformation
from tasks.verification import nothing_to_verify, skip_untouched, skip_verification, verification
from tasks.warm import warm_up
from tasks.world import Run, named_run, opened, world


def run_name() -> str:
    """What the Prefect UI calls the run: `full migration-2026-…`, `plan migration-2026-…`."""
    given = flow_run.parameters
    kind = "plan" if given.get("dry_run") else given.get("migration_mode") or "full"
    return f"{kind} {given.get('migration_id') or flow_run.scheduled_start_time.strftime('%Y-%m-%d %H:%M:%S')}"


@flow(name="migration", flow_run_name=run_name, task_runner=ThreadPoolTaskRunner(max_workers=8))  # type: ignore[arg-type]
@takes_settings
def migration(**options: Any) -> dict[str, Any] | State[Any]:
    """Moves everything, exactly; returns the final report. Secrets come from the environment, never as parameters."""
    run = named_run(options)
    try:
        return completed(migrate(run), Path(run.settings["working_dir"]) / "runs" / run.migration_id)
    except Stopped as stopped:
        return Cancelled(message=str(stopped))


def migrate(run: Run) -> dict[str, Any]:
    """The six phases in order."""
    with heartbeat(), opened(run) as here, checkpoints_in(here.directory):
        validated = pre_validation(run)
        here.settle("pre_validation", validated, {})
        if not here.settings.dry_run:
            register(run, validated)
        warm_up(here)
        validated, extracted = sample_all(run, validated) if here.is_test else (validated, extract_all(run, validated))
        here.settle("extraction", extraction(run, extracted), counted(extracted))
        planning(run, extracted)
        moved = moved_roots(run, validated, extracted)
        parts = transform_all(run, moved)
        transformed = transformation(run, parts, extracted)
        here.settle("transformation", transformed, counted(parts))
        published = None if here.settings.dry_run else arrive(run, validated, moved, parts, transformed)
        post_migration(run, published)
    return here.reported


def counted(parts: Sequence[Extracted | Transformed | Loaded]) -> dict[str, dict[str, int]]:
    """By root collection, what a status counts of it."""
    return {name: counts for part in parts for name, counts in part.counts().items()}


def arrive(run: Run, validated: Validated, moved: Sequence[RootFound], parts: list[Transformed], transformed: TransformedAll) -> Published:
    """What a dry run leaves out: staging, verification and publishing."""
    staged = staging(run, validated, transformed)
    if not staged.published:
        loaded = load_all(run, moved, parts, staged)
        imported = import_(run, loaded, staged)
        world(run).settle("import", imported, counted(loaded))
        if nothing_to_verify(run):
            skip_untouched(run)
        elif world(run).verifies:
            verification(run, validated, transformed, imported)
        else:
            skip_verification(run)
    return publish(run, validated, transformed)
