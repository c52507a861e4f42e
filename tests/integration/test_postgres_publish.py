"""Staged tables become the target's, all of them or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

import psycopg
import pytest

from firelift.planning.model import ReferenceTarget, TablePlan
from firelift.postgres.inspect.rows import read_rows
from firelift.postgres.load.constraints import constrain
from firelift.postgres.load.staging import create_staging, drop_staging
from firelift.postgres.publish.publish import NameTakenMeanwhile, NoLongerPublished, NothingStaged, publish, unpublished
from firelift.postgres.publish.rollback import rollback
from firelift.postgres.schema import control_schema
from firelift.postgres.schema.names import staging_schema
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection, connect
from firelift.postgres.session.foreign_owners import schema_exists
from tests.support.postgres_tables import HOSTILE, RUN, load, plan, row, started, values

STAGING = staging_schema(RUN)
READ_TIME = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
USERS = plan("users", tags="strings")
ORDERS = plan("users/*/orders", parent="users", gift_for=ReferenceTarget(collection="users"))
TABLES = (USERS, ORDERS)


@pytest.fixture
def supabase_url(database_url: str) -> Iterator[str]:
    """A database with Supabase's API roles and its default privileges, which give them everything that is made."""
    with closing(psycopg.connect(database_url, autocommit=True)) as admin:
        admin.execute("CREATE ROLE anon; CREATE ROLE authenticated; CREATE ROLE service_role BYPASSRLS")
        for where, what in (("", "TABLES"), ("", "SCHEMAS"), ("IN SCHEMA public", "TABLES")):
            admin.execute(f"ALTER DEFAULT PRIVILEGES {where} GRANT ALL ON {what} TO anon, authenticated, service_role".encode())
        admin.execute("GRANT USAGE ON SCHEMA public TO anon, authenticated, service_role")
    yield database_url
    with closing(psycopg.connect(database_url, autocommit=True)) as admin:
        admin.execute("DROP OWNED BY anon, authenticated, service_role; DROP ROLE anon, authenticated, service_role")


def fill(connection: Connection) -> None:
    load(connection, STAGING, [(USERS, [row(USERS, "ann", ["x"])]), (ORDERS, [row(ORDERS, "ann", "1", "ann")])])
    constrain(connection, STAGING, TABLES, "report")


