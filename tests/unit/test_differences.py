"""Differences between documents: every place, both values, told apart by the eye."""

from __future__ import annotations

import csv
import math
import struct
from pathlib import Path

import pytest

from firelift.firestore.values import Value
from firelift.receipts import Difference
from firelift.verification.difference_file import FIRST, HEADER, DifferenceFile, join_files, write_differences
from firelift.verification.differing_fields import FieldDiffers, differing_fields
from firelift.verification.rendering import LONGEST, quoted, render, render_moment, shortened
from firelift.verification.row_comparison import same_json
from tests.support.strategies import array, double, geopoint, integer, mapping, null, text, timestamp, value_of, vector
from tests.support.strategies import document as made

ODD_NAN = struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]


def differing(expected: dict[str, Value], found: dict[str, Value]) -> list[FieldDiffers]:
    return list(differing_fields(made("d", expected), made("d", found)))


@pytest.mark.parametrize(
    ("expected", "found", "difference"),
    [
        (integer(3), integer(4), ("f", "value", "integer 3", "integer 4")),
        (integer(3), double(3.0), ("f", "type", "integer 3", "double 3.0")),
        (double(0.0), double(-0.0), ("f", "value", "double 0.0", "double -0.0")),
        (double(math.nan), double(ODD_NAN), ("f", "value", "double NaN", "double NaN (bits fff8000000000001)")),
        (text("a"), text("a "), ("f", "value", 'string "a"', 'string "a "')),
        (text("é"), text("e\u0301"), ("f", "value", 'string "é"', 'string "e\\u0301"')),
        (text("a\0"), text("a\ufffd"), ("f", "value", 'string "a\\u0000"', 'string "a\ufffd"')),
        (text("a b"), text("a\u00a0b"), ("f", "value", 'string "a b"', 'string "a\\u00a0b"')),
        (null(), text(""), ("f", "type", "null", 'string ""')),
        (value_of("bytes_value", b"\0\1"), value_of("bytes_value", b""), ("f", "value", "bytes 0001", "bytes ")),
        (
            timestamp(0, 1000),
            timestamp(0, 1001),
            ("f", "value", "timestamp 1970-01-01T00:00:00.000001000Z", "timestamp 1970-01-01T00:00:00.000001001Z"),
        ),
        (geopoint(1, 0.0), geopoint(1, -0.0), ("f", "value", "geopoint (1.0, 0.0)", "geopoint (1.0, -0.0)")),
        (vector([1.0, 2.0]), vector([1.0, 3.0]), ("f[1]", "value", "double 2.0", "double 3.0")),
        (vector([1.0]), array([double(1.0)]), ("f", "type", "vector [1.0]", "array [double 1.0]")),
        (array([integer(1), text("x")]), array([integer(1), text("y")]), ("f[1]", "value", 'string "x"', 'string "y"')),
        (array([integer(1), integer(2)]), array([integer(2)]), ("f[0]", "missing element", "integer 1", "nothing")),
        (array([integer(1)]), array([integer(1), null()]), ("f[1]", "unexpected element", "nothing", "null")),
        (mapping({"a b": integer(1)}), mapping({}), ("f.`a b`", "missing field", "integer 1", "nothing")),
        (mapping({}), mapping({"x": null()}), ("f.x", "unexpected field", "nothing", "null")),
        (mapping({"x": array([integer(1)])}), mapping({"x": array([integer(2)])}), ("f.x[0]", "value", "integer 1", "integer 2")),
    ],
)
def test_a_difference_names_its_place_and_both_values(expected: Value, found: Value, difference: tuple[str, ...]) -> None:
    assert differing({"f": expected}, {"f": found}) == [FieldDiffers(*difference)]


def test_every_place_that_differs_is_named() -> None:
    one = {"a": integer(1), "b": mapping({"c": integer(1), "d": integer(1)}), "e": integer(1)}
    other = {"a": integer(2), "b": mapping({"c": integer(2), "d": integer(1)}), "g": integer(1)}
    assert [(differs.field, differs.what) for differs in differing(one, other)] == [
        ("a", "value"),
        ("b.c", "value"),
        ("e", "missing field"),
        ("g", "unexpected field"),
    ]


def test_the_times_of_a_document_are_compared() -> None:
    found = list(differing_fields(made("d", {}, created=(1, 0)), made("d", {}, created=(1, 1000), updated=(3, 0))))
    assert [(differs.field, differs.what) for differs in found] == [("", "create time"), ("", "update time")]


