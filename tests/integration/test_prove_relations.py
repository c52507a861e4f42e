"""Relations of tables that stand: what changed since they were loaded is found, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from firelift.planning.model import Plan, ReferenceTarget
from firelift.postgres.load.constraints import constrain
from firelift.postgres.schema.names import staging_schema
from firelift.postgres.session.connect import Connection, Session
from firelift.receipts import RelationChecked
from firelift.verification.checks.relations import prove_relations
from firelift.verification.proof import RelationProved
from tests.support.postgres_tables import HOSTILE, RUN, load, plan, row, started

STAGING = staging_schema(RUN)
USERS = plan("users", boss=ReferenceTarget(collection="users"))
ORDERS = plan("users/*/orders", parent="users", table=HOSTILE, gift_for=ReferenceTarget(collection="users"))
ITEMS = plan(
    "users/*/orders/*/items", parent="users/*/orders", first=ReferenceTarget(collection="users/*/orders", ancestors=("first_users_id",))
)
PLAN = Plan(database="projects/lab/databases/(default)", tables=(USERS, ORDERS, ITEMS))


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with started(database_url, *PLAN.tables) as connection:
        load(
            connection,
            STAGING,
            [
                (USERS, [row(USERS, "ann", None), row(USERS, "bob", "ann"), row(USERS, "cat", "nobody")]),
                (ORDERS, [row(ORDERS, "ann", "1", "bob"), row(ORDERS, "bob", "1", None)]),
                (ITEMS, [row(ITEMS, "ann", "1", "i", "1", "bob"), row(ITEMS, "bob", "1", "i", None, None)]),
            ],
        )
        yield connection


def recorded(connection: Connection) -> list[RelationChecked]:
    return [
        RelationChecked(
            table=relation.table,
            columns=relation.columns,
            references=relation.references,
            orphans=relation.orphans,
            examples=(),
            foreign_key=relation.created,
        )
        for relation in constrain(connection, STAGING, PLAN.tables, "report")
    ]


def proved(url: str, recorded: list[RelationChecked] | None = None) -> dict[tuple[str, ...], RelationProved]:
    return {(one.table, *one.columns): one for one in prove_relations(Session(url, "firelift-test"), STAGING, PLAN, recorded)}


def changed(proofs: dict[tuple[str, ...], RelationProved]) -> dict[tuple[str, ...], tuple[int, bool]]:
    return {
        name: (one.orphans, one.foreign_key)
        for name, one in proofs.items()
        if one.orphans != one.expected or one.foreign_key != one.expected_foreign_key
    }


def test_untouched_tables_are_as_they_were_loaded(connection: Connection, database_url: str) -> None:
    proofs = proved(database_url, recorded(connection))
    assert len(proofs) == 5
    assert changed(proofs) == {}
    assert {name: one.orphans for name, one in proofs.items() if one.orphans} == {("users", "boss"): 1}
    assert proofs["users", "boss"].examples == ("cat → nobody",)


def test_a_parent_that_is_gone_is_found_with_the_rows_it_leaves(connection: Connection, database_url: str) -> None:
    before = recorded(connection)
    connection.execute("SET session_replication_role TO replica")  # as a restore would, or a superuser in a hurry
    connection.execute(f"DELETE FROM {STAGING}.users WHERE id = 'bob'".encode())
    proofs = proved(database_url, before)
    assert changed(proofs) == {(HOSTILE, "users_id"): (1, True), (HOSTILE, "gift_for"): (1, True)}
    assert proofs[HOSTILE, "users_id"].examples == ("bob/1 → bob",)


def test_the_query_lists_the_orphaned_rows(connection: Connection, database_url: str) -> None:
    connection.execute(f"DELETE FROM {STAGING}.users WHERE id = 'bob'".encode())
    query = proved(database_url)[HOSTILE, "users_id"].query
    assert connection.execute(query.encode()).fetchall() == [("bob", "1")]
    assert connection.execute(f"SELECT count(*) FROM ({query}) AS listed".encode()).fetchone() == (1,)


def test_a_foreign_key_that_is_gone_or_looks_away_is_found(connection: Connection, database_url: str) -> None:
    before = recorded(connection)
    connection.execute(f"ALTER TABLE {STAGING}.users_orders_items DROP CONSTRAINT users_orders_items_users_id_orders_id_fkey".encode())
    connection.execute(
        f"""
        ALTER TABLE {STAGING}.users_orders_items DROP CONSTRAINT users_orders_items_first_users_id_first_fkey;
        ALTER TABLE {STAGING}.users_orders_items ADD FOREIGN KEY (first_users_id, first)
            REFERENCES {STAGING}."{HOSTILE.replace('"', '""')}" (users_id, id) NOT VALID
        """.encode()
    )
    assert changed(proved(database_url, before)) == {
        ("users_orders_items", "users_id", "orders_id"): (0, False),
        ("users_orders_items", "first_users_id", "first"): (0, False),
    }


def test_what_nobody_counted_is_expected_by_nobody(connection: Connection, database_url: str) -> None:
    constrain(connection, STAGING, PLAN.tables, "report")
    assert {(one.expected, one.expected_foreign_key) for one in proved(database_url).values()} == {(None, None)}


def test_columns_of_another_collation_are_compared_all_the_same(connection: Connection, database_url: str) -> None:
    connection.execute(f'ALTER TABLE {STAGING}.users ALTER COLUMN id TYPE text COLLATE "default"'.encode())
    assert proved(database_url)["users", "boss"].orphans == 1


def test_tables_and_columns_that_are_gone_are_no_relation(connection: Connection, database_url: str) -> None:
    connection.execute(f"DROP TABLE {STAGING}.users".encode())
    connection.execute(f"ALTER TABLE {STAGING}.users_orders_items DROP COLUMN first".encode())
    assert set(proved(database_url)) == {("users_orders_items", "users_id", "orders_id")}


def test_nothing_can_be_written_over_the_connection_that_reads(connection: Connection, database_url: str) -> None:
    with Session(database_url, "firelift-test").open_to_read() as looking, pytest.raises(Exception, match="read-only"):
        looking.execute(f"DELETE FROM {STAGING}.users".encode())
