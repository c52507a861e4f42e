"""Why the plan is as it is: reasons for every table and column, for readers of the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from firelift.formatting import counted
from firelift.planning.build import MOST_COLUMNS, PlanOptions
from firelift.planning.model import EXTRA, Column, Plan, TablePlan
from firelift.planning.naming import CONVERSIONS, IMPOSSIBLE, MOST_BYTES, OURS
from firelift.planning.profile import CollectionProfile, Profile, ValueProfile

MOST_EXTRA: Final = 100
"""How many fields of `firestore_extra` are listed by name; there may be thousands."""

_WORDS: Final = {
    "null": ("a null", "nulls"),
    "boolean": ("a boolean", "booleans"),
    "integer": ("an integer", "integers"),
    "double": ("a double", "doubles"),
    "timestamp": ("a timestamp", "timestamps"),
    "string": ("a string", "strings"),
    "bytes": ("bytes", "bytes"),
    "reference": ("a reference", "references"),
    "geopoint": ("a geopoint", "geopoints"),
    "array": ("an array", "arrays"),
    "map": ("a map", "maps"),
    "vector": ("a vector", "vectors"),
    "int32": ("a 32-bit integer", "32-bit integers"),
    "decimal128": ("a decimal number", "decimal numbers"),
    "object_id": ("an ObjectId", "ObjectIds"),
}


def reasons(profile: Profile, plan: Plan, options: PlanOptions, earlier: Mapping[str, TablePlan]) -> list[dict[str, Any]]:
    """Every table and column with the reason for its name and type. `earlier`: the plans of published tables."""
    return [_table(table, profile[table.collection], options, earlier.get(table.collection)) for table in plan.tables]


def _table(table: TablePlan, seen: CollectionProfile, options: PlanOptions, earlier: TablePlan | None) -> dict[str, Any]:
    before = {column.path: column.name for column in earlier.earlier_columns()} if earlier else {}
    columns = [
        {
            "field": column.dotted_path,
            "column": column.name,
            "type": column.type,
            "holds": column.kind,
            "why": "; ".join(
                [_type(column, seen), *_name(column, options, table, before.get(column.path)), *_null(column), *_ancestors(column)]
            ),
        }
        for column in table.columns
    ]
    return {
        "collection": table.collection,
        "table": table.table,
        "why": _table_name(table, options, earlier),
        "keys": list(table.keys),
        "columns": columns,
        "extra": _extra(table, seen),
    }


def _table_name(table: TablePlan, options: PlanOptions, earlier: TablePlan | None) -> str:
    if options.mapping.table(table.collection):
        return "named by your mapping file"
    if earlier is not None and earlier.table == table.table:
        return "the table that an earlier migration made for this collection"
    plain = "_".join(CONVERSIONS[options.naming](segment) for segment in table.collection.split("/")[::2])
    if table.table == table.collection:
        return "named as the collection"
    if table.table == plain:
        return f"named after the collection path, {options.naming}"
    return _changed(plain, table.table, "table")


def _type(column: Column, seen: CollectionProfile) -> str:
    values = seen.at(column.path)
    if values is None:
        return "no document has this field now; the column stays for those that had it"
    kinds = {kind: count for kind, count in values.kinds().items() if kind != "null"}
    if not kinds:
        return "every value is null"
    if kinds.keys() == {"reference"}:
        return _references(column, values)
    if kinds.keys() == {"array"}:
        return _arrays(values) + _or_null(values)
    if len(kinds) == 1:
        [kind] = kinds
        return f"every value is {_WORDS[kind][0]}{_or_null(values)}"
    if kinds.keys() == {"integer", "double"}:
        return f"integers and doubles ({_shares(kinds)}): double precision holds both, firestore_residue records which"
    if kinds.keys() <= {"int32", "integer", "double"}:
        return f"numbers ({_shares(kinds)}): {column.type} holds all, firestore_residue records which"
    return f"mixed types ({_shares(kinds)}): only jsonb holds them all"


def _or_null(values: ValueProfile) -> str:
    return " or null" if values.counts["null_value"] else ""


def _references(column: Column, values: ValueProfile) -> str:
    if column.reference is not None:
        return f"every value is a reference to {column.reference.collection}: its id, so that it can be joined"
    targets = [target for target in values.targets or {} if target]
    if len(values.targets or {}) > 1:
        return f"references to {counted(len(values.targets or {}), 'collection')}: the path"
    return f"references to {targets[0]}, which is not migrated: the path" if targets else "references to another database: the whole name"


def _arrays(values: ValueProfile) -> str:
    elements = values.every.kinds() if values.every is not None else {}
    if not elements:
        return "every value is an empty array: jsonb takes whatever will be in it"
    if len(elements) > 1:
        return f"arrays of mixed elements ({_shares(elements)}): only jsonb holds them all"
    [kind] = elements
    only = "" if kind in ("string", "integer", "double", "boolean", "timestamp") else ": jsonb"
    return f"every value is an array of {_WORDS[kind][1]}{only}"


def _shares(kinds: Mapping[str, int]) -> str:
    """`88 % integers, 12 % strings`, the most frequent first."""
    total = sum(kinds.values())
    listed = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{_percent(count, total)} {_WORDS[kind][1]}" for kind, count in listed)


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole
    return "under 1 %" if share < 1 else "over 99 %" if 99 < share < 100 else f"{share:.0f} %"


def _name(column: Column, options: PlanOptions, table: TablePlan, before: str | None) -> list[str]:
    """Why the column has another name than its field; empty where it has the same."""
    if options.mapping.column(table.collection, column.path) == column.name:
        return ["named by your mapping file"]
    if column.name == column.dotted_path:
        return []
    converted = CONVERSIONS[options.naming](column.dotted_path)
    if before == column.name != converted:
        return ["named as in the table of an earlier migration"]
    if not converted:
        return ["renamed because no character of the field's name is allowed in a column's"]
    if converted in table.keys or converted in IMPOSSIBLE or converted.startswith(OURS):
        owner = "Postgres" if converted in IMPOSSIBLE else "Firelift"
        return [f"renamed because {owner} reserves {converted}"]
    if converted == column.name:
        return [f"renamed by {options.naming}"]
    return [_changed(converted, column.name, "column")]


def _changed(wanted: str, given: str, what: str) -> str:
    if len(wanted.encode()) > MOST_BYTES:
        return f"shortened because Postgres cuts names at {MOST_BYTES} bytes"
    return f"renamed because another {what} has the name {wanted}" if given.startswith(wanted[:8]) else "renamed"


def _null(column: Column) -> list[str]:
    return ["NULL means an explicit null, which is more frequent here than a missing field"] if column.null_means == "null" else []


def _ancestors(column: Column) -> list[str]:
    names = ", ".join(column.reference.ancestors) if column.reference else ""
    return [f"the ids of its parent documents are in {names}"] if names else []


def _extra(table: TablePlan, seen: CollectionProfile) -> dict[str, Any] | None:
    """The fields without a column of their own; None where every field has one."""
    if table.extra is None:
        return None
    shown = {column.path for column in table.columns}
    rest = {field: sum(values.kinds().values()) for field, values in seen.fields.items() if (field,) not in shown}
    commonest = sorted(rest, key=lambda field: (-rest[field], field.encode()))[:MOST_EXTRA]
    why = f"rarest fields, kept in {EXTRA}: a row has room for {len(table.columns)} of them (at most {MOST_COLUMNS} columns)"
    return {
        "column": EXTRA,
        "why": why,
        "fields": len(rest),
        "uncounted": seen.overflowed,
        "first": [{"field": field, "documents": rest[field]} for field in commonest],
    }
