"""The task of the phase pre_validation."""

from __future__ import annotations

from prefect import task
from prefect.settings import get_current_settings

from firelift.errors import FireliftError
from firelift.files import read_sealed
from firelift.firestore.source import source_label
from firelift.modes.incremental.baseline import refuse_behind, vanished_roots, with_vanished
from firelift.phases.import_ import record_begin
from firelift.phases.pre_validation import Target, survey, validate
from firelift.plan.build import Foresight
from firelift.postgres.schema.checks import check_target, reach
from firelift.postgres.schema.supabase import check_api
from firelift.receipts import Validated
from firelift.run.receipt_files import receipt_file
from firelift.settings.grouping import together
from tasks.checkpoint import PHASE
from tasks.receipted import receipted
from tasks.server import standstill_warning
from tasks.world import Run, World, world


# It says soon what is wrong: the checks themselves wait for what may only be late.
@task(**PHASE | {"retries": 0}, name="pre_validation", task_run_name="pre_validation")
@receipted("pre_validation", Validated)
def pre_validation(run: Run) -> Validated:
    """Checks both sides, the disk and the names; chooses the snapshot."""
    here = world(run)
    status = here.begin("pre_validation")
    here.app_config().check()
    validated = standing(here) or chosen(here)
    status.read_at(validated.read_time)
    for warning in (*validated.warnings, standstill_warning(get_current_settings())):
        if warning:
            status.warn(warning)
    here.end("pre_validation", validated)
    return validated


def chosen(here: World) -> Validated:
    """A new snapshot, with everything about it found to be in order."""
    rules, target = here.rules(), target_of(here)
    # While Firestore is still counting.
    published = here.base(anew=True).tables if here.is_increment else {}
    reached = reach(here.database_url, here.run.migration_id) if target else None
    snapshot = here.workers.call(survey, here.source, here.settings.read_time, here.selection, together(here.settings))
    validated = validate(snapshot, here.selection, rules.naming, rules.mapping, here.directory, target, published)
    if here.is_increment:
        refuse_behind(here.base(), here.selection, validated.read_time)
        validated = with_vanished(
            validated, vanished_roots(snapshot.roots, snapshot.names, published, here.selection), empty=not snapshot.names
        )
    if reached is None:
        return validated
    warnings = (*validated.warnings, *filter(None, [reached.warning]))
    return validated.model_copy(update={"postgres_version": reached.version, "warnings": warnings})


def standing(here: World) -> Validated | None:
    """The snapshot that an earlier attempt chose, where Prefect's own receipt of it is gone: never another one for half an archive."""
    file = receipt_file(here.workspace, "pre_validation")
    return Validated.model_validate_json(read_sealed(file)) if file.exists() else None


@task(**PHASE | {"persist_result": False, "cache_policy": None}, name="register", task_run_name="register")
def register(run: Run, validated: Validated) -> None:
    """The target knows the run from here on: what it is, that it runs, and whether somebody wants it to stop."""
    here = world(run)
    settings = here.settings
    # An increment asks whether the tables are of its own database.
    public = settings.public() | {"firestore": source_label(settings)}
    here.is_new = record_begin(here.database_url, run.migration_id, settings.migration_mode, public, validated.read_time, here.token)
    here.is_registered = True


def target_of(here: World) -> Target | None:
    """The checks of the target; a dry run may do without one."""
    if here.settings.dry_run and here.settings.database_url is None:
        return None

    def problems(foresight: Foresight) -> list[FireliftError]:
        if here.settings.supabase_url and here.settings.supabase_key:
            check_api(here.settings.supabase_url, here.settings.supabase_key.get_secret_value())
        # Each worker has a connection, and so have the lock, the watch for a stop, and the phase itself.
        where, connections = (here.database_url, here.run.migration_id), here.settings.max_workers + 3
        found = check_target(*where, here.target_schema, foresight, connections)
        if here.is_test:
            warn_of_full_run(here, found, check_target(*where, here.settings.target_schema, foresight, connections))
        return found

    return Target(problems)


def warn_of_full_run(here: World, of_test: list[FireliftError], of_full: list[FireliftError]) -> None:
    """A test run needs less of the target than the run that it tries out."""
    known = {str(problem) for problem in of_test}
    for problem in of_full:
        if str(problem) not in known:
            here.status.warn(f"A full run would be refused: {problem}")
