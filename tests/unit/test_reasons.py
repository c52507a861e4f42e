"""The plan gives its reasons, and they are true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from firelift.local.writer import GeoPoint, Reference
from firelift.planning.build import PlanOptions, make_plan
from firelift.planning.mapping import CollectionMapping
from firelift.planning.mapping import Mapping as NameMapping
from firelift.planning.model import TablePlan
from firelift.planning.reasons import reasons
from tests.unit.test_profile import BELOW, DATABASE, profiled


def explained(
    documents: Mapping[str, Mapping[str, object]], options: PlanOptions | None = None, earlier: Any = None
) -> dict[str, dict[str, Any]]:
    """The reasons by collection."""
    options, profile = options or PlanOptions(), profiled(documents)
    given: dict[str, TablePlan] = earlier or {}
    plan = make_plan(DATABASE, profile, options, given)
    return {table["collection"]: table for table in reasons(profile, plan, options, given)}


def why(*things: object, field: str = "f", **more: Mapping[str, object]) -> str:
    """The reason of the column of a field with these values."""
    documents = {f"c/{number}": {field: thing} for number, thing in enumerate(things)}
    others = {name.replace("__", "/"): fields for name, fields in more.items()}
    [column] = explained({**documents, **others})["c"]["columns"]
    return str(column["why"])


@pytest.mark.parametrize(
    ("things", "said"),
    [
        (["a", "b"], "every value is a string"),
        ([1, None], "every value is an integer or null; NULL means an explicit null, which is more frequent here than a missing field"),
        (
            [1, 1, 1, 1.5],
            "integers and doubles (75 % integers, 25 % doubles): double precision holds both, firestore_residue records which",
        ),
        ([1] * 7 + ["a"], "mixed types (88 % integers, 12 % strings): only jsonb holds them all"),
        ([None], "every value is null; NULL means an explicit null, which is more frequent here than a missing field"),
        ([["a"], []], "every value is an array of strings"),
        ([[]], "every value is an empty array: jsonb takes whatever will be in it"),
        ([["a", 1]], "arrays of mixed elements (50 % integers, 50 % strings): only jsonb holds them all"),
        ([[{"a": 1}]], "every value is an array of maps: jsonb"),
        ([GeoPoint(1, 2)], "every value is a geopoint"),
        ([Reference(f"{BELOW}/gone/x")], "references to gone, which is not migrated: the path"),
        ([Reference(f"{BELOW}/c/0")], "every value is a reference to c: its id, so that it can be joined"),
        ([Reference(f"{BELOW}/c/0"), Reference(f"{BELOW}/d/0")], "references to 2 collections: the path"),
    ],
)
def test_a_type_has_its_reason(things: list[object], said: str) -> None:
    assert why(*things) == said


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("createdAt", "renamed by snake_case"),
        ("id", "renamed because Firelift reserves id"),
        ("xmin", "renamed because Postgres reserves xmin"),
        ("firestore_x", "renamed because Firelift reserves firestore_x"),
        ("x" * 70, "shortened because Postgres cuts names at 63 bytes"),
        ("plain", ""),
    ],
)
def test_a_name_has_its_reason(field: str, said: str) -> None:
    assert why("a", field=field).removeprefix("every value is a string").removeprefix("; ") == said


def test_two_fields_of_one_name() -> None:
    [first, second] = explained({"c/1": {"aB": 1, "a_b": 1}})["c"]["columns"]
    assert "renamed by snake_case" in first["why"]
    assert second["why"].endswith("renamed because another column has the name a_b")


def test_names_of_the_user_and_of_the_target() -> None:
    options = PlanOptions(mapping=NameMapping(collections={"c": CollectionMapping(table="things", columns={"f": "g"})}))
    table = explained({"c/1": {"f": 1}}, options)["c"]
    assert table["why"] == "named by your mapping file"
    assert table["columns"][0]["why"].endswith("named by your mapping file")
    before = make_plan(DATABASE, profiled({"c/1": {"f": 1}}), options).tables[0]
    again = explained({"c/1": {"f": 1}}, earlier={"c": before})["c"]
    assert again["why"] == "the table that an earlier migration made for this collection"
    assert again["columns"][0]["why"].endswith("named as in the table of an earlier migration")


def test_the_rarest_fields_are_named_as_such() -> None:
    wide = {f"f{number:03}": 1 for number in range(450)}
    table = explained({"c/1": wide, "c/2": dict(list(wide.items())[:300])})["c"]
    assert table["extra"]["fields"] == 450 - len(table["columns"]) > 0
    assert {found["documents"] for found in table["extra"]["first"]} == {1}
    assert "rarest fields" in table["extra"]["why"]


def test_ids_above_a_reference_are_said() -> None:
    column = explained({"users/a/orders/1": {}, "c/1": {"order": Reference(f"{BELOW}/users/a/orders/1")}})["c"]["columns"][0]
    assert column["why"].endswith("the ids of its parent documents are in order_users_id")
