"""The stages that give tables of the target other rows: their own are backed up, then replaced, or changed by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from firelift.formatting import count
from firelift.planning.increment import Deletes, TableIncrement
from firelift.planning.model import DELETED_AT, TablePlan
from firelift.postgres.publish.backups import back_up, back_up_changed, unchanged_backup
from firelift.postgres.publish.replace_rows import RowReplacement, analyze, replace_rows
from firelift.postgres.publish.retype import empty_as, require_again, retype
from firelift.postgres.publish.stages.stage import Done, LockTables, Stage, listed
from firelift.postgres.publish.target_facts import Found, Publication, Refresh, hindering
from firelift.postgres.schema.compatibility import ExistingTable
from firelift.postgres.schema.ddl import add_columns, add_soft_delete_column
from firelift.postgres.schema.foreign_keys import ForeignKey, drop, is_ours, orphans, refuse_broken
from firelift.postgres.schema.indexes import drop_index
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.receipts import Index


def locking(publication: Publication, found: Found) -> Iterator[Stage]:
    """Readers must wait where columns are added, an index goes or a foreign key between the tables must wait itself.

    Writers wait anyway, and so does everyone who would add a reference to a row that may be deleted.
    """
    if found.refreshes:
        names = sorted(found.names)
        readers_wait = (
            any(refreshed.added or refreshed.retyped for refreshed in found.refreshes)
            or any({key.source, key.references} <= {*names} or is_ours(key) for key in found.keys)
            or any(found.overfull.values())
        )
        yield LockTables(tuple((publication.target_schema, name) for name in names), readers_wait)


def backing_up(publication: Publication, found: Found) -> Iterator[Stage]:
    """The old rows first, or those of them that change."""
    schema, migration_id = publication.target_schema, publication.migration_id
    if replaced := tuple(refreshed.existing for refreshed in found.refreshes if refreshed.merge is None):
        yield BackUpRows(migration_id, schema, replaced, found.rows)
    for refreshed in found.refreshes:
        if refreshed.merge:
            yield BackUpChangedRows(migration_id, schema, publication.staging, refreshed)
    if found.unchanged:
        yield LeaveUnchanged(schema, found.unchanged)


def writing(publication: Publication, found: Found) -> Iterator[Stage]:
    """The staged rows in place of the old ones, or merged into them.

    New columns of the plan are added, and others get the type that the plan has now; those that the plan no longer has become NULL in
    every row that is written; the user's own stay. A foreign key of ours that the new rows would break is dropped, as it would not be
    made either, and so is an index of ours that cannot hold a row; those of the user's must hold.
    """
    schema, staging = publication.target_schema, publication.staging
    if not found.refreshes:
        return
    for refreshed in found.refreshes:
        if refreshed.added:
            yield AddColumns(schema, refreshed)
    # Before a column gets its new type, too: what a link was indexed for may be a text of any length from now on.
    for table, indexes in found.overfull.items():
        if indexes:
            yield DropFullIndexes(schema, table, indexes)
    # Before any row is written: PostgreSQL alters no table on which foreign keys are still to be checked.
    gone: list[ForeignKey] = []
    for refreshed in (one for one in found.refreshes if one.retyped):
        if keys := hindering(found, schema, refreshed):
            gone += keys
            yield DropForeignKeys(refreshed.name, keys)
        yield Retype(schema, staging, refreshed)
    replacements = tuple(_replacement(publication, refreshed, found) for refreshed in found.refreshes)
    if keys := tuple(key for key in found.keys if key not in gone):
        yield CheckForeignKeys(schema, keys, replacements, {refreshed.name: refreshed.others for refreshed in found.refreshes})
    yield WriteRows(replacements, _increments(publication, found), publication.increment.deletes if publication.increment else "propagate")
    for refreshed in found.refreshes:
        yield from _finishing(schema, refreshed)


def _finishing(schema: str, refreshed: Refresh) -> Iterator[Stage]:
    required = tuple(name for name in refreshed.retyped if refreshed.existing.columns[name].required)
    if refreshed.merge is None and required:
        yield RequireAgain(schema, refreshed.name, required)
    # A merge of a few rows leaves the statistics as good as they were.
    if refreshed.merge is None or refreshed.added or refreshed.retyped:
        yield Analyze(schema, refreshed.name)


def _increments(publication: Publication, found: Found) -> Mapping[str, TableIncrement]:
    increment = publication.increment
    merged = [refreshed.name for refreshed in found.refreshes if refreshed.merge]
    return {planned.table: planned for planned in (increment.tables if increment else ()) if planned.table in merged}


def _replacement(publication: Publication, refreshed: Refresh, found: Found) -> RowReplacement:
    before = found.saved(refreshed.plan.collection, refreshed.name)
    once = [name for name, _ in before.target_columns()] if before else []
    if refreshed.merge is None and before and before.marks_deleted:
        once.append(DELETED_AT)
    return RowReplacement(
        source_schema=publication.staging,
        target_schema=publication.target_schema,
        table=refreshed.name,
        keys=refreshed.plan.keys,
        columns=refreshed.columns,
        emptied=tuple(name for name in once if name in refreshed.others and not refreshed.existing.columns[name].generated),
        deleted=refreshed.merge.deleted if refreshed.merge else None,
        restores_soft_deleted=bool(refreshed.merge and refreshed.merge.before.marks_deleted),
    )


@dataclass(frozen=True)
class BackUpRows:
    """Copies whole tables, the user's own columns too."""

    migration_id: str
    schema: str
    tables: tuple[ExistingTable, ...]
    rows: Mapping[str, int]
    """About how many, where that is known."""

    def describe(self) -> Sequence[str]:
        return [f"copy all rows of {self.schema}.{table.name}{self._about(table.name)} to the backup schema" for table in self.tables]

    def _about(self, table: str) -> str:
        return f" (about {count(self.rows[table])})" if table in self.rows else ""

    def run(self, connection: Connection, done: Done) -> None:
        done.kept |= back_up(connection, self.migration_id, self.schema, self.tables)
        for table in self.tables:
            done.note(table.name)


