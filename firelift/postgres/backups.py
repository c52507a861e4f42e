"""What a run keeps in the target so that it can be taken back: old rows, digests, and what else it changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from psycopg import sql
from psycopg.types.json import Jsonb

from firelift.plan import Frozen, TablePlan
from firelift.postgres.connect import Connection
from firelift.postgres.control import label_of, schema_exists
from firelift.postgres.ddl import backup_schema, columns_of
from firelift.postgres.digest import Digest, digest
from firelift.postgres.fit import StandingTable
from firelift.postgres.foreign_keys import ForeignKey
from firelift.postgres.privileges import close_schema
from firelift.postgres.queries import QUERY

Action = Literal["created", "replaced"]


class Changes(Frozen):
    """What publishing did to a table beside its rows."""

    columns_added: tuple[str, ...] = ()
    indexes_added: tuple[str, ...] = ()
    foreign_keys_added: tuple[str, ...] = ()
    foreign_keys_dropped: tuple[ForeignKey, ...] = ()
    """Of this table, or of a table outside the run that refers to it: the new rows would have broken them."""


class BackedUp(Frozen):
    """A table's old rows, safe in the backup schema, and what they come to."""

    table: str
    columns: tuple[str, ...]
    before: Digest


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


def back_up(connection: Connection, migration_id: str, schema: str, tables: Sequence[StandingTable]) -> dict[str, BackedUp]:
    """Copies these tables with every column, the user's own too, to the run's backup schema, which nobody else may enter.

    Part of the transaction that replaces the rows: there is never a backup without a change or a change without a backup.
    """
    if not tables:
        return {}
    backup = backup_schema(migration_id)
    if not schema_exists(connection, backup):
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(backup)))
    kept = {table.name: _copy(connection, schema, backup, table) for table in tables}
    close_schema(connection, backup)
    return kept


def _copy(connection: Connection, schema: str, backup: str, table: StandingTable) -> BackedUp:
    columns = tuple(table.columns)
    create = sql.SQL("CREATE TABLE {} AS SELECT {} FROM {}")
    connection.execute(create.format(sql.Identifier(backup, table.name), columns_of(columns), sql.Identifier(schema, table.name)))
    return BackedUp(table=table.name, columns=columns, before=digest(connection, schema, table.name, columns))


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
    created = backed_up is None
    given = {
        "migration_id": migration_id,
        "target_schema": schema,
        "table_name": table.table,
        "collection": label_of(table.collection),
        "action": "created" if created else "replaced",
        "backup_schema": None if created else backup_schema(migration_id),
        "columns": [name for name, _ in table.target_columns()] if backed_up is None else list(backed_up.columns),
        "changes": Jsonb(changes.model_dump()),
        "rows_before": backed_up.before.rows if backed_up else None,
        "digest_before": backed_up.before.value if backed_up else None,
        "rows_after": after.rows,
        "digest_after": after.value,
    }
    # In a transaction of its own within the other: its number, the highest so far, tells the run's rows from later ones.
    with connection.transaction():
        connection.execute(QUERY["keep_table"], given)


def kept_tables(connection: Connection, migration_id: str) -> list[KeptTable]:
    """The tables a run published, with what is needed to take that back; none where the target keeps no backups."""
    if connection.execute(QUERY["knows_backups"]).fetchone() != (True,):
        return []
    rows = connection.execute(QUERY["kept_tables"], {"migration_id": migration_id})
    return [KeptTable.model_validate(dict(zip(KeptTable.model_fields, row, strict=True))) for row in rows]


def drop_backup_tables(connection: Connection, migration_id: str) -> None:
    """Drops the run's backup schema, but nothing of a user's that depends on it."""
    tables = connection.execute(QUERY["backup_tables"], {"migration_id": migration_id}).fetchall()
    if tables:
        listed = sql.SQL(", ").join(sql.Identifier(schema, table) for schema, table in tables)
        connection.execute(sql.SQL("DROP TABLE {}").format(listed))
    backup = backup_schema(migration_id)
    if schema_exists(connection, backup):
        connection.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(backup)))
