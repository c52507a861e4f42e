"""A Firestore name becomes a name that Postgres can bear, the same one every time."""

from __future__ import annotations

import hashlib

import pytest

from firelift.planning.naming import IMPOSSIBLE, MOST_BYTES, Names, Naming, key_names, preserve, shortened, snake_case

SNAKE = {
    "name": "name",
    "createdAt": "created_at",
    "userID": "user_id",
    "HTTPServer": "http_server",
    "parseHTTPResponse": "parse_http_response",
    "line1Address": "line1_address",
    "address2B": "address2_b",
    "first name": "first_name",
    "a.b": "a_b",
    "a - b": "a_b",
    "a__b": "a_b",
    "_private": "_private",
    "trailing_": "trailing_",
    "2fa": "_2fa",
    "42": "_42",
    "UPPER": "upper",
    "UPPER_CASE": "upper_case",
    "größeCm": "größe_cm",
    "ÄnderungAm": "änderung_am",
    "日本語": "日本語",
    "مرحبا": "مرحبا",
    "\u202eabc": "_abc",
    "🔥": "_",
    "🔥hot🔥": "_hot_",
    "a\0b": "a_b",
    "a\nb": "a_b",
    "": "",
}


@pytest.mark.parametrize(("name", "wanted"), SNAKE.items())
def test_snake_case(name: str, wanted: str) -> None:
    assert snake_case(name) == wanted


@pytest.mark.parametrize("name", [name for name in SNAKE if "\0" not in name])
def test_preserve_changes_nothing(name: str) -> None:
    assert preserve(name) == name


def test_preserve_shows_nul_which_no_name_can_hold_as_its_stand_in() -> None:
    assert preserve("a\0b") == "a\ufffdb"


def digits(original: str) -> str:
    return hashlib.sha256(original.encode()).hexdigest()[:8]


# 54 bytes, cut before a character that would not fit whole, `_`, and 8 hexadecimal digits.
SHORTENED = {
    "63 bytes stay": ("x" * 63, "x" * 63),
    "64 bytes do not": ("x" * 64, "x" * 54 + "_" + digits("x" * 64)),
    "1500 bytes": ("x" * 1500, "x" * 54 + "_" + digits("x" * 1500)),
    "32 characters of two bytes": ("ü" * 32, "ü" * 27 + "_" + digits("ü" * 32)),
    "31 characters of two bytes stay": ("ü" * 31, "ü" * 31),
    "a character of two bytes across the border": ("x" + "ü" * 40, "x" + "ü" * 26 + "_" + digits("x" + "ü" * 40)),
    "emoji": ("🔥" * 20, "🔥" * 13 + "_" + digits("🔥" * 20)),
}


@pytest.mark.parametrize("what", SHORTENED)
def test_long_names_end_in_digits_of_the_whole_original(what: str) -> None:
    name, wanted = SHORTENED[what]
    assert shortened(name, name) == wanted
    assert len(wanted.encode()) <= MOST_BYTES


def given(naming: Naming, *fields: str, keys: tuple[str, ...] = ("id",)) -> dict[str, str]:
    names = Names(naming, taken=keys, reserved=keys)
    return {field: names.give(field) for field in sorted(fields, key=lambda field: field.encode())}


FIELD_PREFIXED = {
    "id": "field_id",
    "users_id": "field_users_id",
    "firestore_created_at": "field_firestore_created_at",
    "firestore_residue": "field_firestore_residue",
    "firestore_later": "field_firestore_later",
    "": "field_",
    **{name: f"field_{name}" for name in sorted(IMPOSSIBLE)},
}


@pytest.mark.parametrize("naming", ["snake_case", "preserve"])
@pytest.mark.parametrize(("field", "column"), FIELD_PREFIXED.items())
def test_reserved_and_impossible_names_become_fields(naming: Naming, field: str, column: str) -> None:
    assert given(naming, field, keys=("users_id", "id")) == {field: column}


def test_a_name_that_only_becomes_reserved_is_a_field_too() -> None:
    assert given("snake_case", "ID", "Ctid", "firestoreResidue") == {
        **{"Ctid": "field_ctid", "ID": "field_id"},
        "firestoreResidue": "field_firestore_residue",
    }
    assert given("preserve", "ID", "Ctid") == {"ID": "ID", "Ctid": "Ctid"}


def test_ordinary_sql_words_are_ordinary_names() -> None:
    assert given("snake_case", "select", "user", "order", "table") == {name: name for name in ("select", "user", "order", "table")}


def test_collisions_are_numbered_in_byte_order_of_the_originals() -> None:
    assert given("snake_case", "name", "Name", "NAME", "name ") == {"NAME": "name", "Name": "name_2", "name": "name_3", "name ": "name_"}
    assert given("snake_case", "a_b", "a.b", "a b", "aB") == {"a b": "a_b", "a.b": "a_b_2", "aB": "a_b_3", "a_b": "a_b_4"}
    assert given("preserve", "name", "Name") == {"Name": "Name", "name": "name"}


def test_a_number_that_is_taken_is_passed_over() -> None:
    assert given("snake_case", "A", "B", "a", "a_2") == {"A": "a", "B": "b", "a": "a_2", "a_2": "a_2_2"}


def test_fields_that_collide_with_renamed_ones_are_numbered() -> None:
    assert given("snake_case", "id", "field_id") == {"field_id": "field_id", "id": "field_id_2"}


def test_emoji_share_a_name_and_are_numbered() -> None:
    assert set(given("snake_case", "🔥", "🧊", "_").values()) == {"_", "__2", "__3"}


def test_numbered_names_stay_within_63_bytes() -> None:
    names = Names("preserve", taken={"x" * 63, "ü" * 31})
    assert names.take_free("x" * 63) == "x" * 61 + "_2"
    assert names.take_free("ü" * 31) == "ü" * 30 + "_2"


def test_names_with_a_long_common_beginning_stay_apart() -> None:
    fields = [f"{'p' * 70}{number}" for number in range(20)]
    assert len(set(given("preserve", *fields).values())) == 20


KEYS = {
    "users": ["id"],
    "users/*/orders": ["users_id", "id"],
    "users/*/orders/*/items": ["users_id", "orders_id", "id"],
    "userGroups/*/two words/*/x": ["user_groups_id", "two_words_id", "id"],
    "a/*/a/*/a": ["a_id", "a_id_2", "id"],
    "2024/*/x": ["_2024_id", "id"],
}


@pytest.mark.parametrize(("collection", "keys"), KEYS.items())
def test_a_key_is_one_column_an_ancestor_and_the_id(collection: str, keys: list[str]) -> None:
    assert key_names(collection, "snake_case") == keys


def test_preserved_keys_keep_the_collection_s_name() -> None:
    assert key_names("userGroups/*/two words/*/x", "preserve") == ["userGroups_id", "two words_id", "id"]


def test_keys_of_long_collections_stay_within_63_bytes() -> None:
    keys = key_names(f"{'x' * 61}/*/{'x' * 62}/*/y", "snake_case")
    assert len(set(keys)) == 3
    assert max(len(key.encode()) for key in keys) <= 63
