"""Makes a run's staged tables the target's, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import count

from psycopg import sql

from firelift.errors import FireliftError
from firelift.plan import TablePlan
from firelift.postgres.backups import Changes, back_up, keep, kept_tables
from firelift.postgres.connect import Connection
from firelift.postgres.control import record_progress, save_table, saved_tables, schema_exists
from firelift.postgres.ddl import LONGEST_NAME, scratch_schema, staging_schema
from firelift.postgres.digest import Digest, digest
from firelift.postgres.errors import translated
from firelift.postgres.fit import misfits, standing_tables
from firelift.postgres.foreign_keys import foreign_keys_of
from firelift.postgres.names import in_one_line, in_the_way
from firelift.postgres.privileges import close_schema, close_table, open_schema
from firelift.postgres.queries import QUERY
from firelift.postgres.refresh import Refresh, add_foreign_keys, lock, refresh

PUBLISHED = "published"


class NameTakenMeanwhile(FireliftError):
    """While the migration ran, something else took the name of one of its tables."""

    mendable = True
    remedy = "Drop or rename it, then run again."


class TableChangedMeanwhile(FireliftError):
    """While the migration ran, a table of the target became one that cannot take its rows."""

    mendable = True
    remedy = "Mend what is named, then run again with --resume."


class NothingStaged(FireliftError):
    """The staging schema of this run is gone, and its tables are not published."""

    remedy = "Start a new run."


class NoLongerPublished(FireliftError):
    """This run was published, and since then some of its tables have gone."""

    # Whoever resumes it has not asked for the rest of what it published to be taken away.
    mendable = True
    remedy = (
        "Start a new run; or put back what is gone, or take the whole run back with `firelift rollback`, "
        "and go on with --resume, which reads nothing again."
    )


def publish(connection: Connection, migration_id: str, target_schema: str, tables: Sequence[TablePlan], read_time: datetime) -> None:
    """Makes every staged table the target's and remembers its plan with `read_time` as watermark.

    A new table moves to the target schema with its keys, indexes and foreign keys, closed to the public API. A table that exists there
    gets the staged rows in place of its own, which are copied to the backup schema, and keeps all else. Calling it again after it
    succeeded does nothing. Raises NameTakenMeanwhile, TableChangedMeanwhile, ForeignKeyBroken, RefusedByConstraint, NothingStaged,
    NoLongerPublished.
    """
    staging = staging_schema(migration_id)
    with translated("publishing the tables"), connection.transaction():
        if not schema_exists(connection, staging):
            _must_be_published(connection, migration_id, target_schema, tables)
            return
        _prepare_schema(connection, migration_id, target_schema, tables)
        refreshes = _fitting(connection, target_schema, tables)
        new = [table for table in tables if table not in [each.plan for each in refreshes]]
        after = {table.table: _content(connection, staging, table) for table in new}
        lock(connection, target_schema, refreshes)
        # Again: what the lock had to wait for may have changed a table.
        refreshes = _fitting(connection, target_schema, [each.plan for each in refreshes])
        kept = back_up(connection, migration_id, target_schema, [each.standing for each in refreshes])
        foreign_keys = foreign_keys_of(connection, staging, [table.table for table in tables])
        changes = refresh(connection, staging, target_schema, refreshes)
        _drop_staged(connection, staging, refreshes)
        _move(connection, staging, target_schema, new)
        add_foreign_keys(connection, target_schema, foreign_keys, changes)
        for table in tables:
            backed_up, changed = kept.get(table.table), changes.get(table.table, Changes())
            if backed_up:
                after[table.table] = digest(connection, target_schema, table.table, (*backed_up.columns, *changed.columns_added))
            keep(connection, migration_id, target_schema, table, backed_up, changed, after[table.table])
            save_table(connection, migration_id, target_schema, table, read_time)
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(staging)))
        record_progress(connection, migration_id, status=PUBLISHED, read_time=read_time)
        if target_schema != scratch_schema(migration_id):
            # PostgREST, if it listens, reads its schema anew when this transaction commits.
            connection.execute("NOTIFY pgrst, 'reload schema'")


def _must_be_published(connection: Connection, migration_id: str, target_schema: str, tables: Sequence[TablePlan]) -> None:
    if missing := unpublished(connection, migration_id, target_schema, tables):
        raise NothingStaged(schema=staging_schema(migration_id), tables=", ".join(missing))


def unpublished(connection: Connection, migration_id: str, target_schema: str, tables: Sequence[TablePlan]) -> list[str]:
    """The tables that the target has not got from this run.

    Raises NoLongerPublished where they have gone since: publishing them once more would need the place of the old rows that are kept.
    """
    with translated("looking for what this run has published"):
        saved = saved_tables(connection, target_schema)
        ours = {collection for collection, table in saved.items() if table.migration_id == migration_id}
        standing = standing_tables(connection, target_schema, [table.table for table in tables])
        gone = [table.table for table in tables if table.collection in ours and table.table not in standing]
        if gone and kept_tables(connection, migration_id):
            raise NoLongerPublished(schema=target_schema, tables=", ".join(gone))
    return [table.table for table in tables if table.collection not in ours or table.table not in standing]


def _prepare_schema(connection: Connection, migration_id: str, target_schema: str, tables: Sequence[TablePlan]) -> None:
    if not schema_exists(connection, target_schema):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(target_schema)))
        # A sample is for nobody but who drew it.
        (close_schema if target_schema == scratch_schema(migration_id) else open_schema)(connection, target_schema)
        connection.execute(QUERY["record_made_schema"], {"migration_id": migration_id, "schema": target_schema})
    if taken := in_the_way(connection, target_schema, [table.table for table in tables]):
        raise NameTakenMeanwhile(schema=target_schema, taken=in_one_line(taken))


def _fitting(connection: Connection, target_schema: str, tables: Sequence[TablePlan]) -> list[Refresh]:
    """The tables that are in the target and can take their rows."""
    if found := misfits(connection, target_schema, tables):
        raise TableChangedMeanwhile(**{f"problem_{number}": str(problem) for number, problem in enumerate(found, 1)})
    standing = standing_tables(connection, target_schema, [table.table for table in tables])
    return [Refresh(table, standing[table.table]) for table in tables if table.table in standing]


def _content(connection: Connection, schema: str, table: TablePlan) -> Digest:
    return digest(connection, schema, table.table, [name for name, _ in table.target_columns()])


def _drop_staged(connection: Connection, staging: str, refreshes: Sequence[Refresh]) -> None:
    """Their names, and those of their indexes and types, would be in the way of the tables that move."""
    if refreshes:
        listed = sql.SQL(", ").join(sql.Identifier(staging, each.plan.table) for each in refreshes)
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
    """Has PostgreSQL rename array types that could not move, `_users` to `__users`.

    They cannot be renamed by name, but give way to any type that is made under theirs. The new name may be in the way again.
    """
    schemas = {"staging": staging, "target": target_schema}
    while clashes := connection.execute(QUERY["array_types_in_the_way"], schemas).fetchall():
        for schema, name in clashes:
            usurper = sql.Identifier(schema, name)
            connection.execute(sql.SQL("CREATE TYPE {} AS ENUM ()").format(usurper))
            connection.execute(sql.SQL("DROP TYPE {}").format(usurper))
