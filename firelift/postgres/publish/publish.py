"""Makes a run's staged tables the target's, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count

from psycopg import sql

from firelift.errors import FireliftError
from firelift.planning.increment import Increment
from firelift.planning.model import DELETED_AT, TablePlan
from firelift.planning.references import relations_of
from firelift.postgres.inspect.digest import Digest, digest
from firelift.postgres.inspect.relations import checked_again
from firelift.postgres.load.constraints import CheckedRelation, ForeignKeys, refuse_orphans
from firelift.postgres.publish.backups import BackedUp, Changes, back_up, back_up_changed, keep, kept_tables, unchanged_backup
from firelift.postgres.publish.merge import Merge, merge_of, refuse_other_counts, refuse_other_plans
from firelift.postgres.publish.refresh import Refresh, Wanted, add_foreign_keys, lock, refresh
from firelift.postgres.schema.compatibility import ExistingTable, existing_tables, incompatibilities, taken_columns
from firelift.postgres.schema.control import CONTROL_SCHEMA, record_progress, save_table, saved_plans, saved_tables
from firelift.postgres.schema.ddl import LONGEST_NAME, backup_schema, scratch_schema, staging_schema
from firelift.postgres.schema.foreign_keys import ForeignKey, foreign_keys_of
from firelift.postgres.schema.name_conflicts import in_the_way, summary
from firelift.postgres.schema.privileges import close_schema, close_table, open_schema
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated
from firelift.postgres.session.lock_space import explaining_locks
from firelift.postgres.session.ownership import refuse_foreign, refuse_foreign_schema, schema_exists
from firelift.postgres.session.queries import QUERY

PUBLISHED = "published"


class NameTakenMeanwhile(FireliftError):
    """While the migration ran, something else took the name of one of its tables."""

    recovery = "after_fix"
    remedy = "Drop or rename it, then run again."


class TableChangedMeanwhile(FireliftError):
    """While the migration ran, a table of the target became one that cannot take its rows."""

    recovery = "after_fix"
    remedy = "Fix what is named, then run again with --resume."


class NothingStaged(FireliftError):
    """The staging schema of this run no longer exists, and its tables are not published."""

    remedy = "Start a new run."


class NoLongerPublished(FireliftError):
    """This run was published, but some of its tables no longer exist."""

    # Whoever resumes the run has not asked for the rest of its tables to be removed.
    recovery = "after_fix"
    remedy = (
        "Start a new run; or restore what is missing, or take the whole run back with `firelift rollback`, "
        "and continue with --resume, which reads nothing again."
    )


def publish(
    connection: Connection,
    migration_id: str,
    target_schema: str,
    tables: Sequence[TablePlan],
    read_time: datetime,
    increment: Increment | None = None,
    *,
    foreign_keys: ForeignKeys = "report",
    expected_rows: Mapping[str, int] | None = None,
) -> tuple[CheckedRelation, ...]:
    """Makes every staged table the target's and remembers its plan with `read_time` as watermark.

    A new table moves to the target schema with its keys, indexes and foreign keys, closed to the public API. A table that exists there
    gets the staged rows in place of its own, which are copied to the backup schema, and keeps all else. Calling it again after it
    succeeded does nothing. Raises NameTakenMeanwhile, TableChangedMeanwhile, ForeignKeyBroken, RefusedByConstraint, TooLongForIndex,
    NothingStaged, NoLongerPublished.

    With an `increment` a table that was published before keeps its rows but for the staged ones, which are merged by key, and those whose
    keys are staged as deleted; only these are copied to the backup schema. Unchanged tables get `read_time` as watermark too. Then
    `expected_rows` are the live rows that each table must have. The relations of the changed tables get their foreign keys as
    `foreign_keys` says and are returned; a soft-deleted row counts there like any other. Also raises PlanChanged,
    DeletedKeysMissing, RowCountMismatch, CannotRetype, NotRewritten, OrphanedRows.
    """
    staging = staging_schema(migration_id)
    with explaining_locks(connection, len(tables)), translated("publishing the tables"), connection.transaction():
        refuse_foreign(connection, own=[CONTROL_SCHEMA, staging, backup_schema(migration_id)])
        if not schema_exists(connection, staging):
            _must_be_published(connection, migration_id, target_schema, tables, increment)
            return _relations(connection, target_schema, {}, increment) if increment else ()
        _prepare_schema(connection, migration_id, target_schema, tables)
        merges = _merges(connection, migration_id, tables, increment, read_time)
        refreshes = _fitting(connection, target_schema, tables, merges)
        new = [table for table in tables if table not in [refreshed.plan for refreshed in refreshes]]
        after = {table.table: _content(connection, TargetTable(staging, table)) for table in new}
        lock(connection, staging, target_schema, refreshes)
        # Again: what the lock had to wait for may have changed a table.
        refreshes = _fitting(connection, target_schema, [refreshed.plan for refreshed in refreshes], merges)
        unchanged = _unchanged(connection, target_schema, tables, increment)
        plans = {table.table: table for table in tables}
        plans |= {refreshed.name: _saved(connection, target_schema, refreshed) for refreshed in refreshes}
        plans |= {plan.table: plan for plan, _ in unchanged}
        kept = _back_up(connection, migration_id, target_schema, staging, refreshes)
        kept |= {plan.table: unchanged_backup(existing, plan.keys) for plan, existing in unchanged}
        wanted = [_wanted(key) for key in foreign_keys_of(connection, staging, [table.table for table in tables])]
        changes = {plan.table: Changes(keys=plan.keys) for plan, _ in unchanged} | refresh(connection, staging, target_schema, refreshes)
        _drop_staged(connection, staging, refreshes)
        _move(connection, staging, target_schema, new)
        add_foreign_keys(connection, target_schema, wanted, changes)
        refuse_other_counts(connection, target_schema, list(plans.values()), expected_rows or {})
        relations = _relate(connection, target_schema, plans, increment, foreign_keys, changes) if increment else ()
        for name, plan in plans.items():
            backed_up, changed = kept.get(name), changes.get(name, Changes())
            if backed_up:
                changed = changed.model_copy(update={"inserted": backed_up.inserted})
                after[name] = _content_after(connection, target_schema, backed_up, changed)
            keep(connection, migration_id, target_schema, plan, backed_up, changed, after[name])
            save_table(connection, migration_id, target_schema, plan, read_time, scanned=_scanned(increment, name))
        _end(connection, migration_id, target_schema, read_time, looks_other=_looks_other(increment, changes))
    return relations


def _end(connection: Connection, migration_id: str, target_schema: str, read_time: datetime, *, looks_other: bool) -> None:
    """Drops the staging schema, records the run as published, and lets the API know of other tables or columns."""
    connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(staging_schema(migration_id))))
    record_progress(connection, migration_id, status=PUBLISHED, read_time=read_time)
    if target_schema != scratch_schema(migration_id) and looks_other:
        # PostgREST, if it listens, reads its schema again when this transaction commits.
        connection.execute("NOTIFY pgrst, 'reload schema'")


def _merges(
    connection: Connection, migration_id: str, tables: Sequence[TablePlan], increment: Increment | None, read_time: datetime
) -> dict[str, Merge]:
    """How the staged rows get into the tables that were published before."""
    listed = [planned for table in tables if increment and (planned := increment.of(table.table))]
    found = {planned.table: merge_of(connection, migration_id, planned, increment, read_time) for planned in listed if increment}
    return {table: merge for table, merge in found.items() if merge}


def _unchanged(
    connection: Connection, target_schema: str, tables: Sequence[TablePlan], increment: Increment | None
) -> list[tuple[TablePlan, ExistingTable]]:
    """The tables in which nothing changes."""
    if increment is None:
        return []
    before = increment.before()
    existing = existing_tables(connection, target_schema, list(before))
    refuse_other_plans(connection, target_schema, increment, existing)
    changed = {table.table for table in tables}
    return [(plan, existing[name]) for name, plan in before.items() if name not in changed]


def _saved(connection: Connection, target_schema: str, refreshed: Refresh) -> TablePlan:
    """The plan as the target remembers it: also whether `firestore_deleted_at` is there and ours."""
    if refreshed.merge:
        return refreshed.merge.saved(refreshed.plan)
    before = saved_plans(connection, target_schema).get(refreshed.plan.collection)
    ours = before is not None and before.table == refreshed.name and before.marks_deleted
    marks = ours and DELETED_AT in refreshed.existing.columns
    return refreshed.plan.model_copy(update={"marks_deleted": marks})


def _back_up(
    connection: Connection, migration_id: str, target_schema: str, staging: str, refreshes: Sequence[Refresh]
) -> dict[str, BackedUp]:
    kept = back_up(connection, migration_id, target_schema, [refreshed.existing for refreshed in refreshes if refreshed.merge is None])
    return kept | {
        table.name: back_up_changed(connection, migration_id, target_schema, table.existing, table.staged(staging))
        for table in refreshes
        if table.merge
    }


def _content_after(connection: Connection, target_schema: str, backed_up: BackedUp, changed: Changes) -> Digest:
    if backed_up.schema_name is None:
        return backed_up.before
    return digest(connection, target_schema, backed_up.table, (*backed_up.columns, *changed.columns_added), backed_up.changed_rows)


def _relate(
    connection: Connection,
    target_schema: str,
    plans: Mapping[str, TablePlan],
    increment: Increment,
    foreign_keys: ForeignKeys,
    changes: dict[str, Changes],
) -> tuple[CheckedRelation, ...]:
    """Counts the relations of the changed tables again, and makes the foreign keys that every row allows."""
    checked = _relations(connection, target_schema, plans, increment)
    refuse_orphans(checked, foreign_keys)
    # A table that is not the run's has nothing by which its rollback would know of the foreign key.
    unkeyed = [relation for relation in checked if not (relation.created or relation.orphans)]
    possible = [relation for relation in unkeyed if relation.table in plans and foreign_keys != "off"]
    add_foreign_keys(connection, target_schema, [Wanted(*relation.ends) for relation in possible], changes)
    return tuple(relation.model_copy(update={"created": relation.created or relation in possible}) for relation in checked)


def _relations(
    connection: Connection, target_schema: str, plans: Mapping[str, TablePlan], increment: Increment
) -> tuple[CheckedRelation, ...]:
    """The relations between changed tables and any table of the schema. `plans` are newer than what is saved."""
    all_plans = {plan.table: plan for plan in saved_plans(connection, target_schema).values()} | dict(plans)
    touched = {table.table for table in increment.tables if table.touched}
    relations = [relation for relation in relations_of(list(all_plans.values())) if {relation.table, relation.references} & touched]
    return tuple(checked_again(connection, target_schema, relation, all_plans[relation.table].keys) for relation in relations)


def _wanted(key: ForeignKey) -> Wanted:
    return Wanted(key.source, key.columns, key.references, key.referenced)


def _looks_other(increment: Increment | None, changes: Mapping[str, Changes]) -> bool:
    """Whether the API's readers see other tables or columns than before, or other relations between them."""
    if increment is None or any(table.before is None or table.steps for table in increment.tables):
        return True
    return any(changed.columns_added or changed.foreign_keys_added or changed.foreign_keys_dropped for changed in changes.values())


