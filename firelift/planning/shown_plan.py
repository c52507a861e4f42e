"""The plan as reports show it: its columns under the names that readers of reports know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firelift.planning.model import Column, Plan


def shown_plan(plan: Plan) -> dict[str, Any]:
    """The plan as JSON. `read_shown_plan` makes the plan of it again."""
    tables = [
        {**written, "columns": [_shown(*both) for both in zip(table.columns, written["columns"], strict=True)]}
        for table, written in zip(plan.tables, plan.model_dump(mode="json")["tables"], strict=True)
    ]
    return {"database": plan.database, "tables": tables}


def _shown(column: Column, written: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": column.name,
        "field": column.dotted_path,
        "path": written["path"],
        "holds": column.kind,
        "null_means": column.null_means,
        "shape": written["shape"],
        "link": written["reference"],
    }


def read_shown_plan(shown: Mapping[str, Any]) -> Plan:
    tables = [{**table, "columns": [_read(column) for column in table["columns"]]} for table in shown["tables"]]
    return Plan.model_validate({**shown, "tables": tables})


def _read(column: Mapping[str, Any]) -> dict[str, Any]:
    same = {name: column[name] for name in ("name", "path", "null_means", "shape")}
    return {**same, "kind": column["holds"], "reference": column["link"]}
