"""The steps of the phase import, and of publishing, which follows a passed verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from firelift.migration.context import Migration
from firelift.migration.steps.receipt_validity import with_receipt
from firelift.modes.incremental.plan_changes import expected_rows
from firelift.phases.import_ import (
    existing_staging,
    finish,
    is_published,
    load_collection,
    load_deleted_keys,
    prepare,
    publish_increment,
    publish_tables,
    refuse_older_snapshot,
)
from firelift.receipts import Imported, Loaded, Published, RelationChecked, RootCollection, Staged, Transformed, TransformedAll, Validated
from firelift.run.progress import Phase


def staging(migration: Migration, validated: Validated, transformed: TransformedAll) -> Staged:
    """Empty staging tables, or those in which an earlier attempt of this run left its rows."""
    url, schema = migration.database_url, migration.target_schema
    if is_published(url, migration.migration_id, migration.plan(), schema, migration.increment()):
        return Staged(token="published", published=True)
    if migration.settings.resume:
        refuse_older_snapshot(url, migration.migration_id, migration.plan(), schema, validated.read_time, migration.increment())
    if "import" in migration.settings.skip_phases:
        kept = migration.receipts.last("import", Imported)
        return Staged(token=existing_staging(url, migration.migration_id, kept.staged), published=False)
    migration.check()
    return Staged(token=prepare(url, migration.migration_id, migration.plan(), schema, migration.increment()), published=False)


@with_receipt("import", Loaded)
def load(migration: Migration, root: RootCollection, transformed: Transformed, staged: Staged) -> Loaded:
    """Root collections, with everything beneath them, into staging."""
    status = migration.start_phase("import")
    expected = transformed.rows()
    for name in {**dict.fromkeys(root.collections), **expected}:
        status.restart_collection("import", name)
        status.expect("import", name, rows=expected.get(name, 0))
    whole = sum(expected.values())
    with migration.surroundings.progress("import", root.label, whole) as advance:

        def progress(done: Mapping[str, int]) -> None:
            for name, rows in done.items():
                status.advance("import", name, rows=rows)
            advance(sum(done.values()))

        return load_collection(
            migration.workers, migration.database_url, migration.migration_id, migration.directory, root, whole, progress
        )


@with_receipt("import", Imported)
def import_(migration: Migration, loaded: list[Loaded], staged: Staged) -> Imported:
    """All rows are in: keys, foreign keys where no row is orphaned, statistics."""
    status = migration.start_phase("import")
    for part in loaded:
        for name, counts in part.counts().items():
            status.set_counts("import", name, **counts)
        for file in part.remade:
            status.warn(f"{file} was not as it had been written: its rows were made of the archive again", "import")
    increment = migration.increment()
    if increment is not None:
        load_deleted_keys(migration.database_url, migration.migration_id, migration.plan(), migration.directory, increment)
    # What an increment's rows refer to is mostly not part of it: its relations are looked at when it is merged.
    foreign_keys = None if increment else migration.settings.foreign_keys
    done = finish(migration.database_url, migration.migration_id, migration.plan(), foreign_keys, loaded)
    warn_of_orphans(migration, done.relations, "import")
    done = done.model_copy(update={"staged": staged.token})
    migration.finish_phase("import", done)
    return done


def publish(migration: Migration, validated: Validated, transformed: TransformedAll) -> Published:
    """The tables become visible, all in one transaction."""
    migration.check()
    what = (migration.database_url, migration.migration_id, migration.plan(), migration.target_schema, validated.read_time)
    increment = migration.increment()
    if increment is None:
        published = publish_tables(*what)
    else:
        published = publish_increment(*what, increment, migration.settings.foreign_keys, expected_rows(increment, transformed.tables))
        warn_of_orphans(migration, published.relations, None)
    for told in published.index_notes:
        migration.status.warn(told, None)
    # From migration on nothing is taken back by itself any more.
    migration.start_phase("post_migration")
    return published


def warn_of_orphans(migration: Migration, relations: Sequence[RelationChecked], phase: Phase | None) -> None:
    for relation in relations:
        if relation.orphans:
            told = f"{relation.table}({', '.join(relation.columns)}) → {relation.references}: no foreign key"
            migration.status.warn(f"{told}, because documents are missing ({relation.orphans}; {', '.join(relation.examples)})", phase)
