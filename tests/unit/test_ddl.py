"""The statements that make a plan's tables."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from firelift.planning.model import TYPE_OF, UPDATED_AT, Column, ColumnKind, PgType, ReferenceTarget, Shape, TablePlan
from firelift.postgres.inspect.plan_sql import UNLESS_ORPHANED, statements
from firelift.postgres.load.constraints import ForeignKeys
from firelift.postgres.schema.ddl import (
    add_columns,
    add_foreign_key,
    add_soft_delete_column,
    comment_on_constraint,
    comment_on_index,
    create_index,
    create_keys,
    create_table,
    enable_row_security,
    grant,
    planned_tables,
    revoke,
)
from firelift.postgres.schema.names import backup_schema, default_name, staging_schema
from firelift.postgres.schema.target_table import TargetTable

ROOT = Path(__file__).parents[2]

ORDERS = TablePlan(
    collection="users/*/orders",
    table="users_orders",
    keys=("users_id", "id"),
    columns=(
        Column(name="total", path=("total",), kind="double"),
        Column(name="placed", path=("placed",), kind="timestamps"),
        Column(
            name="seller",
            path=("seller",),
            kind="link",
            reference=ReferenceTarget(collection="orgs/*/people", ancestors=("seller_orgs_id",)),
        ),
    ),
    extra=Shape(),
    parent="users",
)


def test_the_text_of_a_table_is_what_stands_in_the_target() -> None:
    assert [*statements("public", [ORDERS], "report")] == [
        """CREATE TABLE "public"."users_orders" (
    "users_id" text COLLATE "C" NOT NULL,
    "id" text COLLATE "C" NOT NULL,
    "total" double precision,
    "placed" timestamptz[],
    "seller" text COLLATE "C",
    "seller_orgs_id" text COLLATE "C",
    "firestore_extra" jsonb,
    "firestore_created_at" timestamptz,
    "firestore_updated_at" timestamptz,
    "firestore_residue" jsonb,
    CONSTRAINT "users_orders_pkey" PRIMARY KEY ("users_id", "id")
)""",
        'ALTER TABLE "public"."users_orders" ENABLE ROW LEVEL SECURITY',
        'REVOKE ALL ON TABLE "public"."users_orders" FROM PUBLIC',
    ]


def test_every_type_is_spelled_as_in_plans() -> None:
    kinds = {TYPE_OF[kind]: kind for kind in get_args(ColumnKind)}
    assert {*kinds} == {*get_args(PgType)}
    columns = tuple(Column(name=kind, path=(kind,), kind=kind) for kind in kinds.values())
    table = TargetTable("s", TablePlan(collection="x", table="x", keys=("id",), columns=columns))
    lines = [f'    "{kind}" {pg_type},\n' for pg_type, kind in kinds.items()]
    assert "".join(lines) in create_table(table).as_string()
    staged = "".join(lines).replace("timestamptz[]", "timestamp[]")
    assert staged in create_table(table, staged=True).as_string()


NASTY = [
    "100%",
    "%s",
    "%(id)s",
    ":id",
    "a.b",
    '"',
    "'",
    "{x}",
    "{",
    "back\\slash",
    "$1",
    "Grün",
    "日本",
    "select",
    " ",
    "é" * 31 + "x",
    "--",
    "?",
]


@pytest.mark.parametrize("name", NASTY)
def test_a_name_of_any_letters_is_quoted_and_stays_as_it_is(name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    link = Column(name=name, path=(name,), kind="link", reference=ReferenceTarget(collection="x", ancestors=()))
    plan = TablePlan(collection="x", table=name, keys=("id",), columns=(link,))
    table, on = TargetTable(name, plan), f"{quoted}.{quoted}"
    pkey, idx, fkey = (
        default_name(name, columns, ending, ()).replace('"', '""') for columns, ending in (((), "pkey"), ([name], "idx"), ([name], "fkey"))
    )
    ends = f'FOREIGN KEY({quoted}) REFERENCES {on} ("id")'
    assert [*statements(name, [plan], "strict")] == [
        f"""CREATE TABLE {on} (
    "id" text COLLATE "C" NOT NULL,
    {quoted} text COLLATE "C",
    "firestore_created_at" timestamptz,
    "firestore_updated_at" timestamptz,
    "firestore_residue" jsonb,
    CONSTRAINT "{pkey}" PRIMARY KEY ("id")
)""",
        f"ALTER TABLE {on} ENABLE ROW LEVEL SECURITY",
        f"REVOKE ALL ON TABLE {on} FROM PUBLIC",
        f'CREATE INDEX "{idx}" ON {on} ({quoted})',
        f"COMMENT ON INDEX {quoted}.\"{idx}\" IS 'Made by Firelift'",
        f'ALTER TABLE {on} ADD CONSTRAINT "{fkey}" {ends}',
        f"COMMENT ON CONSTRAINT \"{fkey}\" ON {on} IS 'Made by Firelift'",
    ]
    key = 'CREATE TABLE IF NOT EXISTS {} (\n    "id" text COLLATE "C" NOT NULL,\n    PRIMARY KEY ("id")\n)'
    added = f'ADD COLUMN {quoted} text COLLATE "C"'
    made = [
        (add_columns(table, [name]), f"ALTER TABLE {on} {added}"),
        (add_columns(table, [name, UPDATED_AT]), f'ALTER TABLE {on} {added}, ADD COLUMN "{UPDATED_AT}" timestamptz'),
        (add_soft_delete_column(table), f'ALTER TABLE {on} ADD COLUMN "firestore_deleted_at" timestamptz'),
        (create_keys(table, name), key.replace("{}", on)),
        (create_index(name, name, [name, "id"]), f'CREATE INDEX ON {on} ({quoted}, "id")'),
        (create_index(name, name, [name], name), f"CREATE INDEX {quoted} ON {on} ({quoted})"),
        (comment_on_index(name, name), f"COMMENT ON INDEX {on} IS 'Made by Firelift'"),
        (add_foreign_key(name, name, [name], name, ["id"]), f"ALTER TABLE {on} ADD {ends}"),
        (comment_on_constraint(name, name, name), f"COMMENT ON CONSTRAINT {quoted} ON {on} IS 'Made by Firelift'"),
        (planned_tables(name, [plan]).primary_key(name), f'ALTER TABLE {on} ADD CONSTRAINT "{pkey}" PRIMARY KEY ("id")'),
        (enable_row_security(name, name), f"ALTER TABLE {on} ENABLE ROW LEVEL SECURITY"),
        (grant("USAGE", name, [name]), f"GRANT USAGE ON SCHEMA {quoted} TO {quoted}"),
        (grant("ALL", name, ["a", name], name), f'GRANT ALL ON TABLE {on} TO "a", {quoted}'),
        (revoke("ALL", name, [name], name, everybody=True), f"REVOKE ALL ON TABLE {on} FROM PUBLIC, {quoted}"),
        (revoke("CREATE", name, ["PUBLIC"]), f'REVOKE CREATE ON SCHEMA {quoted} FROM "PUBLIC"'),
        (revoke("ALL", name, [], all_tables=True, everybody=True), f"REVOKE ALL ON ALL TABLES IN SCHEMA {quoted} FROM PUBLIC"),
    ]
    assert [statement.as_string() for statement, _ in made] == [text for _, text in made]


def test_no_foreign_key_is_made_where_none_is_wanted_and_one_that_depends_on_rows_says_so() -> None:
    child = TablePlan(collection="users/*/notes", table="notes", keys=("users_id", "id"), columns=(), parent="users")
    author = Column(name="author", path=("author",), kind="link", reference=ReferenceTarget(collection="users"))
    users = TablePlan(collection="users", table="users", keys=("id",), columns=(author,))
    # CREATE, RLS and REVOKE for each.
    tables, (parent, link) = 6, (2, 4)

    def after_the_tables(foreign_keys: ForeignKeys) -> list[str]:
        return [*statements("public", [child, users], foreign_keys)][tables:]

    assert after_the_tables("off") == []
    assert [text.startswith(UNLESS_ORPHANED) for text in after_the_tables("report")] == [True] * (parent + link)
    assert [text.startswith(UNLESS_ORPHANED) for text in after_the_tables("strict")] == [True] * parent + [False] * link
    assert [text.removeprefix(UNLESS_ORPHANED) for text in after_the_tables("report")][:parent] == [
        'ALTER TABLE "public"."notes" ADD CONSTRAINT "notes_users_id_fkey" FOREIGN KEY("users_id") REFERENCES "public"."users" ("id")',
        'COMMENT ON CONSTRAINT "notes_users_id_fkey" ON "public"."notes" IS \'Made by Firelift\'',
    ]


def test_only_new_tables_are_made_and_they_may_refer_to_those_that_are_there() -> None:
    author = Column(name="author", path=("author",), kind="link", reference=ReferenceTarget(collection="users"))
    users, posts = (TablePlan(collection=name, table=name, keys=("id",), columns=(author,)) for name in ("users", "posts"))
    in_run = [*statements("s", [users, posts], "strict", taken=["users", "users_pkey", "users_author_idx"])]
    assert in_run == [*statements("s", [posts], "strict", others=[users], taken=["users", "users_pkey", "users_author_idx"])]
    assert [text.split(" (")[0] for text in in_run] == [
        'CREATE TABLE "s"."posts"',
        'ALTER TABLE "s"."posts" ENABLE ROW LEVEL SECURITY',
        'REVOKE ALL ON TABLE "s"."posts" FROM PUBLIC',
        'CREATE INDEX "posts_author_idx" ON "s"."posts"',
        'COMMENT ON INDEX "s"."posts_author_idx" IS \'Made by Firelift\'',
        'ALTER TABLE "s"."posts" ADD CONSTRAINT "posts_author_fkey" FOREIGN KEY("author") REFERENCES "s"."users"',
        'COMMENT ON CONSTRAINT "posts_author_fkey" ON "s"."posts" IS \'Made by Firelift\'',
    ]
    assert [*statements("s", [users], "strict", taken=["users"])] == []


def test_a_new_schema_and_its_tables_are_opened_to_the_service_role_alone() -> None:
    found = [*statements("s", [ORDERS], "off", roles=["anon", "authenticated", "service_role"], makes_schema=True)]
    assert [text for text in found if not text.startswith("CREATE TABLE")] == [
        'CREATE SCHEMA "s"',
        'GRANT USAGE ON SCHEMA "s" TO "service_role"',
        'ALTER TABLE "s"."users_orders" ENABLE ROW LEVEL SECURITY',
        'REVOKE ALL ON TABLE "s"."users_orders" FROM PUBLIC, "anon", "authenticated"',
        'GRANT ALL ON TABLE "s"."users_orders" TO "service_role"',
    ]


def test_no_index_is_called_as_a_table_or_another_index() -> None:
    def linking(table: str) -> TablePlan:
        refers = Column(name="b", path=("b",), kind="link", reference=ReferenceTarget(collection="a"))
        return TablePlan(collection=table, table=table, keys=("id",), columns=(refers,))

    made = planned_tables("s", [*map(linking, ("a", "a_pkey", "a_b_idx"))], taken=["a_b_idx1"]).metadata.tables.values()
    names = {table.name: [table.primary_key.name, *(index.name for index in table.indexes)] for table in made}
    assert names == {
        "a": ["a_pkey1", "a_b_idx2"],
        "a_pkey": ["a_pkey_pkey", "a_pkey_b_idx"],
        "a_b_idx": ["a_b_idx_pkey", "a_b_idx_b_idx"],
    }


@pytest.mark.parametrize(
    ("migration_id", "schema"),
    [
        ("nightly_7", "firelift_staging_nightly_7"),
        ("migration-2026-11-22T10-30-00-123Z-abc123", "firelift_staging_migration_2026_11_22t10_30_00_123z_ab_446d685a"),
        ("Nightly  Run!", "firelift_staging_nightly_run__d6ecfa89"),
        ("x" * 46, "firelift_staging_" + "x" * 46),
        ("x" * 47, "firelift_staging_" + "x" * 37 + "_b35f3728"),
    ],
)
def test_the_staging_schema_is_named_after_the_run(migration_id: str, schema: str) -> None:
    assert staging_schema(migration_id) == schema
    assert len(schema) <= 63


@pytest.mark.parametrize("schema_of", [staging_schema, backup_schema])
def test_runs_whose_names_read_alike_share_no_schema(schema_of: Callable[[str], str]) -> None:
    alike = ["prod_1", "prod-1", "prod.1", "PROD_1", "Prod-1", "prod__1", "pröd 1", "prod 1"]
    alike += [start + "prod" * 20 + end for start in ("", "P") for end in ("", "-1", "_1", ".1")]
    names = {schema_of(migration_id) for migration_id in alike}
    assert len(names) == len(alike)
    assert all(re.fullmatch("[a-z0-9_]{1,63}", name) for name in names)


def test_a_worker_that_loads_rows_does_not_import_sqlalchemy() -> None:
    """It takes 0.2 s, in every one of them."""
    asked = "import sys, firelift.phases.import_, firelift.phases.transformation; print('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split() == ["False"]
