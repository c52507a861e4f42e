"""Firestore's documents and values as bare protobuf messages, and their exact form in JSON ("tagged": each value says its type).

proto-plus wrappers cost ten times the protobuf runtime beneath them, so the bare classes are taken out of them once, here.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from firelift.errors import FireliftError
from firelift.firestore.lazy_protobuf import types
from firelift.rfc3339 import read_rfc3339, rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from google.protobuf.message import Message

    class Timestamp(Message):
        seconds: int
        nanos: int

    class LatLng(Message):
        latitude: float
        longitude: float

    class Fields(Mapping[str, "Value"]):
        """A protobuf map: indexing makes a value that is not there yet. Iterate keys and index: `.items()` costs twice that."""

        def __delitem__(self, key: str) -> None: ...

    class Values(Message):
        def __iter__(self) -> Iterator[Value]: ...
        def __getitem__(self, index: int) -> Value: ...
        def __len__(self) -> int: ...
        def add(self, **fields: Any) -> Value: ...
        def extend(self, values: Iterable[Value]) -> None: ...

    class ArrayValue(Message):
        values: Values

    class MapValue(Message):
        fields: Fields

    class Value(Message):
        null_value: int
        boolean_value: bool
        integer_value: int
        double_value: float
        timestamp_value: Timestamp
        string_value: str
        bytes_value: bytes
        reference_value: str
        geo_point_value: LatLng
        array_value: ArrayValue
        map_value: MapValue

        def WhichOneof(self, group: str) -> str | None: ...  # noqa: N802

    class Document(Message):
        name: str
        fields: Fields
        create_time: Timestamp
        update_time: Timestamp

        @classmethod
        def FromString(cls, data: bytes) -> Self: ...  # noqa: N802

else:
    Document = type(types.Document.pb(types.Document()))
    Value = type(types.Value.pb(types.Value()))
    Timestamp, LatLng = type(Value().timestamp_value), type(Value().geo_point_value)
    ArrayValue, MapValue = type(Value().array_value), type(Value().map_value)

Kind = Literal[
    "null",
    "boolean",
    "integer",
    "double",
    "timestamp",
    "string",
    "bytes",
    "reference",
    "geopoint",
    "array",
    "map",
    "vector",
]
ONEOF: Final = "value_type"
KIND_OF: Final[dict[str | None, Kind]] = {
    "null_value": "null",
    "boolean_value": "boolean",
    "integer_value": "integer",
    "double_value": "double",
    "timestamp_value": "timestamp",
    "string_value": "string",
    "bytes_value": "bytes",
    "reference_value": "reference",
    "geo_point_value": "geopoint",
    "array_value": "array",
    "map_value": "map",
}
"""What `WhichOneof` says → the kind; a vector is a map, see `is_vector`."""

WrappedKind = Literal["int32", "decimal128", "object_id"]
WRAPPED: Final[dict[str, WrappedKind]] = {"__int__": "int32", "__decimal128__": "decimal128", "__oid__": "object_id"}
"""Types of MongoDB that a database of the Enterprise edition may hold, and that arrive as maps with one reserved key, whose content an
integer or a text says: as in `Values` of the Firebase Android SDK (google/firebase/firestore/model)."""
KEY_OF: Final[dict[WrappedKind, str]] = {kind: key for key, kind in WRAPPED.items()}
INT32: Final = range(-(2**31), 2**31)

Path = tuple[str | int, ...]
"""From the top-level field down: field, then map keys and array indexes."""
Json = Any
Tagged = dict[str, Any]

_TYPE, _VECTOR, _ELEMENTS = "__type__", "__vector__", "value"
NAN_BITS: Final = struct.pack(">d", math.nan)


class UnknownValueType(FireliftError):
    """A document holds a value of a type that this version of Firelift does not know."""

    remedy = "Nothing was skipped: exclude the collection, or use a version of Firelift that knows the type."


def dotted(path: Path) -> str:
    """The path for people to read."""
    return ".".join(map(str, path))


def kind_of(value: Value) -> Kind:
    kind = KIND_OF.get(value.WhichOneof(ONEOF))
    if kind is None:
        raise UnknownValueType()
    return "vector" if kind == "map" and is_vector(value) else kind


def is_vector(value: Value) -> bool:
    """True for a map of exactly `__type__: "__vector__"` and `value`: an array of doubles only."""
    fields = value.map_value.fields
    if len(fields) != 2 or _TYPE not in fields or _ELEMENTS not in fields or fields[_TYPE].string_value != _VECTOR:
        return False
    elements = fields[_ELEMENTS]
    return elements.WhichOneof(ONEOF) == "array_value" and all_of("double_value", elements)


def content_of(kind: WrappedKind) -> Literal["integer_value", "string_value"]:
    """The type of what stands at the key of a wrapped kind."""
    return "integer_value" if kind == "int32" else "string_value"


def wrapped_kind(value: Value) -> WrappedKind | None:
    """The kind of a map of exactly one reserved key with what belongs there; None for every other value."""
    fields = value.map_value.fields
    if len(fields) != 1:
        return None
    [key] = fields
    kind, content = WRAPPED.get(key), fields[key]
    if kind is None or content.WhichOneof(ONEOF) != content_of(kind):
        return None
    fits = content.integer_value in INT32 if kind == "int32" else "\0" not in content.string_value
    return kind if fits else None


def whole_number(value: Value, oneof: str | None) -> int | None:
    """The number of an integer of 64 or 32 bits; None for every other value."""
    if oneof == "integer_value":
        return value.integer_value
    is_int32 = oneof == "map_value" and wrapped_kind(value) == "int32"
    return value.map_value.fields[KEY_OF["int32"]].integer_value if is_int32 else None


def all_of(oneof: str, array: Value) -> bool:
    return all(element.WhichOneof(ONEOF) == oneof for element in array.array_value.values)


def vector_elements(value: Value) -> list[float]:
    return [element.double_value for element in value.map_value.fields[_ELEMENTS].array_value.values]


def set_vector(value: Value, elements: Iterable[float]) -> None:
    fields = value.map_value.fields
    fields[_TYPE].string_value = _VECTOR
    set_array(fields[_ELEMENTS], "double_value", elements)


def set_array(value: Value, oneof: str, elements: Iterable[Any]) -> None:
    value.array_value.SetInParent()  # an empty array is a value too
    add = value.array_value.values.add
    for element in elements:
        add(**{oneof: element})


def set_moment(timestamp: Timestamp, moment: tuple[int, int]) -> None:
    timestamp.SetInParent()  # 1970-01-01T00:00:00Z is a value too
    timestamp.seconds, timestamp.nanos = moment


def set_geopoint(value: Value, latitude: float, longitude: float) -> None:
    value.geo_point_value.SetInParent()
    value.geo_point_value.latitude, value.geo_point_value.longitude = latitude, longitude


def odd_nan(number: float) -> bool:
    """True for a NaN that text cannot say: every NaN but the one Python makes."""
    return number != number and struct.pack(">d", number) != NAN_BITS


def same_document(one: Document, other: Document) -> bool:
    """Equal to the last bit: NaN equals itself, -0.0 differs from 0.0, the order of map keys does not matter."""
    return one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def same_value(one: Value, other: Value) -> bool:
    return one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def tagged(value: Value) -> Tagged:
    """The value as JSON that says its type: Firestore's REST form, and what jsonb cannot hold (NUL, number bits) as text."""
    oneof = value.WhichOneof(ONEOF)
    write = _TAGGED.get(oneof)
    if write is None:
        raise UnknownValueType()
    return write(value)


