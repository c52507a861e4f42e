"""Documents that are looked at together come out as each by itself: the same counts, the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firelift.firestore.fields import Documents
from firelift.firestore.values import Document, Value
from firelift.planning.arrow_schema import arrow_schema
from firelift.planning.model import Column, Shape, TablePlan
from firelift.planning.profile import Profiler, profile_to_json
from firelift.planning.profile_fields import see_documents
from firelift.rfc3339 import microseconds
from firelift.transform import ColumnEncoder, Rejected, compile_encoder
from firelift.transform.document_names import Names
from firelift.transform.json_fields import JsonTexts
from firelift.transform.readable_json import Exceptions, ReadableWriter, dumps
from tests.support.strategies import (
    ANY,
    BELOW,
    DATABASE,
    FIELDS,
    LOOKALIKES,
    MICROS,
    SECONDS,
    TAME,
    array,
    document,
    fitting_column,
    mapping,
    null,
    planned_documents,
    shapes,
    table_plans,
)

BOUNDED = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

YEARS_OF_AN_INT64 = 2**63 // 10**6 - 10**6
"""Seconds, in about 292,000 years; Firestore keeps years to 9999."""

VALUES = ANY.values() | TAME.values() | LOOKALIKES


@st.composite
def alike(draw: st.DrawFn) -> list[Document]:
    """Documents that mostly have the same fields, with values of the same kinds: what a collection is like."""
    kinds = draw(st.dictionaries(st.sampled_from(FIELDS[:-1]), st.sampled_from((TAME.values(), *_of_one_kind(), VALUES)), max_size=6))
    number = draw(st.integers(1, 6))
    names = (f"{BELOW}/users/{place}" for place in range(number))
    moments = st.tuples(SECONDS, MICROS)
    made = []
    for name in names:
        fields = {field: draw(values) for field, values in kinds.items() if draw(st.sampled_from((True, True, True, False)))}
        made.append(document(name, fields, draw(moments), draw(moments)))
    return made


def _of_one_kind() -> list[st.SearchStrategy[Value]]:
    return [
        TAME.strings(),
        TAME.doubles(),
        TAME.timestamps(),
        TAME.references(),
        TAME.geopoints(),
        TAME.wrapped(),
        TAME.arrays_of_one_type(),
    ]


@st.composite
def planned(draw: st.DrawFn) -> tuple[TablePlan, list[Document]]:
    """Documents that are alike, and a plan that suits the first of them, or not."""
    found = draw(alike())
    if draw(st.booleans()):
        return draw(table_plans(found[0])), found
    columns: list[Column] = [fitting_column(number, field, found[0].fields[field]) for number, field in enumerate(sorted(found[0].fields))]
    return TablePlan(collection="users", table="users", keys=("id",), columns=tuple(columns)), found


def together(documents: list[Document]) -> Documents:
    """As an Arrow array has them that is a part of a larger one."""
    serialized = [document.SerializeToString() for document in documents]
    return Documents(pa.array([b"before", *serialized, b"behind"], pa.binary()).slice(1, len(serialized)))


def one_by_one(table: TablePlan, documents: list[Document]) -> dict[int, list[Any]]:
    encode, rows = compile_encoder(table, DATABASE), {}
    for number, one in enumerate(documents):
        try:
            rows[number] = encode(one.SerializeToString())
        except Rejected:
            continue
    return rows


def as_table(table: TablePlan, rows: list[list[Any]]) -> pa.Table:
    schema = arrow_schema(table)
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)


def assert_same_rows(table: TablePlan, documents: list[Document]) -> Any:
    rows, left = ColumnEncoder(table, DATABASE).encode(together(documents))
    single = one_by_one(table, documents)
    expected = as_table(table, [single[number] for number in np.flatnonzero(~left).tolist()])
    assert rows.schema == expected.schema
    for name in rows.column_names:
        assert repr(rows[name].to_pylist()) == repr(expected[name].to_pylist()), name
    return left


@BOUNDED
@given(planned() | planned_documents(at_most=4))
def test_rows_made_together_are_those_made_one_by_one(found: tuple[TablePlan, list[Document]]) -> None:
    assert_same_rows(*found)


@BOUNDED
@given(
    alike()
    | st.lists(
        st.builds(document, st.just(f"{BELOW}/users/1"), st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6)),
        min_size=1,
        max_size=5,
    )
)
def test_values_counted_together_are_those_counted_one_by_one(documents: list[Document]) -> None:
    each, at_once, found = Profiler(DATABASE), Profiler(DATABASE), together(documents)
    for one in documents:
        each.see("users", one)
    see_documents(at_once, "users", found)
    assert profile_to_json(at_once.profile) == profile_to_json(each.profile)
    assert found.created.tolist() == [microseconds(one.create_time.seconds, one.create_time.nanos) for one in documents]
    assert found.updated.tolist() == [microseconds(one.update_time.seconds, one.update_time.nanos) for one in documents]


MAPS = st.dictionaries(st.sampled_from(["a", "b", "ü"]), TAME.scalars() | TAME.arrays_of_one_type() | st.just(mapping({})), max_size=3).map(
    mapping
)


@BOUNDED
@given(st.lists(MAPS | st.lists(MAPS, max_size=3).map(array) | VALUES, min_size=1, max_size=6), st.just(Shape()) | shapes())
def test_json_written_together_is_that_written_one_by_one(held: list[Value], shape: Shape) -> None:
    found = together([document(f"{BELOW}/users/{number}", {"f": value}) for number, value in enumerate(held)])
    texts, wrong = JsonTexts(Names(DATABASE)).write(found.data, found.fields["f"], shape)
    assert len(texts) == len(wrong) == len(held)
    for value, text, is_wrong in zip(held, texts.to_pylist(), wrong, strict=True):
        exceptions: Exceptions = []
        expected = dumps(ReadableWriter(Names(DATABASE)).write(value, shape, ("f",), exceptions))
        assert is_wrong or (text, exceptions) == (expected, [])


def test_json_of_maps_of_which_some_have_nothing() -> None:
    held = [mapping({"a": array([])}), mapping({}), mapping({"b": null()}), mapping({}), null()]
    found = together([document(f"{BELOW}/users/{number}", {"f": value}) for number, value in enumerate(held)])
    texts, wrong = JsonTexts(Names(DATABASE)).write(found.data, found.fields["f"], Shape())
    assert texts.to_pylist() == ['{"a":[]}', "{}", '{"b":null}', "{}", "null"]
    assert not wrong.any()


@BOUNDED
@given(alike(), st.data())
def test_bytes_that_are_no_document_are_left_to_whoever_parses_them(documents: list[Document], data: st.DataObject) -> None:
    serialized = [document.SerializeToString() for document in documents]
    place = data.draw(st.integers(0, len(serialized) - 1))
    broken = bytearray(serialized[place])
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    parsed = _parsed(bytes(broken))
    try:
        found = Documents(pa.array([*serialized[:place], bytes(broken), *serialized[place + 1 :]], pa.binary()))
    except DecodeError:
        assert parsed is None
        return
    except OverflowError:
        assert parsed is not None
        assert max(abs(parsed.create_time.seconds), abs(parsed.update_time.seconds)) > YEARS_OF_AN_INT64
        return
    if not found.odd[place] and parsed is not None:
        assert set(parsed.fields) == {name for name, field in found.fields.items() if place in field.rows}


def _parsed(data: bytes) -> Document | None:
    try:
        return Document.FromString(data)
    except DecodeError:
        return None


def test_documents_that_a_plan_suits_are_all_made_together() -> None:
    """Or the property above would say nothing."""
    made = [
        document(
            f"{BELOW}/users/{number}",
            {
                "text": Value(string_value=f"é{number}"),
                "number": Value(integer_value=number - 3),
                "map": Value(map_value={"fields": {"a": Value(double_value=number / 3), "ü": Value(boolean_value=True)}}),
                "list": Value(array_value={"values": [Value(string_value="x")] * number}),
            },
        )
        for number in range(8)
    ]
    columns = tuple(fitting_column(number, field, made[1].fields[field]) for number, field in enumerate(sorted(made[1].fields)))
    table = TablePlan(collection="users", table="users", keys=("id",), columns=columns)
    assert not assert_same_rows(table, made).any()
