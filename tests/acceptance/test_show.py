"""`firelift show` puts a document beside its row: what both hold, and whether they say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from firelift.firestore.channel import Source
from firelift.local.postgres import PostgresServer
from firelift.local.writer import GeoPoint, Reference, delete_documents
from tests.support.command_line import ONE_WORKER, QUICKLY, Operator, Said
from tests.support.prefect_servers import database
from tests.support.warm_commands import WITHOUT_PREFECT
from tests.support.whole_way import Things, new_source, write

LONG = "k" * 1500
NOON = datetime(2024, 1, 1, 12, 30, 0, 250, tzinfo=UTC)


def documents(source: Source) -> Things:
    return {
        "users/alice": {
            "name": "Alice",
            "age": 7,
            "at": NOON,
            "times": [NOON],
            "home": GeoPoint(1.5, 2.0),
            "nick": None,
            "evil": "\x1b[2J",
        },
        "users/bob": {"name": "Bob", "age": 1.5, "friend": Reference(f"{source.root}/users/alice"), "nick": "b"},
        "users/alice/orders/1": {"total": 12, "text": "x" * 500},
        f"deep/{LONG}/below/{LONG}": {"too": "long for a key"},
    }


@pytest.fixture(scope="module")
def source(emulator_host: str) -> Iterator[Source]:
    with new_source(emulator_host) as source:
        write(source, documents(source))
        yield source


@pytest.fixture(scope="module")
def operator(source: Source, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """After a migration of these documents."""
    assert source.emulator_host
    given = {"FIRESTORE_EMULATOR_HOST": source.emulator_host, "GOOGLE_CLOUD_PROJECT": source.project}
    with database(postgres) as url:
        directory = tmp_path_factory.mktemp("show")
        operator = Operator(directory, {**ONE_WORKER, **WITHOUT_PREFECT, **given, "SUPABASE_DB_URL": url})
        said = operator.firelift("migrate", "--max-rejects", "1", "--migration-id", "night")
        assert said.code == 0, said.err
        yield operator


def cells(said: Said) -> list[list[str]]:
    """The table that was printed."""
    lines = said.out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.split()[:1] == ["field"])
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[start:] if line.startswith("  ")]


def test_a_document_and_its_row_side_by_side(operator: Operator) -> None:
    said = operator.firelift("show", "users/alice")
    assert said.code == 0, said.err
    assert said.out.startswith("users/alice -> public.users\n  document: the archive of night, as of 20")
    assert said.out.rstrip().endswith("and each column shows what was made of it.")
    found = cells(said)
    for row in (
        ["alice", "id", '"alice"'],
        ["age", "integer 7", "age", "7.0"],
        ["at", "timestamp 2024-01-01T12:30:00.000250000Z", "at", "2024-01-01T12:30:00.000250Z"],
        ["name", 'string "Alice"', "name", '"Alice"'],
        ["nick", "null", "nick", "NULL"],
        ["friend", "–", "friend", "NULL"],
    ):
        assert row in found
    assert "\x1b" not in said.out
    [residue] = [row[1] for row in found if row[0] == "firestore_residue"]
    assert residue.startswith('{"values": [{"at": ["age"], "is": {"integerValue": "7"}}')
    assert ["home", "geopoint (1.5, 2.0)", "home", '{"latitude": 1.5, "longitude": 2.0}'] in found


def test_json_has_the_whole_values(operator: Operator) -> None:
    said = operator.firelift("show", "/users/alice/orders/1", "--json")
    found: dict[str, Any] = json.loads(said.out)
    assert (said.code, found["equal"], found["differences"]) == (0, True, [])
    assert (found["table"], found["migrationId"]) == ("public.users_orders", "night")
    assert found["document"] == {"total": {"integerValue": "12"}, "text": {"stringValue": "x" * 500}}
    assert found["row"]["users_id"] == '"alice"'
    assert found["row"]["text"] == f'"{"x" * 500}"'
    shorter = operator.firelift("show", "users/alice/orders/1")
    assert "x" * 100 not in shorter.out
    assert "`--json` prints the whole values" in shorter.out


def test_it_can_be_read_from_firestore_as_of_the_run_s_snapshot(operator: Operator, source: Source) -> None:
    before = operator.firelift("show", "users/bob", "--json").out
    write(source, {"users/bob": {"name": "Robert"}})
    try:
        said = operator.firelift("show", "users/bob", "--against", "firestore", "--json")
        assert said.code == 0, said.err
        found, archived = json.loads(said.out), json.loads(before)
        assert found["foundIn"].startswith("Firestore as of 20")
        assert (found["document"], found["row"]) == (archived["document"], archived["row"])
    finally:
        write(source, {"users/bob": documents(source)["users/bob"]})


def test_what_somebody_has_changed_is_named(operator: Operator) -> None:
    with psycopg.connect(operator.variables["SUPABASE_DB_URL"], autocommit=True) as connection:
        connection.execute("UPDATE users SET name = 'Eve' WHERE id = 'alice'")
        said = operator.firelift("show", "users/alice")
        connection.execute("UPDATE users SET name = 'Alice' WHERE id = 'alice'")
    assert said.code == 4
    assert 'NOT equal:\n  name: value: expected string "Alice", found string "Eve"\n' in said.out


def test_a_column_to_which_somebody_gave_another_type_is_shown_as_it_is(operator: Operator) -> None:
    with psycopg.connect(operator.variables["SUPABASE_DB_URL"], autocommit=True) as connection:
        connection.execute("UPDATE users SET at = 'infinity' WHERE id = 'alice'")
        infinite = operator.firelift("show", "users/alice")
        connection.execute("ALTER TABLE users ALTER times TYPE text USING 'changed'")
        said = operator.firelift("show", "users/alice")
        connection.execute("ALTER TABLE users ALTER times TYPE timestamptz[] USING NULL")
        connection.execute("UPDATE users SET at = %s, times = ARRAY[%s] WHERE id = 'alice'", (NOON, NOON))
    assert (infinite.code, said.code) == (4, 4), infinite.err + said.err
    assert '"changed"' in said.out
    assert operator.firelift("show", "users/alice").code == 0


def test_fields_without_a_column_are_where_the_table_keeps_them(source: Source, postgres: PostgresServer, tmp_path: Path) -> None:
    assert source.emulator_host
    with new_source(source.emulator_host) as wide, database(postgres) as url:
        write(wide, {"wide/1": {f"field{number:03}": number for number in range(420)}})
        given = {"FIRESTORE_EMULATOR_HOST": source.emulator_host, "GOOGLE_CLOUD_PROJECT": wide.project, "SUPABASE_DB_URL": url}
        somebody = Operator(tmp_path, {**QUICKLY, **WITHOUT_PREFECT, **given})
        assert somebody.firelift("migrate").code == 0
        said = somebody.firelift("show", "wide/1")
    assert said.code == 0, said.err
    assert ["field419", "integer 419", "firestore_extra", "(below)"] in cells(said)
    assert any(row[0] == "firestore_extra" and row[1].startswith('{"field') for row in cells(said))


def test_an_archive_of_another_snapshot_is_not_taken_for_this_one_s(operator: Operator, tmp_path: Path) -> None:
    elsewhere = Operator(tmp_path, operator.variables)
    said = elsewhere.firelift("plan", "--migration-id", "night")
    assert said.code == 0, said.err
    found = json.loads(elsewhere.firelift("show", "users/alice", "--json").out)
    assert (found["equal"], found["foundIn"].startswith("Firestore as of")) == (True, True)


def test_a_row_that_is_gone_and_a_row_that_nobody_knows(operator: Operator) -> None:
    with psycopg.connect(operator.variables["SUPABASE_DB_URL"], autocommit=True) as connection:
        connection.execute("UPDATE users_orders SET id = '2' WHERE id = '1'")
        gone, unknown = operator.firelift("show", "users/alice/orders/1"), operator.firelift("show", "users/alice/orders/2")
        connection.execute("UPDATE users_orders SET id = '1' WHERE id = '2'")
    assert (gone.code, unknown.code) == (4, 4)
    assert "missing row" in gone.out
    assert "unexpected row" in unknown.out
    assert "document: none, in Firestore as of" in unknown.out


def test_a_rejected_document_is_shown_with_the_reason_why_it_has_no_row(operator: Operator) -> None:
    said = operator.firelift("show", f"deep/{LONG}/below/{LONG}")
    assert said.code == 0, said.err
    assert "rejected, so it has no row" in said.out
    assert "because its ids are longer than the 2704 bytes" in said.out
    again = operator.firelift("show", f"deep/{LONG}/below/{LONG}", "--against", "firestore")
    assert (again.code, "rejected, so it has no row" in again.out) == (0, True), again.err
    assert 'string "long for a key"' in said.out


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("users", 2, "This is not the path of a document"),
        ("users//orders/1", 2, "This is not the path of a document"),
        ("people/p", 2, "No published table holds the documents of this collection"),
        ("users/Alice", 1, "There is neither such a document nor such a row"),
    ],
)
def test_a_wrong_path_is_said_to_be_wrong(operator: Operator, path: str, code: int, message: str) -> None:
    said = operator.firelift("show", path)
    assert (said.code, said.out) == (code, "")
    assert message in said.error
    assert path.rpartition("/")[0].partition("/")[0] in said.error


def test_after_an_increment_unchanged_documents_come_from_firestore(operator: Operator, source: Source, tmp_path: Path) -> None:
    write(source, {"users/carol": {"name": "Carol"}})
    try:
        said = operator.firelift("migrate", "--migration-mode", "incremental", "--max-rejects", "1", "--migration-id", "morning")
        assert said.code == 0, said.err
        places = {name: json.loads(operator.firelift("show", f"users/{name}", "--json").out) for name in ("alice", "carol")}
        assert [(found["equal"], found["migrationId"]) for found in places.values()] == [(True, "morning")] * 2
        assert places["alice"]["foundIn"].startswith("Firestore as of")
        assert places["carol"]["foundIn"].startswith("the archive of morning")
        refused = operator.firelift("show", "users/alice", "--against", "archive")
        assert (refused.code, "only what had changed" in refused.error) == (1, True)
    finally:
        assert source.emulator_host
        delete_documents(source.emulator_host, source.name, ["users/carol"])
        operator.firelift("rollback")
