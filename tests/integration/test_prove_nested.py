"""Nested values at the places of which the plan says how to read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from firelift.local.postgres import PostgresServer
from firelift.local.writer import GeoPoint, Reference, Vector
from firelift.planning.model import Column, Shape, TablePlan
from firelift.postgres.inspect.nested import Every
from firelift.postgres.session.connect import Connection, Session
from firelift.verification.checks.nested import MOST_PLACES, prove_nested, typed_places
from firelift.verification.proof import NestedProved
from tests.support.whole_way import Arrival, arrived

MOMENT = datetime(2024, 2, 29, 23, 59, 59, 1, tzinfo=UTC)


def document(source: str, number: int) -> dict[str, object]:
    return {
        "where": GeoPoint(number / 3, -0.5),
        "address": {
            "since": MOMENT,
            "seal": bytes([number, 255]),
            "of": Reference(f"{source}/documents/others/{number}"),
            "at": GeoPoint(1.0, 2.0),
            "odd key's %s": {"since": MOMENT},
            "vector": Vector((0.5, 1.5)),
        },
        "visits": [{"at": MOMENT, "note": "2024-13-45"}, {"at": MOMENT}],
        "ratios": [1.5, float("nan"), None],
        "tags": ["a", "b"],
        "moments": [MOMENT, MOMENT],
    }


@pytest.fixture(scope="module")
def there(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrival]:
    everything = {f"things/{number}": document("projects/x/databases/(default)", number) for number in range(5)}
    with arrived(emulator_host, postgres, tmp_path_factory.mktemp("run"), everything) as arrival:
        yield arrival


@pytest.fixture
def connection(there: Arrival) -> Iterator[Connection]:
    """What a test changes over it is taken back: it changes a copy of the table in another schema."""
    with closing(there.connect()) as connection:
        connection.execute("CREATE SCHEMA copied; CREATE TABLE copied.things (LIKE public.things INCLUDING ALL)")
        connection.execute("INSERT INTO copied.things SELECT * FROM public.things")
        yield connection
        connection.execute("DROP SCHEMA copied CASCADE")


def proved(there: Arrival, schema: str = "public") -> dict[tuple[str, str], NestedProved]:
    return {(one.place, one.reads_as): one for one in prove_nested(Session(there.url, "firelift-test"), schema, there.plan)}


def test_every_typed_place_is_looked_at_and_is_readable(there: Arrival) -> None:
    found = proved(there)
    assert set(found) == {
        ("where", "geopoint"),
        ("address.since", "timestamp"),
        ("address.seal", "bytes"),
        ("address.of", "reference"),
        ("address.at", "geopoint"),
        ("address.`odd key's %s`.since", "timestamp"),
        ("address.vector", "vector"),
        ("visits[*].at", "timestamp"),
        ("ratios[*]", "double"),
        ("tags[*]", "text"),
        ("moments[*]", "timestamptz"),
    }
    assert [one for one in found.values() if one.unreadable] == []


WRONG = [
    ("address", "{since}", "2024-02-30T00:00:00Z", {"address.since": 1}),
    ("address", "{since}", "2023-02-29T00:00:00Z", {"address.since": 1}),
    ("address", "{since}", "0000-01-01T00:00:00Z", {"address.since": 1}),
    ("address", "{since}", "2024-01-01 00:00:00", {"address.since": 1}),
    ("address", "{since}", "2024-01-01T00:00:00.5Z", {"address.since": 1}),
    ("address", "{since}", "1900-02-28T24:00:00Z", {"address.since": 1}),
    ("address", "{since}", "2024-01-01T00:00:00Z\n", {"address.since": 1}),
    ("address", "{odd key's %s,since}", "yesterday", {"address.`odd key's %s`.since": 1}),
    ("address", "{seal}", "AP8", {"address.seal": 1}),
    ("address", "{seal}", "not base64!!", {"address.seal": 1}),
    ("address", "{of}", "others//1", {"address.of": 1}),
    ("address", "{of}", "", {"address.of": 1}),
    ("address", "{at}", {"latitude": 1.0}, {"address.at": 1}),
    ("address", "{at}", {"latitude": 1.0, "longitude": "2.0"}, {"address.at": 1}),
    ("address", "{at}", {"latitude": 1.0, "longitude": 2.0, "height": 3}, {"address.at": 1}),
    ("where", "{}", {"lat": 1.0, "lng": 2.0}, {"where": 1}),
    ("address", "{vector}", [1.5, None], {"address.vector": 1}),
    ("address", "{vector}", [1.5, "many"], {"address.vector": 1}),
    ("visits", "{1,at}", "tomorrow", {"visits[*].at": 1}),
    ("ratios", "{1}", "nan", {"ratios[*]": 1}),
]


@pytest.mark.parametrize(("column", "path", "value", "places"), WRONG)
def test_a_value_that_is_not_what_the_plan_says_is_counted_at_its_place(
    there: Arrival, connection: Connection, column: str, path: str, value: object, places: dict[str, int]
) -> None:
    changed = "%s::jsonb" if path == "{}" else f'jsonb_set("{column}", %s::text[], %s::jsonb)'
    given = [json.dumps(value)] if path == "{}" else [path, json.dumps(value)]
    connection.execute(f"UPDATE copied.things SET \"{column}\" = {changed} WHERE id = '3'".encode(), given)
    found = {one.place: one for one in proved(there, "copied").values() if one.unreadable}
    assert {place: one.unreadable for place, one in found.items()} == places
    assert [connection.execute(one.query.encode()).fetchone() for one in found.values()] == [(1,)] * len(found)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("tags = ARRAY['a', NULL]", "tags[*]"),
        ("tags = ARRAY[['a'], ['b']]", "tags[*]"),
        ("moments = ARRAY[now(), 'infinity']", "moments[*]"),
    ],
)
def test_an_element_that_no_array_of_ours_has_is_counted(there: Arrival, connection: Connection, change: str, place: str) -> None:
    connection.execute(f"UPDATE copied.things SET {change} WHERE id = '3'".encode())
    assert [one.place for one in proved(there, "copied").values() if one.unreadable] == [place]


@pytest.mark.parametrize("value", ["null", "17", "true", '"2024-02-29T00:00:00Z"', '"9999-12-31T23:59:59.999999999Z"', "[]", "{}"])
def test_what_says_itself_what_it_is_may_stand_anywhere(there: Arrival, connection: Connection, value: str) -> None:
    """Booleans, numbers, null, other maps and arrays are read as they are at the place of a timestamp."""
    connection.execute("UPDATE copied.things SET address = jsonb_set(address, '{since}', %s::jsonb) WHERE id = '3'", [value])
    assert [one for one in proved(there, "copied").values() if one.unreadable] == []


def test_a_row_with_residue_may_say_what_it_likes(there: Arrival, connection: Connection) -> None:
    connection.execute("UPDATE copied.things SET address = '{\"since\": \"soon\"}', firestore_residue = '{}' WHERE id = '3'")
    assert [one for one in proved(there, "copied").values() if one.unreadable] == []


def test_columns_and_tables_that_are_gone_are_no_place(there: Arrival, connection: Connection) -> None:
    connection.execute("ALTER TABLE copied.things DROP COLUMN address, ALTER COLUMN visits TYPE text")
    assert {place for place, _ in proved(there, "copied")} == {"where", "ratios[*]", "tags[*]", "moments[*]"}
    connection.execute("DROP TABLE copied.things")
    assert proved(there, "copied") == {}


def test_places_are_as_many_as_a_table_can_bear() -> None:
    shape = Shape(keys={f"k{number}": Shape(string="bytes") for number in range(MOST_PLACES)}, every=Shape(string="bytes"))
    columns = tuple(Column(name=name, path=(name,), kind="json", shape=shape) for name in "ab")
    places = typed_places(TablePlan(collection="x", table="x", keys=("id",), columns=columns))
    assert len(places) == MOST_PLACES
    assert not any(isinstance(step, Every) for spot in places for step in spot.steps[:-1])
