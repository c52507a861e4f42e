"""Numbers arrive with every bit, in columns of their own and inside jsonb."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import pytest

from firelift.local.postgres import PostgresServer
from tests.support.whole_way import Arrival, Things, arrived

INTEGERS = {
    "least": -(2**63),
    "greatest": 2**63 - 1,
    "below the doubles": 2**53 - 1,
    "the last double": 2**53,
    "no double": 2**53 + 1,
    "no negative double": -(2**53) - 1,
    "zero": 0,
    "minus one": -1,
}
DOUBLES = {
    "NaN": math.nan,
    "infinity": math.inf,
    "minus infinity": -math.inf,
    "zero": 0.0,
    "minus zero": -0.0,
    "one": 1.0,
    "the least": 5e-324,
    "the greatest": 1.797e308,
    "0.1 + 0.2": 0.1 + 0.2,
    "printed with an exponent": 1e22,
    "printed with a small exponent": 1e-7,
    "the first that is printed so": 1e16,
    "2^53": 2.0**53,
    "2^63": 2.0**63,
    "a third": 1 / 3,
}
NUMBERS: dict[str, int | float] = {f"integer {what}": number for what, number in INTEGERS.items()} | {
    f"double {what}": number for what, number in DOUBLES.items()
}

DOCUMENTS: Things = {
    **{f"integers/{what}": {"n": number} for what, number in INTEGERS.items()},
    **{f"doubles/{what}": {"n": number} for what, number in DOUBLES.items()},
    **{f"mixed/{what}": {"n": number} for what, number in NUMBERS.items()},
    **{f"maps/{what}": {"n": {"n": number, "list": [number]}} for what, number in NUMBERS.items()},
    **{f"dynamic/{what}": {"n": {f"key{place}": number}} for place, (what, number) in enumerate(NUMBERS.items())},
    "arrays/all": {"integers": list(INTEGERS.values()), "doubles": list(DOUBLES.values()), "both": list(NUMBERS.values())},
    "sorts/integer": {"n": 1},
    "sorts/double": {"n": 1.0},
    "sorts/minus zero": {"n": -0.0},
    "sorts/NaN": {"n": math.nan},
    "sorts/string": {"n": "1"},
    "sorts/boolean": {"n": True},
}


@pytest.fixture(scope="module")
def arrival(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrival]:
    with arrived(emulator_host, postgres, tmp_path_factory.mktemp("numbers"), DOCUMENTS) as arrival:
        yield arrival


def bits(number: float) -> bytes:
    return struct.pack(">d", number)


def holds(arrival: Arrival, collection: str, field: str = "n") -> str:
    return next(column.type for column in arrival.table(collection).columns if column.dotted_path == field)


def test_every_document_is_its_row(arrival: Arrival) -> None:
    arrival.check()
    assert set(arrival.decoded) == set(DOCUMENTS)


@pytest.mark.parametrize("what", INTEGERS)
def test_integers_are_bigint_and_never_pass_through_a_double(arrival: Arrival, what: str) -> None:
    assert holds(arrival, "integers") == "bigint"
    assert arrival.value(f"integers/{what}", "n") == INTEGERS[what]
    assert arrival.residue(f"integers/{what}") is None


@pytest.mark.parametrize("what", DOUBLES)
def test_doubles_keep_their_bits_without_any_residue(arrival: Arrival, what: str) -> None:
    assert holds(arrival, "doubles") == "double precision"
    assert bits(arrival.value(f"doubles/{what}", "n")) == bits(DOUBLES[what])
    assert arrival.residue(f"doubles/{what}") is None


@pytest.mark.parametrize("what", INTEGERS)
def test_an_integer_among_doubles_is_a_double_to_read_and_an_integer_in_the_residue(arrival: Arrival, what: str) -> None:
    path = f"mixed/integer {what}"
    assert holds(arrival, "mixed") == "double precision"
    assert arrival.value(path, "n") == float(INTEGERS[what])
    assert arrival.residue(path) == {"n": {"integerValue": str(INTEGERS[what])}}


def test_a_double_among_integers_needs_no_residue(arrival: Arrival) -> None:
    for what, number in DOUBLES.items():
        assert bits(arrival.value(f"mixed/double {what}", "n")) == bits(number)
        assert arrival.residue(f"mixed/double {what}") is None


@pytest.mark.parametrize("what", INTEGERS)
def test_integers_in_jsonb_are_exact(arrival: Arrival, what: str) -> None:
    assert arrival.json(f"maps/integer {what}", "n") == {"n": INTEGERS[what], "list": [INTEGERS[what]]}
    assert arrival.residue(f"maps/integer {what}") is None


@pytest.mark.parametrize("what", [what for what, number in DOUBLES.items() if math.isfinite(number) and what != "minus zero"])
def test_finite_doubles_in_jsonb_are_numbers_and_exact(arrival: Arrival, what: str) -> None:
    shown = arrival.json(f"maps/double {what}", "n")
    assert [float(shown["n"]), float(shown["list"][0])] == [DOUBLES[what]] * 2
    assert arrival.residue(f"maps/double {what}") is None


@pytest.mark.parametrize(("what", "text"), [("NaN", "NaN"), ("infinity", "Infinity"), ("minus infinity", "-Infinity")])
def test_what_jsonb_has_no_number_for_is_a_string_there(arrival: Arrival, what: str, text: str) -> None:
    assert arrival.json(f"maps/double {what}", "n") == {"n": text, "list": [text]}


def test_minus_zero_in_jsonb_loses_its_sign_to_readers_only(arrival: Arrival) -> None:
    assert arrival.json("maps/double minus zero", "n") == {"n": 0, "list": [0]}
    assert list(arrival.residue("maps/double minus zero").values()) == [{"doubleValue": "-0.0"}] * 2


def test_arrays_of_one_type_are_arrays_and_of_two_are_jsonb(arrival: Arrival) -> None:
    types = [holds(arrival, "arrays", field) for field in ("integers", "doubles", "both")]
    assert types == ["bigint[]", "double precision[]", "jsonb"]
    assert arrival.value("arrays/all", "integers") == list(INTEGERS.values())
    assert list(map(bits, arrival.value("arrays/all", "doubles"))) == list(map(bits, DOUBLES.values()))


def test_numbers_beside_strings_are_jsonb_and_stay_apart(arrival: Arrival) -> None:
    assert holds(arrival, "sorts") == "jsonb"
    assert arrival.ask("SELECT id, jsonb_typeof(n) FROM public.sorts ORDER BY id") == [
        ("NaN", "string"),
        ("boolean", "boolean"),
        ("double", "number"),
        ("integer", "number"),
        ("minus zero", "number"),
        ("string", "string"),
    ]
