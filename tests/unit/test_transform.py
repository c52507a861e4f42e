"""One field, one column: what the cell shows, what the residue adds, and that both together are the document."""

from __future__ import annotations

import ast
import json
import os
import struct
import subprocess
import sys
from typing import Any, get_args

import pytest

from firelift.firestore.values import Document, UnknownValueType, Value, same_document, tagged
from firelift.planning.model import Column, ColumnKind, ReferenceTarget, Shape, TablePlan
from firelift.transform import Rejected, UnreadableRow, compile_decoder, compile_encoder
from firelift.transform.encode import LONGEST_KEY, NotOfThisTable, key_size
from tests.support.strategies import (
    BELOW,
    DATABASE,
    array,
    document,
    double,
    geopoint,
    integer,
    mapping,
    null,
    text,
    timestamp,
    value_of,
    vector,
    wrapped,
)

NAN, INFINITY = float("nan"), float("inf")
NEGATIVE_NAN = struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]
NOTHING: list[Any] = []


def data(content: bytes) -> Value:
    return value_of("bytes_value", content)


def reference(path: str) -> Value:
    return value_of("reference_value", path if path.startswith("projects/") else f"{BELOW}/{path}")


def table_of(*columns: Column, extra: Shape | None = None) -> TablePlan:
    return TablePlan(collection="users", table="users", keys=("id",), columns=columns, extra=extra)


def encoded(table: TablePlan, fields: dict[str, Value], name: str = "users/1") -> dict[str, Any]:
    """The row by column name, after it gave the document back."""
    original = document(f"{BELOW}/{name}", fields)
    row = compile_encoder(table, DATABASE)(original.SerializeToString())
    assert same_document(compile_decoder(table, DATABASE)(row), original)
    return dict(zip([name for name, _ in table.target_columns()], row, strict=True))


def residue(row: dict[str, Any]) -> list[tuple[list[Any], Any]]:
    told = json.loads(row["firestore_residue"] or "{}")
    return [(entry["at"], entry["is"]) for entry in told.get("values", [])]


def bits(cell: Any) -> Any:
    """The cell in a form in which NaN equals itself and -0.0 differs from 0.0."""
    return [bits(element) for element in cell] if isinstance(cell, list) else repr(cell)


