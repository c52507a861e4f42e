"""The proof as frames: a row is a place in the target, with what was expected beside what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from firelift.planning.model import Plan
from firelift.postgres.schema.compatibility import SPELLED, ExistingTable
from firelift.receipts import TableCompared
from firelift.verification.proof import ColumnProved, Proof

NONE = "none"
NOT_COMPARED = "not compared"
MISSING = "missing"
STANDS = "stands"

Row = dict[str, Any]


def frames_of(plan: Plan, proof: Proof, standing: Mapping[str, ExistingTable]) -> dict[str, pd.DataFrame]:
    """Every frame that has a row, by name. `table`, `column` and `key` say the place."""
    rows: dict[str, list[Row]] = {
        "tables": [_table(table.table, table.keys, proof.tables, standing) for table in plan.tables],
        "merged": [each.model_dump() for each in proof.merged],
        "types": [row for table in plan.tables for row in _types(table.table, table.target_columns(), standing)],
        "documents": [piece.model_dump() for piece in proof.pieces],
        "differences": [
            {"table": "all", "documents": sum(table.compared for table in proof.tables), "differences": proof.differences_total}
        ],
        "columns": [_column(column) for column in proof.columns],
        "relations": [
            {"table": each.table, "column": ", ".join(each.columns), "references": each.references}
            | {"expected": each.expected, "orphans": each.orphans, "recompute": each.query}
            for each in proof.relations
            if each.expected is not None
        ],
        "foreign_keys": [
            {"table": each.table, "column": ", ".join(each.columns), "references": each.references, "made": STANDS}
            | {"found": STANDS if each.foreign_key else NONE}
            for each in proof.relations
            if each.expected_foreign_key
        ],
        "nested": [nested.model_dump(exclude={"query"}) | {"recompute": nested.query} for nested in proof.nested],
        "rereads": [
            {"table": each.table, "asked": each.asked, "differing": each.differing} for each in proof.rereads if not each.unavailable
        ],
        "performance": [
            {"table": each.table, "what": each.what, "p95": each.p95, "limit": each.limit, "recompute": each.query}
            for each in proof.performance
            if each.limit is not None
        ],
    }
    return {name: pd.DataFrame(found) for name, found in rows.items() if found}


def _table(table: str, keys: Sequence[str], compared: Sequence[TableCompared], standing: Mapping[str, ExistingTable]) -> Row:
    proved = next((each for each in compared if each.table == table), None)
    # A table that nobody compared is as many documents short as can be said.
    expected, rows = (proved.documents - proved.rejected, proved.rows) if proved else (0, -1)
    there = standing.get(table)
    return {
        "table": table,
        "expected_rows": expected,
        "rows": rows,
        "differing": proved.differing if proved else -1,
        "planned_key": ", ".join(keys),
        "primary_key": (", ".join(there.primary_key) or NONE) if there else MISSING,
    }


def _types(table: str, planned: Sequence[tuple[str, Any]], standing: Mapping[str, ExistingTable]) -> list[Row]:
    found = standing[table].columns if table in standing else {}
    return [
        {
            "table": table,
            "column": name,
            "planned": SPELLED.get(pg_type, pg_type),
            "found": found[name].type if name in found else MISSING,
        }
        for name, pg_type in planned
    ]


def _column(column: ColumnProved) -> Row:
    """A range that was not known beforehand says nothing about the one that was found."""
    row = {"table": column.table, "column": column.column, "expected_present": column.expected_present, "present": column.present}
    for end, expected, found in (("low", column.expected_low, column.low), ("high", column.expected_high, column.high)):
        row |= (
            {f"expected_{end}": NOT_COMPARED, end: NOT_COMPARED}
            if expected is None
            else {f"expected_{end}": expected, end: NONE if found is None else found}
        )
    return row | {"recompute": column.query}
