"""Document ids, collection ids, field names and map keys of any kind stay byte for byte what they are."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pytest

from firelift.local.postgres import PostgresServer
from firelift.planning.build import PlanOptions
from firelift.planning.naming import IMPOSSIBLE, Naming
from tests.support.whole_way import Arrival, Things, arrived, migrate, new_database, new_source, write

NFC, NFD = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")

IDS = {
    "an emoji": "🔥",
    "a ZWJ emoji": "👩\u200d👩\u200d👧",
    "spaces": " a  b ",
    "a trailing space": "alice ",
    "its twin without": "alice",
    "quotes": "'\"`´",
    "SQL": "'; DROP TABLE users; --",
    "a percent escape": "a%2Fb",
    "placeholders": "%s %(id)s $1 {} \\",
    "a newline": "a\nb\r\nc",
    "a tab": "a\tb",
    "COPY's end": "\\.",
    "COPY's null": "\\N",
    "a way up": "..%2F..",
    "dots": "...",
    "Windows' way up": "..\\..",
    "NFC": NFC,
    "NFD": NFD,
    "upper case": "ALICE",
    "a right-to-left mark": "a\u202eb",
    "Arabic": "مرحبا",
    "a byte order mark": "\ufeffa",
    "the last character": "\U0010ffff",
    "a star": "*",
    "brackets": "[a]?",
    "a number": "42",
    "a null": "null",
    "1500 bytes": "ü" * 750,
    "a numeric id": "__id123__",
    "a control character": "\x01\x7f",
}
COLLECTIONS = {
    "an emoji": "🔥🔥",
    "spaces": "two words",
    "quotes": "qu\"o'te`s",
    "a percent escape": "a%2Fb",
    "placeholders": "%s$1\\",
    "a newline": "line\nbreak",
    "a way up": "..a",
    "NFC": "caf" + NFC,
    "NFD": "caf" + NFD,
    "lower case": "twins",
    "upper case": "TWINS",
    "a name that joins like a nested one": "twins_twins",
    "reserved": "select",
    "Firelift's own": "firestore_extra",
    "63 bytes": "t" * 63,
    "64 bytes": "t" * 64,
    "300 bytes": "t" * 300,
    "Arabic": "\u202eمرحبا",
}
FIELDS = {
    "a dot": "a.b",
    "its twin without": "a",
    "backticks": "`a`",
    "quotes": "'a\"",
    "SQL": 'a"; DROP TABLE x; --',
    "a placeholder": "%s %(a)s",
    "a dollar": "$a",
    "a backslash": "\\",
    "an emoji": "🔥",
    "another emoji": "🧊",
    "a right-to-left mark": "a\u200fb\u202e",
    "a newline": "a\nb",
    "empty but for a space": " ",
    "NFC": NFC,
    "NFD": NFD,
    "a reserved word": "select",
    "another reserved word": "user",
    "camelCase": "userID",
    "its snake": "user_id",
    "an upper case letter": "Name",
    "its lower case twin": "name",
    "a leading digit": "2fa",
    "only a digit": "1",
    "the key": "id",
    "what the key's twin becomes": "field_id",
    "an ancestor's key": "twins_id",
    "Firelift's time": "firestore_created_at",
    "Firelift's residue": "firestore_residue",
    "Firelift's extra": "firestore_extra",
    "a name Firelift may want later": "firestore_anything",
    "NUL": "a\0b",
    "NUL's stand-in": "a\ufffdb",
    "63 bytes": "p" * 63,
    "64 bytes": "p" * 64,
    "65 bytes with the same beginning": "p" * 65,
    "64 bytes that end amid a character": "p" * 53 + "üüüüüü",
    "1500 bytes": "p" * 1500,
    **{f"Postgres' own {name}": name for name in sorted(IMPOSSIBLE)},
}
# The emulator refuses the empty key and keys such as `__x__`, as Firestore does, and a path of field and keys over 1500
# bytes; a space, `__x` and 1400 bytes are their neighbours.
KEYS = {name[:1400]: what for what, name in FIELDS.items()} | {"__x": "nearly reserved"}

DOCUMENTS: Things = {
    **{f"ids/{name}": {"what": what} for what, name in IDS.items()},
    # Two ids of 1500 bytes are longer than an index entry.
    **{f"ids/{name}/below/{name[:550]}": {"what": what} for what, name in IDS.items()},
    **{f"{name}/1": {"what": what} for what, name in COLLECTIONS.items()},
    **{f"twins/{number}/{name}/1": {"what": what} for number, (what, name) in enumerate(COLLECTIONS.items())},
    "fields/all": {name: what for what, name in FIELDS.items()},
    **{f"fields/{number}": {name: what} for number, (what, name) in enumerate(FIELDS.items())},
    "twins/1/fields/all": {name: what for what, name in FIELDS.items()},
    "keys/in-a-map": {"map": KEYS},
    "keys/in-an-array": {"map": [KEYS, {"in": KEYS}]},
    "keys/ordinary": {"map": {"a": 1}},
    "nul/a\0b": {"what": "an id with NUL"},
    "nul/a": {"what": "an id without"},
    "nul/a\0b/below/1": {"what": "below an id with NUL"},
    "n\0l/1": {"what": "a collection with NUL"},
    "n\0l/1/below/1": {"what": "below one"},
    "n\ufffdl/1": {"what": "its twin with NUL's stand-in"},
}
WITH_NUL = {path for path in DOCUMENTS if "\0" in path}


@pytest.fixture(scope="module", params=["snake_case", "preserve"])
def naming(request: pytest.FixtureRequest) -> Naming:
    named: Naming = request.param
    return named


@pytest.fixture(scope="module")
def arrival(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory, naming: Naming) -> Iterator[Arrival]:
    # In one of them every root collection has a directory of its own, in the other they are archived together.
    together = 0 if naming == "preserve" else 10_000
    with arrived(
        emulator_host, postgres, tmp_path_factory.mktemp("names"), DOCUMENTS, plan_options=PlanOptions(naming), together=together
    ) as arrival:
        yield arrival


def column_of(arrival: Arrival, field: str) -> str:
    return next(column.name for column in arrival.table("fields").columns if column.dotted_path == field)


def test_every_document_is_its_row_or_is_kept_with_its_reason(arrival: Arrival) -> None:
    arrival.check()
    assert set(arrival.documents) == set(DOCUMENTS)


def test_document_ids_are_keys_byte_for_byte(arrival: Arrival) -> None:
    for what, name in IDS.items():
        assert (arrival.value(f"ids/{name}", "id"), arrival.value(f"ids/{name}", "what")) == (name, what)
        below = arrival.row(f"ids/{name}/below/{name[:550]}")
        assert (below["ids_id"], below["id"]) == (name, name[:550])


def test_ids_are_in_the_order_of_their_bytes(arrival: Arrival) -> None:
    found = [name for (name,) in arrival.ask("SELECT id FROM public.ids ORDER BY id")]
    assert found == sorted(IDS.values(), key=lambda name: name.encode())


def test_a_path_with_nul_is_rejected_and_its_neighbour_is_not(arrival: Arrival) -> None:
    assert {path: reject["reason"] for path, reject in arrival.rejects.items()} == dict.fromkeys(WITH_NUL, "an id in its path contains NUL")
    assert arrival.value("nul/a", "what") == "an id without"
    assert arrival.value("n\ufffdl/1", "what") == "its twin with NUL's stand-in"


def test_every_collection_has_a_table_of_its_own(arrival: Arrival) -> None:
    tables = [table.table for table in arrival.plan.tables]
    assert len(set(tables)) == len(tables)
    assert max(len(table.encode()) for table in tables) <= 63
    for what, name in COLLECTIONS.items():
        assert arrival.value(f"{name}/1", "what") == what


def test_no_name_of_firestore_is_a_path_out_of_the_run_s_directory(arrival: Arrival, naming: Naming) -> None:
    working_dir = arrival.run.parents[1]
    files = [path for path in working_dir.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if arrival.run not in path.parents] == []
    archived = {path.name for path in (arrival.run / "archive").iterdir()}
    if naming == "preserve":
        assert archived >= {"%2E%2Ea", "%F0%9F%94%A5%F0%9F%94%A5", "line%0Abreak"}
    else:
        assert archived == {"%25s%241%5C"}


@pytest.mark.parametrize("what", FIELDS)
def test_a_field_of_any_name_has_a_column_that_says_what_it_says(arrival: Arrival, what: str) -> None:
    column = column_of(arrival, FIELDS[what])
    assert arrival.value("fields/all", column) == what
    assert arrival.value(f"fields/{list(FIELDS).index(what)}", column) == what
    assert 0 < len(column.encode()) <= 63


def test_documents_with_fields_of_any_name_are_ordinary(arrival: Arrival) -> None:
    assert arrival.residue("fields/all") is None
    assert arrival.residue("twins/1/fields/all") is None


def test_names_that_preserve_need_not_change_stay(arrival: Arrival, naming: Naming) -> None:
    kept = {field for field in FIELDS.values() if column_of(arrival, field) == field}
    if naming == "preserve":
        assert {"a.b", "`a`", "🔥", "Name", "name", "select", "userID", "2fa", "p" * 63, NFC, NFD, " ", "\\"} <= kept
    assert not kept & {"id", "firestore_residue", *IMPOSSIBLE}


def test_map_keys_of_any_name_are_shown_and_kept(arrival: Arrival) -> None:
    shown = arrival.json("keys/in-a-map", "map")
    assert set(shown) == {key.replace("\0", "\ufffd") for key in KEYS}
    assert {key: shown[key] for key in KEYS if "b" not in key} == {key: what for key, what in KEYS.items() if "b" not in key}
    assert set(arrival.residue("keys/in-a-map")) == {"map"}
    assert arrival.residue("keys/ordinary") is None


def test_two_snapshots_of_the_same_names_give_the_same_plan(
    emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    documents: Things = {"fields/all": DOCUMENTS["fields/all"], **{path: DOCUMENTS[path] for path in DOCUMENTS if path.endswith("/1")}}
    with new_source(emulator_host) as source:
        write(source, documents)
        plans = []
        for attempt in ("one", "two"):
            with new_database(postgres) as url:
                plans.append(migrate(source, url, tmp_path_factory.mktemp(attempt)).plan)
    assert plans[0] == plans[1]
