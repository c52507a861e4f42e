"""What PostgreSQL has in its catalogs after the statements that are compiled from a plan."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any, get_args

import psycopg
import pytest

from firelift.local.postgres import PostgresServer
from firelift.planning.model import TYPE_OF, Column, ColumnKind, ReferenceTarget, TablePlan
from firelift.postgres.inspect.plan_sql import as_script, statements_for_new_tables
from firelift.postgres.load.constraints import ForeignKeys
from firelift.postgres.schema.compatibility import SPELLED
from firelift.postgres.schema.ddl import add_foreign_key, create_index, create_table, planned_tables
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import connect
from tests.support.postgres_tables import HOSTILE
from tests.support.refreshed_tables import FIRST, SECOND, migrate, target
from tests.support.whole_way import new_database

LONG = "é" * 31 + "x"
NASTY = ("100%", "%s", "%(id)s", ":id", "a.b", '"', "'", "{x}", "back\\slash", "$1", "日本", "select", " ", LONG, HOSTILE)


def link(name: str, collection: str, *ancestors: str) -> Column:
    return Column(name=name, path=(name,), kind="link", reference=ReferenceTarget(collection=collection, ancestors=ancestors))


# The references of two tables to one another could not be made while either is created.
PEOPLE = TablePlan(
    collection="people",
    table=NASTY[0],
    keys=("id",),
    columns=(
        *(Column(name=kind, path=(kind,), kind=kind) for kind in get_args(ColumnKind) if kind != "link"),
        *(Column(name=name, path=(name,), kind="strings") for name in NASTY),
        link("boss", "people"),
        link("last %", "people/*/notes", "last'\"id"),
    ),
)
NOTES = TablePlan(collection="people/*/notes", table=HOSTILE, keys=(NASTY[0], "id"), columns=(), parent="people")
LINES = TablePlan(collection="people/*/notes/*/lines", table=LONG, keys=(NASTY[0], HOSTILE, "id"), columns=(), parent="people/*/notes")
TABLES = (PEOPLE, NOTES, LINES)

CATALOGS = (
    """SELECT relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull, collname
    FROM pg_attribute JOIN pg_class AS one ON one.oid = attrelid LEFT JOIN pg_collation ON pg_collation.oid = attcollation
    WHERE relnamespace = %(schema)s::regnamespace AND relkind = 'r' AND attnum > 0""",
    """SELECT relname, relrowsecurity, relacl::text FROM pg_class AS one
    WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'i')""",
    """SELECT conrelid::regclass::text, conname, pg_get_constraintdef(one.oid), obj_description(one.oid, 'pg_constraint')
    FROM pg_constraint AS one WHERE connamespace = %(schema)s::regnamespace""",
    """SELECT pg_get_indexdef(indexrelid), obj_description(indexrelid, 'pg_class') FROM pg_index AS one JOIN pg_class ON oid = indexrelid
    WHERE relnamespace = %(schema)s::regnamespace""",
    "SELECT nspacl::text FROM pg_namespace AS one WHERE oid = %(schema)s::regnamespace",
)


def catalogs(url: str, schema: str) -> list[list[tuple[Any, ...]]]:
    """All that PostgreSQL knows of the tables of a schema, without numbers that are new in every database."""
    with psycopg.connect(url) as connection:
        quoted = {"schema": '"' + schema.replace('"', '""') + '"'}
        return [sorted(connection.execute(f"{query}", quoted).fetchall(), key=repr) for query in CATALOGS]


def script(url: str | None, schema: str, plans: Sequence[TablePlan], foreign_keys: ForeignKeys = "report") -> str:
    if url is None:
        return as_script(statements_for_new_tables(None, schema, plans, foreign_keys))
    with target(url) as connection:
        return as_script(statements_for_new_tables(connection, schema, plans, foreign_keys))


@pytest.mark.parametrize("foreign_keys", get_args(ForeignKeys))
@pytest.mark.parametrize("schema", ["public", 'odd "% schema'])
def test_the_sql_of_a_plan_makes_what_a_migration_publishes(postgres: PostgresServer, schema: str, foreign_keys: ForeignKeys) -> None:
    with new_database(postgres) as migrated, new_database(postgres) as empty:
        foreseen = script(migrated, schema, TABLES, foreign_keys)
        with target(migrated) as connection:
            migrate(connection, FIRST, {}, TABLES, schema=schema, foreign_keys=foreign_keys)
        assert foreseen == script(None, schema, TABLES, foreign_keys)
        with psycopg.connect(empty) as by_hand:
            by_hand.execute(foreseen.encode())
        published = catalogs(migrated, schema)
        assert catalogs(empty, schema) == published
        columns, _, constraints, indexes, _ = published
        assert (len(columns), len(indexes)) == (len(PEOPLE.target_columns()) + 5 + 6, 3 + (2 if foreign_keys != "off" else 0))
        assert len([row for row in constraints if row[3] == "Made by Firelift"]) == (4 if foreign_keys != "off" else 0)
        assert script(migrated, schema, TABLES, foreign_keys) == ""


def test_every_type_and_name_is_in_the_catalog_as_it_is_in_the_plan(postgres: PostgresServer) -> None:
    with new_database(postgres) as url:
        with target(url) as connection:
            migrate(connection, FIRST, {}, TABLES)
        columns, *_ = catalogs(url, "public")
    ids = {*PEOPLE.keys, *PEOPLE.reference_columns()}
    assert {(name, pg_type, required, collation) for table, _, name, pg_type, required, collation in columns if table == PEOPLE.table} == {
        (name, SPELLED.get(pg_type, pg_type), name in PEOPLE.keys, "C" if name in ids else "default" if "text" in pg_type else None)
        for name, pg_type in PEOPLE.target_columns()
    }
    assert {table for table, *_ in columns} == {table.table for table in TABLES}
    assert {TYPE_OF[column.kind] for column in PEOPLE.columns} == {*TYPE_OF.values()}


def test_a_new_table_beside_those_of_the_target_is_made_as_foreseen(postgres: PostgresServer) -> None:
    with new_database(postgres) as migrated, new_database(postgres) as by_hand:
        for url in (migrated, by_hand):
            with target(url) as connection:
                migrate(connection, FIRST, {}, [PEOPLE])
                # The name that the index of a new table would have.
                connection.execute("CREATE TABLE public.posts_author_idx (x int)")
        posts = TablePlan(collection="posts", table="posts", keys=("id",), columns=(link("author", "people"),))
        foreseen = script(migrated, "public", [PEOPLE, posts])
        assert "posts_author_idx1" in foreseen
        with target(migrated) as connection:
            migrate(connection, SECOND, {}, [PEOPLE, posts])
        with psycopg.connect(by_hand) as connection_by_hand:
            connection_by_hand.execute(foreseen.encode())
        assert catalogs(by_hand, "public") == catalogs(migrated, "public")


def test_keys_and_indexes_have_the_names_that_postgresql_gives(postgres: PostgresServer) -> None:
    names = ["a", "a_pkey", "a_b_idx", LONG, "x" * 63, "日本" * 10, "y" * 40]
    columns = ["b", "c" * 63, "ü" * 31, "日" * 21, "z" * 25]
    tables = [
        TablePlan(collection=name, table=name, keys=("id",), columns=tuple(link(column, name) for column in columns)) for name in names
    ]
    with new_database(postgres) as url, closing(connect(url, "firelift-test")) as connection:
        for table in tables:
            connection.execute(create_table(TargetTable("public", table)))
        for table in tables:
            connection.execute(psycopg.sql.SQL("ALTER TABLE public.{} ADD PRIMARY KEY (id)").format(psycopg.sql.Identifier(table.table)))
        for table in tables:
            for column in columns:
                connection.execute(create_index("public", table.table, [column]))
                connection.execute(add_foreign_key("public", table.table, [column], table.table, ["id"]))
        _, relations, constraints, *_ = catalogs(url, "public")
    metadata = planned_tables("public", tables).metadata.tables.values()
    assert {name for name, *_ in relations} == {
        str(name) for table in metadata for name in (table.name, table.primary_key.name, *(index.name for index in table.indexes))
    }
    assert {name for _, name, definition, _ in constraints if not definition.startswith("NOT NULL")} == {
        str(constraint.name) for table in metadata for constraint in table.constraints
    }