def test_an_array_of_which_most_is_other_is_one_difference() -> None:
    one, other = (array([integer(start + number) for number in range(50)]) for start in (0, 100))
    [differs] = differing({"f": one}, {"f": other})
    assert (differs.field, differs.what) == ("f", "value")
    assert differs.expected.startswith("50 elements: ")


def test_field_names_that_are_no_words_are_quoted() -> None:
    assert [differs.field for differs in differing({}, {"a.b": null(), "c`d": null(), "": null()})] == ["``", "`a.b`", "`c\\`d`"]


@pytest.mark.parametrize("place", [0, 39, 40, 150, 500, 999])
def test_long_values_are_shortened_around_the_place_where_they_part(place: int) -> None:
    one = render(text("a" * 1000))
    other = render(text("a" * place + "b" + "a" * (999 - place)))
    expected, found = shortened(one, other)
    assert len(expected) <= LONGEST
    assert len(found) <= LONGEST
    assert expected.startswith('string "')
    assert "b" in found
    assert expected != found


def test_a_value_that_goes_on_where_the_other_ends_is_seen_to_do_so() -> None:
    expected, found = shortened(render(text("a" * 500)), render(text("a" * 500 + " ")))
    assert expected.endswith('a"')
    assert found.endswith('a "')


def test_a_time_that_no_calendar_has_is_shown_all_the_same() -> None:
    assert render_moment(timestamp(2**50, 5).timestamp_value) == f"{2**50} s and 5 ns after 1970"


@pytest.mark.parametrize(("plain", "seen"), [('"', '"\\""'), ("\\n", '"\\\\n"'), ("\n", '"\\n"'), ("\u200d", '"\\u200d"'), ("😀", '"😀"')])
def test_what_leaves_no_trace_on_paper_is_seen(plain: str, seen: str) -> None:
    assert quoted(plain) == seen


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a":1,"b":[2]}', '{"b": [2], "a": 1}', True),
        ("1", "1.0", False),
        ("1.0", "1.00", True),
        ("1e-7", "0.0000001", True),
        ("-0.0", "0.0", True),
        ("0.1", "0.10000000000000000001", False),
        ("100000000000000000000.0", "100000000000000000001.0", False),
        ('{"a":0.3}', '{"a": 0.3}', True),
        ("true", "1", False),
        ("null", '"null"', False),
        ("[1,2]", "[2,1]", False),
        ('"é"', '"\\u00e9"', True),
        ("9223372036854775807", "9223372036854775806", False),
    ],
)
def test_json_texts_are_compared_as_postgres_compares_them(one: str, other: str, same: bool) -> None:
    assert same_json(one, other) is same
    assert same_json(other, one) is same


def difference(number: int) -> Difference:
    return Difference(table="t", key=str(number), what="value", expected='a "quoted", text', found="line\nbreak")


def test_all_differences_are_in_the_file_and_the_first_in_memory(tmp_path: Path) -> None:
    parts = [write_differences(map(difference, range(start, start + 80)), tmp_path / f"{start}.csv") for start in (0, 80)]
    whole = join_files([DifferenceFile(), *parts], tmp_path / "differences.csv")
    assert whole.total == 160
    assert whole.first == tuple(map(difference, range(FIRST)))
    assert (tmp_path / "differences.csv").read_text().count('"a ""quoted"", text"') == 160
    assert [file.name for file in tmp_path.iterdir()] == ["differences.csv"]


DANGEROUS = ("=1+1", "+1+1", "-1+1", "-x", "--5", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=", "-", "＝1")
ORDINARY = ("-5", "-1.5e-7", "5", "a=b", " a", '"=1"', "", "'a", "users/-x")


def test_no_cell_is_a_formula_and_every_other_one_stands_as_it_is(tmp_path: Path) -> None:
    cells = [*DANGEROUS, *ORDINARY]
    found = [Difference(table=cell, key=cell, field=cell, what=cell, expected=cell, found=cell) for cell in cells]
    join_files([write_differences(found, tmp_path / "part.csv")], tmp_path / "differences.csv")
    with (tmp_path / "differences.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert rows == [[cell] * 6 for cell in (*(f"'{cell}" for cell in DANGEROUS), *ORDINARY)]


def test_the_file_of_no_difference_has_its_header(tmp_path: Path) -> None:
    nothing = join_files([write_differences([], tmp_path / "part.csv")], tmp_path / "differences.csv")
    assert (nothing.total, nothing.first) == (0, ())
    assert (tmp_path / "differences.csv").read_text().strip() == ",".join(HEADER)
