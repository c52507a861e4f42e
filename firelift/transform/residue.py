"""`firestore_residue`: what the columns of a row cannot express, as JSON. It overrides the columns.

    {"values": [{"at": ["field", "key", 0], "is": {"integerValue": "1"}}, …], "createTime": RFC 3339, "updateTime": RFC 3339}

`at` leads from the top-level field down; `is` is a tagged value or `{"missing": true}`. The times are there when finer than microseconds.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import orjson

from firelift.firestore.values import (
    Document,
    Json,
    Path,
    UnknownValueType,
    Value,
    dotted,
    set_moment,
    tagged,
    tagged_key,
    untag,
    untag_key,
)
from firelift.rfc3339 import read_rfc3339, rfc3339
from firelift.transform.readable_json import Exceptions, dumps

MOST_EXCEPTIONS: Final = 64
"""A field with more exceptions than this is kept as one value."""
_MISSING: Final = {"missing": True}


def residue_of(document: Document, exceptions: Exceptions) -> str | None:
    """The residue as JSON text; None where the columns express everything."""
    residue: dict[str, Json] = {}
    for name, moment in (("createTime", document.create_time), ("updateTime", document.update_time)):
        if moment.nanos % 1000:
            residue[name] = rfc3339(moment.seconds, moment.nanos)
    if exceptions:
        places = sorted(_gathered(document, exceptions), key=lambda exception: exception[0])
        residue["values"] = [_entry(path, value) for path, value in places]
    return dumps(residue) if residue else None


def apply_residue(residue: str, document: Document) -> None:
    """Turns the document read from the columns into the exact one."""
    content = orjson.loads(residue)
    for entry in content.get("values", ()):
        _put([_key(key) for key in entry["at"]], entry["is"], document)
    if "createTime" in content:
        set_moment(document.create_time, read_rfc3339(content["createTime"]))
    if "updateTime" in content:
        set_moment(document.update_time, read_rfc3339(content["updateTime"]))


def _gathered(document: Document, exceptions: Exceptions) -> Exceptions:
    if len(exceptions) <= MOST_EXCEPTIONS:
        return exceptions
    places = Counter(path[0] for path, _ in exceptions)
    crowded = {str(field) for field, count in places.items() if count > MOST_EXCEPTIONS}
    kept = [(path, value) for path, value in exceptions if path[0] not in crowded]
    return [*kept, *(((field,), document.fields[field]) for field in crowded)]


def _entry(path: Path, value: Value | None) -> Json:
    at = [tagged_key(key) if isinstance(key, str) else key for key in path]
    try:
        return {"at": at, "is": _MISSING if value is None else tagged(value)}
    except UnknownValueType:
        raise UnknownValueType(field=dotted(path)) from None


def _key(key: Json) -> str | int:
    return key if isinstance(key, int) else untag_key(key)


def _put(path: list[str | int], tag: Json, document: Document) -> None:
    field, *rest = path
    if tag == _MISSING:
        del document.fields[str(field)]
        return
    value = document.fields[str(field)]
    for key in rest:
        value = value.array_value.values[key] if isinstance(key, int) else value.map_value.fields[key]
    value.Clear()
    untag(tag, value)