COLUMNS: list[tuple[str, ColumnKind, Value, Any, list[Any]]] = [
    # Numbers
    ("int64 min", "integer", integer(-(2**63)), -(2**63), NOTHING),
    ("int64 max", "integer", integer(2**63 - 1), 2**63 - 1, NOTHING),
    ("2^53 + 1", "integer", integer(2**53 + 1), 2**53 + 1, NOTHING),
    ("2^53 - 1", "integer", integer(2**53 - 1), 2**53 - 1, NOTHING),
    ("zero", "integer", integer(0), 0, NOTHING),
    ("double in integers", "integer", double(1.0), None, [(["f"], {"doubleValue": "1.0"})]),
    ("integer in doubles", "double", integer(1), 1.0, [(["f"], {"integerValue": "1"})]),
    ("integer beyond doubles", "double", integer(2**53 + 1), float(2**53), [(["f"], {"integerValue": "9007199254740993"})]),
    ("1.0 in doubles", "double", double(1.0), 1.0, NOTHING),
    ("NaN", "double", double(NAN), NAN, NOTHING),
    ("another NaN", "double", double(NEGATIVE_NAN), NEGATIVE_NAN, [(["f"], {"doubleBits": "fff8000000000001"})]),
    ("infinity", "double", double(INFINITY), INFINITY, NOTHING),
    ("-infinity", "double", double(-INFINITY), -INFINITY, NOTHING),
    ("-0.0", "double", double(-0.0), -0.0, NOTHING),
    ("5e-324", "double", double(5e-324), 5e-324, NOTHING),
    ("1.797e308", "double", double(1.797e308), 1.797e308, NOTHING),
    ("string in doubles", "double", text("1.0"), None, [(["f"], {"stringValue": "1.0"})]),
    ("false", "boolean", value_of("boolean_value", False), False, NOTHING),
    ("integer in booleans", "boolean", integer(0), None, [(["f"], {"integerValue": "0"})]),
    # Strings, bytes, time
    ("NUL", "string", text("a\0b"), "a\ufffdb", [(["f"], {"stringBase64": "YQBi"})]),
    ("U+FFFD", "string", text("\ufffd"), "\ufffd", NOTHING),
    ("U+10FFFF", "string", text("\U0010ffff"), "\U0010ffff", NOTHING),
    ("ZWJ", "string", text("\U0001f469\u200d\U0001f469"), "\U0001f469\u200d\U0001f469", NOTHING),
    ("BOM, CR, LF, tab", "string", text("\ufeff\r\n\t"), "\ufeff\r\n\t", NOTHING),
    ("COPY's own marks", "string", text("\\N\n\\."), "\\N\n\\.", NOTHING),
    ("empty string", "string", text(""), "", NOTHING),
    ("looks like a date", "string", text("2024-01-01T00:00:00Z"), "2024-01-01T00:00:00Z", NOTHING),
    ("looks like JSON", "string", text('{"a": 1}'), '{"a": 1}', NOTHING),
    ("explicit null", "string", null(), None, [(["f"], {"nullValue": None})]),
    ("bytes", "bytes", data(b"a\0\xff"), b"a\0\xff", NOTHING),
    ("no bytes", "bytes", data(b""), b"", NOTHING),
    ("year 1", "timestamp", timestamp(-62_135_596_800, 0), -62_135_596_800_000_000, NOTHING),
    ("end of 9999", "timestamp", timestamp(253_402_300_799, 999_999_000), 253_402_300_799_999_999, NOTHING),
    ("epoch 0", "timestamp", timestamp(0, 0), 0, NOTHING),
    ("before 1970", "timestamp", timestamp(-1, 1000), -999_999, NOTHING),
    ("nanoseconds", "timestamp", timestamp(-1, 1999), -999_999, [(["f"], {"timestampValue": "1969-12-31T23:59:59.000001999Z"})]),
    ("date as string", "timestamp", text("2024-01-01"), None, [(["f"], {"stringValue": "2024-01-01"})]),
    # References
    ("reference", "reference", reference("a/b/c/d"), "a/b/c/d", NOTHING),
    ("other project", "reference", reference("projects/p/databases/d/documents/a/b"), "projects/p/databases/d/documents/a/b", NOTHING),
    (
        "path like a whole name",
        "reference",
        reference("projects/p/databases/d/documents/x"),
        "projects/p/databases/d/documents/x",
        NOTHING,
    ),
    (
        "confusing path",
        "reference",
        reference(f"{BELOW}/projects/p/databases/d/documents/x"),
        f"{BELOW}/projects/p/databases/d/documents/x",
        NOTHING,
    ),
    (
        "NUL in reference",
        "reference",
        reference("a/\0"),
        "a/\ufffd",
        [(["f"], {"referenceBase64": "cHJvamVjdHMvbGFiL2RhdGFiYXNlcy8oZGVmYXVsdCkvZG9jdW1lbnRzL2EvAA=="})],
    ),
    # Arrays
    ("strings", "strings", array([text("a"), text("")]), ["a", ""], NOTHING),
    ("NUL in one string", "strings", array([text("a"), text("\0")]), ["a", "\ufffd"], [(["f", 1], {"stringBase64": "AA=="})]),
    ("no strings", "strings", array([]), [], NOTHING),
    (
        "null among strings",
        "strings",
        array([text("a"), null()]),
        None,
        [(["f"], {"arrayValue": {"values": [{"stringValue": "a"}, {"nullValue": None}]}})],
    ),
    ("integers", "integers", array([integer(2**63 - 1)]), [2**63 - 1], NOTHING),
    ("doubles", "doubles", array([double(NAN), double(-0.0)]), [NAN, -0.0], NOTHING),
    (
        "another NaN in doubles",
        "doubles",
        array([double(1.0), double(NEGATIVE_NAN)]),
        [1.0, NAN],
        [(["f", 1], {"doubleBits": "fff8000000000001"})],
    ),
    ("integer among doubles", "doubles", array([integer(1)]), None, [(["f"], {"arrayValue": {"values": [{"integerValue": "1"}]}})]),
    ("booleans", "booleans", array([value_of("boolean_value", True)]), [True], NOTHING),
    ("timestamps", "timestamps", array([timestamp(0, 0), timestamp(-1, 0)]), [0, -1_000_000], NOTHING),
    (
        "nanoseconds in timestamps",
        "timestamps",
        array([timestamp(0, 1)]),
        [0],
        [(["f", 0], {"timestampValue": "1970-01-01T00:00:00.000000001Z"})],
    ),
    ("vector", "vector", vector([1.0, NAN, -0.0]), [1.0, NAN, -0.0], NOTHING),
    (
        "another NaN in vector",
        "vector",
        vector([NEGATIVE_NAN]),
        [NAN],
        [
            (
                ["f"],
                {
                    "mapValue": {
                        "fields": {
                            "__type__": {"stringValue": "__vector__"},
                            "value": {"arrayValue": {"values": [{"doubleBits": "fff8000000000001"}]}},
                        }
                    },
                },
            )
        ],
    ),
    ("vector of none", "vector", vector([]), [], NOTHING),
    ("int32", "int32", wrapped("int32", -5), -5, NOTHING),
    ("int32 in a column of integers", "integer", wrapped("int32", 5), 5, [(["f"], tagged(wrapped("int32", 5)))]),
    ("int32 in a column of doubles", "double", wrapped("int32", 5), 5.0, [(["f"], tagged(wrapped("int32", 5)))]),
    ("integer in a column of int32", "int32", integer(5), None, [(["f"], {"integerValue": "5"})]),
    ("more than 32 bits", "int32", wrapped("int32", 2**31), None, [(["f"], tagged(wrapped("int32", 2**31)))]),
    ("decimal128", "decimal128", wrapped("decimal128", "-1.50E+3"), "-1.50E+3", NOTHING),
    ("object id", "object_id", wrapped("object_id", "507f1f77bcf86cd799439011"), "507f1f77bcf86cd799439011", NOTHING),
    ("decimal128 for object id", "object_id", wrapped("decimal128", "1"), None, [(["f"], tagged(wrapped("decimal128", "1")))]),
    ("array of doubles for vector", "vector", array([double(1.0)]), None, [(["f"], {"arrayValue": {"values": [{"doubleValue": "1.0"}]}})]),
]


