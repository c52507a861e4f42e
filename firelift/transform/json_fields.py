"""Readable JSON of many values at once: the same text as `ReadableWriter` and `dumps` make, where it says the values exactly."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from firelift.firestore import fields as at_once
from firelift.firestore.fields import (
    ARRAY,
    BOOLEAN,
    BYTES,
    DOUBLE,
    GEOPOINT,
    INTEGER,
    MAP,
    MAP_ENTRY,
    NULL,
    REFERENCE,
    STRING,
    TIMESTAMP,
    Field,
    Flags,
)
from firelift.planning.model import Shape
from firelift.transform.document_names import Names
from firelift.transform.readable_json import PLAIN

LONGEST_ARRAY: Final = 32
MOST_KEYS: Final = 200
_EXPONENT: Final = 1e16
_SECONDS: Final = range(-62_135_596_800, 253_402_300_800)  # years 1 to 9999

Texts = tuple[pa.StringArray, Flags]
"""A text for each value, and for which values it is not the right one."""


class JsonTexts:
    """Writes the values of one database's documents."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def write(self, data: Any, field: Field, shape: Shape) -> Texts:
        """One JSON text a value, as a jsonb column shows it under this shape."""
        kinds = np.unique(field.kinds).tolist()
        if len(kinds) == 1:
            return self._kinds[kinds[0]](self, data, field, shape)
        texts, wrong = [], np.zeros(len(field), bool)
        places = []
        for kind in kinds:
            chosen = np.flatnonzero(field.kinds == kind)
            found, bad = self._kinds[kind](self, data, field.of(chosen), shape)
            texts.append(found)
            places.append(chosen)
            wrong[chosen[bad]] = True
        if not texts:
            return pa.array([], pa.string()), wrong
        return pa.concat_arrays(texts).take(pa.array(np.argsort(np.concatenate(places)))), wrong

    def _null(self, data: Any, field: Field, shape: Shape) -> Texts:
        return _repeated("null", len(field)), _none(field)

    def _booleans(self, data: Any, field: Field, shape: Shape) -> Texts:
        return pa.array(["false", "true"]).take(pa.array(at_once.booleans(data, field).astype(np.int8))), _none(field)

    def _integers(self, data: Any, field: Field, shape: Shape) -> Texts:
        return pa.array(at_once.integers(data, field)).cast(pa.string()), _none(field)

    def _doubles(self, data: Any, field: Field, shape: Shape) -> Texts:
        return _numbers(at_once.doubles(data, field))

    def _strings(self, data: Any, field: Field, shape: Shape) -> Texts:
        texts, wrong = _quoted(at_once.slices(data, field))
        return texts, wrong if shape.string == "string" else _all(field)

    def _timestamps(self, data: Any, field: Field, shape: Shape) -> Texts:
        seconds, nanos, whole = at_once.timestamps(data, field.starts, field.ends)
        whole &= (seconds >= _SECONDS.start) & (seconds < _SECONDS.stop) & (nanos % 1000 == 0)
        micros = np.where(whole, seconds * 1_000_000 + nanos // 1000, 0).view("datetime64[us]")
        texts = np.where(nanos == 0, np.datetime_as_string(micros, unit="s"), np.datetime_as_string(micros, unit="us"))
        quoted = pc.binary_join_element_wise('"', pa.array(texts, pa.string()), 'Z"', "")
        return quoted, ~whole if shape.string == "timestamp" else _all(field)

    def _bytes(self, data: Any, field: Field, shape: Shape) -> Texts:
        contents = at_once.slices(data, field).to_pylist()
        texts = pa.array([f'"{base64.b64encode(content).decode()}"' for content in contents], pa.string())
        return texts, _none(field) if shape.string == "bytes" else _all(field)

    def _references(self, data: Any, field: Field, shape: Shape) -> Texts:
        names = at_once.slices(data, field).cast(pa.string()).to_pylist()
        texts, wrong = _quoted(pa.array([self._names.path(name) for name in names], pa.string()).cast(pa.binary()))
        wrong |= np.array([not self._names.exact(name) for name in names], bool)
        return texts, wrong if shape.string == "reference" else _all(field)

    def _geopoints(self, data: Any, field: Field, shape: Shape) -> Texts:
        latitudes, longitudes, whole = at_once.geopoints(data, field)
        (latitude, odd), (longitude, odder) = _numbers(latitudes), _numbers(longitudes)
        texts = pc.binary_join_element_wise('{"latitude":', latitude, ',"longitude":', longitude, "}", "")
        return texts, odd | odder | ~whole if shape.object == "geopoint" else _all(field)

    def _arrays(self, data: Any, field: Field, shape: Shape) -> Texts:
        found, odd = at_once.elements(data, field, LONGEST_ARRAY)
        texts, wrong = self.write(data, found, shape.every or PLAIN)
        odd[found.rows[wrong]] = True
        edges = np.concatenate([[0], np.cumsum(np.bincount(found.rows, minlength=len(field)))])
        joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(edges, pa.int32()), texts), ",")
        return pc.binary_join_element_wise("[", joined, "]", ""), odd if shape.array == "array" else _all(field)

    def _maps(self, data: Any, field: Field, shape: Shape) -> Texts:
        keys, ends, odd = at_once.entries(data, np.arange(len(field)), field.starts, field.ends, MAP_ENTRY)
        odd |= ends != field.ends
        if shape.object != "map" or "__type__" in keys or len(keys) > MOST_KEYS or "\0" in "".join(keys):
            return _repeated("{}", len(field)), _all(field)
        parts = []
        for key in sorted(keys):
            inner = keys[key].of(~odd[keys[key].rows])
            texts, wrong = self.write(data, inner, shape.keys.get(key, shape.every or PLAIN))
            odd[inner.rows[wrong]] = True
            entry = pc.binary_join_element_wise(orjson.dumps(key).decode() + ":", texts, "")
            parts.append(_scattered(entry, inner.rows, len(field)))
        if not parts:
            return _repeated("{}", len(field)), odd
        # The brace is among what is joined: of rows in which everything is null, pyarrow 26 makes no row at all.
        joined = pc.binary_join_element_wise("{", *parts, ",", null_handling="skip")
        opened = pc.replace_substring(joined, "{,", "{", max_replacements=1)
        return pc.binary_join_element_wise(opened, "}", ""), odd

    _kinds: Final[Mapping[int, Callable[[JsonTexts, Any, Field, Shape], Texts]]] = {
        NULL: _null,
        BOOLEAN: _booleans,
        INTEGER: _integers,
        DOUBLE: _doubles,
        STRING: _strings,
        TIMESTAMP: _timestamps,
        BYTES: _bytes,
        REFERENCE: _references,
        GEOPOINT: _geopoints,
        ARRAY: _arrays,
        MAP: _maps,
    }


