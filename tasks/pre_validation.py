"""The task of the phase pre_validation."""

from __future__ import annotations

from prefect import task

from firelift.errors import FireliftError
from firelift.phases.pre_validation import Target, validate
from firelift.planning import Foresight
from firelift.postgres.checks import check_target
from firelift.postgres.supabase import check_api
from firelift.receipts import Validated
from tasks.checkpoint import PHASE
from tasks.world import Run, World, world


# It says soon what is wrong: the checks themselves wait for what may only be late.
@task(**PHASE | {"retries": 0}, name="pre_validation", task_run_name="pre_validation")
def pre_validation(run: Run) -> Validated:
    """Checks both sides, the disk and the names; chooses the snapshot."""
    here = world(run)
    status = here.begin("pre_validation")
    rules = here.rules()
    validated = validate(here.source, here.settings.read_time, here.selection, rules.naming, rules.mapping, here.directory, target_of(here))
    status.read_at(validated.read_time)
    for warning in validated.warnings:
        status.warn(warning)
    here.end("pre_validation", validated)
    return validated


def target_of(here: World) -> Target | None:
    """The checks of the target; a dry run may do without one."""
    if here.settings.dry_run and here.settings.database_url is None:
        return None

    def problems(foresight: Foresight) -> list[FireliftError]:
        if here.settings.supabase_url and here.settings.supabase_key:
            check_api(here.settings.supabase_url, here.settings.supabase_key.get_secret_value())
        # Each worker has a connection, and so have the lock and the phase itself.
        return check_target(here.database_url, here.run.migration_id, here.settings.target_schema, foresight, here.settings.max_workers + 2)

    return Target(problems)