@pytest.mark.parametrize(("kind", "value", "cell", "left"), [case[1:] for case in COLUMNS], ids=[case[0] for case in COLUMNS])
def test_a_column_shows_the_value_and_the_residue_says_the_rest(kind: ColumnKind, value: Value, cell: Any, left: list[Any]) -> None:
    row = encoded(table_of(Column(name="c", path=("f",), kind=kind)), {"f": value})
    assert bits(row["c"]) == bits(cell)
    assert residue(row) == left


TIMES, BYTES, NUMBERS = Shape(string="timestamp"), Shape(string="bytes"), Shape(string="double")
REFERENCES, GEOPOINT, VECTOR = Shape(string="reference"), Shape(object="geopoint"), Shape(array="vector")
SHAPED: list[tuple[str, Shape | None, Value, Any, list[Any]]] = [
    # Composite
    ("empty map", None, mapping({}), {}, NOTHING),
    ("empty array", None, array([]), [], NOTHING),
    ("mixed array", None, array([null(), integer(1), text("1"), mapping({})]), [None, 1, "1", {}], NOTHING),
    ("map in array in map", None, mapping({"a": array([mapping({"b": null()})])}), {"a": [{"b": None}]}, NOTHING),
    ("empty key", None, mapping({"": integer(1)}), {"": 1}, NOTHING),
    ("tag of ours", None, mapping({"stringValue": text("x")}), {"stringValue": "x"}, NOTHING),
    ("bytes tag", None, mapping({"$bytes": text("AA==")}), {"$bytes": "AA=="}, NOTHING),
    ("NUL in key", None, mapping({"a\0": text("\0")}), {"a\ufffd": "\ufffd"}, [
        (["f"], {"mapValue": {"entries": [[{"base64": "YQA="}, {"stringBase64": "AA=="}]]}}),
    ]),
    ("NUL in string", None, mapping({"k": array([text("\0")])}), {"k": ["\ufffd"]}, [(["f", "k", 0], {"stringBase64": "AA=="})]),
    ("int64 max", None, mapping({"k": integer(2**63 - 1)}), {"k": 2**63 - 1}, NOTHING),
    ("1 and 1.0", None, array([integer(1), double(1.0)]), [1, 1.0], NOTHING),
    ("0.1 + 0.2", None, array([double(0.1 + 0.2)]), [0.30000000000000004], NOTHING),
    ("5e-324 and 1.797e308", None, array([double(5e-324), double(1.797e308)]), [5e-324, 1.797e308], NOTHING),
    ("-0.0", None, array([double(0.0), double(-0.0)]), [0.0, -0.0], [(["f", 1], {"doubleValue": "-0.0"})]),
    ("NaN", None, array([double(NAN)]), ["NaN"], [(["f", 0], {"doubleValue": "NaN"})]),
    ("NaN expected", Shape(every=NUMBERS), array([double(NAN), double(-INFINITY), double(1.5)]), ["NaN", "-Infinity", 1.5], NOTHING),
    ("another NaN", Shape(every=NUMBERS), array([double(NEGATIVE_NAN)]), ["NaN"], [(["f", 0], {"doubleBits": "fff8000000000001"})]),
    ("string for NaN", Shape(every=NUMBERS), array([text("NaN")]), ["NaN"], [(["f", 0], {"stringValue": "NaN"})]),
    ("timestamp", TIMES, timestamp(0, 1), "1970-01-01T00:00:00.000000001Z", NOTHING),
    ("timestamp unexpected", None, timestamp(0, 0), "1970-01-01T00:00:00Z", [(["f"], {"timestampValue": "1970-01-01T00:00:00Z"})]),
    ("string for timestamp", TIMES, text("today"), "today", [(["f"], {"stringValue": "today"})]),
    ("bytes", BYTES, data(b"\0"), "AA==", NOTHING),
    ("no bytes", BYTES, data(b""), "", NOTHING),
    ("bytes unexpected", None, data(b"\0"), "AA==", [(["f"], {"bytesValue": "AA=="})]),
    ("string for bytes", BYTES, text("AA=="), "AA==", [(["f"], {"stringValue": "AA=="})]),
    ("reference", REFERENCES, reference("a/b"), "a/b", NOTHING),
    ("reference elsewhere", REFERENCES, reference("projects/p/databases/d/documents/a/b"), "projects/p/databases/d/documents/a/b", NOTHING),
    ("reference unexpected", None, reference("a/b"), "a/b", [(["f"], {"referenceValue": f"{BELOW}/a/b"})]),
    ("poles", GEOPOINT, geopoint(-90.0, 180.0), {"latitude": -90.0, "longitude": 180.0}, NOTHING),
    ("zero island", GEOPOINT, geopoint(0.0, 0.0), {"latitude": 0.0, "longitude": 0.0}, NOTHING),
    ("geopoint -0.0", GEOPOINT, geopoint(-0.0, 0.0), {"latitude": -0.0, "longitude": 0.0}, [
        (["f"], {"geoPointValue": {"latitude": "-0.0", "longitude": "0.0"}}),
    ]),
    ("geopoint unexpected", None, geopoint(1.0, 2.0), {"latitude": 1.0, "longitude": 2.0}, [
        (["f"], {"geoPointValue": {"latitude": "1.0", "longitude": "2.0"}}),
    ]),
    ("like a geopoint", None, mapping({"latitude": double(1.0), "longitude": double(2.0)}), {"latitude": 1.0, "longitude": 2.0}, NOTHING),
    ("map for geopoint", GEOPOINT, mapping({"a": text("\0")}), {"a": "\ufffd"}, [
        (["f"], {"mapValue": {"fields": {"a": {"stringBase64": "AA=="}}}}),
    ]),
    ("vector", VECTOR, vector([1.0, 1e22]), [1.0, 1e22], NOTHING),
    ("vector of 2048", VECTOR, vector([0.5] * 2048), [0.5] * 2048, NOTHING),
    ("vector with NaN", VECTOR, vector([NAN]), ["NaN"], [(["f"], {
        "mapValue": {"fields": {"__type__": {"stringValue": "__vector__"}, "value": {"arrayValue": {"values": [{"doubleValue": "NaN"}]}}}},
    })]),
    ("vector unexpected", None, vector([]), [], [(["f"], {
        "mapValue": {"fields": {"__type__": {"stringValue": "__vector__"}, "value": {"arrayValue": {"values": []}}}},
    })]),
    ("vector with NaN expected", Shape(array="vector", every=NUMBERS), vector([NAN, 1.0]), ["NaN", 1.0], NOTHING),
    ("array for vector", VECTOR, array([double(1.0)]), [1.0], [(["f"], {"arrayValue": {"values": [{"doubleValue": "1.0"}]}})]),
    ("shapes by key", Shape(keys={"t": TIMES}, every=BYTES), mapping({"t": timestamp(0, 0), "b": data(b"")}), {
        "b": "", "t": "1970-01-01T00:00:00Z",
    }, NOTHING),
    ("null", None, null(), None, [(["f"], {"nullValue": None})]),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "value", "shown", "left"), [case[1:] for case in SHAPED], ids=[case[0] for case in SHAPED])
