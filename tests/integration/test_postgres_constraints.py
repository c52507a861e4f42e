"""Keys and foreign keys after the data."""

from __future__ import annotations

from typing import Any

import pytest

from firelift.planning.model import ReferenceTarget
from firelift.postgres.load.constraints import CheckedRelation, ForeignKeys, Orphan, OrphanedRows, constrain
from firelift.postgres.schema.names import staging_schema
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import DuplicateKeys, PostgresLimit
from tests.support.postgres_tables import HOSTILE, RUN, load, plan, row, started, values

STAGING = staging_schema(RUN)
USERS = plan("users", boss=ReferenceTarget(collection="users"))
ORDERS = plan("users/*/orders", parent="users", gift_for=ReferenceTarget(collection="users"))
ITEMS = plan(
    "users/*/orders/*/items", parent="users/*/orders", first=ReferenceTarget(collection="users/*/orders", ancestors=("first_users_id",))
)
TABLES = (USERS, ORDERS, ITEMS)

WHOLE: list[tuple[Any, list[list[Any]]]] = [
    (USERS, [row(USERS, "ann", None), row(USERS, "bob", "ann")]),
    (ORDERS, [row(ORDERS, "ann", "1", "bob"), row(ORDERS, "bob", "1", None)]),
    (ITEMS, [row(ITEMS, "ann", "1", "i", "1", "bob"), row(ITEMS, "bob", "1", "i", None, None)]),
]


def foreign_keys(connection: Connection) -> list[str]:
    return values(
        connection,
        f"SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' AND connamespace = '{STAGING}'::regnamespace ORDER BY 1",
    )


def indexes(connection: Connection) -> list[str]:
    return values(connection, f"SELECT indexdef FROM pg_indexes WHERE schemaname = '{STAGING}' ORDER BY tablename, indexdef COLLATE \"C\"")


def orphans(checked: list[CheckedRelation]) -> dict[str, int]:
    return {f"{relation.table}({', '.join(relation.columns)})": relation.orphans for relation in checked}


def test_whole_relations_become_foreign_keys_and_links_are_indexed(database_url: str) -> None:
    with started(database_url, *TABLES) as connection:
        load(connection, STAGING, WHOLE)
        checked = constrain(connection, STAGING, TABLES, "report")
        assert all(relation.created and not relation.orphans for relation in checked)
        assert foreign_keys(connection) == [
            f"FOREIGN KEY (boss) REFERENCES {STAGING}.users(id)",
            f"FOREIGN KEY (first_users_id, first) REFERENCES {STAGING}.users_orders(users_id, id)",
            f"FOREIGN KEY (gift_for) REFERENCES {STAGING}.users(id)",
            f"FOREIGN KEY (users_id) REFERENCES {STAGING}.users(id)",
            f"FOREIGN KEY (users_id, orders_id) REFERENCES {STAGING}.users_orders(users_id, id)",
        ]
        assert [definition.partition(" USING ")[2] for definition in indexes(connection)] == [
            "btree (boss)",
            "btree (id)",
            "btree (gift_for)",
            "btree (users_id, id)",
            "btree (first_users_id, first)",
            "btree (users_id, orders_id, id)",
        ]


def test_doing_it_again_gives_the_same(database_url: str) -> None:
    with started(database_url, *TABLES) as connection:
        load(connection, STAGING, WHOLE)
        first = constrain(connection, STAGING, TABLES, "report")
        before = foreign_keys(connection), indexes(connection)
        assert constrain(connection, STAGING, TABLES, "report") == first
        assert (foreign_keys(connection), indexes(connection)) == before


def test_orphans_are_counted_and_cost_their_relation_the_foreign_key(database_url: str) -> None:
    phantoms = [row(ORDERS, "ghost", str(n), "bob") for n in range(7)]
    dangling = [row(USERS, "cat", "nobody")]
    with started(database_url, *TABLES) as connection:
        load(connection, STAGING, WHOLE)
        load(connection, STAGING, [(ORDERS, phantoms), (USERS, dangling)], "c2")
        checked = constrain(connection, STAGING, TABLES, "report")
        assert orphans(checked) == {
            "users(boss)": 1,
            "users_orders(users_id)": 7,
            "users_orders(gift_for)": 0,
            "users_orders_items(users_id, orders_id)": 0,
            "users_orders_items(first_users_id, first)": 0,
        }
        assert checked[0].examples == (Orphan(key=("cat",), refers_to=("nobody",)),)
        assert [orphan.key for orphan in checked[1].examples] == [("ghost", str(n)) for n in range(5)]
        assert [relation.created for relation in checked] == [False, False, True, True, True]
        assert len(foreign_keys(connection)) == 3


def test_strict_refuses_orphans_by_number_and_example_and_leaves_the_tables_as_they_were(database_url: str) -> None:
    with started(database_url, *TABLES) as connection:
        load(connection, STAGING, [*WHOLE, (USERS, [row(USERS, "cat", "nobody")])])
        with pytest.raises(OrphanedRows, match="1, such as cat"):
            constrain(connection, STAGING, TABLES, "strict")
        assert indexes(connection) == []


@pytest.mark.parametrize(("mode", "made"), [("strict", 5), ("off", 0)])
def test_strict_makes_all_and_off_makes_none(database_url: str, mode: ForeignKeys, made: int) -> None:
    with started(database_url, *TABLES) as connection:
        load(connection, STAGING, WHOLE)
        checked = constrain(connection, STAGING, TABLES, mode)
        assert [relation.created for relation in checked] == [bool(made)] * 5
        assert len(foreign_keys(connection)) == made


def test_a_parent_outside_the_plan_is_no_relation(database_url: str) -> None:
    with started(database_url, ORDERS) as connection:
        load(connection, STAGING, [(ORDERS, [row(ORDERS, "ghost", "1", "ghost")])])
        assert constrain(connection, STAGING, [ORDERS], "strict") == []


def test_hostile_names_get_their_keys(database_url: str) -> None:
    users = plan("users", table=HOSTILE)
    links: dict[str, ReferenceTarget] = {HOSTILE + "!": ReferenceTarget(collection="users")}
    orders = plan("orders", parent=None, table=None, **links)
    with started(database_url, users, orders) as connection:
        load(connection, STAGING, [(users, [row(users, "a")]), (orders, [row(orders, HOSTILE, "b"), row(orders, "x", "a")])])
        (checked,) = constrain(connection, STAGING, [users, orders], "report")
        assert checked.examples == (Orphan(key=(HOSTILE,), refers_to=("b",)),)
        connection.execute(f"DELETE FROM {STAGING}.orders WHERE id <> 'x'".encode())
        assert [relation.created for relation in constrain(connection, STAGING, [users, orders], "strict")] == [True]


def test_two_rows_with_one_key_are_an_error_that_names_it(database_url: str) -> None:
    with started(database_url, USERS) as connection:
        load(connection, STAGING, [(USERS, [row(USERS, "ann", None), row(USERS, "ann", None)])])
        with pytest.raises(DuplicateKeys):
            constrain(connection, STAGING, [USERS], "report")


def test_a_key_beyond_the_limit_of_the_index_is_an_error_with_a_name(database_url: str) -> None:
    items = plan("a/*/b/*/c")
    # Not to be compressed, unlike a repeated letter.
    long = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(500))
    with started(database_url, items) as connection:
        load(connection, STAGING, [(items, [row(items, long, long, long)])])
        with pytest.raises(PostgresLimit):
            constrain(connection, STAGING, [items], "report")
