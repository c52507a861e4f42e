"""The plan follows CONTRACT.md's table of types, by all values of a field and never by a sample."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from firelift.local.writer import GeoPoint, Reference, Vector
from firelift.paths import Selection
from firelift.planning.build import MOST_COLUMNS, PlanOptions, forecast_tables, make_plan
from firelift.planning.mapping import CollectionMapping
from firelift.planning.mapping import Mapping as NameMapping
from firelift.planning.model import Column, PgType, Plan, Shape, TablePlan
from firelift.planning.naming import Naming
from tests.support.strategies import wrapped
from tests.unit.test_profile import BELOW, DATABASE, profiled

NOW = datetime(2024, 1, 1, tzinfo=UTC)
NAN, INFINITY = float("nan"), float("inf")


def to(path: str) -> Reference:
    return Reference(f"{BELOW}/{path}")


def planned(documents: Mapping[str, Mapping[str, object]], naming: Naming = "snake_case", **how: Any) -> Plan:
    earlier = {table.collection: table for table in how["earlier"].tables} if "earlier" in how else None
    return make_plan(DATABASE, profiled(documents), PlanOptions(naming, how.get("mapping", NameMapping())), earlier)


def column(*things: object, **others: Mapping[str, object]) -> Column:
    """The column of a field with these values; `others` are documents of collections that are migrated too."""
    documents = {f"c/{number}": {"f": thing} for number, thing in enumerate(things)}
    more = {name.replace("__", "/"): fields for name, fields in others.items()}
    [found] = planned({**documents, **more}).table_of("c").columns
    return found


TYPES: list[tuple[str, list[object], PgType]] = [
    ("string", ["a", ""], "text"),
    ("string, one null", ["a", None], "text"),
    ("integer", [1, -5], "bigint"),
    ("double", [1.5, NAN, INFINITY, -0.0], "double precision"),
    ("integer and double", [1, 1.5], "double precision"),
    ("boolean", [True, False], "boolean"),
    ("timestamp", [NOW], "timestamptz"),
    ("bytes", [b""], "bytea"),
    ("geopoint", [GeoPoint(1, 2)], "jsonb"),
    ("reference", [to("nowhere/a")], "text"),
    ("array of string", [["a"], []], "text[]"),
    ("array of integer", [[1], [2, 3]], "bigint[]"),
    ("array of double", [[1.5, NAN]], "double precision[]"),
    ("array of boolean", [[True]], "boolean[]"),
    ("array of timestamp", [[NOW]], "timestamptz[]"),
    ("array of integer and double", [[1, 1.5]], "jsonb"),
    ("arrays, one of integer and one of double", [[1], [1.5]], "jsonb"),
    ("array with a null", [["a", None]], "jsonb"),
    ("array of bytes", [[b"a"]], "jsonb"),
    ("array of maps", [[{}]], "jsonb"),
    ("array of references", [[to("users/a")]], "jsonb"),
    ("array of geopoints", [[GeoPoint(1, 2)]], "jsonb"),
    ("empty arrays only", [[], []], "jsonb"),
    ("array and null", [["a"], None], "text[]"),
    ("vector", [Vector((1.0,)), Vector((1.0, 2.0))], "double precision[]"),
    ("vector and array", [Vector((1.0,)), [1.0]], "jsonb"),
    ("map", [{"a": 1}], "jsonb"),
    ("mixed", [1, "a"], "jsonb"),
    ("timestamp and string", [NOW, "2024-01-01"], "jsonb"),
    ("boolean and integer", [True, 1], "jsonb"),
    ("string and array of string", ["a", ["a"]], "jsonb"),
    ("only null", [None, None], "jsonb"),
    ("32-bit integer", [wrapped("int32", 1), wrapped("int32", -(2**31)), None], "bigint"),
    ("32-bit integer and integer", [wrapped("int32", 1), 2**40], "bigint"),
    ("32-bit integer and double", [wrapped("int32", 1), 1.5], "double precision"),
    ("all three numbers", [wrapped("int32", 1), 1, 1.5], "double precision"),
    ("32-bit integer beyond 32 bits", [wrapped("int32", 2**31)], "jsonb"),
    ("decimal number", [wrapped("decimal128", "1E+3"), wrapped("decimal128", "NaN")], "text"),
    ("decimal number and double", [wrapped("decimal128", "1"), 1.5], "jsonb"),
    ("ObjectId", [wrapped("object_id", "507f1f77bcf86cd799439011")], "text"),
    ("ObjectId and string", [wrapped("object_id", "507f1f77bcf86cd799439011"), "a"], "jsonb"),
    ("array of 32-bit integers", [[wrapped("int32", 1)]], "jsonb"),
    ("other type with a reserved key", [{"__regex__": {"pattern": "a", "options": "i"}}], "jsonb"),
]


@pytest.mark.parametrize(("things", "wanted"), [case[1:] for case in TYPES], ids=[case[0] for case in TYPES])
def test_a_column_has_the_type_of_all_values_of_its_field(things: list[object], wanted: PgType) -> None:
    assert column(*things).type == wanted


def test_one_value_of_another_type_among_very_many_decides() -> None:
    assert column(*range(3000), "x").type == "jsonb"


NULLS: list[tuple[int, int, str]] = [
    (0, 0, "missing"),
    (1, 0, "null"),
    (0, 1, "missing"),
    (1, 1, "missing"),
    (2, 1, "null"),
    (1, 2, "missing"),
]


@pytest.mark.parametrize(("nulls", "absent", "means"), NULLS)
def test_null_means_what_is_more_frequent_and_missing_when_equal(nulls: int, absent: int, means: str) -> None:
    documents: dict[str, dict[str, object]] = {"c/x": {"f": 1}, **{f"c/null{number}": {"f": None} for number in range(nulls)}}
    documents.update({f"c/absent{number}": {} for number in range(absent)})
    assert planned(documents).table_of("c").columns[0].null_means == means


def test_a_column_of_nothing_but_null_says_null() -> None:
    only = column(None)
    assert (only.kind, only.null_means, only.shape) == ("json", "null", None)


SHAPES: list[tuple[str, list[object], Shape | None]] = [
    ("plain", [{"a": 1, "b": ["x", {"c": None}]}], None),
    ("timestamps below a key", [{"a": NOW}], Shape(keys={"a": Shape(string="timestamp")})),
    ("bytes in an array", [[b"a", b"b"]], Shape(every=Shape(string="bytes"))),
    ("references two deep", [{"a": {"b": to("u/a")}}], Shape(keys={"a": Shape(keys={"b": Shape(string="reference")})})),
    ("numbers that JSON lacks", [{"a": NAN}], Shape(keys={"a": Shape(string="double")})),
    ("a geopoint", [GeoPoint(1, 2)], Shape(object="geopoint")),
    ("a vector below a key", [{"a": Vector((1.0,))}], Shape(keys={"a": Shape(array="vector")})),
    ("what is more frequent", ["x", NOW, NOW], Shape(string="timestamp")),
    ("strings when equal", ["x", NOW], None),
    ("maps when equal", [{"latitude": 1}, GeoPoint(1, 2)], None),
]


@pytest.mark.parametrize(("things", "shape"), [case[1:] for case in SHAPES], ids=[case[0] for case in SHAPES])
def test_the_shape_says_how_most_values_are_read_back(things: list[object], shape: Shape | None) -> None:
    assert column(*things).shape == shape


def test_many_dynamic_keys_share_one_shape() -> None:
    found = column({f"user{number}": NOW for number in range(150)})
    assert found.shape == Shape(every=Shape(string="timestamp"))


def test_references_to_one_migrated_collection_are_a_link() -> None:
    found = column(to("users/a"), to("users/gone"), None, users__a={})
    assert (found.kind, found.type, found.name) == ("link", "text", "f")
    assert found.reference is not None
    assert (found.reference.collection, found.reference.ancestors) == ("users", ())


def test_a_link_to_a_nested_collection_has_a_column_an_ancestor() -> None:
    found = column(to("users/a/orders/1/items/2"), users__a__orders__1__items__2={})
    assert found.reference is not None
    assert found.reference.ancestors == ("f_users_id", "f_orders_id")


def test_columns_of_ancestors_give_way_to_fields() -> None:
    table = planned({"c/1": {"f": to("u/a/o/1"), "f_u_id": 1, "fUId": 2}, "u/a/o/1": {}}).table_of("c")
    names = [name for name, _ in table.target_columns()]
    assert len(set(names)) == len(names)
    assert {"f_u_id", "f_u_id_2", "f_u_id_3"} <= set(names)


REFERENCES: list[tuple[str, list[object]]] = [
    ("to two collections", [to("users/a"), to("teams/t")]),
    ("to a collection without documents, or one that is excluded", [to("ghosts/a")]),
    ("to another database", [Reference("projects/p/databases/other/documents/users/a")]),
    ("to this and another database", [to("users/a"), Reference("projects/q/databases/(default)/documents/users/a")]),
]


@pytest.mark.parametrize("things", [case[1] for case in REFERENCES], ids=[case[0] for case in REFERENCES])
def test_any_other_reference_is_a_path(things: list[object]) -> None:
    assert column(*things, users__a={}, teams__t={}).kind == "reference"


def test_links_to_itself_and_in_a_circle_are_links() -> None:
    plan = planned({"a/1": {"self": to("a/1"), "b": to("b/1")}, "b/1": {"a": to("a/1")}})
    assert [column.kind for table in plan.tables for column in table.columns] == ["link"] * 3


def test_tables_are_named_and_keyed_by_the_path() -> None:
    plan = planned({"users/a": {}, "users/a/lineItems/1": {}, "users/a/lineItems/1/x/2": {}, "lost/p/found/1": {}})
    assert {table.collection: (table.table, table.keys, table.parent) for table in plan.tables} == {
        "users": ("users", ("id",), None),
        "users/*/lineItems": ("users_line_items", ("users_id", "id"), "users"),
        "users/*/lineItems/*/x": ("users_line_items_x", ("users_id", "line_items_id", "id"), "users/*/lineItems"),
        "lost/*/found": ("lost_found", ("lost_id", "id"), None),
    }


def test_tables_with_one_name_are_numbered_in_byte_order_of_their_paths() -> None:
    plan = planned({"users_orders/1": {}, "users/a/orders/1": {}, "Users/1": {}, "users/a": {}})
    assert {table.collection: table.table for table in plan.tables} == {
        **{"Users": "users", "users": "users_2"},
        **{"users/*/orders": "users_orders", "users_orders": "users_orders_2"},
    }


def test_preserved_names_stay() -> None:
    plan = planned({"userGroups/a": {"Name": 1, "name": 2, "ü b": 3}, "userGroups/a/X y/1": {}}, "preserve")
    assert [(table.table, table.keys) for table in plan.tables] == [("userGroups", ("id",)), ("userGroups_X y", ("userGroups_id", "id"))]
    assert [column.name for column in plan.tables[0].columns] == ["Name", "name", "ü b"]


def test_columns_are_in_byte_order_of_their_fields() -> None:
    fields = ["b", "a", "B", "é", "z", "\U0001f525", "\uffff"]
    table = planned({"c/1": dict.fromkeys(fields, 1)}).table_of("c")
    assert [column.dotted_path for column in table.columns] == sorted(fields, key=lambda name: name.encode())


def names_of(table: TablePlan) -> dict[str, str]:
    return {column.dotted_path: column.name for column in table.columns}


def test_mapped_names_win_and_others_give_way() -> None:
    mapping = NameMapping(collections={"users": CollectionMapping(table="people", columns={"createdAt": "joined"})})
    plan = planned({"users/a": {"createdAt": 1, "joined": 2}, "people/a": {}}, mapping=mapping)
    assert [table.table for table in plan.tables] == ["people_2", "people"]
    assert names_of(plan.table_of("users")) == {"createdAt": "joined", "joined": "joined_2"}


def test_names_that_were_given_are_given_again() -> None:
    first = planned({"users/a": {"name": 1}, "users_orders/1": {}})
    second = planned({"users/a": {"Name": 1, "name": 1}, "users/a/orders/1": {}, "users_orders/1": {}}, earlier=first)
    assert names_of(second.table_of("users")) == {"name": "name", "Name": "name_2"}
    assert {table.collection: table.table for table in second.tables} == {
        **{"users": "users", "users_orders": "users_orders"},
        "users/*/orders": "users_orders_2",
    }


def test_the_name_of_a_table_or_column_that_has_vanished_is_given_to_no_other() -> None:
    first = planned({"Users/a": {"Name": 1}, "users/a": {"nickName": 1, "name": 1}})
    second = planned({"users/a": {"NickName": "x", "name": 1}, "USERS/a": {}}, earlier=first)
    assert {table.collection: table.table for table in second.tables} == {"users": "users_2", "USERS": "users_3"}
    assert names_of(second.table_of("users")) == {"name": "name", "NickName": "nick_name_2"}


def test_a_column_without_a_field_is_remembered_until_its_field_comes_back() -> None:
    first = planned({"users/a": {"nickName": 1, "name": 1, "boss": to("users/a")}})
    second = planned({"users/a": {"name": 1}}, earlier=first)
    third = planned({"users/a": {"name": 1, "NickName": "x"}}, earlier=second)
    assert [[column.name for column in plan.table_of("users").former] for plan in (first, second, third)] == [
        [],
        ["boss", "nick_name"],
        ["boss", "nick_name"],
    ]
    assert names_of(third.table_of("users")) == {"name": "name", "NickName": "nick_name_2"}
    fourth = planned({"users/a": {"NickName": "x", "nickName": "y"}}, earlier=third)
    assert names_of(fourth.table_of("users")) == {"NickName": "nick_name_2", "nickName": "nick_name"}
    assert [column.name for column in fourth.table_of("users").former] == ["boss", "name"]


def test_columns_beside_a_reference_keep_their_names_too() -> None:
    orders: dict[str, dict[str, object]] = {"users/a": {}, "users/a/orders/1": {}}
    first = planned({"c/1": {"gift": to("users/a/orders/1")}, **orders})
    second = planned({"c/1": {"gift": to("users/a/orders/1"), "gift_users_id": 1}, **orders}, earlier=first)
    assert names_of(second.table_of("c")) == {"gift": "gift", "gift_users_id": "gift_users_id_2"}
    assert [column.reference.ancestors for column in second.table_of("c").columns if column.reference] == [("gift_users_id",)]
    assert second.table_of("c").columns[0] == first.table_of("c").columns[0]


def test_what_a_run_will_refill_is_foreseen_under_the_names_it_has() -> None:
    first = planned({"Users/a": {}, "users/a": {"joined": 1}, "users/a/orders/1": {}, "teams/a": {}})
    earlier = {table.collection: table for table in first.tables}
    seen = forecast_tables(["users", "posts"], Selection((), ["users/*/orders"]), PlanOptions(), earlier)
    assert set(seen.names) == {"posts", "users_2"}
    assert [[plan.table for plan in plans] for plans in seen.published] == [["users_2"]]
    mapping = NameMapping(collections={"users": CollectionMapping(table="people", columns={"joined": "since"})})
    ((people,),) = forecast_tables(["users"], Selection(("users",), ["users/*/orders"]), PlanOptions(mapping=mapping), earlier).published
    assert (people.table, people.columns) == ("people", ())


def test_a_mapping_takes_a_name_from_an_earlier_plan() -> None:
    first = planned({"users/a": {"joined": 1}, "people/a": {}})
    mapping = NameMapping(collections={"users": CollectionMapping(table="people", columns={"createdAt": "joined"})})
    second = planned({"users/a": {"joined": 1, "createdAt": 2}, "people/a": {}}, earlier=first, mapping=mapping)
    assert [table.table for table in second.tables] == ["people_2", "people"]
    assert names_of(second.table_of("users")) == {"createdAt": "joined", "joined": "joined_2"}


def test_beyond_400_columns_the_rarest_fields_are_extra() -> None:
    documents: dict[str, dict[str, object]] = {f"c/{number}": {f"often{field:03}": field for field in range(390)} for number in range(3)}
    documents["c/rare"] = {f"rare{field:03}": field for field in range(20)}
    table = planned(documents).table_of("c")
    fields = [column.dotted_path for column in table.columns]
    assert len(fields) == MOST_COLUMNS
    assert fields == [*(f"often{field:03}" for field in range(390)), *(f"rare{field:03}" for field in range(10))]
    assert table.extra == Shape()


def test_ancestors_of_links_count_among_the_columns() -> None:
    reference_targets: dict[str, object] = {f"f{field:03}": to("a/1/b/1/c/1") for field in range(200)}
    table = planned({"c/1": reference_targets, "a/1/b/1/c/1": {}}).table_of("c")
    assert len(table.target_columns()) <= MOST_COLUMNS + 5
    assert table.extra is not None


def test_a_row_too_wide_for_a_page_sends_fields_to_extra() -> None:
    assert len(planned({"c/1": {f"f{field:03}": "text" for field in range(380)}}).table_of("c").columns) < 300
    assert planned({"c/1": {f"f{field:03}": field for field in range(380)}}).table_of("c").extra is None


def test_extra_fields_keep_their_shape() -> None:
    documents: dict[str, dict[str, object]] = {f"c/{number}": {f"often{field:03}": field for field in range(400)} for number in range(2)}
    documents["c/rare"] = {"when": NOW}
    assert planned(documents).table_of("c").extra == Shape(keys={"when": Shape(string="timestamp")})


def test_a_profile_that_overflowed_makes_room_for_what_it_did_not_follow() -> None:
    profile = profiled({"c/1": {"a": 1}})
    profile["c"].overflowed = True
    table = make_plan(DATABASE, profile, PlanOptions()).table_of("c")
    assert ([column.dotted_path for column in table.columns], table.extra) == (["a"], Shape())


@pytest.mark.parametrize("path", ["/".join(f"c/{level}" for level in range(33)), "nul\0/a", "nul\0/a/below/b"])
def test_a_collection_whose_documents_cannot_be_rows_has_no_table_and_no_links(path: str) -> None:
    plan = planned({path: {}, "users/a": {"ref": to(path)}, f"{path}/below/1": {}})
    assert [table.collection for table in plan.tables] == ["users"]
    assert plan.table_of("users").columns[0].kind == "reference"


def test_a_key_of_32_columns_has_a_table() -> None:
    assert len(planned({"/".join(f"c/{level}" for level in range(32)): {}}).tables[0].keys) == 32


def test_the_same_profile_gives_the_same_plan_in_whatever_order_it_was_seen() -> None:
    documents: dict[str, dict[str, object]] = {
        "b/1": {"z": {"k": NOW, "a": b""}, "a": 1, "A": 2},
        "a/1": {"r": to("b/1")},
        "a/1/b/1": {"m": {"x": 1}},
    }
    assert planned(documents) == planned(dict(reversed(documents.items())))


def test_a_plan_comes_back_from_its_json() -> None:
    plan = planned({"c/1": {"a\0b": {"k\0": NOW}, "r": to("c/1")}, "n/1": {}})
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_an_empty_database_is_an_empty_plan() -> None:
    assert planned({}).tables == ()
