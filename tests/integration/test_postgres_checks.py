"""What stands in a migration's way is found before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from firelift.errors import FireliftError
from firelift.local.postgres import PostgresServer
from firelift.paths import Selection
from firelift.planning.build import PlanOptions, forecast_tables
from firelift.planning.mapping import Mapping as NameMapping
from firelift.postgres.schema import preflight
from firelift.postgres.schema.control_schema import create_control, saved_plans
from firelift.postgres.schema.name_conflicts import NamesTaken, TakenName, taken_names
from firelift.postgres.schema.names import scratch_schema
from firelift.postgres.schema.preflight import Server, check_tables, check_target, server_problems
from firelift.postgres.session.connect import connect
from firelift.postgres.session.errors import TargetReadOnly, TooManyConnections
from tests.support.postgres_tables import HOSTILE, RUN, as_role, named
from tests.support.refreshed_tables import FIRST, OLD, ORDERS, SECOND, USERS, migrate, target


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection]:
    with closing(psycopg.connect(database_url, autocommit=True)) as connection:
        yield connection


@pytest.fixture
def poor_url(database_url: str, admin: psycopg.Connection) -> Iterator[str]:
    """The same database for a role that may create nothing."""
    admin.execute("CREATE ROLE poor LOGIN PASSWORD 'p'; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    yield as_role(database_url, "poor", "p")
    admin.execute("DROP OWNED BY poor CASCADE; DROP ROLE poor")


def kinds(found: list[FireliftError]) -> list[type[FireliftError]]:
    return [type(problem) for problem in found]


def test_a_fresh_database_can_take_a_migration_and_stays_untouched(database_url: str, admin: psycopg.Connection) -> None:
    everything = "SELECT oid::regclass::text, xmin::text FROM pg_class UNION ALL SELECT nspname, xmin::text FROM pg_namespace ORDER BY 1"
    before = admin.execute(everything).fetchall()
    assert check_target(database_url, RUN, "public", named("users", HOSTILE)) == []
    assert check_target(database_url, RUN, "a schema to be made", named("users")) == []
    assert admin.execute(everything).fetchall() == before


def test_a_target_migrated_before_can_take_another(database_url: str) -> None:
    with closing(connect(database_url, "firelift-test")) as connection:
        create_control(connection)
    assert check_target(database_url, RUN, "public") == []


MAPPED = NameMapping.model_validate({"collections": {"orgs": {"table": "users_orders"}}})


def test_a_table_that_another_collection_is_published_in_is_not_given_away(database_url: str) -> None:
    orgs = ORDERS.model_copy(update={"collection": "orgs", "parent": None})
    # Whether this run takes the other collection or not.
    selected = partial(forecast_tables, ["orgs", "users"], Selection(["orgs"]), PlanOptions(mapping=MAPPED))
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        (forecast,) = check_target(database_url, RUN, "public", selected)
        (planned,) = check_tables(connection, "public", [USERS, orgs])
        for found in (forecast, planned):
            assert isinstance(found, preflight.TableOfAnother)
            assert found.facts == {"collection": "orgs", "table": "public.users_orders", "published_for": "users/*/orders"}
            assert found.exit_code == 2
        assert check_target(database_url, RUN, "apart", selected) == []
        # What is not there, or not to be migrated, takes nothing from anybody.
        for roots, include in ((["users"], []), (["orgs", "users"], ["users"])):
            assert (
                check_target(database_url, RUN, "public", partial(forecast_tables, roots, Selection(include), PlanOptions(mapping=MAPPED)))
                == []
            )
        connection.execute("DROP TABLE public.users_orders")
        assert check_target(database_url, RUN, "public", selected) == []
        migrate(connection, SECOND, {}, [orgs])
        assert sorted(saved_plans(connection, "public")) == ["orgs", "users"]


def test_a_role_without_create_is_told_both_things_it_lacks(poor_url: str) -> None:
    found = check_target(poor_url, RUN, "public")
    assert kinds(found) == [preflight.NoRightToCreateSchemas, preflight.NoRightToCreateTables]
    assert found[1].facts == {"role": "poor", "schema": "public"}


def test_a_role_with_create_is_enough(poor_url: str, admin: psycopg.Connection) -> None:
    name = sql.Identifier(urlsplit(poor_url).path[1:])
    admin.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO poor; GRANT USAGE, CREATE ON SCHEMA public TO poor").format(name))
    assert check_target(poor_url, RUN, "public") == []


def test_a_control_schema_of_another_role_is_named(poor_url: str, database_url: str, admin: psycopg.Connection) -> None:
    with closing(connect(database_url, "firelift-test")) as connection:
        create_control(connection)
    assert preflight.ControlSchemaClosed in kinds(check_target(poor_url, RUN, "public"))
    admin.execute("GRANT USAGE, CREATE ON SCHEMA firelift TO poor; GRANT SELECT ON ALL TABLES IN SCHEMA firelift TO poor")
    (closed,) = [problem for problem in check_target(poor_url, RUN, "public") if isinstance(problem, preflight.ControlSchemaClosed)]
    assert closed.facts["tables"] == "backups, loaded_chunks, migrations, tables"


@pytest.mark.parametrize("schema", ["pg_catalog", "pg_mine", "information_schema", "firelift", "firelift_staging_x"])
def test_a_schema_that_is_not_the_users_cannot_be_the_target(database_url: str, schema: str) -> None:
    assert kinds(check_target(database_url, RUN, schema)) == [preflight.ReservedSchema]


def test_a_test_runs_own_schema_may_be_the_target(database_url: str) -> None:
    assert check_target(database_url, RUN, scratch_schema(RUN)) == []


def test_names_taken_are_listed_with_what_has_them_but_a_table_may_be_refilled(database_url: str, admin: psycopg.Connection) -> None:
    admin.execute("CREATE TABLE empty (id text); CREATE TABLE full_one AS SELECT 1 AS id; CREATE VIEW seen AS SELECT 1 AS id")
    admin.execute(sql.SQL("CREATE TABLE {} ()").format(sql.Identifier(HOSTILE)))
    (taken,) = check_target(database_url, RUN, "public", named("seen", "full_one", "empty", "fine", HOSTILE))
    assert isinstance(taken, NamesTaken)
    assert taken.facts["taken"] == "seen is a view"
    with closing(connect(database_url, "firelift-test")) as connection:
        assert taken_names(connection, "public", ["full_one", "fine"]) == [TakenName(name="full_one", kind="table")]
        assert taken_names(connection, "no such schema", ["full_one"]) == []


def test_a_table_that_may_not_be_read_is_taken_all_the_same(poor_url: str, admin: psycopg.Connection) -> None:
    admin.execute("CREATE TABLE users AS SELECT 1 AS id")
    with closing(connect(poor_url, "firelift-test")) as connection:
        assert taken_names(connection, "public", ["users"]) == [TakenName(name="users", kind="table")]


def test_a_database_switched_to_read_only_is_noticed(database_url: str, admin: psycopg.Connection) -> None:
    name = sql.Identifier(urlsplit(database_url).path[1:])
    admin.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(name))
    assert kinds(check_target(database_url, RUN, "public")) == [TargetReadOnly]


def test_a_database_of_another_encoding_is_refused(postgres: PostgresServer) -> None:
    with closing(psycopg.connect(postgres.url(), autocommit=True)) as admin:
        admin.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            assert kinds(check_target(postgres.url("latin"), RUN, "public")) == [preflight.NotUtf8]
        finally:
            admin.execute("DROP DATABASE latin WITH (FORCE)")


def test_too_few_connections_are_counted(database_url: str, poor_url: str, admin: psycopg.Connection) -> None:
    assert kinds(check_target(database_url, RUN, "public", connections=100_000)) == [TooManyConnections]
    admin.execute("ALTER ROLE poor CONNECTION LIMIT 3")
    assert TooManyConnections not in kinds(check_target(poor_url, RUN, "public", connections=3))
    (few,) = [problem for problem in check_target(poor_url, RUN, "public", connections=4) if isinstance(problem, TooManyConnections)]
    assert few.facts == {"free": 3, "needed": 4}


FIT = Server(180000, "18.0", "UTF8", False, False, "db", "me", True)


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (FIT, []),
        (FIT._replace(version_number=130000), []),
        (FIT._replace(version_number=120022, version="12.22"), [preflight.ServerTooOld]),
        (FIT._replace(in_recovery=True, read_only=True), [TargetReadOnly]),
    ],
)
def test_servers_that_tests_cannot_start_are_judged_by_what_they_say(server: Server, expected: list[type[FireliftError]]) -> None:
    assert kinds(server_problems(server)) == expected
