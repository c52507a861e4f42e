"""The statements that make a plan's tables."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from firelift.planning.model import Column, ReferenceTarget, Shape, TablePlan
from firelift.postgres.schema.ddl import backup_schema, ddl_of, staging_schema

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
    assert (
        ddl_of(ORDERS, "public")
        == """CREATE TABLE "public"."users_orders" (
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
    PRIMARY KEY ("users_id", "id")
);"""
    )


def test_a_hostile_name_stays_a_name() -> None:
    table = TablePlan(collection="x", table='a"; drop table x; --', keys=("id",), columns=())
    assert ddl_of(table, 'p"').startswith('CREATE TABLE "p"""."a""; drop table x; --" (')


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
