"""Maps, arrays, geopoints, vectors and references arrive readable and exact."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from firelift.firestore.channel import Source
from firelift.local.postgres import PostgresServer
from firelift.local.writer import GeoPoint, Reference, Vector
from firelift.receipts import RelationChecked
from tests.support.whole_way import Arrival, Things, migrate, new_database, new_source, write

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
MIXED: list[object] = [None, True, 1, 1.5, "x", b"\0", NOON, GeoPoint(1.0, 2.0), {"in": [1, {"deeper": []}]}, 1, 1, None]

MAPS: dict[str, dict[str, object]] = {
    "empty": {},
    "of empties": {"map": {}, "array": [], "text": "", "null": None},
    "with an array of maps with arrays": {"array": [{"array": [{"map": {"x": [1]}}]}]},
    "like bytes": {"$bytes": "AAEC"},
    "like a date": {"$date": "2024-01-01T00:00:00Z"},
    "like a geopoint": {"latitude": 1.0, "longitude": 2.0},
    "like a geopoint of integers": {"latitude": 1, "longitude": 2},
    "like a tag of ours": {"missing": True},
    "like a tagged value": {"integerValue": "1"},
    "like a residue": {"values": [{"at": ["map"], "is": {"nullValue": None}}]},
    "nearly a vector": {"__type": "__vector__", "value": [1.0]},
    "with a reference's text": {"ref": "users/a"},
}
ARRAYS: dict[str, list[object]] = {
    "empty": [],
    "one null": [None],
    "nulls": [None, "a", None],
    "duplicates": ["a", "a", "a"],
    "mixed": MIXED,
    "maps": [{}, {"a": 1}, {"a": [1]}],
    "empties": [{}, "", b"", {"a": []}],
    "1000 nulls": [None] * 1000,
    "1000 of two types": [1, "1"] * 500,
}
GEOPOINTS = {
    "the North Pole": GeoPoint(90.0, 180.0),
    "the South Pole": GeoPoint(-90.0, -180.0),
    "nowhere": GeoPoint(0.0, 0.0),
    "minus nowhere": GeoPoint(-0.0, -0.0),
    "a tenth": GeoPoint(0.1, 0.1 + 0.2),
    "nearly nowhere": GeoPoint(5e-324, -1e-300),
}
# The emulator refuses NaN inside a vector, so infinity, minus zero and the least number stand for what is special; and a
# vector as an element of an array, so there is a map between the two.
VECTORS = {
    "of one": Vector((1.0,)),
    "of 2048": Vector(tuple(number / 7 for number in range(2048))),
    "of another dimension": Vector((1.0, -0.0, 5e-324)),
    "of infinities": Vector((float("inf"), float("-inf"), 1.797e308)),
}
SHIFTING: dict[str, object] = {"null": None, "map": {"a": 1}, "scalar": 5, "text": "5", "array": [5], "bytes": b"5", "moment": NOON}


def documents(source: Source) -> Things:
    def to(path: str) -> Reference:
        return Reference(f"{source.root}/{path}")

    elsewhere = Reference("projects/another/databases/(default)/documents/users/a")
    other_database = Reference(f"projects/{source.project}/databases/other/documents/users/a")
    return {
        **{f"maps/{what}": {"map": thing} for what, thing in MAPS.items()},
        **{f"arrays/{what}": {"array": thing} for what, thing in ARRAYS.items()},
        **{f"geopoints/{what}": {"point": point, "in": {"map": point}, "list": [point]} for what, point in GEOPOINTS.items()},
        **{f"vectors/{what}": {"vector": vector} for what, vector in VECTORS.items()},
        **{f"vectors_in_maps/{what}": {"in": {"vector": vector}, "list": [{"vector": vector}]} for what, vector in VECTORS.items()},
        **{f"vectors_or_arrays/{what}": {"vector": vector} for what, vector in VECTORS.items()},
        "vectors_or_arrays/an array": {"vector": [1.0, 2.0]},
        **{f"geopoints_or_maps/{what}": {"point": point} for what, point in GEOPOINTS.items()},
        "geopoints_or_maps/a map": {"point": {"latitude": 1.0, "longitude": 2.0}},
        **{f"dynamic/{number}": {"votes": {f"user{number * 50 + key}": key for key in range(50)}} for number in range(20)},
        **{f"shifting/{what}": {"field": thing} for what, thing in SHIFTING.items()},
        **{f"late/{number:03}": {"early": number} for number in range(100)},
        "late/zzz": {"early": 1, "new": [NOON]},
        "users/a": {"boss": to("users/a"), "team": to("teams/t")},
        "users/b": {"boss": to("users/a"), "team": to("teams/t")},
        "users/c": {},
        "teams/t": {"lead": to("users/a")},
        "users/a/orders/1": {"total": 1},
        "links/good": {"order": to("users/a/orders/1"), "lost": to("users/b"), "phantom": to("ghosts/g/parts/p")},
        "links/dangling": {"order": to("users/a/orders/1"), "lost": to("users/nobody"), "phantom": to("ghosts/g/parts/p")},
        "links/none": {},
        "ghosts/g/parts/p": {},
        "paths/to two collections": {"two": to("users/a"), "list": [to("users/a"), to("teams/t")]},
        "paths/to the other": {"two": to("teams/t"), "list": [], "in": {"map": to("users/a")}},
        "paths/to a phantom": {"phantom": to("ghosts/g")},
        "paths/elsewhere": {"elsewhere": elsewhere, "mixed": elsewhere, "nested": {"in": [elsewhere]}},
        "paths/another database": {"elsewhere": other_database, "mixed": to("users/a"), "nested": {"in": [other_database]}},
        "paths/of any name": {"ugly": to("users/a%2Fb ü🔥\\N")},
        "seldom_text/1": {"link": to("users/a")},
        "seldom_text/2": {"link": "users/a"},
    }


@pytest.fixture(scope="module")
def arrival(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrival]:
    with new_source(emulator_host) as source, new_database(postgres) as url:
        write(source, documents(source))
        yield migrate(source, url, tmp_path_factory.mktemp("composite"))


def type_of(arrival: Arrival, collection: str, field: str) -> str:
    return next(column.type for column in arrival.table(collection).columns if column.dotted_path == field)


def relation(arrival: Arrival, table: str, *columns: str) -> RelationChecked:
    return next(relation for relation in arrival.imported.relations if (relation.table, relation.columns) == (table, columns))


def test_every_document_is_its_row(arrival: Arrival) -> None:
    arrival.check()
    assert set(arrival.decoded) == set(documents(arrival.source))


@pytest.mark.parametrize("what", MAPS)
def test_a_map_is_jsonb_and_stays_a_map_whatever_it_looks_like(arrival: Arrival, what: str) -> None:
    assert type_of(arrival, "maps", "map") == "jsonb"
    assert arrival.json(f"maps/{what}", "map") == MAPS[what]
    assert arrival.residue(f"maps/{what}") is None


@pytest.mark.parametrize("what", [what for what in ARRAYS if what not in ("mixed", "empties")])
def test_arrays_of_several_types_are_jsonb(arrival: Arrival, what: str) -> None:
    assert type_of(arrival, "arrays", "array") == "jsonb"
    assert arrival.json(f"arrays/{what}", "array") == ARRAYS[what]


def test_a_mixed_array_is_readable(arrival: Arrival) -> None:
    assert arrival.json("arrays/mixed", "array") == [
        *(None, True, 1, 1.5, "x", "AA==", "2024-01-01T12:00:00Z"),
        *({"latitude": 1.0, "longitude": 2.0}, {"in": [1, {"deeper": []}]}, 1, 1, None),
    ]


@pytest.mark.parametrize("what", GEOPOINTS)
def test_a_geopoint_is_its_two_numbers(arrival: Arrival, what: str) -> None:
    point = {"latitude": GEOPOINTS[what].latitude, "longitude": GEOPOINTS[what].longitude}
    assert arrival.json(f"geopoints/{what}", "point") == point
    assert (arrival.json(f"geopoints/{what}", "in"), arrival.json(f"geopoints/{what}", "list")) == ({"map": point}, [point])
    assert (arrival.residue(f"geopoints/{what}") is None) == (what != "minus nowhere")


def test_a_geopoint_and_a_map_that_looks_like_one_stay_apart(arrival: Arrival) -> None:
    assert arrival.json("geopoints_or_maps/a map", "point") == {"latitude": 1.0, "longitude": 2.0}
    assert arrival.residue("geopoints_or_maps/a map") is not None
    assert arrival.residue("geopoints_or_maps/the North Pole") is None


@pytest.mark.parametrize("what", VECTORS)
def test_a_vector_is_an_array_of_doubles_of_any_dimension(arrival: Arrival, what: str) -> None:
    assert type_of(arrival, "vectors", "vector") == "double precision[]"
    assert arrival.value(f"vectors/{what}", "vector") == list(VECTORS[what].numbers)
    assert arrival.residue(f"vectors/{what}") is None


def test_vectors_beside_arrays_are_jsonb_and_stay_apart(arrival: Arrival) -> None:
    assert type_of(arrival, "vectors_or_arrays", "vector") == "jsonb"
    assert arrival.json("vectors_or_arrays/an array", "vector") == [1.0, 2.0]
    assert arrival.json("vectors_or_arrays/of one", "vector") == [1.0]


def test_dynamic_keys_are_one_jsonb_column(arrival: Arrival) -> None:
    assert [column.name for column in arrival.table("dynamic").columns] == ["votes"]
    assert all(arrival.residue(f"dynamic/{number}") is None for number in range(20))


@pytest.mark.parametrize("what", SHIFTING)
def test_a_field_of_changing_type_is_jsonb(arrival: Arrival, what: str) -> None:
    assert type_of(arrival, "shifting", "field") == "jsonb"
    arrival.row(f"shifting/{what}")


def test_a_field_that_appears_in_the_last_document_has_its_column(arrival: Arrival) -> None:
    assert type_of(arrival, "late", "new") == "timestamptz[]"
    assert arrival.value("late/zzz", "new") == [1_704_110_400_000_000]
    assert arrival.residue("late/000") is None


def test_references_to_itself_and_in_a_circle_are_foreign_keys(arrival: Arrival) -> None:
    assert relation(arrival, "users", "boss").foreign_key
    assert relation(arrival, "users", "team").foreign_key
    assert relation(arrival, "teams", "lead").foreign_key
    assert [arrival.value("users/a", column) for column in ("boss", "team")] == ["a", "t"]


def test_a_reference_to_a_nested_document_has_its_ancestors_beside_it(arrival: Arrival) -> None:
    assert (arrival.value("links/good", "order"), arrival.value("links/good", "order_users_id")) == ("1", "a")
    assert relation(arrival, "links", "order_users_id", "order").foreign_key


def test_a_reference_that_leads_nowhere_is_told_and_not_a_foreign_key(arrival: Arrival) -> None:
    lost = relation(arrival, "links", "lost")
    assert (lost.orphans, lost.examples, lost.foreign_key) == (1, ("dangling → nobody",), False)
    assert arrival.value("links/dangling", "lost") == "nobody"


def test_references_below_a_phantom_are_links_and_to_a_phantom_are_paths(arrival: Arrival) -> None:
    assert relation(arrival, "links", "phantom_ghosts_id", "phantom").foreign_key
    assert arrival.value("paths/to a phantom", "phantom") == "ghosts/g"


def test_references_to_two_collections_are_paths(arrival: Arrival) -> None:
    assert arrival.value("paths/to two collections", "two") == "users/a"
    assert arrival.value("paths/to the other", "two") == "teams/t"
    assert arrival.residue("paths/to two collections") is None


def test_references_in_arrays_and_maps_are_paths(arrival: Arrival) -> None:
    assert arrival.json("paths/to two collections", "list") == ["users/a", "teams/t"]
    assert arrival.json("paths/to the other", "in") == {"map": "users/a"}


def test_references_to_other_databases_are_whole_names(arrival: Arrival) -> None:
    elsewhere = "projects/another/databases/(default)/documents/users/a"
    assert arrival.value("paths/elsewhere", "elsewhere") == elsewhere
    assert arrival.value("paths/another database", "elsewhere") == f"projects/{arrival.source.project}/databases/other/documents/users/a"
    assert (arrival.value("paths/elsewhere", "mixed"), arrival.value("paths/another database", "mixed")) == (elsewhere, "users/a")
    assert arrival.json("paths/elsewhere", "nested") == {"in": [elsewhere]}


def test_a_reference_and_a_text_that_looks_like_one_stay_apart(arrival: Arrival) -> None:
    assert type_of(arrival, "seldom_text", "link") == "jsonb"
    assert [arrival.json(f"seldom_text/{number}", "link") for number in (1, 2)] == ["users/a", "users/a"]
