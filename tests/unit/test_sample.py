"""The sample app is what a demo has to show."""

from __future__ import annotations

from firelift.local.sample_app import sample_documents
from firelift.local.writer import values

DATABASE = "projects/p/databases/(default)"
DOCUMENTS = {path: values(fields) for path, fields in sample_documents(DATABASE)}


def collections() -> set[str]:
    return {"/*/".join(path.split("/")[::2]) for path in DOCUMENTS}


def test_it_has_nested_collections_and_one_below_missing_parents() -> None:
    assert collections() == {
        *("orgs", "products", "users", "users/*/orders", "users/*/orders/*/items"),
        *("rooms", "rooms/*/messages", "archive/*/invoices", "oddities"),
    }
    assert "archive/2019" not in DOCUMENTS


def test_every_kind_of_value_is_in_it() -> None:
    kinds = {value.WhichOneof("value_type") for fields in DOCUMENTS.values() for value in fields.values()}
    assert kinds == {
        *("null_value", "boolean_value", "integer_value", "double_value", "timestamp_value", "string_value", "bytes_value"),
        *("reference_value", "geo_point_value", "array_value", "map_value"),
    }


def test_exactly_one_user_belongs_to_an_org_that_is_not_there() -> None:
    orgs = [fields["org"].reference_value.partition("/documents/")[2] for path, fields in DOCUMENTS.items() if "org" in fields]
    assert [org for org in orgs if org not in DOCUMENTS] == ["orgs/org-99"]


def test_it_has_the_documents_that_break_other_tools() -> None:
    assert DOCUMENTS["oddities/empty"] == {}
    assert "\x00" in DOCUMENTS["oddities/nul"]["note"].string_value
    assert {"Name", "name"} <= DOCUMENTS["oddities/twins"].keys()
    assert {fields["price"].WhichOneof("value_type") for path, fields in DOCUMENTS.items() if path.startswith("products/")} == {
        "integer_value",
        "double_value",
    }
