"""What an incremental run changes in each table, as the report has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from firelift.planning.model import DELETED_AT

if TYPE_CHECKING:
    from firelift.planning.increment import Increment, SchemaStep, TableIncrement

SUMMED: Final = ("new", "changed", "gone", "rewritten")
"""What may become of a row, in the words of the report."""


def increment_report(found: Increment | None, schema: str) -> dict[str, Any] | None:
    """What is done to each table of this schema; None for other modes."""
    if found is None:
        return None
    tables = [_table(table, found.deletes, schema) for table in found.tables]
    return {"deletes": found.deletes, "tables": tables, "totals": _totals(tables)}


def touched(increment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tables in which more changes than their watermark, those with most changes first."""
    found = [table for table in increment["tables"] if table["how"] == "whole" or changes(table) or table["steps"]]
    return sorted(found, key=lambda table: (-changes(table), table["collection"]))


def writes(increment: Mapping[str, Any]) -> bool:
    """Whether any table is written to: rows of documents that are gone may be left as they are."""
    left = increment["deletes"] == "ignore"
    return any(table["how"] == "whole" or table["steps"] or changes(table) > (table["gone"] if left else 0) for table in touched(increment))


def changes(table: Mapping[str, Any]) -> int:
    """How many rows it is about."""
    return sum(table[name] for name in SUMMED)


def _table(table: TableIncrement, deletes: str, schema: str) -> dict[str, Any]:
    return {
        "collection": table.collection,
        "table": table.table,
        "how": "whole" if table.before is None else "difference",
        "base": table.base,
        "keys": table.keys,
        "scanned": table.scanned,
        "new": table.new,
        "changed": table.changed,
        "gone": table.deleted,
        "rewritten": table.rewritten,
        "unchanged": max(0, table.keys - table.new - table.changed) if table.scanned else None,
        "steps": [str(step) for step in table.steps],
        "ddl": list(_ddl(table, deletes, schema)),
    }


def _totals(tables: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    listed = list(tables)
    return {
        # Of a collection that is migrated whole there were no keys to compare with.
        "keys": sum(table["keys"] for table in listed if table["scanned"] and table["how"] == "difference"),
        **{name: sum(table[name] for table in listed) for name in SUMMED},
        "unchanged": sum(table["unchanged"] or 0 for table in listed),
        "steps": sum(len(table["steps"]) for table in listed),
    }


def _ddl(table: TableIncrement, deletes: str, schema: str) -> Iterator[str]:
    """The steps as SQL, for people: a reference's columns for ancestors, or views to be made anew, are not in it."""
    name = f"{_identifier(schema)}.{_identifier(table.table)}"
    for step in table.steps:
        yield _statement(step, name)
    if deletes == "mark" and table.deleted and table.before is not None and not table.before.marks_deleted:
        yield f"ALTER TABLE {name} ADD COLUMN IF NOT EXISTS {DELETED_AT} timestamptz"


def _statement(step: SchemaStep, table: str) -> str:
    match step.kind:
        case "new table":
            return f"CREATE TABLE {table} (...)"
        case "new column":
            return f"ALTER TABLE {table} ADD COLUMN {_identifier(step.column)} {step.after}"
        case "wider column":
            return f"ALTER TABLE {table} ALTER COLUMN {_identifier(step.column)} TYPE {step.after}"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
