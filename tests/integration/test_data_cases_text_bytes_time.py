"""Strings, bytes and timestamps arrive as they are, whatever they look like."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from firelift.firestore.values import Value
from firelift.local.postgres import PostgresServer
from firelift.local.writer import value_of
from tests.support.whole_way import Arrival, Things, arrived

TEXTS = {
    "empty": "",
    "a space": " ",
    "the replacement character": "\ufffd",
    "the last character": "\U0010ffff",
    "a noncharacter": "\uffff",
    "a ZWJ emoji": "👩\u200d👩\u200d👧\u200d👦",
    "a combining mark": "e\u0301",
    "its composed twin": "é",
    "a byte order mark": "\ufeffa",
    "line ends": "a\r\nb\rc\n",
    "a tab": "\ta\t",
    "a backslash": "\\",
    "COPY's null": "\\N",
    "COPY's end": "\\.",
    "an escape": "\\u0000",
    "control characters": "\x01\x08\x1b\x7f\x85",
    "a line separator": "\u2028\u2029",
    "a right-to-left override": "\u202eabc",
    "quotes": "'\"`$$",
    "a date": "2024-02-30",
    "a moment": "2024-01-01T00:00:00Z",
    "a finer moment": "2024-01-01T00:00:00.123456Z",
    "an integer": "42",
    "a padded integer": "007",
    "a double": "1e5",
    "no number": "NaN",
    "infinity": "-Infinity",
    "a boolean": "true",
    "a null": "null",
    "an object": '{"a": 1}',
    "an array": "[1, 2]",
    "a Postgres array": '{a,"b"}',
    "base64": "AAEC",
    "a reference": "users/a",
    "a whole reference": "projects/p/databases/(default)/documents/users/a",
    "half a mebibyte": "ü€🔥x" * 50_000,
}
WITH_NUL = {"only NUL": "\0", "NUL inside": "a\0b", "NUL beside its stand-in": "\ufffd\0\ufffd", "NUL at both ends": "\0\0a\0"}

BYTES = {
    "empty": b"",
    "NUL": b"\0",
    "every byte": bytes(range(256)),
    "what looks like text": b"text",
    "no UTF-8": b"\xff\xfe\xc3",
    "nearly a mebibyte": bytes(range(251)) * 4000,
}


def moment(seconds: int, nanos: int = 0) -> Value:
    return value_of(timestamp_value={"seconds": seconds, "nanos": nanos})


FIRST, LAST = -62_135_596_800, 253_402_300_799
# The emulator refuses 9999-12-31T23:59:59.999999Z, the last microsecond; these are its neighbours.
MOMENTS: dict[str, tuple[int, int]] = {
    "the first": (FIRST, 0),
    "the first microsecond": (FIRST, 1000),
    "the last second": (LAST, 0),
    "nearly the last microsecond": (LAST - 1, 999_999_000),
    "the epoch": (0, 0),
    "a microsecond before": (-1, 999_999_000),
    "half a second before": (-1, 500_000_000),
    "a second before": (-1, 0),
    "before the Gregorian calendar": (-12_219_292_801, 1000),
    "a leap day": (1_709_164_800, 0),
    "an odd microsecond": (1_700_000_000, 123_457_000),
}
# Firestore keeps microseconds: what is finer is gone before we read it, and nothing may be rounded up after that.
FINER: dict[str, tuple[int, int]] = {"nearly a microsecond": (1_700_000_000, 999), "nearly a second": (1_700_000_000, 999_999_999)}


def everywhere(collection: str, what: str, thing: object) -> Things:
    """A thing in a column, in a map, in an array, in both, and in a field that also holds other types."""
    return {
        f"{collection}/{what}": {"plain": thing, "list": [thing, thing], "map": {"in": thing, "list": [{"in": thing}]}},
        f"{collection}_mixed/{what}": {"plain": thing},
    }


SMALL: dict[str, dict[str, object]] = {
    "texts": {what: text for what, text in (TEXTS | WITH_NUL).items() if len(text) < 1000},
    "bytes": {what: data for what, data in BYTES.items() if len(data) < 1000},
    "moments": {what: moment(*when) for what, when in (MOMENTS | FINER).items()},
}
DOCUMENTS: Things = {
    path: fields
    for collection, things in SMALL.items()
    for what, thing in things.items()
    for path, fields in everywhere(collection, what, thing).items()
} | {
    "texts/half a mebibyte": {"plain": TEXTS["half a mebibyte"]},
    "bytes/nearly a mebibyte": {"plain": BYTES["nearly a mebibyte"]},
    "bytes/in a map": {"map": {"in": BYTES["nearly a mebibyte"]}},
    "texts_mixed/number": {"plain": 42},
    "texts_mixed/missing": {"other": 1},
    "texts_mixed/null": {"plain": None},
    "bytes_mixed/text": {"plain": "AAEC"},
    "moments_mixed/as text": {"plain": "2023-11-14T22:13:20Z"},
    "moments_mixed/as an integer": {"plain": 1_700_000_000},
    "moments_mixed/as milliseconds": {"plain": 1_700_000_000_000.0},
    "nothing/empty": {"text": ""},
    "nothing/null": {"text": None},
    "nothing/missing": {},
    "mostly_null/1": {"text": None},
    "mostly_null/2": {"text": None},
    "mostly_null/3": {"text": "x"},
    "mostly_null/4": {},
}


@pytest.fixture(scope="module")
def arrival(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrival]:
    with arrived(emulator_host, postgres, tmp_path_factory.mktemp("texts"), DOCUMENTS) as arrival:
        yield arrival


def type_of(arrival: Arrival, collection: str, field: str) -> str:
    return next(column.type for column in arrival.table(collection).columns if column.dotted_path == field)


def microseconds(when: tuple[int, int]) -> int:
    return when[0] * 1_000_000 + when[1] // 1000


def test_every_document_is_its_row(arrival: Arrival) -> None:
    arrival.check()
    assert set(arrival.decoded) == set(DOCUMENTS)


@pytest.mark.parametrize("what", TEXTS)
def test_a_string_stays_a_string_whatever_it_looks_like(arrival: Arrival, what: str) -> None:
    assert type_of(arrival, "texts", "plain") == "text"
    assert arrival.value(f"texts/{what}", "plain") == TEXTS[what]
    assert arrival.residue(f"texts/{what}") is None


def test_strings_in_maps_and_arrays_stay_strings(arrival: Arrival) -> None:
    assert type_of(arrival, "texts", "list") == "text[]"
    for what, text in TEXTS.items():
        if len(text) < 1000:
            assert arrival.value(f"texts/{what}", "list") == [text, text]
            assert arrival.json(f"texts/{what}", "map") == {"in": text, "list": [{"in": text}]}


def test_strings_beside_other_types_are_jsonb_strings(arrival: Arrival) -> None:
    assert type_of(arrival, "texts_mixed", "plain") == "jsonb"
    for what, text in TEXTS.items():
        if len(text) < 1000:
            assert arrival.json(f"texts_mixed/{what}", "plain") == text


@pytest.mark.parametrize("what", WITH_NUL)
def test_nul_is_shown_as_its_stand_in_and_kept_in_the_residue(arrival: Arrival, what: str) -> None:
    shown = WITH_NUL[what].replace("\0", "\ufffd")
    assert arrival.value(f"texts/{what}", "plain") == shown
    assert arrival.value(f"texts/{what}", "list") == [shown, shown]
    assert arrival.json(f"texts/{what}", "map") == {"in": shown, "list": [{"in": shown}]}
    assert arrival.residue(f"texts/{what}")["plain"] == {"stringBase64": base64.b64encode(WITH_NUL[what].encode()).decode()}


def test_empty_null_and_missing_are_three_things(arrival: Arrival) -> None:
    assert [arrival.value(f"nothing/{what}", "text") for what in ("empty", "null", "missing")] == ["", None, None]
    assert [arrival.residue(f"nothing/{what}") for what in ("empty", "null", "missing")] == [None, {"text": {"nullValue": None}}, None]


def test_where_null_is_more_frequent_it_is_the_missing_field_that_is_noted(arrival: Arrival) -> None:
    assert arrival.table("mostly_null").columns[0].null_means == "null"
    assert [arrival.residue(f"mostly_null/{number}") for number in (1, 2, 3, 4)] == [None, None, None, {"text": {"missing": True}}]


@pytest.mark.parametrize("what", BYTES)
def test_bytes_are_bytea(arrival: Arrival, what: str) -> None:
    assert type_of(arrival, "bytes", "plain") == "bytea"
    assert arrival.value(f"bytes/{what}", "plain") == BYTES[what]
    assert arrival.residue(f"bytes/{what}") is None


def test_bytes_in_maps_and_arrays_are_base64(arrival: Arrival) -> None:
    assert type_of(arrival, "bytes", "list") == "jsonb"
    for what, data in BYTES.items():
        shown = base64.b64encode(data).decode()
        if len(data) < 1000:
            assert arrival.json(f"bytes/{what}", "list") == [shown, shown]
            assert arrival.json(f"bytes/{what}", "map") == {"in": shown, "list": [{"in": shown}]}
    assert arrival.json("bytes/in a map", "map") == {"in": base64.b64encode(BYTES["nearly a mebibyte"]).decode()}


@pytest.mark.parametrize("what", MOMENTS)
def test_timestamps_keep_their_microseconds_from_year_1_to_9999(arrival: Arrival, what: str) -> None:
    assert type_of(arrival, "moments", "plain") == "timestamptz"
    assert arrival.value(f"moments/{what}", "plain") == microseconds(MOMENTS[what])
    assert arrival.value(f"moments/{what}", "list") == [microseconds(MOMENTS[what])] * 2
    assert arrival.residue(f"moments/{what}") is None


@pytest.mark.parametrize("what", FINER)
def test_what_is_finer_than_microseconds_is_never_rounded_up(arrival: Arrival, what: str) -> None:
    assert arrival.value(f"moments/{what}", "plain") == microseconds(FINER[what])


def test_timestamps_in_jsonb_are_rfc_3339(arrival: Arrival) -> None:
    assert type_of(arrival, "moments", "list") == "timestamptz[]"
    assert arrival.json("moments/the first", "map")["in"].startswith("0001-01-01T00:00:00")
    assert arrival.json("moments/nearly the last microsecond", "map")["in"] == "9999-12-31T23:59:58.999999Z"
    assert arrival.json("moments/half a second before", "map")["list"][0]["in"].startswith("1969-12-31T23:59:59.5")


def test_timestamps_beside_text_and_integers_stay_apart(arrival: Arrival) -> None:
    assert type_of(arrival, "moments_mixed", "plain") == "jsonb"
    assert arrival.json("moments_mixed/as text", "plain") == "2023-11-14T22:13:20Z"
    assert arrival.json("moments_mixed/as an integer", "plain") == 1_700_000_000
    assert arrival.json("moments_mixed/the epoch", "plain") == "1970-01-01T00:00:00Z"
