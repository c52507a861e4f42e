"""Proofs made by hand: what the engine would find out about tables that are as they should be."""

from __future__ import annotations

from typing import Any

from firelift.planning.model import Plan, TablePlan
from firelift.receipts import TableCompared
from firelift.settings.types import LevelName
from firelift.verification.proof import ColumnProved, DigestUnit, Measured, NestedProved, Proof, RelationProved, Reread

FOUND = ("relations", "columns", "nested", "rereads", "performance")
DIGEST, OTHER = "a" * 64, "b" * 64


def proof_of(plan: Plan, rows: dict[str, int], level: LevelName = "comprehensive", schema: str = "public", **changed: Any) -> Proof:
    """Of tables that hold this many rows and lack nothing; `changed` replaces parts of it."""
    found: dict[str, Any] = {
        "level": level,
        "against": "archive",
        "schema_name": schema,
        "read_time": "2026-11-22T10:30:00Z",
        "seed": "a seed",
        "tables": tuple(compared(table, rows[table.table]) for table in plan.tables),
        "pieces": tuple(DigestUnit(table=table.table, key=f"{table.table}-1", documents=1, **same()) for table in plan.tables),
    }
    if level != "basic":
        found |= {
            "columns": tuple(column(table.table, planned.name) for table in plan.tables for planned in table.columns),
            "performance": (measured(plan.tables[0], 1.0),) if plan.tables else (),
        }
    if level == "comprehensive":
        found |= {
            "nested": tuple(nested(table.table) for table in plan.tables),
            "rereads": tuple(Reread(table=table.table, asked=1, differing=0) for table in plan.tables),
        }
    found |= changed
    checks = {name: found.pop(name) for name in FOUND if name in found}
    return Proof(**found, found=checks)


def same() -> dict[str, Any]:
    return {"source_digest": DIGEST, "target_digest": DIGEST}


def compared(table: TablePlan, rows: int, **changed: Any) -> TableCompared:
    found: dict[str, Any] = {"collection": table.collection, "table": table.table, "documents": rows, "rejected": 0, "rows": rows}
    return TableCompared(**found | {"compared": rows, "differing": 0, "whole": True} | changed)


def column(table: str, name: str, **changed: Any) -> ColumnProved:
    found: dict[str, Any] = {"table": table, "column": name, "expected_present": 3, "present": 3, "query": "SELECT 1"}
    ranges = {"expected_low": "1", "low": "1", "expected_high": None, "high": "9"}
    return ColumnProved(**found | ranges | changed)


def nested(table: str, unreadable: int = 0) -> NestedProved:
    return NestedProved(table=table, column="address", place="address.since", reads_as="timestamp", unreadable=unreadable, query="SELECT 2")


def measured(table: TablePlan, p95: float, limit: float | None = 5.0) -> Measured:
    return Measured(table=table.table, what="key lookup", samples=20, p50=0.5, p95=p95, p99=p95, limit=limit, query="SELECT 3")


def relation(expected: int | None, orphans: int, foreign_key: bool = True, **changed: Any) -> RelationProved:
    """That of orders to the users whom they are given to."""
    query = (
        'SELECT source."users_id", source."id" FROM "public"."users_orders" AS source WHERE source."gift_for" IS NOT NULL'
        ' AND NOT EXISTS (SELECT FROM "public"."users" AS target WHERE target."id" = source."gift_for")'
    )
    found: dict[str, Any] = {"table": "users_orders", "columns": ("gift_for",), "references": "users", "examples": (), "query": query}
    return RelationProved(**found | {"expected": expected, "orphans": orphans, "foreign_key": foreign_key} | changed)