def _scanned(increment: Increment | None, table: str) -> bool:
    found = increment.of(table) if increment else None
    return found is None or found.before is None or found.scanned


def _must_be_published(
    connection: Connection, migration_id: str, target_schema: str, tables: Sequence[TablePlan], increment: Increment | None
) -> None:
    if missing := unpublished(connection, migration_id, target_schema, tables, increment):
        raise NothingStaged(schema=staging_schema(migration_id), tables=", ".join(missing))


def unpublished(
    connection: Connection, migration_id: str, target_schema: str, tables: Sequence[TablePlan], increment: Increment | None = None
) -> list[str]:
    """The tables that the target did not get from this run; of an increment also those in which nothing changes.

    Raises NoLongerPublished where they were dropped: publishing them again would overwrite the backup of the old rows.
    """
    wanted = {table.table: table.collection for table in tables}
    wanted |= {planned.table: planned.collection for planned in increment.tables if planned.before} if increment else {}
    with translated("looking for what this run has published"):
        saved = saved_tables(connection, target_schema)
        ours = {collection for collection, table in saved.items() if table.migration_id == migration_id}
        existing = existing_tables(connection, target_schema, list(wanted))
        dropped = [table for table, collection in wanted.items() if collection in ours and table not in existing]
        if dropped and kept_tables(connection, migration_id):
            raise NoLongerPublished(schema=target_schema, tables=", ".join(dropped))
    return [table for table, collection in wanted.items() if collection not in ours or table not in existing]


