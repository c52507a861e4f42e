"""Counts the values of many documents of one collection at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa

from firelift.firestore import fields as at_once
from firelift.firestore.fields import ARRAY, DOUBLE, MAP, ONEOF_OF, REFERENCE, Documents, Field
from firelift.firestore.values import UnknownValueType, Value
from firelift.planning.profile import MOST_KEYS, CollectionProfile, Profiler, ValueProfile

LONGEST_ARRAY: Final = 32


def see_documents(profiler: Profiler, collection: str, documents: Documents) -> None:
    """Counts documents of one collection; the same as if `profiler.see` had seen each.

    Raises UnknownValueType, with the path of the document.
    """
    if profiler.is_nearly_full(collection):
        _see_each(profiler, collection, documents, range(len(documents)))
        return
    try:
        _Counter(profiler, documents.data).see(profiler.of(collection), documents.fields, len(documents) - int(documents.odd.sum()))
    except UnknownValueType:
        # This says in which document it is.
        _see_each(profiler, collection, documents, range(len(documents)))
        raise
    _see_each(profiler, collection, documents, np.flatnonzero(documents.odd))


def _see_each(profiler: Profiler, collection: str, documents: Documents, rows: Iterable[int]) -> None:
    for row in rows:
        profiler.see(collection, documents.parsed(row))


class _Counter:
    def __init__(self, profiler: Profiler, data: Any) -> None:
        self._profiler, self._data = profiler, data

    def see(self, seen: CollectionProfile, fields: Mapping[str, Field], documents: int) -> None:
        seen.documents += documents
        for name, field in fields.items():
            if not len(field):
                continue
            if name not in seen.fields:
                seen.fields[name] = self._profiler.new()
            self._count(seen.fields[name], field)

    def _count(self, values: ValueProfile, field: Field) -> None:
        for kind, number in enumerate(np.bincount(field.kinds, minlength=1)):
            if number:
                count = self._deeper.get(kind)
                if count is None:
                    values.counts[ONEOF_OF[kind]] += int(number)
                else:
                    count(self, values, field if number == len(field) else field.of(field.kinds == kind))

    def _doubles(self, values: ValueProfile, field: Field) -> None:
        values.counts["double_value"] += len(field)
        if nonfinite := len(field) - int(np.isfinite(at_once.doubles(self._data, field)).sum()):
            values.counts["nonfinite"] += nonfinite

    def _references(self, values: ValueProfile, field: Field) -> None:
        for reference in at_once.slices(self._data, field).cast(pa.string()).to_pylist():
            self._profiler.count_reference(values, reference)

    def _maps(self, values: ValueProfile, field: Field) -> None:
        numbers = np.arange(len(field))
        keys, ends, odd = at_once.entries(self._data, numbers, field.starts, field.ends, at_once.MAP_ENTRY)
        odd |= ends != field.ends
        if "__type__" in keys:
            odd[keys["__type__"].rows] = True  # a vector, perhaps
        if len({*keys, *(values.keys or ())}) > MOST_KEYS:
            odd[:] = True
        self._each(values, field.of(odd))
        for kind, content in at_once.wrapped(self._data, keys, len(field)).items():
            if counted := content.of(~odd[content.rows]):
                values.counts[kind] += len(counted)
                odd[counted.rows] = True
        whole = len(field) - int(odd.sum())
        if not whole:
            return
        values.counts["map_value"] += whole
        values.keys = {} if values.keys is None else values.keys
        for name, found in keys.items():
            if len(inner := found.of(~odd[found.rows])):
                if name not in values.keys:
                    values.keys[name] = self._profiler.new()
                self._count(values.keys[name], inner)

    def _arrays(self, values: ValueProfile, field: Field) -> None:
        found, odd = at_once.elements(self._data, field, LONGEST_ARRAY)
        self._each(values, field.of(odd))
        if whole := len(field) - int(odd.sum()):
            values.counts["array_value"] += whole
            values.every = values.every or self._profiler.new()
            self._count(values.every, found)

    def _each(self, values: ValueProfile, field: Field) -> None:
        for start, end in zip(field.values.tolist(), field.ends.tolist(), strict=True):
            self._profiler.count(values, Value.FromString(self._data[start:end].tobytes()))

    _deeper: Final[Mapping[int, Callable[[_Counter, ValueProfile, Field], None]]] = {
        DOUBLE: _doubles,
        REFERENCE: _references,
        MAP: _maps,
        ARRAY: _arrays,
    }
