"""The flow that moves a Firestore database into PostgreSQL: `firelift.migration.migrate` says in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun
from prefect.runtime import flow_run
from prefect.states import Cancelled
from prefect.task_runners import ThreadPoolTaskRunner

from firelift.errors import Stopped
from firelift.migration.lifecycle import open_migration
from firelift.migration.migrate import migrate
from firelift.modes.incremental.catch_up import catching_up
from flows.parameters import takes_settings
from flows.prefect_steps import PrefectSteps
from tasks.artifacts import completed
from tasks.checkpoint import checkpoints_in
from tasks.flow_run import heartbeat
from tasks.flow_run_surroundings import FlowRunSurroundings, named_run


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
        with heartbeat():
            with open_migration(run, FlowRunSurroundings()) as opened, checkpoints_in(opened.directory):
                migrate(opened, PrefectSteps(run))
            if (following := catching_up(opened.settings, opened.reported)) is not None:
                migration(**following.public())
    except (Stopped, CancelledRun) as stopped:
        return Cancelled(message=str(stopped))
    return completed(opened.reported, Path(run.settings["working_dir"]) / "runs" / run.migration_id)
