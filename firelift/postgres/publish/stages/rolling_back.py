"""The stages of a rollback: what publishing did to each table, undone, the last effect first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from firelift.errors import FireliftError
from firelift.formatting import counted
from firelift.postgres.inspect.digest import digest
from firelift.postgres.publish.backups import KeptTable, drop_backup_tables
from firelift.postgres.publish.replace_rows import DeletedRows, RowReplacement, replace_rows
from firelift.postgres.publish.retype import CannotRetype, require_again, retype_back
from firelift.postgres.publish.stages.stage import Done, LockTables, Stage, listed
from firelift.postgres.schema.compatibility import ExistingTable
from firelift.postgres.schema.foreign_keys import ForeignKey, add_again, foreign_keys_of, refuse_broken
from firelift.postgres.schema.indexes import add_index_again
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.foreign_owners import schema_exists
from firelift.postgres.session.queries import QUERY
from firelift.receipts import LeftIndex


class CannotRestore(FireliftError):
    """A table that this migration replaced the rows of was dropped or changed, so its old rows no longer fit."""

    remedy = "Nothing was changed. The old rows are in the backup schema; copy from there what you need."


class RollbackDiffers(FireliftError):
    """After restoring, a table does not hold what it held before the migration, so the rollback was undone."""

    remedy = "Nothing was changed. Keep the backup schema and report it."


Existing = Mapping[str, ExistingTable]
"""Tables of the run that exist, by schema and name."""


def locking_again(kept: Sequence[KeptTable], existing: Existing) -> Iterator[Stage]:
    there = sorted((published for published in kept if published.name in existing), key=lambda published: published.name)
    if there:
        yield LockTables(tuple((published.target_schema, published.table) for published in there), readers_wait=True)


def rollback_stages_of(migration_id: str, kept: Sequence[KeptTable], existing: Existing, made_schema: str | None) -> Iterator[Stage]:
    """All that a rollback does to the target under the lock. `made_schema` is the schema that publishing made, if it made one."""
    changed = [published for published in kept if not published.only_moved_on]
    there = [published for published in changed if published.name in existing]
    altered = [published for published in there if published.action != "created"]
    replaced = tuple(published for published in changed if published.backup_schema)
    for published in altered:
        if published.changes.foreign_keys_added or published.changes.indexes_added:
            yield DropAddedKeys(published)
    if created := tuple(published for published in there if published.action == "created"):
        yield DropTables(created)
    for published in replaced:
        if published.changes.columns_retyped:
            yield RetypeBack(published)
    if replaced:
        yield RestoreRows(replaced, existing)
    for published in altered:
        if added := tuple(name for name in published.changes.columns_added if name in existing[published.name].columns):
            yield DropAddedColumns(published, added)
    for published in replaced:
        for index in published.changes.indexes_dropped:
            yield AddIndexAgain(LeftIndex(target_schema=published.target_schema, index=index))
    for key in (key for published in replaced for key in published.changes.foreign_keys_dropped):
        yield AddForeignKeyAgain(key)
    for published in replaced:
        yield CheckDigest(published)
    if made_schema is not None:
        yield DropMadeSchema(made_schema)
    if kept:
        yield DropBackup(migration_id)


@dataclass(frozen=True)
class DropAddedKeys:
    """Drops the foreign keys and indexes that publishing added."""

    table: KeptTable

    def describe(self) -> Sequence[str]:
        keys = [f"drop the foreign key {name} of {self.table.name}" for name in self.table.changes.foreign_keys_added]
        return [*keys, *(f"drop the index {name} of {self.table.name}" for name in self.table.changes.indexes_added)]

    def run(self, connection: Connection, done: Done) -> None:
        for name in self.table.changes.foreign_keys_added:
            drop = sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}")
            connection.execute(drop.format(sql.Identifier(self.table.target_schema, self.table.table), sql.Identifier(name)))
        # Before the old rows are back: one of them may be too long for it, which is why it was not there.
        for name in self.table.changes.indexes_added:
            connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(self.table.target_schema, name)))


@dataclass(frozen=True)
class DropTables:
    """Drops the tables that publishing made, all at once: they may refer to one another."""

    tables: tuple[KeptTable, ...]

    def describe(self) -> Sequence[str]:
        return [f"drop {table.name}" for table in self.tables]

    def run(self, connection: Connection, done: Done) -> None:
        names = sql.SQL(", ").join(sql.Identifier(table.target_schema, table.table) for table in self.tables)
        connection.execute(sql.SQL("DROP TABLE {}").format(names))


@dataclass(frozen=True)
class RetypeBack:
    """Gives columns their old types; the values come with the old rows."""

    table: KeptTable

    def describe(self) -> Sequence[str]:
        retyped = self.table.changes.columns_retyped
        return [f"give the column {column.column} of {self.table.name} the type {column.before} again" for column in retyped]

    def run(self, connection: Connection, done: Done) -> None:
        try:
            retype_back(connection, self.table.target_schema, self.table.table, self.table.changes.columns_retyped)
        except CannotRetype as error:
            why = f"{error.facts['column']}: {error.facts['hindrance']}"
            raise CannotRestore(table=self.table.name, why=why, old_rows=f"{self.table.backup_schema}.{self.table.table}") from error


@dataclass(frozen=True)
class RestoreRows:
    """Writes the old rows from the backup schema, in all tables at once: they may refer to one another."""

    tables: tuple[KeptTable, ...]
    existing: Existing

    def describe(self) -> Sequence[str]:
        return [self._described(table) for table in self.tables]

    def _described(self, table: KeptTable) -> str:
        rows = counted(table.rows_before, "old row")
        if table.changed_rows is None:
            return f"put {rows} back into {table.name} in place of all that are there"
        return f"put {rows} back into {table.name} and delete those that the run inserted"

    def run(self, connection: Connection, done: Done) -> None:
        schema = self.tables[0].target_schema
        names = {table.table for table in self.tables}
        for table in self.tables:
            # A copy made a moment ago may have no statistics yet, and a nested loop over it would never end.
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(str(table.backup_schema), table.table)))
        replacements = {table.table: _replacement(table, self.existing[table.name]) for table in self.tables}
        after = {table.table: _future_rows(replacements[table.table], self.existing[table.name]) for table in self.tables}
        keys = foreign_keys_of(connection, schema, list(names))
        refuse_broken(connection, [key for key in keys if not (key.source_schema == schema and key.source in names)], schema, after)
        replace_rows(connection, list(replacements.values()))
        for table in self.tables:
            require_again(connection, schema, table.table, table.changes.columns_retyped)


def _future_rows(replacement: RowReplacement, table: ExistingTable) -> sql.Composed:
    return replacement.future_rows([name for name in table.columns if name not in replacement.columns])


def _replacement(published: KeptTable, table: ExistingTable) -> RowReplacement:
    columns = [table.columns[name] for name in published.columns if not table.columns[name].generated]
    return RowReplacement(
        source_schema=str(published.backup_schema),
        target_schema=published.target_schema,
        table=published.table,
        keys=table.primary_key,
        columns=tuple(column.name for column in columns if not column.always_identity),
        inserted=tuple(column.name for column in columns if column.always_identity),
        deleted=DeletedRows(str(published.backup_schema), published.changes.inserted) if published.changes.inserted else None,
    )


@dataclass(frozen=True)
class DropAddedColumns:
    table: KeptTable
    columns: tuple[str, ...]

    def describe(self) -> Sequence[str]:
        return [f"drop the column{'' if len(self.columns) == 1 else 's'} {listed(self.columns)} of {self.table.name}"]

    def run(self, connection: Connection, done: Done) -> None:
        dropped = sql.SQL(", ").join(sql.SQL("DROP COLUMN {}").format(sql.Identifier(name)) for name in self.columns)
        table = sql.Identifier(self.table.target_schema, self.table.table)
        connection.execute(sql.SQL("ALTER TABLE {} {}").format(table, dropped))


@dataclass(frozen=True)
class AddIndexAgain:
    """Makes an index of ours that publishing dropped; not yet where the rows that are taken back are still in the table's file."""

    index: LeftIndex

    def describe(self) -> Sequence[str]:
        return [f"make the index {self.index.index.name} of {self.index.target_schema}.{self.index.index.table} again"]

    def run(self, connection: Connection, done: Done) -> None:
        if not add_index_again(connection, self.index.target_schema, self.index.index):
            done.indexes_left = (*done.indexes_left, self.index)


