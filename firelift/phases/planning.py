"""Planning: decides tables, columns and types for all archived documents, keeping the names that the target has already."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from firelift.errors import FireliftError
from firelift.files import FileChanged, read_sealed, was_written, write_whole
from firelift.paths import Selection
from firelift.phases.transformation import is_begun
from firelift.planning.build import ForecastTables, PlanOptions, forecast_tables
from firelift.planning.increment import Increment
from firelift.planning.model import PLAN, Plan, TablePlan, keep_plan, read_plan, written
from firelift.planning.profile import Profile
from firelift.planning.reasons import reasons
from firelift.postgres.inspect.plan_sql import as_script, statements_for_new_tables
from firelift.postgres.load.constraints import ForeignKeys
from firelift.postgres.schema.control_schema import saved_plans
from firelift.postgres.session.connection import Connection
from firelift.postgres.session.lock import session_of
from firelift.run.workspace import PLAN_SQL, REASONS

SAMPLED = "receipts/sampling.json"


class PlanLost(FireliftError):
    """Documents have been transformed by a plan that is no longer there."""

    remedy = "Part of the run's directory is gone or damaged: start a new run."


def existing_plan(run: Path, made: Callable[[], Plan] | None = None, mended: Callable[[str], None] = lambda _: None) -> Plan | None:
    """The plan by which chunks of this run have been transformed; None where there are none yet.

    A new one might give other names or columns than those chunks have, as the target's plans may have changed since: one whose file was
    changed is taken only if it is the one that was `made` before, to the letter; then `mended` is called with the file. Raises PlanLost.
    """
    if not is_begun(run):
        return None
    file = run / PLAN
    try:
        return read_plan(run)
    except (OSError, ValidationError) as error:
        raise PlanLost(plan=str(file)) from error
    except FileChanged as changed:
        plan = made() if made else None
        if plan is None or not was_written(file, written(plan)):
            raise PlanLost(**changed.facts) from changed
        mended(str(file))
        return plan


def published_plans(url: str, migration_id: str, target_schema: str) -> dict[str, TablePlan]:
    """The plans by which the target's tables were published, by collection."""
    with session_of(url, migration_id).open() as connection:
        return saved_plans(connection, target_schema)


def write_plan(
    run: Path, plan: Plan, profile: Profile, options: PlanOptions, earlier: Mapping[str, TablePlan], increment: Increment | None = None
) -> None:
    """Writes the plan, for the workers, and its reasons, for the reports. Of an increment only new tables have reasons."""
    existing = increment.before() if increment else {}
    explained = plan.model_copy(update={"tables": tuple(table for table in plan.tables if table.table not in existing)})
    write_whole(run / REASONS, json.dumps(reasons(profile, explained, options, earlier), indent=1))
    keep_plan(run, plan)


def write_sql(
    run: Path,
    connection: Connection | None,
    plan: Plan,
    target_schema: str,
    foreign_keys: ForeignKeys,
    others: Sequence[TablePlan] = (),
) -> None:
    """Writes the SQL that makes the plan's new tables, for people. Without a connection: for an empty database.

    `others` are published tables that are not in the plan, to which new ones may refer.
    """
    statements = statements_for_new_tables(connection, target_schema, plan.tables, foreign_keys, others)
    write_whole(run / PLAN_SQL, as_script(statements))


def dropped_collections(earlier: Mapping[str, TablePlan], plan: Plan, selection: Selection) -> list[TablePlan]:
    """Published tables of selected collections that no longer have any document."""
    found = {table.collection for table in plan.tables}
    return [table for collection, table in earlier.items() if collection not in found and selection.takes(collection)]


def forecaster(roots: Sequence[str], selection: Selection, options: PlanOptions, runs: Path) -> ForecastTables:
    """What is known of the tables of these root collections before any document is read; `runs` holds the plans of earlier runs."""
    return lambda earlier: forecast_tables(roots, selection, options, earlier, last_plans(runs))


def last_plans(runs: Path) -> Mapping[str, TablePlan]:
    """The table plans of the last run of a working directory that made a plan, by collection, whatever became of the run.

    A run that finds another type in a field says how to change the column. A table changed in that way fits no plan in the target.
    """
    files = sorted(runs.glob(f"*/{PLAN}"), key=lambda file: file.stat().st_mtime, reverse=True)
    # The plan of a sample says nothing about the table of all documents.
    plans = (plan for file in files if not (file.parent / SAMPLED).exists() and (plan := _read(file)))
    last = next(plans, None)
    return {table.collection: table for table in last.tables} if last else {}


def _read(file: Path) -> Plan | None:
    try:
        return Plan.model_validate_json(read_sealed(file))
    except (OSError, ValidationError, FileChanged):
        return None
