"""Document paths and the patterns that choose collections."""

from __future__ import annotations

import pytest

from firelift.paths import Selection, collection_of, ids_of, matches, parent_of
from firelift.storage.archive import file_name

PATHS = {
    "users/alice": ("users", ["alice"], None),
    "users/alice/orders/1": ("users/*/orders", ["alice", "1"], "users"),
    "a/1/b/2/c/3": ("a/*/b/*/c", ["1", "2", "3"], "a/*/b"),
    "users/*/orders/users": ("users/*/orders", ["*", "users"], "users"),
    "a b/%2F/ü\n/..": ("a b/*/ü\n", ["%2F", ".."], "a b"),
}


@pytest.mark.parametrize(("path", "parts"), PATHS.items())
def test_a_path_is_a_collection_and_ids(path: str, parts: tuple[str, list[str], str | None]) -> None:
    assert (collection_of(path), ids_of(path), parent_of(collection_of(path))) == parts


MATCHES = [
    ("users", "users", True),
    ("users", "user", False),
    ("users", "Users", False),
    ("users", "us*", True),
    ("users", "*", True),
    ("users", "user?", True),
    ("users", "[t-v]sers", True),
    ("users/*/orders", "users", True),
    ("users/*/orders", "users/*/orders", True),
    ("users/*/orders", "users/*/ord*", True),
    ("users/*/orders", "*/*/orders", True),
    ("users/*/orders", "orders", False),
    ("users/*/orders/*/items", "users/*/orders", True),
    ("users", "users/*/orders", False),
    ("users/*/orders", "users*orders", False),
    ("two words", "two words", True),
    ("a.b", "a?b", True),
]


@pytest.mark.parametrize(("collection", "pattern", "wanted"), MATCHES)
def test_a_pattern_names_a_collection_and_all_beneath_it(collection: str, pattern: str, wanted: bool) -> None:
    assert matches(collection, pattern) is wanted


COLLECTIONS = ["logs", "users", "users/*/orders", "users/*/orders/*/items", "users/*/secrets"]
SELECTIONS = [
    ([], [], COLLECTIONS),
    (["users"], [], ["users", "users/*/orders", "users/*/orders/*/items", "users/*/secrets"]),
    (["users/*/orders"], [], ["users/*/orders", "users/*/orders/*/items"]),
    (["users/*/orders", "logs"], ["users/*/orders/*/items"], ["logs", "users/*/orders"]),
    ([], ["*/*/secrets"], ["logs", "users", "users/*/orders", "users/*/orders/*/items"]),
    ([], ["users"], ["logs"]),
    (["nothing"], [], []),
    (["users"], ["users"], []),
]


@pytest.mark.parametrize(("include", "exclude", "wanted"), SELECTIONS)
def test_a_selection_takes_what_is_included_and_not_excluded(include: list[str], exclude: list[str], wanted: list[str]) -> None:
    assert [collection for collection in COLLECTIONS if Selection(include, exclude).takes(collection)] == wanted


@pytest.mark.parametrize(("include", "exclude", "wanted"), SELECTIONS)
def test_a_root_is_read_whenever_something_beneath_it_is_taken(include: list[str], exclude: list[str], wanted: list[str]) -> None:
    selection = Selection(include, exclude)
    read = {root for root in ("logs", "users") if selection.may_take_below(root)}
    assert {collection.split("/")[0] for collection in wanted} <= read
    assert not read - {collection.split("/")[0] for collection in wanted} or wanted == []


def test_patterns_that_name_nothing_are_told() -> None:
    selection = Selection(["users", "user", "log?"], ["*/*/secrets", "nothing"])
    assert selection.idle(COLLECTIONS) == ["user", "nothing"]
    assert selection.idle([]) == ["users", "user", "log?", "*/*/secrets", "nothing"]


UGLY = [
    *(
        "users",
        "Users",
        "USERS",
        "a/b",
        "a%2Fb",
        "a%2fb",
        ".",
        "..",
        "...",
        "",
        "%",
        "~",
        "a~b",
        "x" * 120,
        "x" * 121,
        "x" * 122,
        "🔥" * 50,
    ),
    *("é", "e\u0301", "\0", "a b", "CON", "con", "-rf", "*"),
]


def test_a_file_name_is_one_to_one_even_where_case_does_not_count() -> None:
    names = [file_name(text) for text in UGLY]
    assert len({name.lower() for name in names}) == len(UGLY)


@pytest.mark.parametrize("text", UGLY)
def test_a_file_name_is_short_and_no_path(text: str) -> None:
    name = file_name(text)
    assert 0 < len(name) <= 120
    assert name.isascii()
    assert not set(name) & set("/\\.*\0 ")
