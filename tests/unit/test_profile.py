"""The profile counts every value of every document, however the documents are divided and however many names they invent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from firelift.firestore.values import Document, UnknownValueType
from firelift.local.writer import GeoPoint, Reference, Vector, values
from firelift.paths import collection_of
from firelift.planning import profile as profiles
from firelift.planning.profile import Profile, Profiler, ValueProfile, merged, profile_from_json, profile_to_json
from tests.support.strategies import wrapped

DATABASE = "projects/p/databases/(default)"
BELOW = f"{DATABASE}/documents"


def made(path: str, fields: Mapping[str, object]) -> Document:
    kind: Any = Document
    document: Document = kind(name=f"{BELOW}/{path}", fields=values(fields))
    return document


def profiled(documents: Mapping[str, Mapping[str, object]]) -> Profile:
    profiler = Profiler(DATABASE)
    for path, fields in documents.items():
        profiler.see(collection_of(path), made(path, fields))
    return profiler.profile


def field(fields: Iterable[object], name: str = "f") -> ValueProfile:
    """The profile of a field that has these values, a document each."""
    seen = profiled({f"c/{number}": {name: thing} for number, thing in enumerate(fields)})
    return seen["c"].fields[name]


DOCUMENTS: dict[str, dict[str, object]] = {
    "users/a": {"n": 1, "map": {"x": 1, "deep": {"y": [1, None]}}, "ref": Reference(f"{BELOW}/users/b")},
    "users/b": {"n": 1.5, "map": {"x": "1"}, "ref": Reference(f"{BELOW}/teams/t")},
    "users/c": {"n": None, "map": None, "list": [1, 2.5, {"z": GeoPoint(1, 2)}], "vector": Vector((1.0,))},
    "users/a/orders/1": {"total": float("nan")},
    "users/d": {},
    "teams/t": {"ref": Reference("projects/q/databases/(default)/documents/users/a"), "list": []},
}


@pytest.mark.parametrize("cut", range(len(DOCUMENTS) + 1))
def test_the_profiles_of_two_ranges_add_up_to_the_profile_of_one(cut: int) -> None:
    items = list(DOCUMENTS.items())
    added = merged([profiled(dict(items[:cut])), profiled(dict(items[cut:]))])
    assert profile_to_json(added) == profile_to_json(profiled(DOCUMENTS))


def test_a_profile_comes_back_from_its_file() -> None:
    written = profile_to_json(profiled(DOCUMENTS))
    assert profile_to_json(profile_from_json(json.loads(json.dumps(written)))) == written


def test_a_profile_that_was_read_back_adds_up_as_well() -> None:
    read = profile_from_json(json.loads(json.dumps(profile_to_json(profiled(DOCUMENTS)))))
    twice = merged([read, profiled(DOCUMENTS)])
    assert twice["users"].documents == 8
    assert twice["users"].fields["n"].kinds() == {"integer": 2, "double": 2, "null": 2}


def test_every_kind_is_counted_by_its_name() -> None:
    things: list[object] = [
        wrapped("int32", 1),
        wrapped("decimal128", "1"),
        wrapped("object_id", "a"),
        None,
        True,
        1,
        1.5,
        "x",
        b"x",
        GeoPoint(0, 0),
        Reference(f"{BELOW}/a/b"),
        [1],
        {"a": 1},
        Vector((1.0,)),
    ]
    assert field(things).kinds() == dict.fromkeys(
        (
            "null",
            "boolean",
            "integer",
            "double",
            "string",
            "bytes",
            "geopoint",
            "reference",
            "array",
            "map",
            "vector",
            "int32",
            "decimal128",
            "object_id",
        ),
        1,
    )


def test_documents_are_counted_also_where_a_field_is_missing() -> None:
    seen = profiled(DOCUMENTS)["users"]
    assert (seen.documents, sum(seen.fields["n"].kinds().values())) == (4, 3)


def test_a_field_that_appears_in_the_last_of_many_documents_is_seen() -> None:
    documents: dict[str, dict[str, object]] = {**{f"c/{number}": {"a": number} for number in range(5000)}, "c/z": {"b": 1}}
    assert profiled(documents)["c"].fields["b"].kinds() == {"integer": 1}


def test_map_keys_and_elements_have_profiles_of_their_own() -> None:
    values = field([{"a": [1, "x"], "b": {"c": True}}])
    assert values.keys is not None
    assert values.keys["a"].every is not None
    assert values.keys["a"].every.kinds() == {"integer": 1, "string": 1}
    assert values.keys["b"].keys is not None
    assert values.keys["b"].keys["c"].kinds() == {"boolean": 1}


def test_values_are_found_by_the_path_that_leads_to_them() -> None:
    seen = profiled({"c/1": {"f": {"a": {"b": 1}}, "f.a": "x"}})["c"]
    found = {path: values.kinds() for path in (("f",), ("f", "a", "b"), ("f.a",)) if (values := seen.at(path))}
    assert found == {("f",): {"map": 1}, ("f", "a", "b"): {"integer": 1}, ("f.a",): {"string": 1}}
    assert [seen.at(path) for path in (("g",), ("f", "b"), ("f.a", "b"), ("g", "a"))] == [None] * 4


def test_numbers_that_are_no_numbers_in_json_are_counted_beside_their_kind() -> None:
    values = field([1.5, float("nan"), float("-inf")])
    assert (values.kinds(), values.counts["nonfinite"]) == ({"double": 3}, 2)


TARGETS = {
    "a document": (f"{BELOW}/users/a", "users"),
    "a nested document": (f"{BELOW}/users/a/orders/1", "users/*/orders"),
    "another database": ("projects/p/databases/other/documents/users/a", ""),
    "another project": ("projects/q/databases/(default)/documents/users/a", ""),
    "a collection": (f"{BELOW}/users", ""),
    "a star": (f"{BELOW}/users/*", "users"),
}


@pytest.mark.parametrize("what", TARGETS)
def test_references_are_counted_by_the_collection_they_lead_to(what: str) -> None:
    name, target = TARGETS[what]
    assert field([Reference(name), Reference(name)]).targets == {target: 2}


def test_a_map_with_more_keys_than_can_be_followed_has_one_profile_for_the_rest() -> None:
    values = field([{f"k{key:03}": key for key in range(profiles.MOST_KEYS + 7)}])
    assert values.keys is not None
    assert len(values.keys) == profiles.MOST_KEYS
    assert values.every is not None
    assert values.every.kinds() == {"integer": 7}


def test_a_collection_with_more_fields_than_can_be_followed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "MOST_FIELDS", 3)
    seen = profiled({"c/1": {"a": 1, "b": 1, "c": 1}, "c/2": {"d": 1, "a": 1}})["c"]
    assert (seen.overflowed, sorted(seen.fields), seen.fields["a"].kinds()) == (True, ["a", "b", "c"], {"integer": 2})


def test_a_field_that_one_range_did_not_follow_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "MOST_FIELDS", 2)
    one, other = profiled({"c/1": {"a": 1, "b": 1, "z": 1}}), profiled({"c/2": {"a": "x", "c": 1}})
    kept = [name for name in ("a", "b", "z") if name in one["c"].fields]
    for order in ([one, other], [other, one]):
        total = merged([profile_from_json(profile_to_json(part)) for part in order])["c"]
        assert total.overflowed
        assert set(total.fields) <= set(kept)
        assert total.documents == 2


def test_the_number_of_places_is_bounded_over_all_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "MOST_VALUE_PROFILES", 10)
    seen = profiled({f"c{number}/1": {f"f{field}": {"k": 1} for field in range(4)} for number in range(10)})
    assert sum(len(collection.fields) for collection in seen.values()) <= 10
    assert seen["c9"].overflowed


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_value_of_a_type_nobody_knows_is_a_named_error_with_its_place(depth: int) -> None:
    document = made("users/a", {"f": 1})
    value = document.fields["f"]
    for _ in range(depth):
        value.map_value.SetInParent()
        value = value.map_value.fields["in"]
    value.Clear()
    value.MergeFromString(b"\x98\x06\x01")  # field 99, as a newer server may send it
    with pytest.raises(UnknownValueType) as unknown:
        Profiler(DATABASE).see("users", document)
    assert unknown.value.facts == {"path": f"{BELOW}/users/a", "field": "f"}
