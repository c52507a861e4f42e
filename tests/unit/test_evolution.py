"""The plan of a published table takes in what it has not met: columns are added and widened by a written table, nothing else changes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from firelift.local.writer import GeoPoint, Reference, Vector
from firelift.planning.build import MOST_COLUMNS, PlanOptions, make_plan
from firelift.planning.evolve import WIDENED, ColumnNameTaken, Evolved, RenamedByMapping, SchemaChanged, evolve, evolve_all, widened
from firelift.planning.increment import SchemaChanges
from firelift.planning.mapping import CollectionMapping
from firelift.planning.mapping import Mapping as NameMapping
from firelift.planning.model import TYPE_OF, Column, ColumnKind, PgType, ReferenceTarget, Shape, TablePlan
from firelift.planning.profile import CollectionProfile
from tests.support.strategies import wrapped
from tests.unit.test_profile import BELOW, DATABASE, profiled

NOW = datetime(2024, 1, 1, tzinfo=UTC)
MIGRATED = frozenset({"c", "users", "teams", "users/*/orders"})
Documents = Mapping[str, Mapping[str, object]]


def to(path: str) -> Reference:
    return Reference(f"{BELOW}/{path}")


def fields(things: Iterable[object]) -> Documents:
    return {f"c/{number}": {"f": thing} for number, thing in enumerate(things)}


def planned(documents: Documents) -> TablePlan:
    others: Documents = {"users/u": {}, "teams/t": {}, "users/u/orders/o": {}}
    return make_plan(DATABASE, profiled({**others, **documents}), PlanOptions()).table_of("c")


def evolved(before: Documents | TablePlan, documents: Documents, policy: SchemaChanges = "evolve", **how: Any) -> Evolved:
    plan = before if isinstance(before, TablePlan) else planned(before)
    seen = profiled(documents).get("c", CollectionProfile())
    return evolve(plan, seen, MIGRATED, PlanOptions(mapping=how.get("mapping", NameMapping())), policy, how.get("others", ()))


def column(before: Iterable[object], after: Iterable[object]) -> Column:
    [found] = evolved(fields(before), fields(after)).plan.columns
    return found


WIDER: list[tuple[str, list[object], list[object], ColumnKind, PgType]] = [
    ("integer, then double", [1], [1.5], "double", "double precision"),
    ("integer, then both", [1], [1, 1.5], "double", "double precision"),
    ("link, then another collection", [to("users/a")], [to("teams/a")], "reference", "text"),
    ("link, then two collections", [to("users/a")], [to("users/b"), to("teams/a")], "reference", "text"),
    ("link, then a collection that is not migrated", [to("users/a")], [to("nowhere/a")], "reference", "text"),
    ("integer, then string", [1], ["a"], "json", "jsonb"),
    ("string, then array of string", ["a"], [["a"]], "json", "jsonb"),
    ("integers, then doubles", [[1]], [[1.5]], "json", "jsonb"),
    ("doubles, then integers", [[1.5]], [[1]], "json", "jsonb"),
    ("strings, then a null inside", [["a"]], [["a", None]], "json", "jsonb"),
    ("vector, then an array", [Vector((1.0,))], [[1.5]], "json", "jsonb"),
    ("vector, then an empty array", [Vector((1.0,))], [[]], "json", "jsonb"),
    ("reference, then string", [to("nowhere/a")], ["a"], "json", "jsonb"),
]


@pytest.mark.parametrize(("before", "after", "kind", "pg_type"), [case[1:] for case in WIDER], ids=[case[0] for case in WIDER])
def test_a_column_widens_by_what_the_new_values_ask_for(
    before: list[object], after: list[object], kind: ColumnKind, pg_type: PgType
) -> None:
    old = planned(fields(before))
    found = evolved(old, fields(after))
    [wider] = found.plan.columns
    assert (wider.kind, wider.type, wider.name, wider.null_means) == (kind, pg_type, "f", old.columns[0].null_means)
    assert found.rewrites
    [step] = found.steps
    assert (step.kind, step.column, step.field, step.before, step.after) == ("wider column", "f", "f", old.columns[0].type, pg_type)


SAME: list[tuple[str, list[object], list[object]]] = [
    ("the same", ["a"], ["b", None]),
    ("integers in a double column", [1.5], [1]),
    ("only nulls", [1], [None]),
    ("no values", [1], []),
    ("empty arrays", [["a"]], [[]]),
    ("a link again", [to("users/a")], [to("users/b")]),
    ("a link in a column of references", [to("users/a"), to("teams/a")], [to("users/b")]),
    ("whatever in a column of jsonb", [1, "a"], [NOW]),
    ("whatever where only nulls were", [None], [1]),
]


@pytest.mark.parametrize(("before", "after"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
def test_a_column_that_can_say_the_new_values_stays_as_it_is(before: list[object], after: list[object]) -> None:
    old = planned(fields(before))
    assert evolved(old, fields(after)) == Evolved(plan=old)


def test_a_link_to_a_collection_that_this_run_does_not_take_stays_a_link() -> None:
    old = planned(fields([to("users/a")]))
    seen = profiled(fields([to("users/b")]))["c"]
    assert evolve(old, seen, frozenset({"c"}), PlanOptions(), "evolve").plan == old


def test_ancestors_of_a_link_leave_the_plan_with_it() -> None:
    found = evolved(fields([to("users/a/orders/1")]), fields([to("users/a")])).plan
    assert [name for name, _ in found.target_columns()] == [
        "id",
        "f",
        "firestore_created_at",
        "firestore_updated_at",
        "firestore_residue",
    ]


SHAPES: list[tuple[str, list[object], list[object], Shape | None]] = [
    ("timestamp", [NOW], [1], Shape(string="timestamp")),
    ("timestamp, however many strings come", [NOW], ["a"] * 50, Shape(string="timestamp")),
    ("bytes", [b"a"], [1], Shape(string="bytes")),
    ("link", [to("users/a")], [1], Shape(string="reference")),
    ("double", [1.5], [True], Shape(string="double")),
    ("double and strings", [1.5], ["a"], None),
    ("vector", [Vector((1.0,))], ["a"], Shape(array="vector")),
    ("32-bit integer, then geopoints", [wrapped("int32", 1)], [GeoPoint(1, 2)], None),
    ("decimal number", [wrapped("decimal128", "1")], ["a"], None),
    ("timestamps", [[NOW]], ["a"], Shape(every=Shape(string="timestamp"))),
    ("timestamps, then strings inside", [[NOW]], [["a"]], Shape(every=Shape(string="timestamp"))),
    ("string, then maps of timestamps", ["a"], [{"x": NOW}], Shape(keys={"x": Shape(string="timestamp")})),
    ("timestamp and maps", [NOW], [{"x": b"a"}], Shape(string="timestamp", keys={"x": Shape(string="bytes")})),
]


@pytest.mark.parametrize(("before", "after", "shape"), [case[1:] for case in SHAPES], ids=[case[0] for case in SHAPES])
def test_a_column_that_becomes_jsonb_has_the_shape_of_what_it_held(before: list[object], after: list[object], shape: Shape | None) -> None:
    assert column(before, after).shape == shape


def test_widening_is_total_and_never_narrows() -> None:
    for before, met in product(get_args(ColumnKind), repeat=2):
        wider = widened(before, met)
        assert wider in TYPE_OF
        assert widened(wider, before) == widened(wider, met) == wider


def test_the_page_on_types_shows_the_table_of_widening() -> None:
    words = {"integer": "integer", "double": "double", "reference": "reference", "link": "reference to one collection", "int32": "int32"}
    page = (Path(__file__).parents[2] / "docs" / "types.md").read_text().split("## How tables change between runs")[1]
    rows = {(first, second): third for first, second, third in re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|", page, re.MULTILINE)}
    for (before, met), after in WIDENED.items():
        if before != "double" and (before, met) != ("integer", "int32"):
            assert f"`{TYPE_OF[after]}`" in rows.get((words[before], words[met]), rows.get((words[met], words[before]), "")), (before, met)


def test_a_new_field_gets_a_column_behind_the_others_whose_null_means_missing() -> None:
    found = evolved({"c/1": {"m": 1}}, {"c/2": {"m": 2, "zed": "a", "aBc": None, "at": NOW}, "c/3": {"zed": None}, "c/4": {"zed": None}})
    assert [(column.name, column.kind, column.null_means) for column in found.plan.columns] == [
        ("m", "integer", "missing"),
        ("a_bc", "json", "missing"),
        ("at", "timestamp", "missing"),
        ("zed", "string", "missing"),
    ]
    assert [(step.kind, step.column, step.before, step.after) for step in found.steps] == [
        ("new column", "a_bc", None, "jsonb"),
        ("new column", "at", None, "timestamptz"),
        ("new column", "zed", None, "text"),
    ]
    assert not found.rewrites


def test_a_change_without_another_type_is_said_in_its_own_words() -> None:
    numbers = evolved(fields([wrapped("int32", 1)]), fields([2**40])).steps
    assert [str(step) for step in numbers] == ["c.f: wider column, integers of 64 bits beside those of 32, for the field f"]
    paths = evolved(fields([to("users/a")]), fields([to("teams/a")])).steps
    assert [str(step) for step in paths] == ["c.f: wider column, paths of documents instead of ids, for the field f"]


def test_a_field_that_vanishes_keeps_its_column() -> None:
    old = planned({"c/1": {"a": 1, "b": 2}})
    assert evolved(old, {"c/2": {"b": 3}}).plan == old


def test_a_new_column_never_has_the_name_of_one_that_stands_there() -> None:
    found = evolved({"c/1": {"userId": 1}}, {"c/2": {"user_id": 1, "note": "a", "id": "x"}}, others={"id", "user_id", "note"})
    assert [column.name for column in found.plan.columns] == ["user_id", "field_id", "note_2", "user_id_2"]


def test_a_new_link_has_columns_for_its_ancestors() -> None:
    found = evolved({"c/1": {}}, fields([to("users/a/orders/1")])).plan
    assert found.columns[0].reference == ReferenceTarget(collection="users/*/orders", ancestors=("f_users_id",))


def mapping(**columns: str) -> NameMapping:
    return NameMapping(collections={"c": CollectionMapping(columns=columns)})


def test_the_mapping_names_new_fields() -> None:
    found = evolved({"c/1": {"a": 1}}, {"c/2": {"a": 1, "b": 1}}, mapping=mapping(a="a", b="bee")).plan
    assert [column.name for column in found.columns] == ["a", "bee"]


def test_a_mapping_that_renames_what_stands_is_refused() -> None:
    with pytest.raises(RenamedByMapping, match=r"field: a, published as: a, mapped to: other.*full run"):
        evolved({"c/1": {"a": 1}}, {"c/2": {"b": 1}}, mapping=mapping(a="other"))
    with pytest.raises(RenamedByMapping, match="published as: c, mapped to: people"):
        evolved({"c/1": {}}, {}, mapping=NameMapping(collections={"c": CollectionMapping(table="people")}))


@pytest.mark.parametrize("others", [(), ("users_own",)])
def test_a_mapping_to_a_column_that_stands_for_something_else_is_refused(others: tuple[str, ...]) -> None:
    with pytest.raises(ColumnNameTaken, match="field: b"):
        evolved({"c/1": {"a": 1}}, {"c/2": {"b": 1}}, mapping=mapping(b=others[0] if others else "a"), others=others)


def many(number: int, thing: object = 1) -> dict[str, object]:
    return {f"f{place:04}": thing for place in range(number)}


def test_fields_that_a_row_has_no_room_for_stay_in_the_residue_and_are_counted() -> None:
    found = evolved({"c/1": many(MOST_COLUMNS - 1)}, {"c/2": {"y": 1, "z": 1}, "c/3": {"z": 1}, "c/4": {"x": 1}})
    assert [step.column for step in found.steps] == ["z"]
    assert found.plan.extra is None
    [warning] = found.warnings
    assert "2 new fields have no room" in warning


def test_new_fields_of_a_table_with_firestore_extra_go_there() -> None:
    old = planned({"c/1": many(MOST_COLUMNS + 1)})
    assert evolved(old, {"c/2": {"z": 1}}) == Evolved(plan=old)


def test_a_column_that_would_make_the_row_too_wide_stays_and_is_named() -> None:
    old = planned({"c/1": many(MOST_COLUMNS)})
    found = evolved(old, {"c/2": many(MOST_COLUMNS, "a")})
    wider = [column for column in found.plan.columns if column.kind == "json"]
    assert 0 < len(wider) == len(found.steps) < MOST_COLUMNS
    assert f"{MOST_COLUMNS - len(wider)} columns" in found.warnings[0]


def test_evolving_again_changes_nothing() -> None:
    documents = {"c/2": {"f": "a", "new": [1], "empty": [], "none": None, "to": to("users/a"), "far": to("nowhere/a")}}
    once = evolved(fields([1]), documents)
    assert len(once.steps) == 6
    assert evolved(once.plan, documents) == Evolved(plan=once.plan)


def test_frozen_tables_stay_and_say_what_they_did_not_take() -> None:
    old = planned(fields([1]))
    found = evolved(old, {"c/2": {"f": "a", "g": 1}}, "freeze")
    assert (found.plan, found.steps, found.rewrites) == (old, (), False)
    assert [(step.kind, step.column) for step in found.frozen] == [("wider column", "f"), ("new column", "g")]


def test_what_must_not_change_fails_with_every_step() -> None:
    old = planned(fields([1]))
    with pytest.raises(SchemaChanged) as failed:
        evolved(old, {"c/2": {"f": "a", "g": 1}}, "fail")
    assert failed.value.exit_code == 1
    said = str(failed.value)
    assert "c.f: wider column, jsonb instead of bigint, for the field f; c.g: new column, bigint, for the field g" in said
    assert "--schema-changes evolve" in said
    assert "freeze" in said
    assert evolved(old, fields([2]), "fail") == Evolved(plan=old)


def test_several_tables_fail_together() -> None:
    before = {plan.collection: plan for plan in make_plan(DATABASE, profiled({"c/1": {}, "users/u": {}}), PlanOptions()).tables}
    profile = profiled({"c/2": {"f": 1}, "users/v": {"g": 1}})
    with pytest.raises(SchemaChanged, match=r"c\.f: new column.*users\.g: new column"):
        evolve_all(before, profile, MIGRATED, PlanOptions(), "fail", {})
    found = evolve_all(before, profile, MIGRATED, PlanOptions(), "evolve", {"users": {"g"}})
    assert [column.name for plan in found.values() for column in plan.plan.columns] == ["f", "g_2"]


def test_paths_instead_of_ids_are_told_so() -> None:
    [step] = evolved(fields([to("users/a")]), fields([to("teams/a")])).steps
    assert str(step) == "c.f: wider column, paths of documents instead of ids, for the field f"


def test_a_plan_of_a_run_never_marks() -> None:
    old = planned(fields([1])).model_copy(update={"marks_deleted": True})
    for policy in get_args(SchemaChanges):
        assert not evolved(old, fields([1]), policy).plan.marks_deleted


def test_a_parent_that_has_a_table_now_is_known() -> None:
    old = make_plan(DATABASE, profiled({"p/a/c/1": {}}), PlanOptions()).tables[0]
    assert old.parent is None
    found = evolve(old, CollectionProfile(), frozenset({"p", "p/*/c"}), PlanOptions(), "evolve")
    assert (found.plan.parent, found.steps) == ("p", ())