def _prepare_schema(connection: Connection, migration_id: str, target_schema: str, tables: Sequence[TablePlan]) -> None:
    if not schema_exists(connection, target_schema):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(target_schema)))
        # A sample is only for whoever drew it.
        (close_schema if target_schema == scratch_schema(migration_id) else open_schema)(connection, target_schema)
        connection.execute(QUERY["record_made_schema"], {"migration_id": migration_id, "schema": target_schema})
    refuse_foreign_schema(connection, target_schema)
    if taken := in_the_way(connection, target_schema, [table.table for table in tables]):
        raise NameTakenMeanwhile(schema=target_schema, taken=summary(taken))


def _fitting(connection: Connection, target_schema: str, tables: Sequence[TablePlan], merges: Mapping[str, Merge]) -> list[Refresh]:
    """The tables that are in the target and can take their rows."""
    found = incompatibilities(connection, target_schema, tables, {name: merge.before for name, merge in merges.items()})
    existing = existing_tables(connection, target_schema, [table.table for table in tables])
    for name, merge in merges.items():
        if merge.adds_soft_delete_column and name in existing:
            found += taken_columns(target_schema, existing[name], merge.before, [DELETED_AT])
    if found:
        raise TableChangedMeanwhile(**{f"problem_{number}": str(problem) for number, problem in enumerate(found, 1)})
    return [Refresh(table, existing[table.table], merges.get(table.table)) for table in tables if table.table in existing]


