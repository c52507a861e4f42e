"""Readable JSON of a value, as jsonb columns show it: written with a list of exceptions, read back by the plan's shape.

Postgres changes JSON: keys are reordered, numbers become `numeric` (1e16 prints as an integer, -0.0 as 0.0), NUL is refused.
So every value that would not come back to the bit, or that is not what the shape expects at its path, becomes an exception.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import orjson

from firelift.firestore.values import (
    KIND_OF,
    ONEOF,
    Json,
    Path,
    UnknownValueType,
    Value,
    dotted,
    is_vector,
    odd_nan,
    set_geopoint,
    set_moment,
    set_vector,
)
from firelift.planning.model import Shape
from firelift.rfc3339 import read_rfc3339, rfc3339
from firelift.transform.document_names import Names

Exceptions = list[tuple[Path, Value | None]]
"""What the columns cannot express: the path and its exact value; None where there is no such field."""

PLAIN: Final = Shape()
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
_FIRST_EXPONENT: Final = 1e16  # the least double that JSON writers print with an exponent and no point
_SPECIAL: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_INT64: Final = range(-(2**63), 2**63)
_GEOPOINT: Final = {"latitude", "longitude"}


def without_nul(text: str) -> str:
    return text.replace("\0", REPLACEMENT)


def dumps(shown: Json) -> str:
    """JSON text; keys sorted, for the order of a protobuf map differs from process to process."""
    return orjson.dumps(shown, option=orjson.OPT_SORT_KEYS).decode()


class ReadableWriter:
    """Writes the values of one database's documents as readable JSON."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._kinds: dict[str | None, Callable[[Value, Shape, Path, Exceptions], Json]] = {
            oneof: getattr(self, f"_{kind}") for oneof, kind in KIND_OF.items()
        }

    def write(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> Json:
        """What to show of the value at `path`; adds to `exceptions` what that does not express exactly."""
        write = self._kinds.get(value.WhichOneof(ONEOF))
        if write is None:
            raise UnknownValueType(field=dotted(path))
        return write(value, shape, path, exceptions)

    def _null(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> None:
        return None

    def _boolean(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> bool:
        return value.boolean_value

    def _integer(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> int:
        return value.integer_value

    def _double(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> Json:
        number = value.double_value
        if not _is_exact_in_json(number, shape):
            exceptions.append((path, value))
        return _readable_number(number)

    def _string(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> str:
        text = value.string_value
        if shape.string != "string" or "\0" in text:
            exceptions.append((path, value))
            return without_nul(text)
        return text

    def _timestamp(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> str:
        if shape.string != "timestamp":
            exceptions.append((path, value))
        moment = value.timestamp_value
        return rfc3339(moment.seconds, moment.nanos)

    def _bytes(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> str:
        if shape.string != "bytes":
            exceptions.append((path, value))
        return base64.b64encode(value.bytes_value).decode()

    def _reference(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> str:
        name = value.reference_value
        if shape.string != "reference" or not self._names.exact(name):
            exceptions.append((path, value))
        return without_nul(self._names.path(name))

    def _geopoint(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> Json:
        point = value.geo_point_value
        latitude, longitude = point.latitude, point.longitude
        if shape.object != "geopoint" or not (_is_exact_in_json(latitude, PLAIN) and _is_exact_in_json(longitude, PLAIN)):
            exceptions.append((path, value))
        return {"latitude": _readable_number(latitude), "longitude": _readable_number(longitude)}

    def _array(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> Json:
        noted = len(exceptions)
        every = shape.every or PLAIN
        shown = [self.write(element, every, (*path, index), exceptions) for index, element in enumerate(value.array_value.values)]
        if shape.array != "array":
            exceptions[noted:] = [(path, value)]
        return shown

    def _map(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> Json:
        if is_vector(value):
            return self._vector(value, shape, path, exceptions)
        noted = len(exceptions)
        fields, keys, rest = value.map_value.fields, shape.keys, shape.every or PLAIN
        shown = {key: self.write(fields[key], keys.get(key, rest), (*path, key), exceptions) for key in fields}
        with_nul = "\0" in "".join(shown)
        if shape.object != "map" or with_nul:
            exceptions[noted:] = [(path, value)]
        return _without_nul_in_keys(shown) if with_nul else shown

    def _vector(self, value: Value, shape: Shape, path: Path, exceptions: Exceptions) -> Json:
        numbers = [element.double_value for element in value.map_value.fields["value"].array_value.values]
        every = shape.every or PLAIN
        if shape.array != "vector" or not all(_is_exact_in_json(number, every) for number in numbers):
            exceptions.append((path, value))
        return [_readable_number(number) for number in numbers]


def _without_nul_in_keys(shown: dict[str, Json]) -> dict[str, Json]:
    """Where several keys become the same, the greatest wins, whose U+FFFD is its own. The order of a protobuf map differs by process."""
    return {without_nul(key): shown[key] for key in sorted(shown)}


def _is_exact_in_json(number: float, shape: Shape) -> bool:
    """True where the readable number, or the text for NaN and the infinities, comes back from jsonb with the same bits."""
    if number == 0.0:
        return math.copysign(1.0, number) > 0
    return math.isfinite(number) or (shape.string == "double" and not odd_nan(number))


def _readable_number(number: float) -> Json:
    if -_FIRST_EXPONENT < number < _FIRST_EXPONENT:
        return number
    if math.isfinite(number):
        return orjson.Fragment(f"{Decimal(repr(number)):f}.0")
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"


class ReadableReader:
    """Reads readable JSON into empty values. What does not fit the shape is read as plain JSON; the residue then has the exact value."""

    def __init__(self, names: Names) -> None:
        self._strings: dict[str, Callable[[str, Value], bool]] = {
            "timestamp": _read_timestamp,
            "bytes": _read_bytes,
            "double": _read_special,
            "reference": self._read_reference,
            "string": _read_nothing,
        }
        self._names = names

    def read(self, shown: Json, shape: Shape, value: Value) -> None:
        if isinstance(shown, str):
            if not self._strings[shape.string](shown, value):
                value.string_value = shown
        elif isinstance(shown, dict):
            self._read_object(shown, shape, value)
        elif isinstance(shown, list):
            self._read_array(shown, shape, value)
        else:
            _read_scalar(shown, value)

    def _read_reference(self, text: str, value: Value) -> bool:
        value.reference_value = self._names.name(text)
        return True

    def _read_object(self, shown: dict[str, Json], shape: Shape, value: Value) -> None:
        if shape.object == "geopoint" and shown.keys() == _GEOPOINT and all(map(_is_number, shown.values())):
            set_geopoint(value, shown["latitude"], shown["longitude"])
            return
        value.map_value.SetInParent()
        fields, keys, rest = value.map_value.fields, shape.keys, shape.every or PLAIN
        for key, child in shown.items():
            self.read(child, keys.get(key, rest), fields[key])

    def _read_array(self, shown: list[Json], shape: Shape, value: Value) -> None:
        if shape.array == "vector" and all(map(_is_component, shown)):
            set_vector(value, (_SPECIAL[element] if isinstance(element, str) else element for element in shown))
            return
        value.array_value.SetInParent()
        add, every = value.array_value.values.add, shape.every or PLAIN
        for element in shown:
            self.read(element, every, add())


def _is_number(shown: Json) -> bool:
    return isinstance(shown, (int, float)) and not isinstance(shown, bool)


def _is_component(shown: Json) -> bool:
    return shown in _SPECIAL if isinstance(shown, str) else _is_number(shown)


def _read_scalar(shown: Any, value: Value) -> None:
    if shown is None:
        value.null_value = 0
    elif isinstance(shown, bool):
        value.boolean_value = shown
    elif isinstance(shown, int) and shown in _INT64:
        value.integer_value = shown
    else:
        value.double_value = shown


def _read_nothing(text: str, value: Value) -> bool:
    return False


def _read_timestamp(text: str, value: Value) -> bool:
    try:
        moment = read_rfc3339(text)
    except ValueError:
        return False
    set_moment(value.timestamp_value, moment)
    return True


def _read_bytes(text: str, value: Value) -> bool:
    try:
        value.bytes_value = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return True


def _read_special(text: str, value: Value) -> bool:
    if text not in _SPECIAL:
        return False
    value.double_value = _SPECIAL[text]
    return True
