"""Any document, under any plan, comes back from its row to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firelift.firestore.values import Document, Value, same_document, same_value, tagged, untag
from firelift.planning.model import EXTRA, Shape, TablePlan
from firelift.rfc3339 import read_rfc3339, rfc3339
from firelift.transform import compile_decoder, compile_encoder
from tests.support.strategies import (
    ANY,
    BELOW,
    DATABASE,
    FIELDS,
    FINER,
    LOOKALIKES,
    MICROS,
    SECONDS,
    TAME,
    document,
    fitting_column,
    fitting_shape,
    planned_documents,
)

BOUNDED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def is_array_of(kind: type) -> Callable[[Any], bool]:
    return lambda cell: type(cell) is list and all(type(element) is kind for element in cell)


def is_jsonb(cell: Any) -> bool:
    return type(cell) is str and "\\u0000" not in cell.replace("\\\\", "") and orjson.loads(cell) is not NotImplemented


FITS: dict[str, Callable[[Any], bool]] = {
    "text": lambda cell: type(cell) is str and "\0" not in cell,
    "bigint": lambda cell: type(cell) is int,
    "double precision": lambda cell: type(cell) is float,
    "boolean": lambda cell: type(cell) is bool,
    "timestamptz": lambda cell: type(cell) is int,
    "bytea": lambda cell: type(cell) is bytes,
    "jsonb": is_jsonb,
    "text[]": lambda cell: is_array_of(str)(cell) and "\0" not in "".join(cell),
    "bigint[]": is_array_of(int),
    "double precision[]": is_array_of(float),
    "boolean[]": is_array_of(bool),
    "timestamptz[]": is_array_of(int),
}


@BOUNDED
@given(planned_documents())
def test_a_row_gives_its_document_back_to_the_bit(planned: tuple[TablePlan, list[Document]]) -> None:
    table, [original] = planned
    row = compile_encoder(table, DATABASE)(original.SerializeToString())
    assert same_document(compile_decoder(table, DATABASE)(row), original)


@BOUNDED
@given(planned_documents())
def test_a_cell_has_the_type_of_its_column_and_never_a_nul(planned: tuple[TablePlan, list[Document]]) -> None:
    table, [original] = planned
    row = compile_encoder(table, DATABASE)(original.SerializeToString())
    listed = table.target_columns()
    assert len(row) == len(listed)
    for cell, (name, pg_type) in zip(row, listed, strict=True):
        assert cell is None or FITS[pg_type](cell), name


@BOUNDED
@given(st.dictionaries(st.sampled_from(FIELDS[:-1]), TAME.scalars() | TAME.arrays_of_one_type(), max_size=6), st.booleans())
def test_a_document_that_its_plan_suits_has_no_residue(fields: dict[str, Value], in_columns: bool) -> None:
    columns = tuple(fitting_column(number, field, value) for number, (field, value) in enumerate(fields.items()))
    extra = Shape(keys={field: fitting_shape(value) for field, value in fields.items()})
    table = TablePlan(collection="users", table="users", keys=("id",), columns=columns if in_columns else (), extra=extra)
    row = compile_encoder(table, DATABASE)(document(f"{BELOW}/users/1", fields).SerializeToString())
    assert row[-1] is None
    position = [name for name, _ in table.target_columns()].index(EXTRA)
    assert (row[position] is None) == (in_columns or not fields)


@BOUNDED
@given(ANY.values() | LOOKALIKES)
def test_a_tagged_value_survives_as_json(value: Value) -> None:
    again = Value()
    untag(orjson.loads(orjson.dumps(tagged(value))), again)
    assert same_value(again, value)


@BOUNDED
@given(SECONDS, MICROS | FINER)
def test_a_moment_survives_as_text(seconds: int, nanos: int) -> None:
    assert read_rfc3339(rfc3339(seconds, nanos)) == (seconds, nanos)
