"""The tables of a small shop are exactly those that CONTRACT.md promises: names, keys, types, foreign keys, closed to the public."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from firelift.firestore.channel import Source
from firelift.local.postgres import PostgresServer
from firelift.local.writer import GeoPoint, Reference, Vector
from tests.support.whole_way import Arrival, Things, migrate, new_database, new_source, write

JOINED = datetime(2024, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)


def documents(source: Source) -> Things:
    def to(path: str) -> Reference:
        return Reference(f"{source.root}/{path}")

    ann = {
        **{"displayName": "Ann", "age": 41, "score": 1.5, "rate": 2, "active": True, "joinedAt": JOINED, "photo": b"\1"},
        **{"home": GeoPoint(48.1, 11.5), "embedding": Vector((0.1, 0.2)), "settings": {"theme": "dark"}, "team": to("teams/red")},
        **{"favourite": to("users/ann/orders/1"), "seen": to("shops/s"), "nickname": "A", "gone": None, "mixed": 1, "anything": [1, "a"]},
        **{"tags": ["a"], "ranks": [1], "weights": [0.5], "flags": [True], "logins": [JOINED]},
    }
    bob = {
        **{"displayName": "Bob", "age": 7, "score": 2.5, "rate": 2.5, "active": False, "joinedAt": JOINED, "photo": b"\2"},
        **{"team": to("teams/red"), "seen": to("teams/red"), "nickname": None, "gone": None, "mixed": "one"},
    }
    return {
        "users/ann": ann,
        "users/bob": bob,
        "users/cat": {"displayName": "Cat", "nickname": None, "gone": None},
        "users/ann/orders/1": {"total": 9.5, "id": "A-1", "users_id": 5, "firestore_residue": "x"},
        "users/ann/orders/1/items/i": {"sku": "s"},
        "users/nobody/orders/2": {"total": 1.5},
        "teams/red": {"name": "Red"},
        "shops/ghost/stock/1": {"count": 3},
    }


@pytest.fixture(scope="module")
def arrival(emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrival]:
    with new_source(emulator_host) as source, new_database(postgres) as url:
        write(source, documents(source))
        yield migrate(source, url, tmp_path_factory.mktemp("contract"), max_workers=2)


OURS = [
    ("firestore_created_at", "timestamp with time zone"),
    ("firestore_updated_at", "timestamp with time zone"),
    ("firestore_residue", "jsonb"),
]
COLUMNS = {
    "users": [
        ("id", "text"),
        ("active", "boolean"),
        ("age", "bigint"),
        ("anything", "jsonb"),
        ("display_name", "text"),
        ("embedding", "double precision[]"),
        ("favourite", "text"),
        ("favourite_users_id", "text"),
        ("flags", "boolean[]"),
        ("gone", "jsonb"),
        ("home", "jsonb"),
        ("joined_at", "timestamp with time zone"),
        ("logins", "timestamp with time zone[]"),
        ("mixed", "jsonb"),
        ("nickname", "text"),
        ("photo", "bytea"),
        ("ranks", "bigint[]"),
        ("rate", "double precision"),
        ("score", "double precision"),
        ("seen", "text"),
        ("settings", "jsonb"),
        ("tags", "text[]"),
        ("team", "text"),
        ("weights", "double precision[]"),
    ],
    "users_orders": [
        ("users_id", "text"),
        ("id", "text"),
        ("field_firestore_residue", "text"),
        ("field_id", "text"),
        ("total", "double precision"),
        ("field_users_id", "bigint"),
    ],
    "users_orders_items": [("users_id", "text"), ("orders_id", "text"), ("id", "text"), ("sku", "text")],
    "teams": [("id", "text"), ("name", "text")],
    "shops_stock": [("shops_id", "text"), ("id", "text"), ("count", "bigint")],
}
KEYS = {
    "users": ["id"],
    "users_orders": ["users_id", "id"],
    "users_orders_items": ["users_id", "orders_id", "id"],
    "teams": ["id"],
    "shops_stock": ["shops_id", "id"],
}


def test_every_document_is_its_row(arrival: Arrival) -> None:
    arrival.check()


def test_these_tables_and_no_others_are_in_the_target(arrival: Arrival) -> None:
    found = arrival.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert {table for (table,) in found} == set(COLUMNS)
    schemas = arrival.ask("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'firelift%'")
    assert schemas == [("firelift",)]


@pytest.mark.parametrize("table", COLUMNS)
def test_columns_have_the_promised_names_types_and_order(arrival: Arrival, table: str) -> None:
    found = arrival.ask(
        "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
        f"public.{table}",
    )
    assert found == [*COLUMNS[table], *OURS]


@pytest.mark.parametrize("table", KEYS)
def test_the_primary_key_is_the_path_of_ids_in_byte_order(arrival: Arrival, table: str) -> None:
    found = arrival.ask(
        """
        SELECT attname, collname, attnotnull FROM pg_constraint, unnest(conkey) WITH ORDINALITY AS key (number, place)
        JOIN pg_attribute ON attnum = number JOIN pg_collation ON pg_collation.oid = attcollation
        WHERE contype = 'p' AND conrelid = %s::regclass AND attrelid = conrelid ORDER BY place
        """,
        f"public.{table}",
    )
    assert found == [(key, "C", True) for key in KEYS[table]]


def test_foreign_keys_stand_where_no_row_is_orphaned(arrival: Arrival) -> None:
    found = arrival.ask("SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' ORDER BY 1, 2")
    assert [(table.removeprefix("public."), definition.replace("public.", "")) for table, definition in found] == [
        ("users", "FOREIGN KEY (favourite_users_id, favourite) REFERENCES users_orders(users_id, id)"),
        ("users", "FOREIGN KEY (team) REFERENCES teams(id)"),
        ("users_orders_items", "FOREIGN KEY (users_id, orders_id) REFERENCES users_orders(users_id, id)"),
    ]


def test_a_parent_that_does_not_exist_costs_the_foreign_key_and_is_told(arrival: Arrival) -> None:
    told = {(relation.table, relation.references): relation for relation in arrival.imported.relations}
    assert (told["users_orders", "users"].orphans, told["users_orders", "users"].foreign_key) == (1, False)
    assert told["users_orders", "users"].examples == ("nobody/2 → nobody",)
    assert arrival.table("shops/*/stock").parent is None


def test_row_level_security_is_on_everywhere_and_no_policy_opens_anything(arrival: Arrival) -> None:
    found = arrival.ask("SELECT relname, relrowsecurity FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
    assert dict(found) == dict.fromkeys(COLUMNS, True)
    assert arrival.ask("SELECT count(*) FROM pg_policy") == [(0,)]


def test_null_means_what_is_more_frequent_in_the_table(arrival: Arrival) -> None:
    means = {column.dotted_path: column.null_means for column in arrival.table("users").columns}
    assert {field for field, meaning in means.items() if meaning == "null"} == {"gone", "nickname"}
    assert [arrival.value(f"users/{name}", "nickname") for name in ("ann", "bob", "cat")] == ["A", None, None]


def test_only_what_columns_cannot_say_is_in_the_residue(arrival: Arrival) -> None:
    told = {path: arrival.residue(path) for path in arrival.documents}
    assert {path: residue for path, residue in told.items() if residue} == {"users/ann": {"rate": {"integerValue": "2"}}}


def test_values_are_those_of_the_documents(arrival: Arrival) -> None:
    ann = arrival.row("users/ann")
    assert (ann["joined_at"], ann["photo"], ann["embedding"]) == (1_704_112_215_123_456, b"\1", [0.1, 0.2])
    assert (ann["team"], ann["favourite"], ann["favourite_users_id"], ann["seen"]) == ("red", "1", "ann", "shops/s")
    assert (json.loads(ann["home"]), json.loads(ann["settings"])) == ({"latitude": 48.1, "longitude": 11.5}, {"theme": "dark"})


def test_create_and_update_times_are_firestore_s(arrival: Arrival) -> None:
    for path, document in arrival.documents.items():
        for column, moment in (("firestore_created_at", document.create_time), ("firestore_updated_at", document.update_time)):
            assert arrival.value(path, column) == moment.seconds * 1_000_000 + moment.nanos // 1000


def test_the_target_remembers_plans_and_watermark(arrival: Arrival) -> None:
    found = arrival.ask("SELECT collection, table_name, plan, watermark FROM firelift.tables")
    plans = {table.collection: table for table in arrival.plan.tables}
    assert {collection: (table, plan) for collection, table, plan, _ in found} == {
        collection: (table.table, table.model_dump(mode="json")) for collection, table in plans.items()
    }
    assert {watermark for *_, watermark in found} == {datetime.fromisoformat(arrival.validated.read_time)}
