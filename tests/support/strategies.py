"""What Firestore may hold, and the plans it may meet, for Hypothesis: values, documents, shapes, table plans."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from firelift.firestore.values import (
    INT32,
    KEY_OF,
    Document,
    Kind,
    Value,
    WrappedKind,
    content_of,
    kind_of,
    set_array,
    set_geopoint,
    set_moment,
    set_vector,
    wrapped_kind,
)
from firelift.planning.model import TYPE_OF, Column, ColumnKind, ReferenceTarget, Shape, TablePlan

DATABASE = "projects/lab/databases/(default)"
BELOW = f"{DATABASE}/documents"
FIELDS = ("a", "b", "c", "d", "name", "x.y", "ü", "", "nul\0")

UGLY_TEXTS = (
    "",
    "\0",
    "a\0b",
    "\N{REPLACEMENT CHARACTER}",
    "\U0010ffff",
    "\N{FAMILY}\u200d\N{WOMAN}",
    "e\u0301",
    "\ufeffx",
    "a\r\n\tb",
    "\\N",
    "\\.",
    "\\u0000",
    '{"is": 1}',
    "null",
    "1e16",
    "NaN",
    "-Infinity",
    "2024-01-01T00:00:00Z",
    "0001-01-01T00:00:00.000001Z",
    "AAEC",
    "projects/p/databases/d/documents/a/b",
)
UGLY_NUMBERS = (0.0, -0.0, 1.0, 1e15, 1e16, -1e16, 1e22, 5e-324, 1.797e308, 0.1 + 0.2, 1e-7, 2.0**53, 2.0**63, 2.0**64)
SPECIAL_NUMBERS = (float("nan"), float("inf"), float("-inf"), struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0])
INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from((0, 2**53 - 1, 2**53 + 1, -(2**63), 2**63 - 1))
SECONDS = st.integers(-62_135_596_800, 253_402_300_799) | st.sampled_from((0, -1, -62_135_596_800, 253_402_300_799))
MICROS = st.integers(0, 999_999).map(lambda micros: micros * 1000) | st.just(0)
FINER = st.integers(0, 999_999_999)


def value_of(oneof: str, content: Any) -> Value:
    value = Value()
    setattr(value, oneof, content)
    return value


def text(content: str) -> Value:
    return value_of("string_value", content)


def integer(number: int) -> Value:
    return value_of("integer_value", number)


def double(number: float) -> Value:
    return value_of("double_value", number)


def null() -> Value:
    return value_of("null_value", 0)


def timestamp(seconds: int, nanos: int) -> Value:
    value = Value()
    set_moment(value.timestamp_value, (seconds, nanos))
    return value


def geopoint(latitude: float, longitude: float) -> Value:
    value = Value()
    set_geopoint(value, latitude, longitude)
    return value


def vector(elements: list[float]) -> Value:
    value = Value()
    set_vector(value, elements)
    return value


def array(elements: list[Value]) -> Value:
    value = Value()
    set_array(value, "null_value", ())
    value.array_value.values.extend(elements)
    return value


def mapping(fields: dict[str, Value]) -> Value:
    value = Value()
    value.map_value.SetInParent()
    for key, child in fields.items():
        value.map_value.fields[key].CopyFrom(child)
    return value


def wrapped(kind: WrappedKind, content: int | str) -> Value:
    return mapping({KEY_OF[kind]: value_of(content_of(kind), content)})


def document(name: str, fields: dict[str, Value], created: tuple[int, int] = (1, 0), updated: tuple[int, int] = (2, 0)) -> Document:
    made = Document(name=name)
    for field, value in fields.items():
        made.fields[field].CopyFrom(value)
    set_moment(made.create_time, created)
    set_moment(made.update_time, updated)
    return made


@dataclass(frozen=True)
class Leaves:
    """The alphabets that values are made from."""

    texts: st.SearchStrategy[str]
    numbers: st.SearchStrategy[float]
    special: st.SearchStrategy[float]
    nanos: st.SearchStrategy[int]
    names: st.SearchStrategy[str]

    def strings(self) -> st.SearchStrategy[Value]:
        return self.texts.map(lambda text: value_of("string_value", text))

    def doubles(self) -> st.SearchStrategy[Value]:
        return st.one_of(self.numbers, self.special).map(lambda number: value_of("double_value", number))

    def timestamps(self) -> st.SearchStrategy[Value]:
        return st.builds(timestamp, SECONDS, self.nanos)

    def references(self) -> st.SearchStrategy[Value]:
        return self.names.map(lambda name: value_of("reference_value", name))

    def geopoints(self) -> st.SearchStrategy[Value]:
        return st.builds(geopoint, self.numbers, self.numbers)

    def vectors(self) -> st.SearchStrategy[Value]:
        return st.builds(vector, st.lists(self.numbers | self.special, max_size=4))

    def wrapped(self) -> st.SearchStrategy[Value]:
        """Values of the types that only a database of the Enterprise edition has."""
        numbers = st.integers(INT32.start, INT32.stop - 1).map(lambda number: wrapped("int32", number))
        texts: list[WrappedKind] = ["decimal128", "object_id"]
        clean = self.texts.map(lambda text: text.replace("\0", ""))
        return numbers | st.builds(wrapped, st.sampled_from(texts), clean)

    def scalars(self) -> st.SearchStrategy[Value]:
        return st.one_of(
            st.just(null()),
            booleans(),
            integers(),
            self.doubles(),
            self.timestamps(),
            self.strings(),
            byte_strings(),
            self.references(),
            self.geopoints(),
            self.vectors(),
            self.wrapped(),
        )

    def arrays_of_one_type(self) -> st.SearchStrategy[Value]:
        kinds = (booleans(), integers(), self.doubles(), self.timestamps(), self.strings())
        return st.one_of([st.lists(kind, max_size=4).map(array) for kind in kinds])

    def values(self) -> st.SearchStrategy[Value]:
        nested = st.recursive(self.scalars(), self._containers, max_leaves=8)
        return st.one_of(self.scalars(), self.arrays_of_one_type(), nested)

    def _containers(self, children: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
        no_arrays = children.map(lambda value: mapping({"in": value}) if kind_of(value) == "array" else value)
        return st.lists(no_arrays, max_size=4).map(array) | st.dictionaries(self.texts, children, max_size=4).map(mapping)


def booleans() -> st.SearchStrategy[Value]:
    return st.booleans().map(lambda truth: value_of("boolean_value", truth))


def integers() -> st.SearchStrategy[Value]:
    return INTEGERS.map(lambda number: value_of("integer_value", number))


def byte_strings() -> st.SearchStrategy[Value]:
    return st.binary(max_size=20).map(lambda data: value_of("bytes_value", data))


def segments(text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Collection and document ids."""
    return text.map(lambda segment: segment.replace("/", "") or "x")