def _content(connection: Connection, table: TargetTable) -> Digest:
    return digest(connection, table.schema, table.name, table.columns)


def _drop_staged(connection: Connection, staging: str, refreshes: Sequence[Refresh]) -> None:
    """Their names, and those of their indexes and types, would be in the way of the tables that move."""
    if refreshes:
        listed = sql.SQL(", ").join(sql.Identifier(staging, refreshed.name) for refreshed in refreshes)
        connection.execute(sql.SQL("DROP TABLE {} CASCADE").format(listed))


def _move(connection: Connection, staging: str, target_schema: str, tables: Sequence[TablePlan]) -> None:
    _part_index_names(connection, staging, target_schema)
    _part_array_types(connection, staging, target_schema)
    for table in tables:
        name = sql.Identifier(staging, table.table)
        connection.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(name, sql.Identifier(target_schema)))
        close_table(connection, target_schema, table.table)


def _part_index_names(connection: Connection, staging: str, target_schema: str) -> None:
    """Renames staged indexes whose name the target has: a table renamed out of our way still has its `users_pkey`."""
    there = {name for (name,) in connection.execute(QUERY["relation_names"], {"schemas": [target_schema]})}
    both = there | {name for (name,) in connection.execute(QUERY["relation_names"], {"schemas": [staging]})}
    for (index,) in connection.execute(QUERY["staged_indexes"], {"schema": staging}).fetchall():
        if index in there:
            free = _free_name(index, both)
            both.add(free)
            connection.execute(sql.SQL("ALTER INDEX {} RENAME TO {}").format(sql.Identifier(staging, index), sql.Identifier(free)))


def _free_name(name: str, taken: set[str]) -> str:
    for number in count(1):
        ending = str(number)
        start = name.encode()[: LONGEST_NAME - len(ending)].decode(errors="ignore")
        if start + ending not in taken:
            return start + ending
    raise AssertionError("count() does not end")


def _part_array_types(connection: Connection, staging: str, target_schema: str) -> None:
    """Makes PostgreSQL rename array types that could not move, `_users` to `__users`.

    They cannot be renamed by name, but give way to any type that is made under theirs. The new name may be in the way again.
    """
    schemas = {"staging": staging, "target": target_schema}
    while clashes := connection.execute(QUERY["array_types_in_the_way"], schemas).fetchall():
        for schema, name in clashes:
            usurper = sql.Identifier(schema, name)
            connection.execute(sql.SQL("CREATE TYPE {} AS ENUM ()").format(usurper))
            connection.execute(sql.SQL("DROP TYPE {}").format(usurper))
