"""The target as it was before a migration."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from firelift.migration.rollback_text import rollback_message
from tasks.verify_and_rollback import roll_back_target


def run_name() -> str:
    """What the Prefect UI calls the run: `rollback migration-2026-…`, `rollback the latest run`."""
    return f"rollback {flow_run.parameters.get('migration_id') or 'the latest run'}"


@flow(name="rollback", flow_run_name=run_name)
def rollback(migration_id: str | None = None, force: bool = False) -> State[Any]:
    """Restores what a migration replaced and removes what it made. The target's address comes from the environment, never as a parameter.

    Args:
        migration_id: The run to undo; without it the latest of the target schema and, where it is set, MIGRATION_WORKING_DIR
        force: Also undo what others have changed in its tables since the run
    """
    done = roll_back_target(migration_id, force)
    return Completed(message=rollback_message(done), data=done.model_dump(mode="json"))
