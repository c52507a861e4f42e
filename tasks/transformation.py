"""The tasks of the phase transformation."""

from __future__ import annotations

from prefect import task

from firelift.phases.extraction import read_profile
from firelift.phases.planning import PLAN, misfits, published_plans, standing_plan, vanished, write_plan
from firelift.phases.pre_validation import refuse
from firelift.phases.transformation import refuse_incomplete, transform_collection
from firelift.planning import make_plan
from firelift.receipts import Extracted, Planned, RootFound, Transformed, TransformedAll, summed, tallied
from firelift.verification.columns import column_facts
from tasks.checkpoint import INNER, PHASE
from tasks.progress import Pulse
from tasks.receipted import receipted
from tasks.world import Run, world


@task(**PHASE, name="planning", task_run_name="planning")
@receipted("transformation", Planned)
def planning(run: Run, extracted: list[Extracted]) -> Planned:
    """Tables, columns and types for everything that was archived."""
    here = world(run)
    status = here.begin("transformation")
    profile = read_profile(here.workspace.archive, [part.collection for part in extracted])
    for unknown in here.rules().mapping.idle({collection: seen.fields for collection, seen in profile.items()}):
        place = "sample, which need not mean the database" if here.is_test else "database"
        status.warn(f"--mapping names what is not in the {place}: {unknown}", "transformation")
    target = (here.database_url, run.migration_id) if here.settings.database_url is not None else None
    earlier = published_plans(*target, here.settings.target_schema) if target else {}
    plan = standing_plan(here.directory) or make_plan(here.source.name, profile, here.rules(), earlier)
    for gone in () if here.is_test else vanished(earlier, plan, here.selection):
        told = "there is no document of it any more; its table keeps the rows of the last migration"
        status.warn(f"{gone.collection} → {gone.table}: {told}", "transformation")
    write_plan(here.directory, plan, profile, here.rules(), earlier)
    # Only now tables and columns are known; still nothing has been written to the target.
    refuse(misfits(*target, plan, here.target_schema) if target else [])
    return Planned(tables=len(plan.tables), columns=sum(len(table.columns) for table in plan.tables), plan=PLAN)


@task(**INNER, name="transform", task_run_name="transform {root.collection}")
@receipted("transformation", Transformed)
def transform(run: Run, root: RootFound) -> Transformed:
    """One root collection, with everything beneath it, as typed rows."""
    here = world(run)
    status = here.begin("transformation")
    status.restart_collection("transformation", root.collection)
    status.expect("transformation", root.collection, documents=root.documents)
    with Pulse("transformation", root.collection, root.documents) as pulse:

        def progress(documents: int) -> None:
            status.advance("transformation", root.collection, documents=documents)
            pulse.advance(documents)

        return transform_collection(here.workers, here.directory, root.collection, progress)


@task(**PHASE, name="transformation", task_run_name="transformation")
@receipted("transformation", TransformedAll)
def transformation(run: Run, transformed: list[Transformed], extracted: list[Extracted]) -> TransformedAll:
    """Everything that was extracted is rows: what became of the documents of every collection."""
    here = world(run)
    refuse_incomplete(extracted, transformed)
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
    for part in transformed:
        status.found("transformation", part.collection, **part.counts())
    status.note(rowsRejected=done.rejected, residueRows=done.residue)
    for reason, count in done.reasons.items():
        status.warn(f"documents rejected: {count}, because {reason}", "transformation")
    here.end("transformation", done)
    return done
