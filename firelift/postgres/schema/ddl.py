"""The statements that make a plan's tables, as text and as SQL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from psycopg import sql

from firelift.planning.model import DELETED_AT, PgType, TablePlan

STAGING = "firelift_staging_"
BACKUP = "firelift_backup_"
SCRATCH = "firelift_test_"
LONGEST_NAME = 63


def staging_schema(migration_id: str) -> str:
    return _schema_of(STAGING, migration_id)


def backup_schema(migration_id: str) -> str:
    return _schema_of(BACKUP, migration_id)


def scratch_schema(migration_id: str) -> str:
    """Where a test run publishes its sample, in place of the target schema."""
    return _schema_of(SCRATCH, migration_id)


def _schema_of(prefix: str, migration_id: str) -> str:
    """Another name for every id: where it cannot be the id itself, a digest distinguishes it from similar ones."""
    suffix = re.sub(r"[^a-z0-9]+", "_", migration_id.lower())
    room = LONGEST_NAME - len(prefix)
    if suffix == migration_id and len(suffix) <= room:
        return prefix + suffix
    return f"{prefix}{suffix[: room - 9]}_{hashlib.sha256(migration_id.encode()).hexdigest()[:8]}"


def companion_name(what: str, table: str) -> str:
    """A name for a table that goes with another of ours: it has a slash, which no collection id and so no other table has."""
    name = f"{what}/{table}"
    return name if len(name.encode()) <= LONGEST_NAME else f"{what}/{hashlib.sha256(table.encode()).hexdigest()[:40]}"


def create_table(table: TablePlan, schema: str, *, staged: bool = False) -> sql.Composed:
    """CREATE TABLE for a plan. Keys, indexes and foreign keys come after the data.

    A staged timestamptz[] is a timestamp[] until `finish_types`: that is what the encoder of COPY writes.
    """
    columns = [_column(table, name, pg_type, staged) for name, pg_type in table.target_columns()]
    return sql.SQL("CREATE TABLE {} (\n    {}\n)").format(sql.Identifier(schema, table.table), sql.SQL(",\n    ").join(columns))


def add_columns(table: TablePlan, schema: str, names: Sequence[str]) -> sql.Composed:
    """ALTER TABLE that gives a table which exists the plan's columns of these names."""
    types = dict(table.target_columns())
    added = [sql.SQL("ADD COLUMN {}").format(_column(table, name, types[name], False)) for name in names]
    return sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(schema, table.table), sql.SQL(", ").join(added))


def add_soft_delete_column(schema: str, table: str) -> sql.Composed:
    """ALTER TABLE that adds `firestore_deleted_at`, which says of a row when its document was deleted."""
    return sql.SQL("ALTER TABLE {} ADD COLUMN {} timestamptz").format(sql.Identifier(schema, table), sql.Identifier(DELETED_AT))


def create_keys(table: TablePlan, schema: str, name: str) -> sql.Composed:
    """CREATE TABLE, unless it is there, for a table of this name that holds nothing but keys of the plan's table."""
    columns = [_column(table, key, "text", False) for key in table.keys]
    create = sql.SQL("CREATE TABLE IF NOT EXISTS {} (\n    {},\n    PRIMARY KEY ({})\n)")
    return create.format(sql.Identifier(schema, name), sql.SQL(",\n    ").join(columns), columns_of(table.keys))


def ddl_of(table: TablePlan, schema: str) -> str:
    """The table as it will be in the target, for people to read and psql to run."""
    key = sql.SQL(",\n    PRIMARY KEY ({})\n)").format(columns_of(table.keys))
    return create_table(table, schema).as_string().removesuffix("\n)") + key.as_string() + ";"


def columns_of(names: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _column(table: TablePlan, name: str, pg_type: PgType, staged: bool) -> sql.Composed:
    if name in table.keys:
        # Byte order is Firestore's order of ids, the same on every server and after every upgrade of its locales.
        return sql.SQL('{} text COLLATE "C" NOT NULL').format(sql.Identifier(name))
    if name in table.reference_columns():
        # As the keys they refer to: a join between two collations cannot use the index.
        return sql.SQL('{} text COLLATE "C"').format(sql.Identifier(name))
    spelled = "timestamp[]" if staged and pg_type == "timestamptz[]" else pg_type
    return sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(spelled))
