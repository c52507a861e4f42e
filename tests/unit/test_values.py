"""Values and their exact JSON; moments and their text."""

from __future__ import annotations

import struct

import orjson
import pytest

from firelift.firestore.lazy_protobuf import types
from firelift.firestore.values import (
    Document,
    Tagged,
    UnknownValueType,
    Value,
    is_vector,
    kind_of,
    same_document,
    same_value,
    tagged,
    untag,
)
from firelift.rfc3339 import MomentOutOfRange, from_microseconds, microseconds, read_rfc3339, rfc3339
from tests.support.strategies import BELOW, array, document, geopoint, mapping, null, timestamp, value_of, vector

NEGATIVE_NAN = struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]

TAGS: list[tuple[Value, Tagged]] = [
    (null(), {"nullValue": None}),
    (value_of("boolean_value", False), {"booleanValue": False}),
    (value_of("integer_value", -(2**63)), {"integerValue": "-9223372036854775808"}),
    (value_of("integer_value", 2**53 + 1), {"integerValue": "9007199254740993"}),
    (value_of("double_value", 0.1), {"doubleValue": "0.1"}),
    (value_of("double_value", -0.0), {"doubleValue": "-0.0"}),
    (value_of("double_value", 5e-324), {"doubleValue": "5e-324"}),
    (value_of("double_value", float("nan")), {"doubleValue": "NaN"}),
    (value_of("double_value", float("inf")), {"doubleValue": "Infinity"}),
    (value_of("double_value", float("-inf")), {"doubleValue": "-Infinity"}),
    (value_of("double_value", NEGATIVE_NAN), {"doubleBits": "fff8000000000001"}),
    (timestamp(0, 0), {"timestampValue": "1970-01-01T00:00:00Z"}),
    (timestamp(-1, 123_456_789), {"timestampValue": "1969-12-31T23:59:59.123456789Z"}),
    (value_of("string_value", ""), {"stringValue": ""}),
    (value_of("string_value", "a\0"), {"stringBase64": "YQA="}),
    (value_of("bytes_value", b"\0\1"), {"bytesValue": "AAE="}),
    (value_of("reference_value", f"{BELOW}/a/b"), {"referenceValue": f"{BELOW}/a/b"}),
    (value_of("reference_value", "a/\0"), {"referenceBase64": "YS8A"}),
    (geopoint(-90.0, -0.0), {"geoPointValue": {"latitude": "-90.0", "longitude": "-0.0"}}),
    (array([]), {"arrayValue": {"values": []}}),
    (array([null(), value_of("string_value", "x")]), {"arrayValue": {"values": [{"nullValue": None}, {"stringValue": "x"}]}}),
    (mapping({}), {"mapValue": {"fields": {}}}),
    (mapping({"": mapping({"k": null()})}), {"mapValue": {"fields": {"": {"mapValue": {"fields": {"k": {"nullValue": None}}}}}}}),
    (
        mapping({"a\0": null(), "b": null()}),
        {"mapValue": {"entries": [[{"base64": "YQA="}, {"nullValue": None}], ["b", {"nullValue": None}]]}},
    ),
]


@pytest.mark.parametrize(("value", "tag"), TAGS, ids=lambda case: str(case)[:40])
def test_a_value_is_written_with_its_type_and_read_back_to_the_bit(value: Value, tag: Tagged) -> None:
    again = Value()
    assert tagged(value) == tag
    untag(orjson.loads(orjson.dumps(tag)), again)
    assert same_value(again, value)


DOUBLE, ONE = value_of("double_value", 1.0), value_of("integer_value", 1)
VECTOR = value_of("string_value", "__vector__")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (vector([]), True),
        (vector([1.0, float("nan")]), True),
        (vector([0.5] * 2048), True),
        (mapping({"__type__": VECTOR, "value": array([DOUBLE, ONE])}), False),
        (mapping({"__type__": VECTOR, "value": DOUBLE}), False),
        (mapping({"__type__": VECTOR, "value": array([DOUBLE]), "more": ONE}), False),
        (mapping({"__type__": VECTOR, "valuf": array([DOUBLE])}), False),
        (mapping({"__type__": value_of("string_value", "vector"), "value": array([DOUBLE])}), False),
        (mapping({"__type__": null(), "value": array([DOUBLE])}), False),
        (mapping({}), False),
    ],
)
def test_a_vector_is_a_map_of_exactly_its_type_and_doubles(value: Value, expected: bool) -> None:
    assert is_vector(value) is expected
    assert kind_of(value) == ("vector" if expected else "map")


@pytest.mark.parametrize("value", [Value(), Value.FromString(b"\xfa\x07\x01x"), value_of("field_reference_value", "f")])
def test_a_type_that_nobody_knows_is_an_error(value: Value) -> None:
    for read in (kind_of, tagged):
        with pytest.raises(UnknownValueType):
            read(value)


def test_documents_are_compared_by_bits() -> None:
    def holding(number: float) -> Document:
        return document(f"{BELOW}/a/b", {"n": value_of("double_value", number)})

    assert same_document(holding(float("nan")), holding(float("nan")))
    assert not same_document(holding(float("nan")), holding(NEGATIVE_NAN))
    assert not same_document(holding(0.0), holding(-0.0))
    assert not same_document(document("a/b", {}), document("a/b", {}, updated=(2, 1)))


def test_documents_are_the_messages_that_the_google_client_sends() -> None:
    sent = types.Document(name="a/b", fields={"k": types.Value(integer_value=1)})
    assert Document.FromString(types.Document.serialize(sent)).fields["k"].integer_value == 1


@pytest.mark.parametrize(
    ("seconds", "nanos", "text"),
    [
        (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
        (-62_135_596_800, 1000, "0001-01-01T00:00:00.000001Z"),
        (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
        (0, 0, "1970-01-01T00:00:00Z"),
        (951_782_400, 0, "2000-02-29T00:00:00Z"),
        (1_700_000_000, 123_000_000, "2023-11-14T22:13:20.123000Z"),
        (253_402_300_799, 999_999_000, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_moment_has_one_text(seconds: int, nanos: int, text: str) -> None:
    assert rfc3339(seconds, nanos) == text
    assert read_rfc3339(text) == (seconds, nanos)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-01-01",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00:00.1Z",
        "2024-02-30T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "٢٠٢٤-01-01T00:00:00Z",
    ],
)
def test_other_text_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_rfc3339(text)


def test_a_moment_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(MomentOutOfRange):
        rfc3339(253_402_300_800, 0)


@pytest.mark.parametrize(("seconds", "nanos", "stamp"), [(0, 0, 0), (-1, 999_999_999, -1), (-1, 0, -1_000_000), (1, 1_999, 1_000_001)])
def test_microseconds_are_cut_towards_the_past(seconds: int, nanos: int, stamp: int) -> None:
    assert microseconds(seconds, nanos) == stamp
    assert from_microseconds(stamp) == (seconds, nanos - nanos % 1000)