def test_readable_json_shows_the_value_and_the_residue_says_the_rest(
    shape: Shape | None, value: Value, shown: Any, left: list[Any]
) -> None:
    row = encoded(table_of(Column(name="c", path=("f",), kind="json", shape=shape)), {"f": value})
    assert bits(json.loads(row["c"] or "null")) == bits(json.loads(json.dumps(shown, sort_keys=True)))
    assert residue(row) == left


def test_maps_nested_20_deep_are_kept() -> None:
    value = text("\0")
    for _ in range(20):
        value = mapping({"in": value})
    row = encoded(
        table_of(Column(name="c", path=("f",), kind="json"), Column(name="s", path=("g",), kind="string")), {"f": value, "g": value}
    )
    assert [len(at) for at, _ in residue(row)] == [21, 1]


@pytest.mark.parametrize("number", [1e16, -1e16, 1e22, 2.0**63, 2.0**64, 1.797e308])
def test_a_great_double_in_json_has_a_point(number: float) -> None:
    row = encoded(table_of(Column(name="c", path=("f",), kind="json")), {"f": array([double(number)])})
    assert "e" not in row["c"]
    assert row["c"].endswith(".0]")


@pytest.mark.parametrize("kind", get_args(ColumnKind))
@pytest.mark.parametrize(("null_means", "fields", "left"), [
    ("missing", {}, NOTHING),
    ("missing", {"f": null()}, [(["f"], {"nullValue": None})]),
    ("null", {}, [(["f"], {"missing": True})]),
    ("null", {"f": null()}, NOTHING),
])  # fmt: skip
def test_null_and_missing_stay_apart(kind: ColumnKind, null_means: Any, fields: dict[str, Value], left: list[Any]) -> None:
    reference = ReferenceTarget(collection="users") if kind == "link" else None
    row = encoded(table_of(Column(name="c", path=("f",), kind=kind, null_means=null_means, reference=reference)), fields)
    assert row["c"] is None
    assert residue(row) == left


