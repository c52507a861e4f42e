"""The tasks of the phase import, and of publishing, which follows a passed verification."""

from __future__ import annotations

from prefect import task

from firelift.phases.import_ import finish, is_published, load_collection, prepare, publish_tables, refuse_overtaken, standing_staging
from firelift.receipts import Imported, Loaded, Published, Receipt, RootFound, Transformed, TransformedAll, Validated
from firelift.run.kept import receipt_file
from tasks.checkpoint import INNER, PHASE
from tasks.progress import Pulse
from tasks.receipted import receipted
from tasks.world import Run, world


class Staged(Receipt):
    """The schema in which the tables grow, unseen by readers of the target."""

    token: str
    """Another one for every schema that was made, also under the same name."""
    published: bool
    """An earlier attempt of this run got as far as publishing: there is nothing left to load."""


@task(**PHASE | {"persist_result": False, "cache_policy": None}, name="staging", task_run_name="staging")
def staging(run: Run, validated: Validated, transformed: TransformedAll) -> Staged:
    """Empty staging tables, or those in which an earlier attempt of this run left its rows."""
    here = world(run)
    url, schema = here.database_url, here.target_schema
    if is_published(url, run.migration_id, here.plan(), schema):
        return Staged(token="published", published=True)
    if here.settings.resume:
        refuse_overtaken(url, run.migration_id, here.plan(), schema, validated.read_time)
    if "import" in here.settings.skip_phases:
        kept = Imported.model_validate_json(receipt_file(here.workspace, "import").read_text())
        return Staged(token=standing_staging(url, run.migration_id, kept.staged), published=False)
    here.check()
    return Staged(token=prepare(url, run.migration_id, here.plan(), schema), published=False)


@task(**INNER, name="load", task_run_name="load {root.collection}")
@receipted("import", Loaded)
def load(run: Run, root: RootFound, transformed: Transformed, staged: Staged) -> Loaded:
    """One root collection, with everything beneath it, into staging."""
    here = world(run)
    status = here.begin("import")
    expected = sum(counts.rows for counts in transformed.tables.values())
    status.restart_collection("import", root.collection)
    status.expect("import", root.collection, rows=expected)
    with Pulse("import", root.collection, expected) as pulse:

        def progress(rows: int) -> None:
            status.advance("import", root.collection, rows=rows)
            pulse.advance(rows)

        return load_collection(here.workers, here.database_url, run.migration_id, here.directory, root.collection, expected, progress)


@task(**PHASE, name="import", task_run_name="import")
@receipted("import", Imported)
def import_(run: Run, loaded: list[Loaded], staged: Staged) -> Imported:
    """All rows are in: keys, foreign keys where no row is orphaned, statistics."""
    here = world(run)
    status = here.begin("import")
    for part in loaded:
        status.found("import", part.collection, **part.counts())
    done = finish(here.database_url, run.migration_id, here.plan(), here.settings.foreign_keys, loaded)
    for relation in done.relations:
        if relation.orphans:
            told = f"{relation.table}({', '.join(relation.columns)}) → {relation.references}: no foreign key"
            status.warn(f"{told}, because documents are missing ({relation.orphans}; {', '.join(relation.examples)})", "import")
    done = done.model_copy(update={"staged": staged.token})
    here.end("import", done)
    return done


@task(**PHASE | {"persist_result": False, "cache_policy": None}, name="publish", task_run_name="publish")
def publish(run: Run, validated: Validated) -> Published:
    """The tables become visible, all in one transaction."""
    here = world(run)
    here.check()
    published = publish_tables(here.database_url, run.migration_id, here.plan(), here.target_schema, validated.read_time)
    # From here on nothing is taken back by itself any more.
    here.begin("post_migration")
    return published