@dataclass(frozen=True)
class BackUpChangedRows:
    """Copies the rows that a merge changes, and notes the keys of those that it adds."""

    migration_id: str
    schema: str
    staging: str
    table: Refresh

    def describe(self) -> Sequence[str]:
        return [f"copy the rows of {self.schema}.{self.table.name} that change, and the keys of new ones, to the backup schema"]

    def run(self, connection: Connection, done: Done) -> None:
        existing, staged = self.table.existing, self.table.staged(self.staging)
        done.kept[self.table.name] = back_up_changed(connection, self.migration_id, self.schema, existing, staged)
        done.note(self.table.name, keys=self.table.plan.keys)


@dataclass(frozen=True)
class LeaveUnchanged:
    """Tables of an increment in which no row changes."""

    schema: str
    tables: tuple[tuple[TablePlan, ExistingTable], ...]

    def describe(self) -> Sequence[str]:
        return [f"leave {listed([f'{self.schema}.{plan.table}' for plan, _ in self.tables])} unchanged"]

    def run(self, connection: Connection, done: Done) -> None:
        for plan, existing in self.tables:
            done.kept[plan.table] = unchanged_backup(existing, plan.keys)
            done.note(plan.table, keys=plan.keys)


@dataclass(frozen=True)
class AddColumns:
    schema: str
    table: Refresh

    def describe(self) -> Sequence[str]:
        return [f"add to {self.schema}.{self.table.name} {_columns(self.table.added)}"]

    def run(self, connection: Connection, done: Done) -> None:
        table = TargetTable(self.schema, self.table.plan)
        if self.table.missing:
            connection.execute(add_columns(table, self.table.missing))
        if self.table.merge and self.table.merge.adds_soft_delete_column:
            connection.execute(add_soft_delete_column(table))
        done.note(self.table.name, columns_added=self.table.added)


@dataclass(frozen=True)
class DropFullIndexes:
    """Drops indexes of ours that cannot hold a row."""

    schema: str
    table: str
    indexes: tuple[Index, ...]

    def describe(self) -> Sequence[str]:
        return [f"drop the index {index.name} of {self.schema}.{self.table}: a value is too long for it" for index in self.indexes]

    def run(self, connection: Connection, done: Done) -> None:
        for index in self.indexes:
            drop_index(connection, self.schema, index)
        done.note(self.table, indexes_dropped=self.indexes)


@dataclass(frozen=True)
class DropForeignKeys:
    """Drops foreign keys of ours whose column will no longer hold what they need."""

    table: str
    keys: tuple[ForeignKey, ...]

    def describe(self) -> Sequence[str]:
        return [f"drop the foreign key {key.name} of {key.source_schema}.{key.source}: its column gets another type" for key in self.keys]

    def run(self, connection: Connection, done: Done) -> None:
        for key in self.keys:
            drop(connection, key)
        done.note(self.table, foreign_keys_dropped=self.keys)