def names(text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Resource names of documents: of this database, of others, and such whose path looks like a whole name."""
    users = st.builds("{}/users/{}".format, st.just(BELOW), segments(text))
    orders = st.builds("{}/orders/{}".format, users, segments(text))
    other = st.builds("projects/{}/databases/d/documents/users/{}".format, st.sampled_from(("lab", "p")), segments(text))
    confusing = st.sampled_from((f"{BELOW}/projects/p/databases/d/documents/x", f"{BELOW}/projects/p", f"{BELOW}/a/b/c/d/e/f"))
    return st.one_of(users, orders, other, confusing)


MOSTLY = st.sampled_from((True, True, False))
UGLY_TEXT = st.text(max_size=8) | st.sampled_from((*UGLY_TEXTS, "__type__", "value", "latitude", "stringValue", "$bytes", "at"))
TAME_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)

ANY = Leaves(
    texts=UGLY_TEXT,
    numbers=st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(UGLY_NUMBERS),
    special=st.sampled_from(SPECIAL_NUMBERS) | st.floats(),
    nanos=MICROS | FINER,
    names=names(UGLY_TEXT),
)
"""All that Firestore may send, and nanoseconds besides, which it says it does not keep."""

_no_minus_zero = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
TAME = Leaves(texts=TAME_TEXT, numbers=_no_minus_zero, special=_no_minus_zero, nanos=MICROS, names=names(TAME_TEXT))
"""What columns can say by themselves, when they have the right type and shape."""

LOOKALIKES = st.sampled_from(
    (
        mapping({"latitude": value_of("double_value", 1.0), "longitude": value_of("double_value", 2.0)}),
        mapping({"latitude": value_of("integer_value", 1), "longitude": value_of("double_value", 2.0)}),
        mapping({"__type__": value_of("string_value", "__vector__"), "value": array([value_of("integer_value", 1)])}),
        mapping({"__type__": value_of("string_value", "__vector__"), "value": array([]), "more": null()}),
        mapping({"__type__": value_of("string_value", "__vector__")}),
        mapping({"missing": value_of("boolean_value", True)}),
        wrapped("int32", 2**31),
        wrapped("int32", -(2**31) - 1),
        wrapped("decimal128", "1\0"),
        mapping({"__int__": value_of("double_value", 1.0)}),
        mapping({"__oid__": value_of("integer_value", 1)}),
        mapping({"__int__": value_of("integer_value", 1), "more": null()}),
        mapping({"__min__": null()}),
        mapping({"$bytes": value_of("string_value", "AA==")}),
        mapping({"": mapping({"": mapping({})})}),
        array([value_of("string_value", "a\0")] * 70),
        array([]),
        mapping({}),
    )
)


def documents(name: st.SearchStrategy[str], values: st.SearchStrategy[Value] | None = None) -> st.SearchStrategy[Document]:
    moments = st.tuples(SECONDS, MICROS | FINER)
    none: dict[str, Value] = {}
    held = values or ANY.values() | LOOKALIKES
    fields = st.dictionaries(st.sampled_from(FIELDS) | UGLY_TEXT, held, min_size=1, max_size=8) | st.just(none)
    return st.builds(document, name, fields, moments, moments)


def shapes() -> st.SearchStrategy[Shape]:
    return st.recursive(_shapes(st.none(), st.just({})), lambda inner: _shapes(st.none() | inner, _keyed(inner)), max_leaves=4)


def _keyed(inner: st.SearchStrategy[Shape]) -> st.SearchStrategy[dict[str, Shape]]:
    return st.dictionaries(UGLY_TEXT, inner, max_size=2)


def _shapes(every: st.SearchStrategy[Shape | None], keys: st.SearchStrategy[dict[str, Shape]]) -> st.SearchStrategy[Shape]:
    return st.builds(
        Shape,
        string=st.sampled_from(("string", "timestamp", "bytes", "reference", "double")),
        object=st.sampled_from(("map", "geopoint")),
        array=st.sampled_from(("array", "vector")),
        keys=keys,
        every=every,
    )


_FITTING: dict[Kind, Callable[[], Shape]] = {
    "timestamp": lambda: Shape(string="timestamp"),
    "bytes": lambda: Shape(string="bytes"),
    "reference": lambda: Shape(string="reference"),
    "double": lambda: Shape(string="double"),
    "geopoint": lambda: Shape(object="geopoint"),
    "vector": lambda: Shape(array="vector", every=Shape(string="double")),
}


def fitting_shape(value: Value) -> Shape:
    """A shape under which the value needs no residue, as far as one shape for all elements of an array can be that."""
    kind = kind_of(value)
    if kind == "map":
        return Shape(keys={key: fitting_shape(value.map_value.fields[key]) for key in value.map_value.fields})
    if kind == "array":
        elements = value.array_value.values
        return Shape(every=fitting_shape(elements[0]) if elements else None)
    return _FITTING.get(kind, Shape)()


_ARRAYS: dict[Kind, ColumnKind] = {
    "string": "strings",
    "integer": "integers",
    "double": "doubles",
    "boolean": "booleans",
    "timestamp": "timestamps",
}
_SCALARS: dict[Kind, ColumnKind] = {
    "string": "string",
    "integer": "integer",
    "double": "double",
    "boolean": "boolean",
    "timestamp": "timestamp",
    "bytes": "bytes",
    "reference": "reference",
    "vector": "vector",
}


def fitting_kind(value: Value) -> ColumnKind:
    kind = kind_of(value)
    if kind == "array":
        kinds = {kind_of(element) for element in value.array_value.values}
        return _ARRAYS.get(kinds.pop(), "json") if len(kinds) == 1 else "json"
    return wrapped_kind(value) or _SCALARS.get(kind, "json")


def fitting_column(number: int, field: str, value: Value) -> Column:
    kind = fitting_kind(value)
    return Column(
        name=f"c{number}",
        path=(field,),
        kind=kind,
        null_means="null" if kind_of(value) == "null" else "missing",
        shape=fitting_shape(value) if kind == "json" else None,
    )


@st.composite
def columns(draw: st.DrawFn, number: int, field: str, value: Value | None) -> Column:
    """A column for the field: two times of three one that suits the value."""
    held = draw(st.sampled_from(tuple(TYPE_OF)))
    suited = fitting_column(number, field, value) if value is not None and draw(MOSTLY) else None
    kind = suited.kind if suited else held
    if kind in ("integer", "int32") and draw(st.booleans()):
        kind = draw(st.sampled_from(("integer", "double")))
    if kind == "reference" and draw(st.booleans()):
        kind = "link"
    return Column(
        name=f"c{number}",
        path=(field,),
        kind=kind,
        null_means=draw(st.sampled_from(("missing", "null"))),
        shape=(suited.shape if suited and draw(MOSTLY) else draw(st.none() | shapes())) if kind == "json" else None,
        reference=draw(reference_targets(number)) if kind == "link" else None,
    )


def reference_targets(number: int) -> st.SearchStrategy[ReferenceTarget]:
    return st.sampled_from(
        (
            ReferenceTarget(collection="users"),
            ReferenceTarget(collection="users/*/orders", ancestors=(f"c{number}_users_id",)),
            ReferenceTarget(collection="a/*/c/*/e", ancestors=(f"c{number}_a_id", f"c{number}_c_id")),
        )
    )


@st.composite
def table_plans(draw: st.DrawFn, example: Document, collection: str = "users", keys: tuple[str, ...] = ("id",)) -> TablePlan:
    """A plan for a collection that holds a document like this one, well made or not."""
    absent = draw(st.lists(st.sampled_from(FIELDS), unique=True, max_size=2))
    fields = sorted({*absent, *(field for field in sorted(example.fields) if draw(MOSTLY))})
    return TablePlan(
        collection=collection,
        table="users",
        keys=keys,
        columns=tuple(draw(columns(number, field, example.fields.get(field))) for number, field in enumerate(fields)),
        extra=draw(st.none() | shapes()),
    )


COLLECTIONS = {"users": ("id",), "users/*/orders": ("users_id", "id"), "*/*/a b": ("a_id", "id")}


@st.composite
def planned_documents(draw: st.DrawFn, at_most: int = 1) -> tuple[TablePlan, list[Document]]:
    """A table's plan, and documents of its collection with ids of their own."""
    collection = draw(st.sampled_from(tuple(COLLECTIONS)))
    levels, keys = collection.split("/")[::2], COLLECTIONS[collection]
    ids = st.lists(segments(TAME_TEXT), min_size=len(keys), max_size=len(keys)).map(tuple)
    wanted = draw(st.lists(ids, min_size=1, max_size=at_most, unique=True))
    found = [
        draw(documents(st.just(f"{BELOW}/" + "/".join(f"{level}/{id}" for level, id in zip(levels, own, strict=True))))) for own in wanted
    ]
    return draw(table_plans(found[0], collection, keys)), found
