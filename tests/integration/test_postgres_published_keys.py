"""The keys of published tables, read side by side in Firestore's order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import zip_longest

import pytest

from firelift.paths import id_order, key_order
from firelift.planning.model import DELETED_AT, TablePlan
from firelift.postgres.inspect.published_keys import Between, count_live, published_keys, written_at
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection, Session, connect
from tests.support.postgres_tables import HOSTILE, plan
from tests.support.refreshed_tables import FIRST, migrate

USERS, ORDERS = plan("users"), plan("users/*/orders", table=HOSTILE[:40])
PLAIN = ["-1", "007", "B", "__not_reserved", "a", "a b", "ä", "\uff00", "🦊"]
NUMBERS = ["__id-9223372036854775808__", "__id-5__", "__id5__", "__id10__", "__id9223372036854775807__"]
WRITTEN = 1_700_000_000_000_001


def fill(connection: Connection, ids: Sequence[str], tables: Sequence[TablePlan] = (USERS, ORDERS)) -> None:
    times = [WRITTEN - 1, WRITTEN, None]
    rows = {
        table.table: [[*([one] if len(table.keys) == 1 else [one, other]), *times] for one in ids for other in sub(table, ids)]
        for table in tables
    }
    migrate(connection, FIRST, rows, tables, foreign_keys="off")


def sub(table: TablePlan, ids: Sequence[str]) -> Sequence[str]:
    return ids if len(table.keys) == 2 else ids[:1]


def read(url: str, table: TablePlan, between: Between | None = None) -> list[tuple[object, ...]]:
    with published_keys(Session(url, "firelift-test"), "public", 1, between or Between()) as rows_of:
        return list(rows_of(table).rows)


@pytest.mark.parametrize("ids", [PLAIN, [*NUMBERS, *PLAIN]], ids=["plain", "numbered"])
def test_keys_come_in_firestores_order_from_border_to_border(database_url: str, ids: list[str]) -> None:
    with closing(connect(database_url, "firelift-test")) as connection:
        fill(connection, ids)
    pairs = sorted(((one, other) for one in ids for other in ids), key=key_order)
    assert read(database_url, USERS) == [(one, WRITTEN) for one in ids]
    assert read(database_url, ORDERS) == [(*pair, WRITTEN) for pair in pairs]
    for low in (None, "__id-5__", "__id7__", "B", "🦊"):
        for high in (None, "__id5__", "007", "b"):
            inside = [
                one for one in ids if (low is None or id_order(one) >= id_order(low)) and (high is None or id_order(one) < id_order(high))
            ]
            assert read(database_url, USERS, Between(low, high)) == [(one, WRITTEN) for one in inside]
            assert read(database_url, ORDERS, Between(low, high)) == [(*pair, WRITTEN) for pair in pairs if pair[0] in inside]


def test_many_tables_are_read_in_step_with_one_another_and_in_one_snapshot(database_url: str) -> None:
    tables = [plan(f"c{number}") for number in range(40)]
    ids = [f"{number:04}" for number in range(700)]
    with closing(connect(database_url, "firelift-test")) as connection:
        fill(connection, ids, tables)
        with published_keys(Session(database_url, "firelift-test"), "public", len(tables), Between()) as rows_of:
            opened = [rows_of(table).rows for table in tables]
            assert {next(rows) for rows in opened} == {("0000", WRITTEN)}
            connection.execute("DELETE FROM public.c39")
            for together in zip_longest(*opened):
                assert len(set(together)) == 1


def test_rows_of_documents_that_are_gone_are_no_rows(database_url: str) -> None:
    marking = USERS.model_copy(update={"marks_deleted": True})
    with closing(connect(database_url, "firelift-test")) as connection:
        fill(connection, PLAIN)
        connection.execute(f"ALTER TABLE public.users ADD COLUMN {DELETED_AT} timestamptz".encode())
        connection.execute(f"UPDATE public.users SET {DELETED_AT} = now() WHERE id IN ('B', 'ä')".encode())
        assert read(database_url, marking) == [(one, WRITTEN) for one in PLAIN if one not in ("B", "ä")]
        soft_deleting = TargetTable("public", marking)
        assert count_live(connection, soft_deleting) == len(PLAIN) - 2
        assert count_live(connection, TargetTable("public", USERS)) == len(PLAIN)
        assert written_at(connection, soft_deleting, [("a",), ("B",), ("never",)]) == {("a",): WRITTEN}


def test_keys_are_looked_up_by_all_their_parts(database_url: str) -> None:
    with closing(connect(database_url, "firelift-test")) as connection:
        fill(connection, PLAIN)
        connection.execute("UPDATE public.users SET firestore_updated_at = NULL WHERE id = 'a'")
        assert written_at(connection, TargetTable("public", USERS), [("a",), ("🦊",)]) == {("a",): None, ("🦊",): WRITTEN}
        wanted = [("B", "a"), ("a", "B"), ("B", "'; --"), (HOSTILE, "B")]
        assert written_at(connection, TargetTable("public", ORDERS), wanted) == dict.fromkeys(wanted[:2], WRITTEN)
        assert written_at(connection, TargetTable("public", ORDERS), []) == {}
