"""A published target, verified once more."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from firelift.run.reports.verify_text import verified_message
from firelift.settings.types import LevelName
from tasks.verify_and_rollback import verify_target


def run_name() -> str:
    """What the Prefect UI calls the run: `verify migration-2026-…`, `verify all published tables`."""
    return f"verify {flow_run.parameters.get('migration_id') or 'all published tables'}"


@flow(name="verify", flow_run_name=run_name)
def verify(
    migration_id: str | None = None,
    verification_level: LevelName | None = None,
    against: Literal["archive", "firestore"] | None = None,
    seed: str | None = None,
    target_schema: str | None = None,
    working_dir: str | None = None,
    max_workers: int | None = None,
) -> State[Any]:
    """Compares a published target with Firestore's documents and writes nothing to it. Fails where they differ.

    Args:
        migration_id: The run to verify; without it every run of which a table is published
        verification_level: How much is compared; without it as the environment says, else standard
        against: The run's archive, or Firestore read again as of its snapshot; without it the archive where it is whole
        seed: Draws the same sample as the verification with this seed
        target_schema: Schema of the target tables
        working_dir: Directory with the run's archive; the results are written there
        max_workers: Processes that compare at a time
    """
    options = {
        "migration_id": migration_id,
        "verification_level": verification_level,
        "target_schema": target_schema,
        "working_dir": working_dir,
        "max_workers": max_workers,
    }
    done = verify_target({name: value for name, value in options.items() if value is not None}, against, seed)
    return Completed(message=verified_message(done), data=done.model_dump(mode="json"))