@dataclass(frozen=True)
class Retype:
    """Gives columns the types of the plan; the values are written with the rows."""

    schema: str
    staging: str
    table: Refresh

    def describe(self) -> Sequence[str]:
        types = dict(self.table.plan.target_columns())
        return [f"give the column {name} of {self.schema}.{self.table.name} the type {types[name]}" for name in self.table.retyped]

    def run(self, connection: Connection, done: Done) -> None:
        plan, columns = self.table.plan, self.table.retyped
        if self.table.merge:
            retyped = retype(connection, self.schema, plan, columns, self.table.staged(self.staging))
        else:
            retyped = empty_as(connection, self.schema, plan, columns)
        done.note(self.table.name, columns_retyped=retyped)


@dataclass(frozen=True)
class CheckForeignKeys:
    """Drops foreign keys of ours that the new rows would break, and refuses to break one of the user's."""

    schema: str
    keys: tuple[ForeignKey, ...]
    replacements: tuple[RowReplacement, ...]
    others: Mapping[str, Sequence[str]]
    """By table the columns that are not the plan's."""

    def describe(self) -> Sequence[str]:
        ours = [f"drop the foreign key {key.name} of {key.source_schema}.{key.source} if the new rows break it" for key in self._ours()]
        users = self._users()
        return [*ours, *(f"stop if the new rows break the foreign key {key.name} of {key.source_schema}.{key.source}" for key in users)]

    def run(self, connection: Connection, done: Done) -> None:
        after = {replaced.table: replaced.future_rows(self.others[replaced.table]) for replaced in self.replacements}
        for key in self._ours():
            if orphans(connection, key, self.schema, after)[0]:
                drop(connection, key)
                table = key.source if key.source in after else key.references
                done.note(table, foreign_keys_dropped=(*done.changes[table].foreign_keys_dropped, key))
        refuse_broken(connection, self._users(), self.schema, after)

    def _ours(self) -> list[ForeignKey]:
        return [key for key in self.keys if is_ours(key)]

    def _users(self) -> list[ForeignKey]:
        """Those of tables outside the run: PostgreSQL itself checks all others once the rows are written."""
        written = {replaced.table for replaced in self.replacements}
        return [key for key in self.keys if not (is_ours(key) or (key.source_schema == self.schema and key.source in written))]


@dataclass(frozen=True)
class WriteRows:
    """Replaces the rows, or merges the staged ones with them, in all tables at once: they may refer to one another."""

    replacements: tuple[RowReplacement, ...]
    increments: Mapping[str, TableIncrement]
    """Of the tables that are merged."""
    deletes: Deletes

    def describe(self) -> Sequence[str]:
        return [self._described(f"{replaced.target_schema}.{replaced.table}", replaced.table) for replaced in self.replacements]

    def _described(self, name: str, table: str) -> str:
        if table not in self.increments:
            return f"replace the rows of {name} with those of this run"
        planned = self.increments[table]
        gone = {"propagate": "{} deleted", "mark": "{} marked as deleted", "ignore": ""}[self.deletes]
        words = {"{} new": planned.new, "{} changed": planned.changed, gone: planned.deleted, "{} in another form": planned.rewritten}
        said = [word.format(count(number)) for word, number in words.items() if word and number]
        return f"merge into {name} by key: {', '.join(said) or 'no row'}"

    def run(self, connection: Connection, done: Done) -> None:
        replace_rows(connection, self.replacements)


@dataclass(frozen=True)
class RequireAgain:
    """Makes columns NOT NULL again that were so before they got another type."""

    schema: str
    table: str
    columns: tuple[str, ...]

    def describe(self) -> Sequence[str]:
        return [f"make {_columns(self.columns)} of {self.schema}.{self.table} NOT NULL again"]

    def run(self, connection: Connection, done: Done) -> None:
        require_again(connection, self.schema, self.table, done.changes[self.table].columns_retyped)


@dataclass(frozen=True)
class Analyze:
    schema: str
    table: str

    def describe(self) -> Sequence[str]:
        return [f"run ANALYZE on {self.schema}.{self.table}"]

    def run(self, connection: Connection, done: Done) -> None:
        analyze(connection, self.schema, self.table)


def _columns(names: Sequence[str]) -> str:
    return f"the column{'' if len(names) == 1 else 's'} {listed(names)}"
