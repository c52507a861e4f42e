"""The tasks of the phase transformation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from prefect import task

from firelift.firestore.source import source_label
from firelift.formatting import counted
from firelift.migration.deletions import losses_of, told_of_refilled
from firelift.modes.incremental.baseline import known_fields, plan_increment, write_increment
from firelift.modes.incremental.rewrite import rewrite
from firelift.phases.extraction import read_profile
from firelift.phases.planning import locks_foreseen, misfits, published_plans, standing_plan, vanished, write_plan
from firelift.phases.pre_validation import refuse
from firelift.phases.transformation import archived_documents, refuse_incomplete, transform_collection
from firelift.plan.build import make_plan
from firelift.plan.deletion_limits import WOULD_STOP, too_many
from firelift.plan.increment import Increment
from firelift.plan.model import PLAN, Plan, TablePlan
from firelift.plan.profile import Profile
from firelift.postgres.session.lock import signature
from firelift.receipts import Extracted, Planned, Rewritten, RootFound, Transformed, TransformedAll, Validated, summed, tallied
from firelift.verification.columns import column_facts
from tasks.checkpoint import INNER, PHASE
from tasks.progress import Pulse
from tasks.receipted import receipted
from tasks.world import Run, World, world


@task(**PHASE, name="planning", task_run_name="planning")
@receipted("transformation", Planned)
def planning(run: Run, extracted: list[Extracted]) -> Planned:
    """Tables, columns and types for everything that was archived."""
    here = world(run)
    status = here.begin("transformation")
    profile = read_profile(here.workspace.archive, [part.collection for part in extracted])
    fields = known_fields(here.base(), profile) if here.is_increment else {collection: seen.fields for collection, seen in profile.items()}
    for unknown in here.rules().mapping.idle(fields):
        place = "sample, which need not mean the database" if here.is_test else "database"
        status.warn(f"--mapping names what is not in the {place}: {unknown}", "transformation")
    target = (here.database_url, run.migration_id) if here.settings.database_url is not None else None
    earlier = published_plans(*target, here.settings.target_schema) if target else {}
    if here.is_increment:
        plan = standing_plan(here.directory) or planned_increment(here, extracted, profile)
    else:
        made = partial(make_plan, here.source.name, profile, here.rules(), earlier)
        plan = standing_plan(here.directory, made, partial(_warn_of_mended, here)) or made()
        for gone in () if here.is_test else vanished(earlier, plan, here.selection):
            told = "there is no document of it any more; its table keeps the rows of the last migration"
            status.warn(f"{gone.collection} → {gone.table}: {told}", "transformation")
    increment = here.increment()
    write_plan(here.directory, plan, profile, here.rules(), earlier, increment)
    # Only now tables and columns are known; still nothing has been written to the target.
    before = increment.before() if increment else None
    refuse(misfits(*target, plan, here.target_schema, before, profile) if target else [])
    if target and (warning := locks_foreseen(*target, plan, here.target_schema)):
        status.warn(warning, "transformation")
    if target and not here.is_test:
        hold_back(here, plan, {collection: seen.documents for collection, seen in profile.items()}, increment)
    return Planned(tables=len(plan.tables), columns=sum(len(table.columns) for table in plan.tables), plan=PLAN)


def _warn_of_mended(here: World, file: str) -> None:
    here.status.warn(f"{file} was not as it had been written: it was made of the archive again", "transformation")


def hold_back(here: World, plan: Plan, documents: Mapping[str, int], increment: Increment | None) -> None:
    """Raises TooManyDeletions where the run would take out more rows than it may; a dry run only says so."""
    target = (here.database_url, here.run.migration_id, here.settings.target_schema)
    refused = too_many(losses_of(*target, plan, documents, increment), here.settings.max_deletes)
    if refused and here.settings.dry_run:
        here.status.warn(f"{WOULD_STOP}: {refused}", "transformation")
    elif refused:
        raise refused
    for told in told_of_refilled(*target, plan, source_label(here.settings)) if increment is None else ():
        here.status.warn(told, "transformation")


def planned_increment(here: World, extracted: Sequence[Extracted], profile: Profile) -> Plan:
    """The plans of the tables that change; what is done to each of them is written down beside them."""
    settings, database = here.settings, here.source.name
    rewriting = partial(_rewrite, here, extracted)
    changes = [change for part in extracted for change in part.changes]
    planned = plan_increment(database, here.base(), profile, changes, here.rules(), settings.schema_changes, settings.deletes, rewriting)
    write_increment(here.directory, planned.increment)
    here.status.note(**{name: sum(getattr(table, name) for table in planned.increment.tables) for name in ("new", "changed", "gone")})
    for table in planned.increment.tables:
        if table.scanned and table.gone and not table.keys:
            what = {"propagate": "to be deleted", "mark": "to be marked as deleted", "ignore": "left as before"}[settings.deletes]
            here.status.warn(
                f"{table.collection}: Firestore has no document of it any more; {counted(table.gone, 'row')} {what}", "transformation"
            )
    for step in (step for table in planned.increment.tables for step in table.steps):
        here.status.warn(f"the schema changes: {step}", "transformation")
    for step in planned.frozen:
        here.status.warn(f"kept in firestore_residue, because of --schema-changes freeze: {step}", "transformation")
    for warning in planned.warnings:
        here.status.warn(warning, "transformation")
    return planned.plan


def _rewrite(here: World, extracted: Sequence[Extracted], before: TablePlan) -> Rewritten:
    """Every other row of a table whose columns hold something else now, as documents again."""
    root = before.collection.partition("/")[0]
    return rewrite(
        here.workers,
        here.database_url,
        signature(here.run.migration_id),
        here.settings.target_schema,
        before,
        here.source.name,
        here.directory,
        next((part.collection for part in extracted if root in part.collections), root),
        here.settings.batch_size,
        lambda *_: None,
        leave_out_gone=here.settings.deletes == "propagate",
    )


def moved_roots(run: Run, validated: Validated, extracted: Sequence[Extracted]) -> tuple[RootFound, ...]:
    """The root collections of which documents go on from here: all, or of an increment those in which it found something."""
    increment = world(run).increment()
    if increment is None:
        return validated.roots
    rewritten = increment.rewritten()
    documents = {part.collection: part.documents + sum(rewritten.get(name, 0) for name in part.collections) for part in extracted}
    return tuple(root for root in validated.roots if documents.get(root.collection))


@task(**INNER, name="transform", task_run_name="transform {root.label}")
@receipted("transformation", Transformed)
def transform(run: Run, root: RootFound) -> Transformed:
    """Root collections, with everything beneath them, as typed rows."""
    here = world(run)
    status = here.begin("transformation")
    expected = archived_documents(here.directory, root)
    for name, documents in expected.items():
        status.restart_collection("transformation", name)
        status.expect("transformation", name, documents=documents)
    with Pulse("transformation", root.label, sum(expected.values())) as pulse:

        def progress(done: Mapping[str, int]) -> None:
            for name, documents in done.items():
                status.advance("transformation", name, documents=documents)
            pulse.advance(sum(done.values()))

        return transform_collection(here.workers, here.directory, root, progress)


@task(**PHASE, name="transformation", task_run_name="transformation")
@receipted("transformation", TransformedAll)
def transformation(run: Run, transformed: list[Transformed], extracted: list[Extracted]) -> TransformedAll:
    """Everything that was extracted is rows: what became of the documents of every collection."""
    here = world(run)
    increment = here.increment()
    refuse_incomplete(extracted, transformed, increment.rewritten() if increment else {})
    tables = summed([part.tables for part in transformed])
    done = TransformedAll(
        transformedRecords=sum(counts.rows for counts in tables.values()),
        tables=tables,
        rejected=sum(counts.rejected for counts in tables.values()),
        residue=sum(counts.residue for counts in tables.values()),
        reasons=tallied([part.reasons for part in transformed]),
    )
    # Kept beside the rows: verification holds the target against it, also when the Parquet files are gone.
    column_facts(here.directory, here.plan())
    status = here.begin("transformation")
    for file in (file for part in transformed for file in part.remade):
        _warn_of_mended(here, file)
    for part in transformed:
        for name, counts in part.counts().items():
            status.found("transformation", name, **counts)
    status.note(rowsRejected=done.rejected, residueRows=done.residue)
    for reason, count in done.reasons.items():
        status.warn(f"documents rejected: {count}, because {reason}", "transformation")
    here.end("transformation", done)
    return done