def allowed(connection: Connection, role: str, query: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(f"SET LOCAL ROLE {role}".encode())
            connection.execute(query.encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def test_tables_move_with_their_rows_keys_and_foreign_keys(database_url: str) -> None:
    with started(database_url, *TABLES) as connection:
        fill(connection)
        publish(connection, RUN, "public", TABLES, READ_TIME)
        assert list(read_rows(connection, TargetTable("public", USERS))) == [row(USERS, "ann", ["x"])]
        assert values(
            connection, "SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n' ORDER BY 1"
        ) == [
            "users_orders_gift_for_fkey",
            "users_orders_pkey",
            "users_orders_users_id_fkey",
            "users_pkey",
        ]
        assert not schema_exists(connection, STAGING)


def test_plans_watermark_and_status_are_in_the_same_transaction(database_url: str) -> None:
    with started(database_url, *TABLES) as connection:
        fill(connection)
        publish(connection, RUN, "public", TABLES, READ_TIME)
        assert control_schema.saved_tables(connection, "public") == {
            table.collection: control_schema.SavedTable(plan=table, watermark=READ_TIME, migration_id=RUN) for table in TABLES
        }
        record = control_schema.migration(connection, RUN)
        assert record is not None
        assert (record["status"], record["read_time"]) == ("published", READ_TIME)


def test_publishing_again_after_success_does_nothing(database_url: str) -> None:
    with started(database_url, *TABLES) as connection:
        fill(connection)
        for _ in range(2):
            publish(connection, RUN, "public", TABLES, READ_TIME)
        assert values(connection, "SELECT count(*) FROM public.users") == [1]


def test_a_run_whose_staging_schema_is_gone_is_not_taken_for_published(database_url: str) -> None:
    with started(database_url, *TABLES) as connection:
        drop_staging(connection, RUN)
        with pytest.raises(NothingStaged):
            publish(connection, RUN, "public", TABLES, READ_TIME)


SINCE = {
    "a table is gone": ("DROP TABLE public.users_orders", "users_orders"),
    "a table is a view": ("DROP TABLE public.users CASCADE; CREATE VIEW public.users AS SELECT 1 AS id", "users"),
    "the schema is gone": ("DROP SCHEMA public CASCADE", "users, users_orders"),
}


@pytest.mark.parametrize(("since", "missing"), SINCE.values(), ids=list(SINCE))
def test_a_run_whose_tables_are_gone_since_is_not_taken_for_published(database_url: str, since: str, missing: str) -> None:
    """Nor is it published once more: that would lose the old rows that are kept."""
    with started(database_url, *TABLES) as connection:
        fill(connection)
        publish(connection, RUN, "public", TABLES, READ_TIME)
        assert unpublished(connection, RUN, "public", TABLES) == []
        connection.execute(since.encode())
        for again in (unpublished, partial(publish, read_time=READ_TIME)):
            with pytest.raises(NoLongerPublished, match=rf"schema: public, tables: {missing}\)") as caught:
                again(connection, RUN, "public", TABLES)
            assert caught.value.recovery == "after_fix"


def test_a_table_that_another_run_has_published_since_is_not_this_runs(database_url: str) -> None:
    with started(database_url, *TABLES) as connection:
        fill(connection)
        publish(connection, RUN, "public", TABLES, READ_TIME)
        control_schema.save_table(connection, f"{RUN}-2", "public", USERS, READ_TIME)
        assert unpublished(connection, RUN, "public", TABLES) == ["users"]


def test_a_run_that_was_taken_back_may_be_published_again(database_url: str) -> None:
    with started(database_url, *TABLES) as connection:
        fill(connection)
        publish(connection, RUN, "public", TABLES, READ_TIME)
        connection.execute("DROP TABLE public.users_orders")
        rollback(connection, RUN)
        assert unpublished(connection, RUN, "public", TABLES) == ["users", "users_orders"]
        create_staging(connection, RUN, TABLES)
        fill(connection)
        publish(connection, RUN, "public", TABLES, READ_TIME)
        assert values(connection, "SELECT count(*) FROM public.users_orders") == [1]


@pytest.mark.parametrize("lost", ["SCHEMA firelift CASCADE", "TABLE firelift.backups"])
def test_a_target_that_knows_nothing_of_the_run_has_not_got_its_tables(database_url: str, lost: str) -> None:
    with started(database_url, *TABLES) as connection:
        connection.execute(f"DROP {lost}".encode())
        assert unpublished(connection, RUN, "public", TABLES) == ["users", "users_orders"]


def test_an_empty_migration_is_published(database_url: str) -> None:
    with started(database_url) as connection:
        publish(connection, RUN, "public", [], READ_TIME)
        publish(connection, RUN, "public", [], READ_TIME)


def test_the_public_api_gets_nothing_and_the_service_role_everything(supabase_url: str) -> None:
    with started(supabase_url, *TABLES) as connection:
        fill(connection)
        publish(connection, RUN, "public", TABLES, READ_TIME)
        for role in ("anon", "authenticated"):
            for query in ("SELECT FROM public.users", "INSERT INTO public.users (id) VALUES ('x')", "TRUNCATE public.users_orders"):
                assert not allowed(connection, role, query)
        for query in ("SELECT FROM public.users", "INSERT INTO public.users (id) VALUES ('x')", "DELETE FROM public.users_orders"):
            assert allowed(connection, "service_role", query)
        assert values(connection, "SELECT relrowsecurity FROM pg_class WHERE oid = 'public.users'::regclass") == [True]
        assert values(connection, "SELECT count(*) FROM pg_policy") == [0]


def test_firelifts_own_schemas_are_closed_to_all_three(supabase_url: str) -> None:
    with started(supabase_url, *TABLES) as connection:
        fill(connection)
        for role in ("anon", "authenticated", "service_role"):
            for table in ("firelift.migrations", "firelift.tables", "firelift.loaded_chunks", f"{STAGING}.users"):
                assert not allowed(connection, role, f"SELECT FROM {table}")
        granted = "SELECT count(*) FROM information_schema.table_privileges WHERE table_schema = 'firelift' AND grantee <> grantor"
        assert values(connection, granted) == [0]


def test_a_missing_target_schema_is_made_for_the_service_role(supabase_url: str) -> None:
    with started(supabase_url, *TABLES) as connection:
        fill(connection)
        publish(connection, RUN, 'From "Firestore"', TABLES, READ_TIME)
        assert list(read_rows(connection, TargetTable('From "Firestore"', USERS))) == [row(USERS, "ann", ["x"])]
        assert allowed(connection, "service_role", 'SELECT FROM "From ""Firestore""".users')
        assert not allowed(connection, "anon", 'SELECT FROM "From ""Firestore""".users')


TAKEN = [
    ("CREATE VIEW public.users AS SELECT 1 AS id", "users is a view"),
    ("CREATE MATERIALIZED VIEW public.users AS SELECT 1 AS id", "users is a materialized view"),
    ("CREATE SEQUENCE public.users", "users is a sequence"),
    ("CREATE TYPE public.users AS (id text)", "users is a composite type"),
    ("CREATE TYPE public.users AS ENUM ('a')", "users is an enum type"),
    ("CREATE TABLE public.t (id int CONSTRAINT users PRIMARY KEY)", "users is an index"),
]


@pytest.mark.parametrize(("taking", "said"), TAKEN, ids=[said for _, said in TAKEN])
def test_a_name_taken_meanwhile_stops_publishing_and_nothing_has_moved(database_url: str, taking: str, said: str) -> None:
    with started(database_url, *TABLES) as connection:
        fill(connection)
        connection.execute(taking.encode())
        with pytest.raises(NameTakenMeanwhile, match=said):
            publish(connection, RUN, "public", TABLES, READ_TIME)
        assert values(connection, f"SELECT count(*) FROM {STAGING}.users") == [1]
        assert control_schema.saved_tables(connection, "public") == {}


def test_the_index_of_a_table_renamed_out_of_the_way_is_not_in_the_way(database_url: str) -> None:
    with started(database_url, *TABLES) as connection:
        connection.execute("CREATE TABLE public.users (id int PRIMARY KEY); ALTER TABLE public.users RENAME TO users_old")
        fill(connection)
        publish(connection, RUN, "public", TABLES, READ_TIME)
        assert values(connection, "SELECT indexname FROM pg_indexes WHERE tablename LIKE 'users%' ORDER BY tablename, indexname") == [
            "users_pkey1",
            "users_pkey",
            "users_orders_gift_for_idx",
            "users_orders_pkey",
        ]


def test_array_types_in_the_target_are_not_in_the_way(database_url: str) -> None:
    tables = (plan("users"), plan("_things"), plan("__things"))
    with started(database_url, *tables) as connection:
        connection.execute("CREATE TABLE public._users (id int); CREATE TYPE public.things AS ENUM ('a')")
        connection.execute("CREATE TABLE public.uses_it (kinds public.things[], users public._users[])")
        publish(connection, RUN, "public", tables, READ_TIME)
        assert values(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [5]
        connection.execute("INSERT INTO public.uses_it VALUES (array['a']::public.things[], NULL)")


def test_hostile_names_are_published(database_url: str) -> None:
    table: TablePlan = plan("x", table=HOSTILE)
    with started(database_url, table) as connection:
        load(connection, STAGING, [(table, [row(table, "a")])])
        constrain(connection, STAGING, [table], "report")
        publish(connection, RUN, "public", [table], READ_TIME)
        assert list(read_rows(connection, TargetTable("public", table))) == [row(table, "a")]


def test_postgrest_is_told_when_the_tables_are_there(database_url: str) -> None:
    with started(database_url, *TABLES) as connection, closing(connect(database_url, "listener")) as listener:
        listener.execute("LISTEN pgrst")
        publish(connection, RUN, "public", TABLES, READ_TIME)
        assert [heard.payload for heard in listener.notifies(timeout=10, stop_after=1)] == ["reload schema"]