def untag(tag: Tagged, value: Value) -> None:
    """Makes `value`, which must be empty, what `tagged` made `tag` from."""
    [(name, content)] = tag.items()
    _UNTAG[name](content, value)


def tagged_key(key: str) -> Json:
    return {"base64": _base64(key.encode())} if "\0" in key else key


def untag_key(key: Json) -> str:
    return base64.b64decode(key["base64"]).decode() if isinstance(key, dict) else str(key)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _number(number: float) -> str:
    if math.isfinite(number):
        return repr(number)
    return "NaN" if number != number else "Infinity" if number > 0 else "-Infinity"


def _tag_double(value: Value) -> Tagged:
    number = value.double_value
    return {"doubleBits": struct.pack(">d", number).hex()} if odd_nan(number) else {"doubleValue": _number(number)}


def _tag_text(tag: str, text: str) -> Tagged:
    return {f"{tag}Base64": _base64(text.encode())} if "\0" in text else {f"{tag}Value": text}


def _tag_timestamp(value: Value) -> Tagged:
    return {"timestampValue": rfc3339(value.timestamp_value.seconds, value.timestamp_value.nanos)}


def _tag_geopoint(value: Value) -> Tagged:
    point = value.geo_point_value
    return {"geoPointValue": {"latitude": _number(point.latitude), "longitude": _number(point.longitude)}}


