"""What a run keeps in the target so that it can be taken back: old rows, digests, and what else it changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from firelift.planning.model import Frozen, TablePlan
from firelift.postgres.inspect.digest import Digest, digest
from firelift.postgres.inspect.key_filter import KeyFilter, columns_in, same_key
from firelift.postgres.schema.compatibility import ExistingTable
from firelift.postgres.schema.control_schema import label_of
from firelift.postgres.schema.ddl import create_schema
from firelift.postgres.schema.foreign_keys import ForeignKey
from firelift.postgres.schema.indexes import clear_away, create_index
from firelift.postgres.schema.names import backup_schema, columns_of, companion_name
from firelift.postgres.schema.privileges import close_schema
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.foreign_owners import own_schema_exists
from firelift.postgres.session.queries import QUERY
from firelift.receipts import Action, Index


class Retyped(Frozen):
    """A column whose type publishing changed."""

    column: str
    before: str
    """The type, and the collation where it is not the type's own, as PostgreSQL spells them."""
    required: bool = False
    """The user has made it NOT NULL."""


class Changes(Frozen):
    """What publishing changed in a table, apart from its rows."""

    columns_added: tuple[str, ...] = ()
    indexes_added: tuple[str, ...] = ()
    foreign_keys_added: tuple[str, ...] = ()
    foreign_keys_dropped: tuple[ForeignKey, ...] = ()
    """Of this table, or of a table outside the run that refers to it: the new rows would have broken them."""
    indexes_dropped: tuple[Index, ...] = ()
    """Of our own: a row that was written is too long for them."""
    indexes_left: tuple[tuple[str, ...], ...] = ()
    """Columns of foreign keys that got no index, because deleted rows still in the file are too long for it."""
    columns_retyped: tuple[Retyped, ...] = ()
    keys: tuple[str, ...] = ()
    """Of a merged table: the key columns by which its changed rows are found."""
    inserted: str | None = None
    """Of a merged table: the table in the backup schema with the keys of rows that were not there before."""


class BackedUp(Frozen):
    """A table's old rows, or those that a merge changes, safe in the backup schema, and what they come to."""

    table: str
    columns: tuple[str, ...]
    before: Digest
    action: Action = "replaced"
    schema_name: str | None = None
    """None where no row changes."""
    inserted: str | None = None
    keys: tuple[str, ...] = ()

    @property
    def changed_rows(self) -> KeyFilter | None:
        """The rows that a merge changes; None where the whole table is replaced."""
        return changed_rows(self.schema_name, self.table, self.inserted, self.keys)


class KeptTable(Frozen):
    """A table that a run published, as the backup remembers it."""

    target_schema: str
    table: str
    action: Action
    backup_schema: str | None
    columns: tuple[str, ...]
    changes: Changes
    rows_before: int | None
    digest_before: str | None
    rows_after: int
    digest_after: str
    last_transaction: str
    published_by: str | None
    dropped_at: datetime | None

    @property
    def name(self) -> str:
        return f"{self.target_schema}.{self.table}"

    @property
    def columns_after(self) -> tuple[str, ...]:
        return (*self.columns, *self.changes.columns_added)

    @property
    def changed_rows(self) -> KeyFilter | None:
        """The rows that a merge changed; None where the whole table was replaced."""
        return changed_rows(self.backup_schema, self.table, self.changes.inserted, self.changes.keys)

    @property
    def only_moved_on(self) -> bool:
        """Nothing of the table was changed but what the target remembers of it."""
        return self.action == "merged" and self.backup_schema is None and self.changes == Changes(keys=self.changes.keys)


def changed_rows(schema: str | None, table: str, inserted: str | None, keys: tuple[str, ...]) -> KeyFilter | None:
    return KeyFilter(schema, (table, inserted), keys) if schema and inserted else None


def back_up(connection: Connection, migration_id: str, schema: str, tables: Sequence[ExistingTable]) -> dict[str, BackedUp]:
    """Copies these tables with every column, the user's own too, to the run's backup schema, which nobody else may enter.

    Part of the transaction that replaces the rows: there is never a backup without a change or a change without a backup.
    """
    if not tables:
        return {}
    backup = _backup_schema(connection, migration_id)
    kept = {table.name: _copy(connection, schema, backup, table) for table in tables}
    close_schema(connection, backup)
    return kept