def _none(field: Field) -> Flags:
    return np.zeros(len(field), bool)


def _all(field: Field) -> Flags:
    return np.ones(len(field), bool)


def _repeated(text: str, number: int) -> pa.StringArray:
    return pa.repeat(text, number)


def _scattered(texts: pa.StringArray, rows: Any, number: int) -> pa.StringArray:
    """The texts in these rows of so many; null in all others."""
    if len(rows) == number:
        return texts
    places = np.full(number, -1, np.int64)
    places[rows] = np.arange(len(rows))
    return texts.take(pa.array(places, mask=places < 0))


def _numbers(numbers: Any) -> Texts:
    """What is neither whole in JSON nor plain is not written here: NaN, infinities, -0.0, and what JSON writes with an exponent."""
    plain = (np.abs(numbers) < _EXPONENT) & ~((numbers == 0) & np.signbit(numbers))
    # One call for all of them: orjson's way to write a number is nobody else's.
    written = orjson.dumps(np.where(plain, numbers, 0.0).tolist())
    texts = written[1:-1].decode().split(",") if len(numbers) else []
    return pa.array(texts, pa.string()), ~plain


def _quoted(contents: pa.BinaryArray) -> Texts:
    """In quotes; wrong where JSON would have to escape something."""
    _, offsets, content = contents.buffers()
    wrong = np.zeros(len(contents), bool)
    if content is not None and len(contents):
        places = np.frombuffer(offsets, np.int32)[: len(contents) + 1]
        escaped = np.flatnonzero(_ESCAPED[np.frombuffer(content, np.uint8)[: places[-1]]])
        wrong[np.searchsorted(places, escaped, side="right") - 1] = True
    return pc.binary_join_element_wise('"', contents.cast(pa.string()), '"', ""), wrong


_ESCAPED: Final = np.zeros(256, bool)
_ESCAPED[:0x20] = True
_ESCAPED[[ord('"'), ord("\\")]] = True
