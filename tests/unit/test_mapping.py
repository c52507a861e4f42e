"""A user's own names are taken as they are, or refused with a reason before anything is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from firelift.planning.mapping import Mapping, MappingInvalid, read_mapping


def read(directory: Path, content: Any) -> Mapping:
    file = directory / "mapping.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_mapping(file)


def collections(**mapped: Any) -> dict[str, Any]:
    return {"collections": mapped}


def test_without_a_file_nothing_is_mapped() -> None:
    mapping = read_mapping(None)
    assert (mapping.table("users"), mapping.column("users", ("name",))) == (None, None)


def test_names_are_taken_as_they_are(tmp_path: Path) -> None:
    mapping = read(tmp_path, collections(users={"table": "People of Ours", "columns": {"createdAt": "Joined!", "a.b": "ab"}}))
    assert mapping.table("users") == "People of Ours"
    assert [mapping.column("users", (field,)) for field in ("createdAt", "a.b", "other")] == ["Joined!", "ab", None]
    assert mapping.column("users/*/orders", ("createdAt",)) is None


@pytest.mark.parametrize("content", [{}, {"collections": {}}, {"collections": {"users": {}}}])
def test_a_mapping_may_say_nothing(tmp_path: Path, content: Any) -> None:
    assert read(tmp_path, content).table("users") is None


INVALID: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "line 1"),
    "an empty file": ("", "line 1"),
    "a list": ([], "valid dictionary"),
    "an unknown word": ({"tables": {}}, "tables"),
    "an unknown word inside": (collections(users={"name": "people"}), "collections.users.name"),
    "a table that is a number": (collections(users={"table": 5}), "collections.users.table"),
    "an empty table": (collections(users={"table": ""}), "1 to 63 bytes"),
    "a long table": (collections(users={"table": "x" * 64}), "1 to 63 bytes"),
    "a table long in bytes only": (collections(users={"table": "ü" * 32}), "1 to 63 bytes"),
    "a table with NUL": (collections(users={"table": "a\0b"}), "1 to 63 bytes"),
    "one table twice": (collections(users={"table": "x"}, people={"table": "x"}), "two collections have the same table"),
    "one collection twice": ('{"collections": {"users": {"table": "x"}, "users": {"table": "y"}}}', "'users' is named twice"),
    "one column twice": (collections(users={"columns": {"a": "x", "b": "x"}}), "two fields have the same column"),
    "an impossible column": (collections(users={"columns": {"a": "ctid"}}), "reserves the name 'ctid'"),
    "the key's column": (collections(users={"columns": {"a": "id"}}), "'id' is Firelift's own"),
    "a column of ours": (collections(users={"columns": {"a": "firestore_residue"}}), "'firestore_residue' is Firelift's own"),
    "an ancestor's key": ({"collections": {"users/*/orders": {"columns": {"a": "users_id"}}}}, "'users_id' is a key of the table"),
}


@pytest.mark.parametrize("what", INVALID)
def test_an_unusable_mapping_is_refused_with_file_place_and_reason(tmp_path: Path, what: str) -> None:
    content, said = INVALID[what]
    with pytest.raises(MappingInvalid) as refused:
        read(tmp_path, content)
    assert said in str(refused.value)
    assert str(tmp_path / "mapping.json") in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MappingInvalid, match=r"nowhere\.json.*No such file"):
        read_mapping(tmp_path / "nowhere.json")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mapping.json").write_bytes(b"\xff\xfe")
    with pytest.raises(MappingInvalid):
        read_mapping(tmp_path / "mapping.json")


def test_a_mapping_says_what_it_names_and_the_database_has_not() -> None:
    mapping = Mapping.model_validate({"collections": {"users": {"columns": {"name": "n", "nmae": "m"}}, "user": {"table": "people"}}})
    assert mapping.idle({"users": {"name"}, "orgs": set()}) == ["user", "users: nmae"]


@pytest.mark.parametrize("text", ["[" * 200_000, '{"collections":' * 200_000])
def test_a_mapping_that_is_nested_without_end_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text(text)
    with pytest.raises(MappingInvalid, match=r"deep\.json.*nested too deeply") as caught:
        read_mapping(tmp_path / "deep.json")
    assert caught.value.exit_code == 2
