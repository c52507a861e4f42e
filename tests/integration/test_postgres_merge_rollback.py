"""A rollback of an increment restores the state before it, to the bit, and so does a chain of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from firelift.planning.model import Column
from firelift.postgres.publish.cleanup import drop_backups, expired_backups
from firelift.postgres.publish.rollback import BackupGone, ChangedSince, LaterRunPublished, rollback
from firelift.postgres.publish.stages.rolling_back import CannotRestore
from firelift.postgres.schema.control_schema import saved_tables
from firelift.postgres.schema.names import backup_schema
from firelift.postgres.session.connect import Connection
from tests.integration.test_postgres_merge import CHANGED, GONE, JSON_ROWS, JSON_SCORES, step, with_column
from tests.support.merged_tables import AFTER, LATER, Keys, increase
from tests.support.postgres_tables import plan, row, values
from tests.support.refreshed_tables import (
    FIRST,
    OLD,
    ORDERS,
    SECOND,
    THIRD,
    USERS,
    Rows,
    catalog,
    contents,
    live_in,
    migrate,
    target,
    user,
)

WIDER = with_column(USERS, Column(name="email", path=("email",), kind="string"))


def state(connection: Connection) -> tuple[Any, ...]:
    return catalog(connection), contents(connection), saved_tables(connection, "public")


def test_an_increment_is_taken_back_to_the_bit_with_everything_that_hangs_on_the_tables(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        before = state(connection)
        increase(connection, SECOND, CHANGED, GONE)
        assert state(connection) != before
        done = rollback(connection, SECOND)
        assert state(connection) == before
        assert [(table.table, table.action, table.rows) for table in done.tables] == [
            ("public.users", "merged", 2),
            ("public.users_orders", "merged", 2),
        ]
        assert values(connection, "SELECT count(*) FROM public.heard") == [0]
        assert rollback(connection, SECOND).already


@pytest.mark.parametrize("deletes", ["propagate", "mark", "ignore"])
def test_a_chain_is_taken_back_state_by_state(database_url: str, deletes: Any) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        states = [state(connection)]
        increase(connection, SECOND, CHANGED, GONE, deletes=deletes, scanned=False)
        states.append(state(connection))
        more: Rows = {"users": [row(WIDER, "ann", "Anna", 1.0, "bob", "a@example.org"), row(WIDER, "cat", "Cat", None, None, None)]}
        gone: Keys = {"users": [("dan",)], "users_orders": [("dan", "1")]}
        increase(connection, THIRD, more, gone, [WIDER, ORDERS], deletes=deletes, read_time=LATER)
        states.append(state(connection))
        increase(connection, f"{THIRD}-2", {}, {}, [WIDER, ORDERS], deletes=deletes, read_time=LATER)
        for run in (f"{THIRD}-2", THIRD, SECOND):
            rollback(connection, run)
            assert state(connection) == states.pop()


def test_a_full_run_over_an_increment_is_taken_back_first(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increase(connection, SECOND, CHANGED, GONE, deletes="mark")
        before = state(connection)
        migrate(connection, THIRD, OLD)
        with pytest.raises(LaterRunPublished):
            rollback(connection, SECOND)
        rollback(connection, THIRD)
        assert state(connection) == before
        rollback(connection, SECOND)


def test_an_increment_that_changed_nothing_is_published_over_and_taken_back_like_any(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = state(connection)
        increase(connection, SECOND, {})
        with pytest.raises(LaterRunPublished):
            rollback(connection, FIRST)
        assert rollback(connection, SECOND).tables == ()
        assert state(connection) == before


def test_another_type_is_taken_back_with_the_old_values(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, {"users": [user("ann", "Ann", 1.5), user("bob", "Bob", -0.0, "ann"), user("cat", "Cat", 7.0)]})
        connection.execute("CREATE INDEX by_score ON public.users (score); ALTER TABLE public.users ALTER COLUMN score SET NOT NULL")
        before = state(connection)
        increase(connection, SECOND, JSON_ROWS, tables=[JSON_SCORES, ORDERS], steps=step(USERS, "score"))
        rollback(connection, SECOND)
        assert state(connection) == before


def test_a_link_that_became_json_is_a_link_again_with_its_foreign_key(database_url: str) -> None:
    other = with_column(USERS, Column(name="boss", path=("boss",), kind="json"))
    rows: Rows = {"users": [row(other, key, key, 1.0, "7") for key in ("ann", "bob", "cat")]}
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = state(connection)
        increase(connection, SECOND, rows, tables=[other, ORDERS], steps=step(USERS, "boss"))
        rollback(connection, SECOND)
        assert state(connection) == before


def test_a_row_of_somebody_else_is_not_lost_with_the_type(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increase(connection, SECOND, JSON_ROWS, tables=[JSON_SCORES, ORDERS], steps=step(USERS, "score"))
        connection.execute("INSERT INTO public.users (id, score) VALUES ('mine', '1')")
        with pytest.raises(ChangedSince, match="3 rows published, 4 now, 1 inserted or updated, such as mine"):
            rollback(connection, SECOND)
        rollback(connection, SECOND, force=True)
        assert values(connection, "SELECT score FROM public.users WHERE id = 'mine'") == [None]


def test_a_view_on_the_other_type_keeps_it_from_being_taken_back(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increase(connection, SECOND, JSON_ROWS, tables=[JSON_SCORES, ORDERS], steps=step(USERS, "score"))
        connection.execute("CREATE VIEW public.scores AS SELECT score FROM public.users")
        before = state(connection)
        with pytest.raises(CannotRestore, match="scores"):
            rollback(connection, SECOND)
        assert state(connection) == before


def test_foreign_keys_that_an_increment_made_and_dropped_are_gone_and_back(database_url: str) -> None:
    teams = plan("teams", lead=with_column(USERS).columns[2].reference or "string")
    with target(database_url) as connection:
        migrate(connection, FIRST, {"users": [user("ann", "Ann", 1.5, "nobody"), user("bob")], "users_orders": OLD["users_orders"][:2]})
        before = state(connection)
        rows: Rows = {"users": [user("nobody")], "teams": [row(teams, "red", "ann")]}
        increase(connection, SECOND, rows, tables=[USERS, ORDERS, teams])
        assert "boss" in str(catalog(connection)["constraints"])
        rollback(connection, SECOND)
        assert state(connection) == before
        increase(connection, THIRD, {"users": [user("nobody")], "users_orders": [row(ORDERS, "bob", "2", "absent")]})
        assert "gift_for" not in str(catalog(connection)["constraints"])
        rollback(connection, THIRD)
        assert state(connection) == before


def test_a_foreign_key_to_a_new_table_from_one_that_is_not_touched_is_taken_back(database_url: str) -> None:
    things = plan("things", maker=USERS.columns[2].reference or "string")
    with target(database_url) as connection:
        migrate(connection, FIRST, {"things": [row(things, "t", "ann")]}, [things])
        before = state(connection)
        increase(connection, SECOND, {"users": [user("ann")]}, tables=[things, USERS])
        assert "maker" in str(catalog(connection)["constraints"])
        rollback(connection, SECOND)
        assert state(connection) == before


def test_changes_of_others_count_only_in_rows_that_the_increment_touched(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increase(connection, SECOND, CHANGED, GONE)
        connection.execute("UPDATE public.users SET name = 'A' WHERE id = 'ann'; INSERT INTO public.users (id) VALUES ('mine')")
        with connection.transaction(force_rollback=True):
            rollback(connection, SECOND)
            assert values(connection, "SELECT id || coalesce(name, '') FROM public.users ORDER BY 1") == [
                "annA",
                "bobBob",
                "catCat",
                "mine",
            ]
        connection.execute("UPDATE public.users SET name = 'B' WHERE id = 'bob'")
        with pytest.raises(ChangedSince, match="2 rows published, 2 now, 1 inserted or updated, such as bob"):
            rollback(connection, SECOND)
        done = rollback(connection, SECOND, force=True)
        assert [(change.table, change.written_keys) for change in done.overridden] == [("public.users", ("bob",))]


def test_a_deleted_row_that_is_there_again_is_a_change_of_somebody_elses(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increase(connection, SECOND, CHANGED, GONE)
        connection.execute("INSERT INTO public.users (id) VALUES ('cat')")
        with pytest.raises(ChangedSince, match="cat"):
            rollback(connection, SECOND)


def test_undo_images_are_cleaned_up_like_backups(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increase(connection, SECOND, CHANGED, GONE)
        (expired,) = [each for each in expired_backups(connection, timedelta(0), "public") if each.migration_id == SECOND]
        assert (expired.tables, expired.backup_schema, expired.bytes > 0) == (("users", "users_orders"), backup_schema(SECOND), True)
        drop_backups(connection, [SECOND])
        assert backup_schema(SECOND) not in catalog(connection)["schemas"]
        with pytest.raises(BackupGone):
            rollback(connection, SECOND)
        assert {table.watermark for table in saved_tables(connection, "public").values()} == {AFTER}