LINKED = Column(name="c", path=("f",), kind="link", reference=ReferenceTarget(collection="users/*/orders", ancestors=("c_users_id",)))


def test_a_link_shows_the_ids_of_the_document_and_of_its_ancestors() -> None:
    row = encoded(table_of(LINKED), {"f": reference("users/u 1/orders/Ö")})
    assert (row["c"], row["c_users_id"], row["firestore_residue"]) == ("Ö", "u 1", None)


@pytest.mark.parametrize(
    "value",
    [
        reference("users/u"),
        reference("users/u/invoices/o"),
        reference("users/u/orders/o/items/i"),
        reference("users/u/orders/\0"),
        reference("projects/p/databases/d/documents/users/u/orders/o"),
        text("o"),
    ],
)
def test_what_leads_elsewhere_is_no_link(value: Value) -> None:
    row = encoded(table_of(LINKED), {"f": value})
    assert (row["c"], row["c_users_id"]) == (None, None)
    assert [at for at, _ in residue(row)] == [["f"]]


def test_fields_without_a_column_go_to_the_extra_column() -> None:
    extra = Shape(keys={"t": TIMES}, every=BYTES)
    row = encoded(table_of(extra=extra), {"t": timestamp(0, 0), "b": data(b""), "n": null(), "s": text("x"), "z\0": integer(1)})
    assert json.loads(row["firestore_extra"]) == {"t": "1970-01-01T00:00:00Z", "b": "", "n": None, "s": "x"}
    assert residue(row) == [(["s"], {"stringValue": "x"}), ([{"base64": "egA="}], {"integerValue": "1"})]