@dataclass(frozen=True)
class AddForeignKeyAgain:
    key: ForeignKey

    def describe(self) -> Sequence[str]:
        return [f"make the foreign key {self.key.name} of {self.key.source_schema}.{self.key.source} again"]

    def run(self, connection: Connection, done: Done) -> None:
        add_again(connection, self.key)


@dataclass(frozen=True)
class CheckDigest:
    """Refuses a table that does not hold, to the last bit, what it held before."""

    table: KeptTable

    def describe(self) -> Sequence[str]:
        return [f"stop unless the rows of {self.table.name} have the digest from before the run"]

    def run(self, connection: Connection, done: Done) -> None:
        table = self.table
        found = digest(connection, table.target_schema, table.table, table.columns, table.changed_rows)
        if (found.rows, found.value) != (table.rows_before, table.digest_before):
            raise RollbackDiffers(table=table.name, rows=found.rows, rows_before=table.rows_before)


@dataclass(frozen=True)
class DropMadeSchema:
    """Drops the target schema if publishing made it and the user has put nothing into it."""

    schema: str

    def describe(self) -> Sequence[str]:
        return [f"drop the schema {self.schema}, if there is nothing in it"]

    def run(self, connection: Connection, done: Done) -> None:
        if not schema_exists(connection, self.schema):
            return
        try:
            with connection.transaction():
                connection.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(self.schema)))
        except psycopg.errors.DependentObjectsStillExist:
            return


@dataclass(frozen=True)
class DropBackup:
    """Drops the old rows, and makes the target remember of its tables what it remembered before the run."""

    migration_id: str

    def describe(self) -> Sequence[str]:
        return ["drop the backup schema and record the tables as they were published before the run"]

    def run(self, connection: Connection, done: Done) -> None:
        drop_backup_tables(connection, self.migration_id)
        for query in ("forget_published", "restore_published", "forget_backups"):
            connection.execute(QUERY[query], {"migration_id": self.migration_id})
