"""Every residue says why it is there."""

from __future__ import annotations

import struct

import pytest

from firelift.firestore.values import Value
from firelift.planning.model import Column, ColumnKind, Shape, TablePlan
from firelift.transform import compile_encoder
from firelift.transform import residue_causes as cause
from firelift.transform.residue_causes import residue_causes
from tests.support.strategies import BELOW, DATABASE, array, document, geopoint, mapping, null, timestamp, value_of, vector, wrapped

ODD = struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]


def text(content: str) -> Value:
    return value_of("string_value", content)


def double(number: float) -> Value:
    return value_of("double_value", number)


def causes(column: Column, fields: dict[str, Value], extra: Shape | None = None) -> dict[str, int]:
    table = TablePlan(collection="users", table="users", keys=("id",), columns=(column,), extra=extra)
    residue = compile_encoder(table, DATABASE)(document(f"{BELOW}/users/1", fields).SerializeToString())[-1]
    return residue_causes(table, [] if residue is None else [residue])


TYPED: list[tuple[ColumnKind, Value, str]] = [
    ("string", null(), cause.EXPLICIT_NULL),
    ("string", text("a\0b"), cause.NUL),
    ("string", double(1.5), cause.RARER),
    ("integer", text("1"), cause.RARER),
    ("double", value_of("integer_value", 3), cause.INTEGER),
    ("double", wrapped("int32", 3), cause.INT32),
    ("integer", wrapped("int32", 3), cause.INT32),
    ("integer", mapping({"__int__": null()}), cause.RARER),
    ("int32", value_of("integer_value", 3), cause.RARER),
    ("double", double(ODD), cause.ODD_NAN),
    ("timestamp", timestamp(0, 1), cause.FINE_TIME),
    ("timestamps", array([timestamp(0, 1)]), cause.FINE_TIME),
    ("strings", array([text("\0")]), cause.NUL),
    ("strings", array([text("\0")] * 100), cause.CROWDED),
    ("doubles", array([double(ODD)]), cause.ODD_NAN),
    ("vector", vector([ODD]), cause.ODD_NAN),
    ("reference", value_of("reference_value", "projects/other/databases/d/documents/a/documents/b\0"), cause.NUL),
    ("json", null(), cause.EXPLICIT_NULL),
    ("json", double(-0.0), cause.NUMBER_IN_JSON),
    ("json", mapping({"a": double(float("nan"))}), cause.NUMBER_IN_JSON),
    ("json", mapping({"a": text("\0")}), cause.NUL),
    ("json", value_of("bytes_value", b"x"), cause.RARER),
    ("json", geopoint(0.0, 1.0), cause.RARER),
    ("json", vector([1.0]), cause.RARER),
    ("json", array([double(-0.0)] * 100), cause.CROWDED),
]


@pytest.mark.parametrize(("kind", "value", "why"), TYPED, ids=[f"{kind}: {why}" for kind, _, why in TYPED])
def test_what_a_column_cannot_say_has_a_cause(kind: ColumnKind, value: Value, why: str) -> None:
    assert list(causes(Column(name="f", path=("f",), kind=kind), {"f": value})) == [why]


def test_a_missing_field_is_a_residue_only_where_null_is_usual() -> None:
    assert causes(Column(name="f", path=("f",), kind="string", null_means="null"), {}) == {cause.MISSING: 1}
    assert causes(Column(name="f", path=("f",), kind="string"), {}) == {}


def test_fields_without_a_column() -> None:
    column = Column(name="f", path=("f",), kind="string")
    assert causes(column, {"g": text("x"), "h": text("y")}) == {cause.NO_COLUMN: 2}
    assert causes(column, {"g": text("x"), "h": double(-0.0)}, Shape()) == {cause.NUMBER_IN_JSON: 1}
    assert causes(column, {"g\0": text("x")}, Shape()) == {cause.NO_COLUMN: 1}


def test_each_value_is_counted() -> None:
    fields = {"f": mapping({"a": double(-0.0), "b": double(-0.0), "c": text("\0")})}
    assert causes(Column(name="f", path=("f",), kind="json"), fields) == {cause.NUMBER_IN_JSON: 2, cause.NUL: 1}