def test_fields_that_no_plan_knew_are_kept_in_the_residue() -> None:
    row = encoded(table_of(Column(name="c", path=("f",), kind="string")), {"f": text("x"), "new": integer(1), "nothing": null()})
    assert residue(row) == [(["new"], {"integerValue": "1"}), (["nothing"], {"nullValue": None})]


def test_an_empty_document_is_a_row() -> None:
    row = encoded(table_of(Column(name="c", path=("f",), kind="string"), extra=Shape()), {})
    assert list(row.values()) == ["1", None, None, 1_000_000, 2_000_000, None]


@pytest.mark.parametrize(("count", "places"), [(64, 64), (65, 1)])
def test_a_field_with_many_exceptions_is_kept_whole(count: int, places: int) -> None:
    fields = {"f": array([text("\0")] * count), "g": array([text("\0")])}
    row = encoded(table_of(*(Column(name=name, path=(name,), kind="json") for name in fields)), fields)
    assert len(residue(row)) == places + 1


def test_times_finer_than_a_column_are_in_the_residue() -> None:
    table, original = table_of(), document(f"{BELOW}/users/1", {}, created=(-1, 1), updated=(1, 2000))
    row = compile_encoder(table, DATABASE)(original.SerializeToString())
    assert row == ["1", -1_000_000, 1_000_002, '{"createTime":"1969-12-31T23:59:59.000000001Z"}']
    assert same_document(compile_decoder(table, DATABASE)(row), original)


def test_a_document_without_times_has_none() -> None:
    table, original = table_of(), Document(name=f"{BELOW}/users/1")
    row = compile_encoder(table, DATABASE)(original.SerializeToString())
    assert row == ["1", None, None, None]
    assert same_document(compile_decoder(table, DATABASE)(row), original)


def test_json_may_come_back_in_other_words() -> None:
    table = table_of(Column(name="c", path=("f",), kind="json"))
    original = document(f"{BELOW}/users/1", {"f": mapping({"b": double(1e22), "a": integer(1), "c": double(1e-7)})})
    row = compile_encoder(table, DATABASE)(original.SerializeToString())
    row[1] = '{"a": 1, "c": 0.0000001, "b": 10000000000000000000000.0}'
    assert same_document(compile_decoder(table, DATABASE)(row), original)


ORDERS = TablePlan(collection="users/*/orders", table="users_orders", keys=("users_id", "id"), columns=())


@pytest.mark.parametrize("ids", [("a", "b"), ("%2F", ".."), ("é", "e\u0301"), ("__id1__", "x "), ("🙂\n", "'\"")])
def test_ids_are_kept_byte_for_byte(ids: tuple[str, str]) -> None:
    original = document(f"{BELOW}/users/{ids[0]}/orders/{ids[1]}", {})
    row = compile_encoder(ORDERS, DATABASE)(original.SerializeToString())
    assert row[:2] == list(ids)
    assert same_document(compile_decoder(ORDERS, DATABASE)(row), original)


@pytest.mark.parametrize("id", ["a\0", "a" * 2693, "é" * 1347])
def test_a_document_that_no_key_can_name_is_rejected(id: str) -> None:
    with pytest.raises(Rejected) as rejected:
        compile_encoder(table_of(), DATABASE)(document(f"{BELOW}/users/{id}", {}).SerializeToString())
    assert rejected.value.reason
    assert rejected.value.facts["path"] == f"{BELOW}/users/{id}"