def back_up_changed(connection: Connection, migration_id: str, schema: str, table: ExistingTable, staged: KeyFilter) -> BackedUp:
    """Copies the rows of a table that have the staged keys, as `back_up` does whole tables, and notes the keys that are new to it.

    The first table of `staged` has the rows that are written, the others keys of rows that go.
    """
    backup, columns, keys = _backup_schema(connection, migration_id), tuple(table.columns), staged.keys
    before = digest(connection, schema, table.name, columns, staged)
    create = sql.SQL("CREATE TABLE {} AS {}")
    inserted = companion_name("inserted", table.name)
    rows, new_keys = sql.Identifier(backup, table.name), sql.Identifier(backup, inserted)
    connection.execute(create.format(rows, staged.rows_query(schema, table.name, columns_in("target", columns))))
    unknown = sql.SQL("SELECT {} FROM {} AS staged WHERE NOT EXISTS (SELECT FROM {} AS target WHERE {})").format(
        columns_in("staged", keys),
        sql.Identifier(staged.schema, staged.tables[0]),
        sql.Identifier(schema, table.name),
        same_key(keys, "target", "staged"),
    )
    connection.execute(create.format(new_keys, unknown))
    # A copy made a moment ago has no statistics yet, and the planner would take it for a large table.
    connection.execute(sql.SQL("ANALYZE {}, {}").format(rows, new_keys))
    close_schema(connection, backup)
    return BackedUp(table=table.name, columns=columns, before=before, action="merged", schema_name=backup, inserted=inserted, keys=keys)


def unchanged_backup(table: ExistingTable, keys: tuple[str, ...]) -> BackedUp:
    """What is kept of a table in which a merge changes no row."""
    nothing = Digest(rows=0, value="")
    return BackedUp(table=table.name, columns=tuple(table.columns), before=nothing, action="merged", keys=keys)


def _backup_schema(connection: Connection, migration_id: str) -> str:
    backup = backup_schema(migration_id)
    if not own_schema_exists(connection, backup):
        connection.execute(create_schema(backup))
    return backup


def _copy(connection: Connection, schema: str, backup: str, table: ExistingTable) -> BackedUp:
    columns = tuple(table.columns)
    create = sql.SQL("CREATE TABLE {} AS SELECT {} FROM {}")
    connection.execute(create.format(sql.Identifier(backup, table.name), columns_of(columns), sql.Identifier(schema, table.name)))
    return BackedUp(table=table.name, columns=columns, before=digest(connection, schema, table.name, columns), schema_name=backup)


def keep(
    connection: Connection,
    migration_id: str,
    schema: str,
    table: TablePlan,
    backed_up: BackedUp | None,
    changes: Changes,
    after: Digest,
) -> None:
    """Records a published table. Call it before `save_table`, whose row it remembers as it was."""
    given = {
        "migration_id": migration_id,
        "target_schema": schema,
        "table_name": table.table,
        "collection": label_of(table.collection),
        "action": backed_up.action if backed_up else "created",
        "backup_schema": backed_up.schema_name if backed_up else None,
        "columns": [name for name, _ in table.target_columns()] if backed_up is None else list(backed_up.columns),
        "changes": Jsonb(changes.model_dump()),
        "rows_before": backed_up.before.rows if backed_up else None,
        "digest_before": backed_up.before.value if backed_up else None,
        "rows_after": after.rows,
        "digest_after": after.value,
    }
    # In a transaction of its own within the other: its number, the highest so far, separates the run's rows from later ones.
    with connection.transaction():
        connection.execute(QUERY["keep_table"], given)


def kept_tables(connection: Connection, migration_id: str) -> list[KeptTable]:
    """The tables a run published, with what is needed to take that back; none where the target keeps no backups."""
    if connection.execute(QUERY["knows_backups"]).fetchone() != (True,):
        return []
    rows = connection.execute(QUERY["kept_tables"], {"migration_id": migration_id})
    return [KeptTable.model_validate(dict(zip(KeptTable.model_fields, row, strict=True))) for row in rows]


def make_left_indexes(connection: Connection, migration_id: str) -> None:
    """Makes the indexes that a run had to leave out when it published, and notes them, as far as it can be done now.

    Call it with no transaction open; a second call does nothing more.
    """
    for table in kept_tables(connection, migration_id):
        if not table.changes.indexes_left:
            continue
        try:
            clear_away(connection, table.target_schema, table.table)
            with connection.transaction():
                changed = _with_left_indexes(connection, table)
                where = {"migration_id": migration_id, "target_schema": table.target_schema, "table_name": table.table}
                connection.execute(QUERY["change_kept_table"], {**where, "changes": Jsonb(changed.model_dump())})
        except psycopg.Error:
            # All tables are published; the receipt lists the indexes that are still missing.
            continue


def _with_left_indexes(connection: Connection, table: KeptTable) -> Changes:
    made = {columns: create_index(connection, table.target_schema, table.table, columns) for columns in table.changes.indexes_left}
    added = (*table.changes.indexes_added, *(name for name in made.values() if name))
    return table.changes.model_copy(update={"indexes_added": added, "indexes_left": tuple(left for left in made if made[left] is None)})


def drop_backup_tables(connection: Connection, migration_id: str) -> None:
    """Drops the run's backup schema, but nothing of a user's that depends on it."""
    backup = backup_schema(migration_id)
    there = own_schema_exists(connection, backup)
    tables = connection.execute(QUERY["backup_tables"], {"migration_id": migration_id}).fetchall()
    if tables:
        listed = sql.SQL(", ").join(sql.Identifier(schema, table) for schema, table in tables)
        connection.execute(sql.SQL("DROP TABLE {}").format(listed))
    if there:
        connection.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(backup)))
