"""The stages that make staged tables the target's own, with the foreign keys between them and the tables that were there before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from psycopg import sql

from firelift.formatting import counted
from firelift.planning.model import TablePlan
from firelift.postgres.inspect.digest import digest
from firelift.postgres.publish.stages.stage import Done, Stage, listed
from firelift.postgres.publish.target_facts import Found, Publication, Wanted, hindering
from firelift.postgres.schema.ddl import create_schema
from firelift.postgres.schema.foreign_keys import add_foreign_key, foreign_keys_of
from firelift.postgres.schema.indexes import create_index
from firelift.postgres.schema.names import LONGEST_NAME
from firelift.postgres.schema.privileges import close_schema, close_table, open_schema
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY


def making_schema(publication: Publication, *, exists: bool) -> Iterator[Stage]:
    if not exists:
        yield MakeSchema(publication.migration_id, publication.target_schema, publication.is_scratch)


def moving(publication: Publication, found: Found) -> Iterator[Stage]:
    """New tables keep their keys, indexes and foreign keys; those to and from a table that was there before are made anew."""
    schema, staging = publication.target_schema, publication.staging
    new = found.new(publication.tables)
    if found.refreshes:
        yield DropStaged(staging, tuple(found.names))
    if new:
        yield MoveTables(staging, schema, new, found.new_rows)
    if found.wanted:
        gone = [key for refreshed in found.refreshes if refreshed.retyped for key in hindering(found, schema, refreshed)]
        there = frozenset(key.relation for key in found.keys if key.references_schema == schema and key not in gone)
        moved = frozenset(table.table for table in new)
        missing = tuple(key for key in found.wanted if key.relation not in there and not {key.source, key.references} <= moved)
        yield AddForeignKeys(schema, found.wanted, missing, found.uncertain)


@dataclass(frozen=True)
class MakeSchema:
    """Makes the target schema, open to the API; that of a test run is only for whoever started it."""

    migration_id: str
    schema: str
    closed: bool

    def describe(self) -> Sequence[str]:
        return [f"make the schema {self.schema}"]

    def run(self, connection: Connection, done: Done) -> None:
        connection.execute(create_schema(self.schema))
        (close_schema if self.closed else open_schema)(connection, self.schema)
        connection.execute(QUERY["record_made_schema"], {"migration_id": self.migration_id, "schema": self.schema})


@dataclass(frozen=True)
class DigestNew:
    """Counts and digests the rows of new tables, which nobody else can change, before anything is locked."""

    staging: str
    tables: tuple[TablePlan, ...]

    def describe(self) -> Sequence[str]:
        return [f"count and digest the staged rows of {listed([table.table for table in self.tables])}"]

    def run(self, connection: Connection, done: Done) -> None:
        staged = [TargetTable(self.staging, table) for table in self.tables]
        done.contents |= {table.name: digest(connection, table.schema, table.name, table.columns) for table in staged}


@dataclass(frozen=True)
class DropStaged:
    """Drops staged tables whose rows are written: their names, and those of their indexes and types, would be in the way of others."""

    staging: str
    tables: tuple[str, ...]

    def describe(self) -> Sequence[str]:
        return [f"drop the staging tables of {listed(self.tables)}"]

    def run(self, connection: Connection, done: Done) -> None:
        names = sql.SQL(", ").join(sql.Identifier(self.staging, table) for table in self.tables)
        connection.execute(sql.SQL("DROP TABLE {} CASCADE").format(names))


@dataclass(frozen=True)
class MoveTables:
    """Moves new tables into the target schema, with row-level security and closed to the API's roles."""

    staging: str
    schema: str
    tables: tuple[TablePlan, ...]
    rows: Mapping[str, int]

    def describe(self) -> Sequence[str]:
        return [f"move {table.table}{self._counted(table.table)} into {self.schema}, with its keys" for table in self.tables]

    def _counted(self, table: str) -> str:
        return f" ({counted(self.rows[table], 'row')})" if table in self.rows else ""

    def run(self, connection: Connection, done: Done) -> None:
        _part_index_names(connection, self.staging, self.schema)
        _part_array_types(connection, self.staging, self.schema)
        for table in self.tables:
            name = sql.Identifier(self.staging, table.table)
            connection.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(name, sql.Identifier(self.schema)))
            close_table(connection, self.schema, table.table)


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


@dataclass(frozen=True)
class AddForeignKeys:
    """Makes the foreign keys, with an index each, that the target does not have by then."""

    schema: str
    wanted: tuple[Wanted, ...]
    missing: tuple[Wanted, ...]
    """Those of them that it does not have now, and that no table brings along."""
    uncertain: frozenset[Wanted]

    def describe(self) -> Sequence[str]:
        return [f"add the foreign key {reference(self.schema, key)}{self._condition(key)}" for key in self.missing]

    def _condition(self, key: Wanted) -> str:
        return ", if no row is orphaned" if key in self.uncertain else ""

    def run(self, connection: Connection, done: Done) -> None:
        add_foreign_keys(connection, self.schema, self.wanted, done)


def reference(schema: str, key: Wanted) -> str:
    """`public.orders (users_id) -> public.users`."""
    return f"{schema}.{key.source} ({', '.join(key.columns)}) -> {schema}.{key.references}"


def add_foreign_keys(connection: Connection, schema: str, wanted: Sequence[Wanted], done: Done) -> None:
    """Makes those that the target does not have; notes those of tables that were there before."""
    tables = {key.source for key in wanted}
    existing = {(key.relation, key.references_schema) for key in foreign_keys_of(connection, schema, list(tables))}
    for key in wanted:
        if (key.relation, schema) in existing:
            continue
        has_index = _has_index(connection, schema, key)
        index = None if has_index else create_index(connection, schema, key.source, key.columns)
        name = add_foreign_key(connection, schema, key.source, key.columns, key.references, key.referenced)
        if noted := done.changes.get(key.source):
            done.note(
                key.source,
                foreign_keys_added=(*noted.foreign_keys_added, name),
                indexes_added=(*noted.indexes_added, *([index] if index else [])),
                indexes_left=(*noted.indexes_left, *([] if has_index or index else [key.columns])),
            )


def _has_index(connection: Connection, schema: str, key: Wanted) -> bool:
    existing = connection.execute(QUERY["leading_indexes"], {"schema": schema, "table": key.source}).fetchall()
    return any(tuple(columns[: len(key.columns)]) == key.columns for (columns,) in existing)
