"""The tasks of the phase import, and of publishing, which follows a passed verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefect import task

from firelift.files import read_sealed
from firelift.modes.incremental.baseline import expected_rows
from firelift.phases.import_ import (
    finish,
    is_published,
    load_collection,
    load_gone,
    prepare,
    publish_increment,
    publish_tables,
    refuse_overtaken,
    standing_staging,
)
from firelift.receipts import Imported, Loaded, Published, Receipt, RelationChecked, RootFound, Transformed, TransformedAll, Validated
from firelift.run.receipt_files import receipt_file
from firelift.run.status import Phase
from tasks.checkpoint import INNER, PHASE
from tasks.progress import Pulse
from tasks.receipted import receipted
from tasks.world import Run, World, world


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
    if is_published(url, run.migration_id, here.plan(), schema, here.increment()):
        return Staged(token="published", published=True)
    if here.settings.resume:
        refuse_overtaken(url, run.migration_id, here.plan(), schema, validated.read_time, here.increment())
    if "import" in here.settings.skip_phases:
        kept = Imported.model_validate_json(read_sealed(receipt_file(here.workspace, "import")))
        return Staged(token=standing_staging(url, run.migration_id, kept.staged), published=False)
    here.check()
    return Staged(token=prepare(url, run.migration_id, here.plan(), schema, here.increment()), published=False)


@task(**INNER, name="load", task_run_name="load {root.label}")
@receipted("import", Loaded)
def load(run: Run, root: RootFound, transformed: Transformed, staged: Staged) -> Loaded:
    """Root collections, with everything beneath them, into staging."""
    here = world(run)
    status = here.begin("import")
    expected = transformed.rows()
    for name in {**dict.fromkeys(root.collections), **expected}:
        status.restart_collection("import", name)
        status.expect("import", name, rows=expected.get(name, 0))
    whole = sum(expected.values())
    with Pulse("import", root.label, whole) as pulse:

        def progress(done: Mapping[str, int]) -> None:
            for name, rows in done.items():
                status.advance("import", name, rows=rows)
            pulse.advance(sum(done.values()))

        return load_collection(here.workers, here.database_url, run.migration_id, here.directory, root, whole, progress)


@task(**PHASE, name="import", task_run_name="import")
@receipted("import", Imported)
def import_(run: Run, loaded: list[Loaded], staged: Staged) -> Imported:
    """All rows are in: keys, foreign keys where no row is orphaned, statistics."""
    here = world(run)
    status = here.begin("import")
    for part in loaded:
        for name, counts in part.counts().items():
            status.found("import", name, **counts)
        for file in part.remade:
            status.warn(f"{file} was not as it had been written: its rows were made of the archive again", "import")
    increment = here.increment()
    if increment is not None:
        load_gone(here.database_url, run.migration_id, here.plan(), here.directory, increment)
    # What an increment's rows refer to is mostly not part of it: its relations are looked at when it is merged.
    foreign_keys = None if increment else here.settings.foreign_keys
    done = finish(here.database_url, run.migration_id, here.plan(), foreign_keys, loaded)
    warn_of_orphans(here, done.relations, "import")
    done = done.model_copy(update={"staged": staged.token})
    here.end("import", done)
    return done


@task(**PHASE | {"persist_result": False, "cache_policy": None}, name="publish", task_run_name="publish")
def publish(run: Run, validated: Validated, transformed: TransformedAll) -> Published:
    """The tables become visible, all in one transaction."""
    here = world(run)
    here.check()
    what = (here.database_url, run.migration_id, here.plan(), here.target_schema, validated.read_time)
    increment = here.increment()
    if increment is None:
        published = publish_tables(*what)
    else:
        published = publish_increment(*what, increment, here.settings.foreign_keys, expected_rows(increment, transformed.tables))
        warn_of_orphans(here, published.relations, None)
    for told in published.index_notes:
        here.status.warn(told, None)
    # From here on nothing is taken back by itself any more.
    here.begin("post_migration")
    return published


def warn_of_orphans(here: World, relations: Sequence[RelationChecked], phase: Phase | None) -> None:
    for relation in relations:
        if relation.orphans:
            told = f"{relation.table}({', '.join(relation.columns)}) → {relation.references}: no foreign key"
            here.status.warn(f"{told}, because documents are missing ({relation.orphans}; {', '.join(relation.examples)})", phase)