def _tag_array(value: Value) -> Tagged:
    return {"arrayValue": {"values": [tagged(element) for element in value.array_value.values]}}


def _tag_map(value: Value) -> Tagged:
    fields = value.map_value.fields
    if any("\0" in key for key in fields):
        return {"mapValue": {"entries": [[tagged_key(key), tagged(fields[key])] for key in sorted(fields)]}}
    return {"mapValue": {"fields": {key: tagged(fields[key]) for key in fields}}}


_TAGGED: dict[str | None, Callable[[Value], Tagged]] = {
    "null_value": lambda _: {"nullValue": None},
    "boolean_value": lambda value: {"booleanValue": value.boolean_value},
    "integer_value": lambda value: {"integerValue": str(value.integer_value)},
    "double_value": _tag_double,
    "timestamp_value": _tag_timestamp,
    "string_value": lambda value: _tag_text("string", value.string_value),
    "bytes_value": lambda value: {"bytesValue": _base64(value.bytes_value)},
    "reference_value": lambda value: _tag_text("reference", value.reference_value),
    "geo_point_value": _tag_geopoint,
    "array_value": _tag_array,
    "map_value": _tag_map,
}


def _untag_base64(text: str) -> str:
    return base64.b64decode(text).decode()


def _untag_null(_: None, value: Value) -> None:
    value.null_value = 0


def _untag_geopoint(point: dict[str, str], value: Value) -> None:
    set_geopoint(value, float(point["latitude"]), float(point["longitude"]))


def _untag_array(array: dict[str, list[Tagged]], value: Value) -> None:
    value.array_value.SetInParent()
    for element in array["values"]:
        untag(element, value.array_value.values.add())


def _untag_map(content: dict[str, Any], value: Value) -> None:
    value.map_value.SetInParent()
    entries = content["entries"] if "entries" in content else content["fields"].items()
    for key, tag in entries:
        untag(tag, value.map_value.fields[untag_key(key)])


def _setter(attribute: str, read: Callable[[Any], Any]) -> Callable[[Any, Value], None]:
    return lambda content, value: setattr(value, attribute, read(content))


_UNTAG: dict[str, Callable[[Any, Value], None]] = {
    "nullValue": _untag_null,
    "booleanValue": _setter("boolean_value", bool),
    "integerValue": _setter("integer_value", int),
    "doubleValue": _setter("double_value", float),
    "doubleBits": _setter("double_value", lambda bits: struct.unpack(">d", bytes.fromhex(bits))[0]),
    "timestampValue": lambda text, value: set_moment(value.timestamp_value, read_rfc3339(text)),
    "stringValue": _setter("string_value", str),
    "stringBase64": _setter("string_value", _untag_base64),
    "bytesValue": _setter("bytes_value", base64.b64decode),
    "referenceValue": _setter("reference_value", str),
    "referenceBase64": _setter("reference_value", _untag_base64),
    "geoPointValue": _untag_geopoint,
    "arrayValue": _untag_array,
    "mapValue": _untag_map,
}
