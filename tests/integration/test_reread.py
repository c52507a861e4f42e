"""Rows against what Firestore says when it is asked again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from firelift.firestore.channel import Source
from firelift.local.postgres import PostgresServer
from firelift.local.writer import GeoPoint, delete_documents
from firelift.paths import collection_of, ids_of
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Session
from firelift.receipts import Difference
from firelift.verification.proof import Reread
from firelift.verification.reread import reread, reread_tables
from tests.support.whole_way import Arrival, arrived, write

EVERYTHING = {
    **{f"users/u{n:03}": {"name": f"ü {n}", "age": n, "where": GeoPoint(n / 7, 1.0), "odd": float("nan")} for n in range(230)},
    **{f"users/u{n:03}/orders/{m}": {"total": n * 1.5, "tags": ["a", "b"]} for n in range(3) for m in range(2)},
}


@pytest.fixture
def there(emulator_host: str, postgres: PostgresServer, tmp_path: Path) -> Iterator[Arrival]:
    with arrived(emulator_host, postgres, tmp_path, EVERYTHING) as arrival:
        yield arrival


def asked(there: Arrival, collection: str) -> list[tuple[str, ...]]:
    return [tuple(ids_of(path)) for path in EVERYTHING if collection_of(path) == collection]


def again(there: Arrival, collection: str, read_time: str | None = None) -> tuple[Reread, list[Difference]]:
    keys, moment = asked(there, collection), read_time or there.validated.read_time
    table = TargetTable("public", there.table(collection))
    return reread(there.source, moment, Session(there.url, "firelift-test"), table, there.plan.database, keys)


def test_nothing_differs_however_firestore_has_changed_since(there: Arrival) -> None:
    write(there.source, {"users/u001": {"name": "changed"}})
    assert there.source.emulator_host
    delete_documents(there.source.emulator_host, there.source.name, ["users/u002"])
    assert again(there, "users") == (Reread(table="users", asked=230, differing=0), [])
    assert again(there, "users/*/orders") == (Reread(table="users_orders", asked=6, differing=0), [])


def test_every_row_that_says_otherwise_is_named_by_field(there: Arrival) -> None:
    with there.connect() as connection:
        connection.execute("UPDATE public.users SET name = name || ' ', age = age + 1 WHERE id = 'u007'")
        connection.execute("DELETE FROM public.users WHERE id = 'u229'")
    receipt, found = again(there, "users")
    assert (receipt.asked, receipt.differing) == (230, 2)
    assert {(one.key, one.field, one.what) for one in found} == {
        ("u007", "name", "value"),
        ("u007", "age", "value"),
        ("u229", "", "missing row"),
    }
    assert next(one for one in found if one.field == "age").found.endswith("8")


def test_a_row_that_nobody_can_read_is_named(there: Arrival) -> None:
    with there.connect() as connection:
        residue = '{"values": [{"at": ["age"], "is": {"oddValue": 1}}]}'
        connection.execute("UPDATE public.users SET firestore_residue = %s WHERE id = 'u003'", [residue])
    receipt, found = again(there, "users")
    assert [(one.key, one.what) for one in found] == [("u003", "unreadable row")]
    assert receipt.differing == 1


def test_a_document_that_firestore_has_not_at_that_time_is_a_difference(there: Arrival) -> None:
    receipt, found = reread(
        there.source,
        there.validated.read_time,
        Session(there.url, "firelift-test"),
        TargetTable("public", there.table("users")),
        there.plan.database,
        [("u001",), ("never",)],
    )
    assert [(one.key, one.what) for one in found] == [("never", "missing document")]
    assert receipt == Reread(table="users", asked=2, differing=1)


def test_what_firestore_has_otherwise_is_a_difference(there: Arrival) -> None:
    write(there.source, {"users/u001": {"name": "ü 1", "age": 2, "where": GeoPoint(1 / 7, 1.0), "odd": float("nan")}})
    _, found = again(there, "users", there.ask("SELECT to_char(now(), 'YYYY-MM-DD\"T\"HH24:MI:SS.USZ')")[0][0])
    assert {(one.field, one.what) for one in found} == {("age", "value"), ("", "update time")}


def test_a_snapshot_that_is_gone_says_nothing_of_the_rows(there: Arrival) -> None:
    receipt, found = again(there, "users", "2020-01-01T00:00:00Z")
    assert "too old" in str(receipt.unavailable)
    assert (receipt.differing, found) == (0, [])


def test_a_firestore_that_refuses_says_nothing_of_the_rows_either(there: Arrival, tmp_path: Path) -> None:
    key_file = tmp_path / "key.json"
    key_file.write_text("{}")
    refusing = Source(there.source.project, service_account=str(key_file))
    chosen = [(TargetTable("public", there.table(collection)), asked(there, collection)) for collection in ("users", "users/*/orders")]
    read_time, database = there.validated.read_time, there.plan.database
    done = list(reread_tables(refusing, read_time, Session(there.url, "firelift-test"), database, chosen))
    assert [(receipt.table, receipt.asked, receipt.differing, found) for receipt, found in done] == [
        ("users", 230, 0, []),
        ("users_orders", 6, 0, []),
    ]
    assert all("not a usable key" in (receipt.unavailable or "") for receipt, _ in done)
