"""A rollback leaves the target as it was before the run, proves it, and takes nothing of the user's with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from firelift.migration.rollback import NothingToRollBack, roll_back_run
from firelift.migration.rollback_text import rollback_text
from firelift.planning.model import ReferenceTarget
from firelift.postgres.publish import rollback as rolling
from firelift.postgres.publish.external_changes import described_change
from firelift.postgres.publish.publish import publish
from firelift.postgres.publish.rollback import UnknownMigration, rollback
from firelift.postgres.publish.stages.rolling_back import CannotRestore, RollbackDiffers
from firelift.postgres.schema.control_schema import migration, record_finish, saved_tables
from firelift.postgres.schema.foreign_keys import ForeignKeyBroken
from firelift.postgres.schema.names import backup_schema, staging_schema
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.foreign_owners import schema_exists
from firelift.receipts import RolledBack
from tests.support.postgres_tables import HOSTILE, as_role, plan, row, values
from tests.support.refreshed_tables import (
    FIRST,
    NEW,
    OLD,
    ORDERS,
    READ_TIME,
    SECOND,
    TABLES,
    THIRD,
    USERS,
    catalog,
    contents,
    live_in,
    migrate,
    order,
    stage,
    target,
)

State = tuple[Any, Any]


def state(connection: Connection) -> State:
    return catalog(connection), contents(connection)


def test_a_refresh_is_taken_back_to_the_bit_with_everything_that_hangs_on_the_tables(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        before = state(connection)
        migrate(connection, SECOND, NEW)
        assert state(connection) != before
        done = rollback(connection, SECOND)
        assert state(connection) == before
        assert [(table.table, table.action, table.rows) for table in done.tables] == [
            ("public.users", "replaced", 3),
            ("public.users_orders", "replaced", 3),
        ]
        assert done.tables[0].digest == before[1]["users"].value
        assert values(connection, "SELECT count(*) FROM public.heard") == [0]


def test_new_tables_are_removed_with_the_schema_that_was_made_for_them(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD, schema="fire")
        done = rollback(connection, FIRST)
        assert [table.action for table in done.tables] == ["created", "created"]
        assert not schema_exists(connection, "fire")
        assert saved_tables(connection, "fire") == {}
        found = migration(connection, FIRST)
        assert found is not None
        assert (found["status"], found["finished_at"] is None) == ("rolled_back", False)


def test_a_made_schema_stays_when_the_user_has_something_in_it(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD, schema="fire")
        connection.execute("CREATE TABLE fire.mine (id int)")
        rollback(connection, FIRST)
        assert values(connection, "SELECT tablename FROM pg_tables WHERE schemaname = 'fire'") == ["mine"]


def test_twice_in_a_row_says_so_and_does_nothing(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = state(connection)
        migrate(connection, SECOND, NEW)
        done = rollback(connection, SECOND)
        assert rollback(connection, SECOND) == done.model_copy(update={"already": True})
        assert state(connection) == before


def test_what_is_only_staged_is_dropped_and_nothing_else_touched(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = state(connection)
        stage(connection, SECOND, NEW)
        done = rollback(connection, SECOND)
        assert done == RolledBack(migration_id=SECOND, staging_dropped=True)
        assert state(connection) == before
        assert values(connection, "SELECT count(*) FROM firelift.loaded_chunks WHERE migration_id LIKE '%-23T%'") == [0]


def test_a_publish_that_did_not_commit_leaves_only_staging_to_drop(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = state(connection)
        stage(connection, SECOND, NEW)
        with connection.transaction(force_rollback=True):
            publish(connection, SECOND, "public", TABLES, READ_TIME)
        assert schema_exists(connection, staging_schema(SECOND))
        rollback(connection, SECOND)
        assert state(connection) == before


def test_a_rollback_that_did_not_commit_can_be_done_again(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = state(connection)
        migrate(connection, SECOND, NEW)
        after = state(connection)
        with connection.transaction(force_rollback=True):
            rollback(connection, SECOND)
        assert state(connection) == after
        assert not rollback(connection, SECOND).already
        assert state(connection) == before


def test_a_run_that_did_nothing_yet_and_an_empty_one_are_rolled_back(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, {}, [])
        assert not rollback(connection, FIRST).already
        assert rollback(connection, FIRST).already


def test_an_unknown_migration_is_said_so(database_url: str) -> None:
    with target(database_url) as connection:
        with pytest.raises(rolling.UnknownMigration):
            rollback(connection, FIRST)
        migrate(connection, FIRST, OLD)
        with pytest.raises(rolling.UnknownMigration, match="nobody"):
            rollback(connection, "nobody")


def test_after_a_rollback_the_same_run_can_be_published_and_rolled_back_again(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = state(connection)
        for _ in range(2):
            migrate(connection, SECOND, NEW)
            assert not rollback(connection, SECOND).already
            assert state(connection) == before


def test_two_runs_are_taken_back_in_turn_and_the_earlier_not_first(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, {"users": OLD["users"]}, [USERS])
        first = state(connection)
        migrate(connection, SECOND, NEW)
        second = state(connection)
        migrate(connection, THIRD, OLD)
        with pytest.raises(rolling.LaterRunPublished, match=THIRD):
            rollback(connection, SECOND, force=True)
        rollback(connection, THIRD)
        assert state(connection) == second
        rollback(connection, SECOND)
        assert state(connection) == first
        rollback(connection, FIRST)
        assert contents(connection) == {}


def test_added_columns_foreign_keys_and_indexes_go_and_dropped_foreign_keys_come_back(database_url: str) -> None:
    later = plan("users", name="string", boss=ReferenceTarget(collection="users"), friend=ReferenceTarget(collection="users"), n="integer")
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = state(connection)
        rows = {
            "users": [row(later, "ann", None, "ann", "ann", 1), row(later, "dan", None, None, None, 2)],
            "users_orders": [order("ann", "1", "nobody")],
        }
        migrate(connection, SECOND, rows, [later, ORDERS])
        assert state(connection) != before
        rollback(connection, SECOND)
        assert state(connection) == before
        migrate(connection, SECOND, {"users": [row(later, "dan", None, None, None, 1)]}, [later])
        rollback(connection, SECOND)
        assert state(connection) == before


CHANGES = [
    ("UPDATE public.users SET name = 'changed' WHERE id = 'bob'", "3 rows published, 3 now, 1 inserted or updated, such as bob"),
    ("UPDATE public.users SET note = 'changed' WHERE id = 'bob'", "3 rows published, 3 now, 1 inserted or updated, such as bob"),
    ("DELETE FROM public.users WHERE id = 'ann'", "3 rows published, 2 now, at least 1 deleted"),
    (
        "INSERT INTO public.users (id) SELECT 'new' || n FROM generate_series(1, 9) AS n",
        "3 rows published, 12 now, 9 inserted or updated, such as new1, new2, new3, new4, new5",
    ),
    ("ALTER TABLE public.users DROP COLUMN firestore_residue", "3 rows published, 3 now, without the columns firestore_residue"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES, ids=[change[:40] for change, _ in CHANGES])
def test_changes_by_others_are_listed_and_refused_unless_forced(database_url: str, change: str, said: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD, foreign_keys="off")
        connection.execute("ALTER TABLE public.users ADD COLUMN note text")
        before = state(connection)
        migrate(connection, SECOND, NEW, foreign_keys="off")
        connection.execute(change.encode())
        after = state(connection)
        kind = CannotRestore if "DROP COLUMN" in change else rolling.ChangedSince
        with pytest.raises(kind) as refused:
            rollback(connection, SECOND)
        assert state(connection) == after
        if kind is CannotRestore:
            return
        assert refused.value.facts["changed"] == f"public.users: {said}"
        done = rollback(connection, SECOND, force=True)
        assert [described_change(changed) for changed in done.overridden] == [f"public.users: {said}"]
        assert state(connection) == before


def test_changes_in_a_new_table_are_seen_too(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("UPDATE public.users SET score = 0.0 WHERE id = 'bob'")
        with pytest.raises(rolling.ChangedSince, match=r"public\.users: 3 rows published, 3 now, 1 inserted or updated, such as bob"):
            rollback(connection, FIRST)
        rollback(connection, FIRST, force=True)
        assert contents(connection) == {}


def test_a_column_that_the_user_adds_later_is_no_change_and_stays(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = contents(connection)
        migrate(connection, SECOND, NEW)
        connection.execute("ALTER TABLE public.users ADD COLUMN later int DEFAULT 7")
        rollback(connection, SECOND)
        assert values(connection, "SELECT later FROM public.users") == [7, 7, 7]
        connection.execute("ALTER TABLE public.users DROP COLUMN later")
        assert contents(connection) == before


NEEDS = [
    ("CREATE VIEW public.mine AS SELECT id FROM public.users", "view public.mine depends on table public.users"),
    (
        "CREATE TABLE public.mine (u text REFERENCES public.users)",
        "constraint mine_u_fkey on table public.mine depends on table public.users",
    ),
    ("CREATE MATERIALIZED VIEW public.mine AS SELECT id FROM public.users", "materialized view public.mine depends on table public.users"),
    ("CREATE FUNCTION public.mine() RETURNS SETOF public.users LANGUAGE sql AS ''", "function public.mine() depends on type public.users"),
]


@pytest.mark.parametrize(("need", "said"), NEEDS, ids=[need[:24] for need, _ in NEEDS])
@pytest.mark.parametrize("force", [False, True])
def test_what_the_user_built_on_a_new_table_keeps_it_even_with_force(database_url: str, need: str, said: str, force: bool) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute(need.replace("AS ''", "AS 'SELECT NULL::public.users'").encode())
        before = state(connection)
        with pytest.raises(rolling.DependentObjects) as needed:
            rollback(connection, FIRST, force=force)
        assert said in str(needed.value)
        assert state(connection) == before


def test_a_view_on_an_added_column_keeps_it(database_url: str) -> None:
    later = plan("users", name="string", n="integer")
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        migrate(connection, SECOND, {"users": [row(later, "ann", None, 1)]}, [later])
        connection.execute("CREATE VIEW public.mine AS SELECT n FROM public.users")
        with pytest.raises(rolling.DependentObjects, match=r"view public\.mine depends on column n of table public\.users"):
            rollback(connection, SECOND)


def test_a_users_row_that_refers_to_a_new_one_stops_the_rollback_by_name(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        migrate(connection, SECOND, NEW)
        connection.execute("INSERT INTO public.notes VALUES (3, 'dan')")
        before = state(connection)
        with pytest.raises(ForeignKeyBroken, match=r"notes_user_id_fkey.*such as: dan"):
            rollback(connection, SECOND, force=True)
        assert state(connection) == before


def test_a_table_that_is_gone_can_be_removed_but_not_restored(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        migrate(connection, SECOND, NEW)
        connection.execute("DROP TABLE public.users CASCADE")
        with pytest.raises(CannotRestore, match=rf"public\.users, why: it no longer exists, old rows: {backup_schema(SECOND)}\.users"):
            rollback(connection, SECOND, force=True)
    with target(database_url) as connection:
        things = plan("things")
        migrate(connection, THIRD, {}, [things])
        connection.execute("DROP TABLE public.things")
        rollback(connection, THIRD)


def test_a_backup_that_somebody_changed_is_no_rollback(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        migrate(connection, SECOND, NEW)
        connection.execute(f"UPDATE {backup_schema(SECOND)}.users SET name = 'x' WHERE id = 'ann'".encode())
        before = state(connection)
        with pytest.raises(RollbackDiffers, match=r"public\.users"):
            rollback(connection, SECOND)
        assert state(connection) == before


def test_tables_published_before_backups_were_kept_cannot_be_rolled_back(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("DELETE FROM firelift.backups")
        with pytest.raises(rolling.BackupGone, match="users, users_orders"):
            rollback(connection, FIRST)


def test_plans_with_nul_and_hostile_names_come_back(database_url: str) -> None:
    table = plan("odd\0", table=HOSTILE)
    with target(database_url) as connection:
        migrate(connection, FIRST, {HOSTILE: [row(table, HOSTILE)]}, [table])
        before, saved = state(connection), saved_tables(connection, "public")
        migrate(connection, SECOND, {HOSTILE: [row(table, "b")]}, [table])
        rollback(connection, SECOND)
        assert state(connection) == before
        assert saved_tables(connection, "public") == saved


def test_a_users_own_table_that_was_refreshed_is_his_again(database_url: str) -> None:
    with target(database_url) as connection:
        connection.execute("CREATE TABLE public.users (id text PRIMARY KEY, email text, number int GENERATED ALWAYS AS IDENTITY)")
        connection.execute("INSERT INTO public.users (id, email) VALUES ('ann', 'a@x'), ('zoe', 'z@x')")
        before = contents(connection), columns(connection)
        migrate(connection, FIRST, {"users": NEW["users"]}, [USERS])
        rollback(connection, FIRST)
        assert (contents(connection), columns(connection)) == before


def columns(connection: Connection) -> list[str]:
    query = "SELECT attname || format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = 'public.users'::regclass AND NOT attisdropped"
    return values(connection, query)


def test_an_owner_who_is_no_superuser_can_roll_back(database_url: str) -> None:
    with target(database_url) as admin:
        name = values(admin, "SELECT current_database()")[0]
        admin.execute(f"CREATE ROLE plain LOGIN PASSWORD 'p'; GRANT CREATE ON DATABASE {name} TO plain".encode())
        admin.execute("GRANT ALL ON SCHEMA public TO plain")
        try:
            with target(as_role(database_url, "plain", "p")) as connection:
                migrate(connection, FIRST, OLD)
                live_in(connection)
                before = state(connection)
                migrate(connection, SECOND, NEW)
                rollback(connection, SECOND)
                assert state(connection) == before
        finally:
            admin.execute("DROP OWNED BY plain CASCADE; DROP ROLE plain")


def test_a_failed_run_is_rolled_back_like_any_other(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = state(connection)
        migrate(connection, SECOND, NEW)
        record_finish(connection, SECOND, "failed")
        rollback(connection, SECOND)
        assert state(connection) == before


def test_without_a_name_the_latest_run_of_this_schema_and_working_directory_is_taken_back(database_url: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "runs" / "moved").mkdir(parents=True)
    with target(database_url) as connection:
        migrate(connection, "mine", OLD, working_dir=str(here))
        migrate(connection, "moved", OLD, schema="third", working_dir="/where/it/was")
        migrate(connection, "apart", OLD, schema="apart", working_dir=str(here))
        migrate(connection, "theirs", NEW, schema="other", working_dir=str(there))
        with pytest.raises(NothingToRollBack, match=r"theirs \(schema other, working directory .*there\)"):
            roll_back_run(database_url, None, False, "public", there)
        mine = roll_back_run(database_url, None, False, "public", here)
        assert (mine.migration_id, mine.latest_of_database) == ("mine", f"theirs (schema other, working directory {there})")
        assert "theirs" in rollback_text(mine)
        assert roll_back_run(database_url, None, False, "third", here).migration_id == "moved"
        theirs = roll_back_run(database_url, None, False, "other", there)
        assert (theirs.migration_id, theirs.latest_of_database) == ("theirs", None)
        assert values(connection, "SELECT migration_id FROM firelift.tables") == ["apart", "apart"]
        with pytest.raises(UnknownMigration):
            roll_back_run(database_url, "nobody", False)


def test_two_schemas_are_published_and_taken_back_at_once(database_url: str) -> None:
    def there_and_back(schema: str) -> int:
        with target(database_url) as connection:
            for number, rows in enumerate((OLD, NEW, OLD)):
                migrate(connection, f"{schema}-{number}", rows, schema=schema)
            return len(roll_back_run(database_url, f"{schema}-2", False).tables)

    schemas = [f"schema_{number}" for number in range(4)]
    with ThreadPoolExecutor(len(schemas)) as threads:
        assert list(threads.map(there_and_back, schemas)) == [2] * len(schemas)
    with target(database_url) as connection:
        assert sorted(set(values(connection, "SELECT migration_id FROM firelift.tables"))) == [f"{schema}-1" for schema in schemas]
