"""Makes a run's staged tables the target's, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import count

from psycopg import sql

from firelift.errors import FireliftError
from firelift.plan import TablePlan
from firelift.postgres.connect import Connection
from firelift.postgres.control import record_progress, save_table, saved_tables, schema_exists
from firelift.postgres.ddl import LONGEST_NAME, staging_schema
from firelift.postgres.errors import translated
from firelift.postgres.names import in_one_line, taken_names
from firelift.postgres.privileges import close_table, open_schema
from firelift.postgres.queries import QUERY

PUBLISHED = "published"


class NameTakenMeanwhile(FireliftError):
    """While the migration ran, something else took the name of one of its tables."""

    remedy = "Drop or rename it, then run again."


class NothingStaged(FireliftError):
    """The staging schema of this run is gone, and its tables are not published."""

    remedy = "Start a new run."


def publish(connection: Connection, migration_id: str, target_schema: str, tables: Sequence[TablePlan], read_time: datetime) -> None:
    """Moves every staged table to the target schema, closed to the public API, and remembers its plan with `read_time` as watermark.

    Keys, indexes and foreign keys move along. Calling it again after it succeeded does nothing. Raises NameTakenMeanwhile.
    """
    staging = staging_schema(migration_id)
    with translated("publishing the tables"), connection.transaction():
        if not schema_exists(connection, staging):
            _must_be_published(connection, migration_id, target_schema, tables)
            return
        _prepare_schema(connection, target_schema, tables)
        _part_index_names(connection, staging, target_schema)
        _part_array_types(connection, staging, target_schema)
        for table in tables:
            _move(connection, staging, target_schema, table.table)
            save_table(connection, migration_id, target_schema, table, read_time)
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(staging)))
        record_progress(connection, migration_id, status=PUBLISHED, read_time=read_time)
        # PostgREST, if it listens, reads its schema anew when this transaction commits.
        connection.execute("NOTIFY pgrst, 'reload schema'")


def _must_be_published(connection: Connection, migration_id: str, target_schema: str, tables: Sequence[TablePlan]) -> None:
    saved = saved_tables(connection, target_schema)
    missing = [table.table for table in tables if table.collection not in saved or saved[table.collection].migration_id != migration_id]
    if missing:
        raise NothingStaged(schema=staging_schema(migration_id), tables=", ".join(missing))


def _prepare_schema(connection: Connection, target_schema: str, tables: Sequence[TablePlan]) -> None:
    if not schema_exists(connection, target_schema):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(target_schema)))
        open_schema(connection, target_schema)
    if taken := taken_names(connection, target_schema, [table.table for table in tables]):
        raise NameTakenMeanwhile(schema=target_schema, taken=in_one_line(taken))


def _move(connection: Connection, staging: str, target_schema: str, table: str) -> None:
    connection.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(sql.Identifier(staging, table), sql.Identifier(target_schema)))
    close_table(connection, target_schema, table)


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
