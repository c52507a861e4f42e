"""Why a row has a residue: the causes for which its columns cannot express a value, so that they can be counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import orjson

from firelift.firestore.values import KEY_OF
from firelift.planning.model import Column, ColumnKind, FieldPath, Shape, TablePlan
from firelift.transform.readable_json import PLAIN

EXPLICIT_NULL: Final = "explicit null where a missing field is usual"
MISSING: Final = "missing field where an explicit null is usual"
INTEGER: Final = "integer in a double column"
INT32: Final = "32-bit integer in a column of other numbers"
NUL: Final = "NUL characters"
NUMBER_IN_JSON: Final = "-0.0, NaN or Infinity in jsonb"
ODD_NAN: Final = "NaN with a non-standard bit pattern"
FINE_TIME: Final = "timestamp finer than a microsecond"
FINE_DOCUMENT_TIME: Final = "create or update time finer than a microsecond"
FOREIGN: Final = "reference to another database or collection"
RARER: Final = "value of a rarer type"
NO_COLUMN: Final = "field without a column"
CROWDED: Final = "many exceptions in one field: kept as one value"

_UNSAYABLE: Final = {"-0.0", "NaN", "Infinity", "-Infinity"}
_MISSING_TAG: Final = {"missing": True}
_USUAL: Final[dict[ColumnKind, dict[str, str]]] = {
    "string": {"stringBase64": NUL},
    "double": {"integerValue": INTEGER, "doubleBits": ODD_NAN},
    "timestamp": {"timestampValue": FINE_TIME},
    "reference": {"referenceValue": FOREIGN, "referenceBase64": NUL},
    "link": {"referenceValue": FOREIGN, "referenceBase64": NUL},
    "strings": {"stringBase64": NUL, "arrayValue": CROWDED},
    "doubles": {"doubleBits": ODD_NAN, "arrayValue": CROWDED},
    "timestamps": {"timestampValue": FINE_TIME, "arrayValue": CROWDED},
    "vector": {"mapValue": ODD_NAN},
}
"""The cause by tag, for each kind of column; every other tag is a value of a rarer type."""


def residue_causes(table: TablePlan, residues: Sequence[str]) -> dict[str, int]:
    """The number of values (not rows) in these residues, by cause."""
    columns = {column.path: column for column in table.columns}
    causes: Counter[str] = Counter()
    for residue in residues:
        content = orjson.loads(residue)
        causes[FINE_DOCUMENT_TIME] += ("createTime" in content) + ("updateTime" in content)
        for entry in content.get("values", ()):
            causes[_cause(columns, table.extra, entry["at"], entry["is"])] += 1
    return dict(+causes)


def _cause(columns: dict[FieldPath, Column], extra: Shape | None, at: list[Any], tag: dict[str, Any]) -> str:
    field = at[0] if isinstance(at[0], str) else ""  # a name with a NUL is an object
    column = columns.get((field,))
    if tag == _MISSING_TAG:
        return MISSING
    if column is not None and len(at) == 1 and "nullValue" in tag:
        return EXPLICIT_NULL
    if column is not None and column.kind in ("integer", "double") and _is_int32(tag):
        return INT32
    if column is not None and column.kind != "json":
        return _USUAL.get(column.kind, {}).get(next(iter(tag)), RARER)
    if column is None and (extra is None or not isinstance(at[0], str)):
        return NO_COLUMN
    shape = column.shape if column is not None else extra and extra.keys.get(field, extra.every or PLAIN)
    return _in_json(shape or PLAIN, len(at) == 1, tag)


def _is_int32(tag: dict[str, Any]) -> bool:
    fields = tag.get("mapValue", {}).get("fields", {})
    return fields.keys() == {KEY_OF["int32"]} and "integerValue" in fields[KEY_OF["int32"]]


def _in_json(shape: Shape, is_whole: bool, tag: dict[str, Any]) -> str:
    """The cause of an exception inside jsonb; the shape is that of the whole field."""
    [(name, content)] = tag.items()
    if name in ("stringBase64", "referenceBase64") or "entries" in (content or ()):
        return NUL
    if name == "doubleBits" or (name == "doubleValue" and content in _UNSAYABLE):
        return NUMBER_IN_JSON
    if name == "geoPointValue" and _UNSAYABLE & {content["latitude"], content["longitude"]}:
        return NUMBER_IN_JSON
    if name == "mapValue" and "__type__" in content["fields"]:
        return NUMBER_IN_JSON if is_whole and shape.array == "vector" else RARER
    # A whole array or map where those are usual: it had too many exceptions.
    whole = (name == "arrayValue" and shape.array == "array") or (name == "mapValue" and shape.object == "map")
    return CROWDED if is_whole and whole else RARER