@pytest.mark.parametrize("ids", [["a" * 2692], ["a" * 1500, "b" * 1188], ["é" * 1346]])
def test_the_longest_key_is_not_rejected(ids: list[str]) -> None:
    assert key_size(ids) == LONGEST_KEY
    table = table_of() if len(ids) == 1 else ORDERS
    name = "users/" + "/orders/".join(ids)
    assert compile_encoder(table, DATABASE)(document(f"{BELOW}/{name}", {}).SerializeToString())[: len(ids)] == ids


@pytest.mark.parametrize("name", [f"{BELOW}/orgs/1", f"{BELOW}/users/1/orders/2", "projects/p/databases/d/documents/users/1"])
def test_a_document_of_another_table_is_refused(name: str) -> None:
    with pytest.raises(NotOfThisTable):
        compile_encoder(table_of(), DATABASE)(document(name, {}).SerializeToString())


UNKNOWN = Value.FromString(b"\xfa\x07\x01x")


@pytest.mark.parametrize("value", [UNKNOWN, array([UNKNOWN]), mapping({"k": UNKNOWN}), value_of("field_reference_value", "f")])
@pytest.mark.parametrize("kind", ["string", "strings", "json", "nowhere", "extra"])
def test_a_value_of_an_unknown_type_is_never_skipped(value: Value, kind: Any) -> None:
    columns = () if kind in ("nowhere", "extra") else (Column(name="c", path=("f",), kind=kind),)
    table = table_of(*columns, extra=Shape() if kind == "extra" else None)
    with pytest.raises(UnknownValueType) as unknown:
        compile_encoder(table, DATABASE)(document(f"{BELOW}/users/1", {"f": value}).SerializeToString())
    assert unknown.value.facts["path"] == f"{BELOW}/users/1"
    assert str(unknown.value.facts["field"]).startswith("f")


@pytest.mark.parametrize(
    "row", [["1", "{", 0, 0, None], [None, "{}", 0, 0, None], ["1", "{}", 0, 0, '{"values": [{"at": ["f"], "is": {"x": 1}}]}']]
)
def test_a_row_that_no_document_made_is_an_error(row: list[Any]) -> None:
    with pytest.raises(UnreadableRow):
        compile_decoder(table_of(Column(name="c", path=("f",), kind="json")), DATABASE)(row)


def test_of_keys_that_come_to_the_same_always_the_same_one_is_shown() -> None:
    """The order of a protobuf map is another one in every process: with 8 seeds both orders come up."""
    asked = (
        "from firelift.firestore.values import Value; from firelift.planning.model import Shape\n"
        "from firelift.transform.document_names import Names; from firelift.transform.readable_json import ReadableWriter, dumps\n"
        "inner = Value()\n"
        "for number, key in enumerate(['a\\0', 'a\\ufffd', '\\0\\ufffd', '\\ufffd\\0', '\\0\\0']):\n"
        "    inner.map_value.fields[key].integer_value = number\n"
        "outer = Value(); outer.map_value.fields['m'].CopyFrom(inner)\n"
        "outer.map_value.fields['l'].array_value.values.add().CopyFrom(inner)\n"
        "print(dumps(ReadableWriter(Names('projects/p/databases/d')).write(outer, Shape(), ('f',), [])).encode())"
    )
    shown = {
        subprocess.run(
            [sys.executable, "-c", asked], check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": str(seed)}
        ).stdout
        for seed in range(8)
    }
    same = {"a\ufffd": 1, "\ufffd\ufffd": 3}
    assert [json.loads(ast.literal_eval(text.decode())) for text in shown] == [{"m": same, "l": [same]}]


@pytest.mark.parametrize("compile_one", [compile_encoder, compile_decoder])
def test_a_column_of_something_inside_a_map_is_refused_and_not_taken_for_the_map(compile_one: Any) -> None:
    with pytest.raises(ValueError, match="too many values"):
        compile_one(table_of(Column(name="c", path=("f", "a"), kind="json")), DATABASE)
