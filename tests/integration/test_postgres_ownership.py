"""A role that may create objects in the target gets nothing of ours run, whatever it prepares."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from firelift.errors import FireliftError
from firelift.migration.rollback import drop_expired, roll_back_run, what_expired
from firelift.migration.stop import ask_to_stop
from firelift.planning.absent_fields import Lacking
from firelift.postgres.load.staging import create_staging
from firelift.postgres.publish.publish import publish
from firelift.postgres.publish.replace_rows import RefusedByConstraint
from firelift.postgres.publish.rollback import rollback
from firelift.postgres.schema.compatibility import existing_tables
from firelift.postgres.schema.control_schema import create_control, save_table
from firelift.postgres.schema.names import backup_schema, scratch_schema, staging_schema
from firelift.postgres.schema.preflight import check_tables, check_target
from firelift.postgres.session.as_owner import RunsAtTheEnd
from firelift.postgres.session.connect import connect
from firelift.postgres.session.foreign_owners import BelongsToAnother, SchemaOfAnother, foreign_objects
from firelift.postgres.session.queries import QUERY
from firelift.settings.trusted_owners import with_trusted
from tests.support.postgres_tables import RUN, load, named, plan, row, started

USERS = plan("users", name="string")
AT = datetime(2026, 11, 22, tzinfo=UTC)
# In a session of Firelift's alone: the test's own superuser must be able to make what calls it.
SEIZING = b"""
CREATE FUNCTION app.take() RETURNS void VOLATILE LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('application_name') LIKE 'firelift%' THEN
        BEGIN
            PERFORM set_config('role', 'none', false);
            ALTER ROLE app SUPERUSER;
        EXCEPTION WHEN insufficient_privilege THEN NULL;
        END;
        PERFORM set_config('search_path', 'app, pg_catalog', false);
    END IF;
END $$;
CREATE FUNCTION app.seize(text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM app.take(); RETURN true; END $$;
CREATE FUNCTION app.seize() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM app.take(); RETURN new; END $$;
"""


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection]:
    """The superuser; beside it there is `app`, which may create schemas, and tables in public, and whose function seizes the server."""
    with closing(psycopg.connect(database_url, autocommit=True)) as connection:
        database = sql.Identifier(urlsplit(database_url).path[1:])
        connection.execute(
            sql.SQL("CREATE ROLE app; GRANT CREATE ON DATABASE {} TO app; GRANT CREATE ON SCHEMA public TO app").format(database)
        )
        connection.execute("SET ROLE app; CREATE SCHEMA app")
        connection.execute(SEIZING)
        connection.execute("RESET ROLE")
        try:
            yield connection
            assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'app'").fetchone() == (False,)
        finally:
            connection.execute(sql.SQL("RESET ROLE; ALTER DATABASE {} OWNER TO postgres").format(database))
            connection.execute("DROP OWNED BY app CASCADE; DROP ROLE app")


def as_app(admin: psycopg.Connection, statements: str) -> None:
    admin.execute("SET ROLE app")
    admin.execute(statements.encode())
    admin.execute("RESET ROLE")


def refused(url: str) -> list[FireliftError]:
    try:
        return check_target(url, RUN, "public", named("users"))
    except BelongsToAnother as problem:
        return [problem]


@pytest.mark.parametrize("schema", ["firelift", staging_schema(RUN), backup_schema(RUN), scratch_schema(RUN)])
def test_a_schema_of_ours_that_somebody_else_has_made_is_refused_by_name(admin: psycopg.Connection, database_url: str, schema: str) -> None:
    as_app(admin, f'CREATE SCHEMA "{schema}"')
    (problem,) = refused(database_url)
    assert isinstance(problem, BelongsToAnother)
    assert f"schema {schema} belongs to app" in str(problem)
    assert problem.exit_code == 2


def test_no_command_touches_a_control_schema_of_somebody_elses(admin: psycopg.Connection, database_url: str) -> None:
    as_app(admin, "CREATE SCHEMA firelift; CREATE TABLE firelift.migrations (migration_id text PRIMARY KEY)")
    for command in (
        lambda: roll_back_run(database_url, RUN, False),
        lambda: what_expired(database_url, 0, "public"),
        lambda: drop_expired(database_url, [RUN], "public"),
        lambda: ask_to_stop(database_url, RUN, "public"),
    ):
        with pytest.raises(BelongsToAnother, match=r"table firelift\.migrations belongs to app"):
            command()


def test_a_table_that_came_into_our_control_schema_is_refused(admin: psycopg.Connection, database_url: str) -> None:
    admin.execute("CREATE SCHEMA firelift; GRANT USAGE, CREATE ON SCHEMA firelift TO app")
    with closing(connect(database_url, "firelift-test")) as connection:
        as_app(admin, "CREATE TABLE firelift.backups (migration_id text CHECK (app.seize(migration_id)))")
        with pytest.raises(BelongsToAnother, match=r"table firelift\.backups belongs to app"):
            create_control(connection)


def test_nobody_else_may_add_to_our_schemas_whatever_default_privileges_say(admin: psycopg.Connection, database_url: str) -> None:
    admin.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO app; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO app")
    with started(database_url, USERS):
        pass
    for schema, table in (("firelift", "migrations"), (staging_schema(RUN), "users")):
        for statement in (
            f'CREATE TABLE "{schema}".mine ()',
            f'CREATE TRIGGER t BEFORE INSERT ON "{schema}".{table} EXECUTE FUNCTION app.seize()',
        ):
            admin.execute("SET ROLE app")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                admin.execute(statement.encode())
            admin.execute("RESET ROLE")


# What app prepares, and what the superuser then makes of it, in the belief that it is harmless.
PREPARED = {
    "a table": ("", "SET ROLE app; CREATE TABLE public.users (id text PRIMARY KEY)", r"table public\.users"),
    "a view": ("", "SET ROLE app; CREATE VIEW public.users AS SELECT app.seize('x')", r"view public\.users"),
    "a check": ("", "CREATE TABLE users (id text PRIMARY KEY, name text CHECK (app.seize(name)))", r"function app\.seize\(text\)"),
    "a default": ("", "CREATE TABLE users (id text PRIMARY KEY, own bool DEFAULT app.seize('x'))", r"function app\.seize\(text\)"),
    "a generated column": (
        "",
        "CREATE TABLE users (id text PRIMARY KEY, own bool GENERATED ALWAYS AS (app.seize(id)) STORED)",
        r"function app\.seize\(text\)",
    ),
    "an index": ("", "CREATE TABLE users (id text PRIMARY KEY); CREATE INDEX ON users (app.seize(id))", r"function app\.seize\(text\)"),
    "a partial index": (
        "",
        "CREATE TABLE users (id text PRIMARY KEY); CREATE INDEX ON users (id) WHERE app.seize(id)",
        r"function app\.seize\(text\)",
    ),
    "statistics": (
        "",
        "CREATE TABLE users (id text PRIMARY KEY); CREATE STATISTICS s ON (app.seize(id)) FROM users",
        r"function app\.seize\(text\)",
    ),
    "a trigger": (
        "",
        "CREATE TABLE users (id text PRIMARY KEY); CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION app.seize()",
        r"function app\.seize\(\)",
    ),
    "a rule": (
        "",
        "CREATE TABLE users (id text PRIMARY KEY); CREATE RULE r AS ON INSERT TO users WHERE app.seize('x') DO ALSO NOTHING",
        r"function app\.seize\(text\)",
    ),
    "a domain": (
        "CREATE DOMAIN app.d AS text CHECK (app.seize(value))",
        "CREATE TABLE users (id text PRIMARY KEY, name app.d)",
        r"type app\.d",
    ),
    "an array of a domain": ("CREATE DOMAIN app.d AS text", "CREATE TABLE users (id text PRIMARY KEY, own app.d[])", r"type app\.d"),
    "an operator": (
        "CREATE OPERATOR app.=== (leftarg = text, rightarg = text, procedure = texteq)",
        "CREATE TABLE users (id text PRIMARY KEY CHECK (id OPERATOR(app.===) id))",
        r"operator app\.===",
    ),
    "a sequence": (
        "CREATE SEQUENCE app.s",
        "CREATE TABLE users (id text PRIMARY KEY, own bigint DEFAULT nextval('app.s'))",
        r"sequence app\.s",
    ),
    "a neighbour": (
        "",
        "CREATE TABLE users (id text PRIMARY KEY); GRANT REFERENCES ON users TO app; SET ROLE app; "
        "CREATE TABLE app.t (id text REFERENCES users); CREATE INDEX ON app.t ((1)) WHERE app.seize('x')",
        r"function app\.seize\(text\)",
    ),
    "an event trigger": ("", "CREATE EVENT TRIGGER seizes ON ddl_command_end EXECUTE FUNCTION app.seizes()", r"function app\.seizes\(\)"),
}


ALONE = {
    "schema": "CREATE SCHEMA one",
    "table": "CREATE TABLE one ()",
    "view": "CREATE VIEW one AS SELECT 1 AS x",
    "function": "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "operator": "CREATE OPERATOR === (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int)",
    "operator class": "CREATE OPERATOR CLASS one FOR TYPE int USING btree AS FUNCTION 1 btint4cmp(int, int)",
    "domain": "CREATE DOMAIN one AS text",
    "enum type": "CREATE TYPE one AS ENUM ('x')",
    "composite type": "CREATE TYPE one AS (x int)",
    "collation": "CREATE COLLATION one (LOCALE = 'C')",
}
NAMES = {
    "function": "FUNCTION one()",
    "operator": "OPERATOR === (int, int)",
    "operator class": "OPERATOR CLASS one USING btree",
    "enum type": "TYPE one",
    "composite type": "TYPE one",
}


@pytest.mark.parametrize("owner", ["stranger", "pg_monitor"])
@pytest.mark.parametrize("kind", ALONE)
def test_an_owner_of_one_object_only_is_an_owner(database_url: str, kind: str, owner: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(b"SET search_path TO public; CREATE ROLE stranger")
        connection.execute(ALONE[kind].encode())
        assert connection.execute(QUERY["untrusted_owners"]).fetchall() == []
        connection.execute(f"ALTER {NAMES.get(kind, f'{kind} one')} OWNER TO {owner}".encode())
        of = connection.execute("SELECT oid FROM pg_roles WHERE rolname = %s", [owner]).fetchall()
        assert connection.execute(QUERY["untrusted_owners"]).fetchall() == of
        connection.rollback()


@pytest.mark.parametrize("what", PREPARED)
def test_what_would_run_in_our_name_must_be_ours(admin: psycopg.Connection, database_url: str, what: str) -> None:
    by_app, by_admin, said = PREPARED[what]
    as_app(admin, "CREATE FUNCTION app.seizes() RETURNS event_trigger LANGUAGE plpgsql AS $$begin end$$;" + by_app)
    admin.execute(by_admin.encode())
    admin.execute("RESET ROLE")
    (problem,) = check_target(database_url, RUN, "public", named("users"))
    assert isinstance(problem, BelongsToAnother)
    assert problem.exit_code == 2
    with pytest.raises(BelongsToAnother, match=f"{said}.* belongs to app"):
        raise problem
    if what != "an event trigger":
        with closing(connect(database_url, "firelift-test")) as connection, pytest.raises(BelongsToAnother, match="belongs to app"):
            existing_tables(connection, "public", ["users"])


def test_what_comes_while_the_run_loads_its_rows_is_refused_in_the_transaction_that_publishes(
    admin: psycopg.Connection, database_url: str
) -> None:
    with started(database_url, USERS) as connection:
        load(connection, staging_schema(RUN), [(USERS, [row(USERS, "a", "Ada")])])
        as_app(admin, "CREATE TABLE public.users (id text PRIMARY KEY, name text CHECK (app.seize(name)))")
        with pytest.raises(BelongsToAnother, match=r"table public\.users belongs to app"):
            publish(connection, RUN, "public", [USERS], AT)
        as_app(admin, f'DROP TABLE public.users; CREATE SCHEMA "{backup_schema(RUN)}"')
        with pytest.raises(BelongsToAnother, match=f"schema {backup_schema(RUN)} belongs to app"):
            publish(connection, RUN, "public", [USERS], AT)


def test_a_rollback_puts_no_rows_back_through_somebody_elses_code(admin: psycopg.Connection, database_url: str) -> None:
    admin.execute("CREATE TABLE users (id text PRIMARY KEY, name text); INSERT INTO users VALUES ('old', 'Old')")
    with started(database_url, USERS) as connection:
        load(connection, staging_schema(RUN), [(USERS, [row(USERS, "a", "Ada")])])
        publish(connection, RUN, "public", [USERS], AT)
        admin.execute("ALTER TABLE users ADD CONSTRAINT c CHECK (app.seize(name))")
        with pytest.raises(BelongsToAnother, match=r"function app\.seize\(text\) belongs to app and is used by table public\.users"):
            rollback(connection, RUN)


def test_staging_made_by_somebody_else_is_not_used(admin: psycopg.Connection, database_url: str) -> None:
    with closing(connect(database_url, "firelift-test")) as connection:
        create_control(connection)
        as_app(admin, f'CREATE SCHEMA "{staging_schema(RUN)}"; CREATE TABLE "{staging_schema(RUN)}".users (id text)')
        with pytest.raises(BelongsToAnother, match="belongs to app"):
            create_staging(connection, RUN, [USERS])


def test_a_target_schema_of_somebody_elses_is_refused_but_the_database_owners_is_not(admin: psycopg.Connection, database_url: str) -> None:
    as_app(admin, "CREATE SCHEMA landing")
    (problem,) = check_target(database_url, RUN, "landing")
    assert isinstance(problem, SchemaOfAnother)
    assert problem.facts == {"schema": "landing", "owner": "app", "role": "postgres"}
    admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO app").format(sql.Identifier(urlsplit(database_url).path[1:])))
    assert check_target(database_url, RUN, "public") == []


def test_what_a_superuser_or_a_service_of_supabase_made_is_no_danger(admin: psycopg.Connection, database_url: str) -> None:
    admin.execute("CREATE ROLE supabase_admin SUPERUSER; CREATE ROLE supabase_auth_admin; CREATE SCHEMA auth")
    try:
        admin.execute(
            "CREATE FUNCTION auth.uid() RETURNS text LANGUAGE sql AS 'SELECT ''me'''; "
            "ALTER FUNCTION auth.uid() OWNER TO supabase_auth_admin"
        )
        admin.execute(
            "CREATE FUNCTION auth.f() RETURNS text LANGUAGE sql AS 'SELECT ''me'''; ALTER FUNCTION auth.f() OWNER TO supabase_admin"
        )
        admin.execute("CREATE TABLE users (id text PRIMARY KEY, own text DEFAULT auth.uid(), other text DEFAULT auth.f())")
        assert check_target(database_url, RUN, "public", named("users")) == []
        # By the name alone nobody is trusted.
        admin.execute("ALTER ROLE supabase_admin NOSUPERUSER")
        with closing(connect(database_url, "firelift-test")) as connection:
            found = [str(each) for each in foreign_objects(connection, schema="public", tables=["users"])]
        assert len(found) == 2
    finally:
        admin.execute("DROP OWNED BY supabase_admin, supabase_auth_admin CASCADE; DROP ROLE supabase_admin, supabase_auth_admin")


def test_a_better_matching_function_in_public_is_never_called(admin: psycopg.Connection, database_url: str) -> None:
    as_app(
        admin,
        "CREATE FUNCTION public.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql "
        "AS $$begin perform app.seize('x'); return ''; end$$;"
        "CREATE VIEW public.pg_settings AS SELECT 'TimeZone' AS name WHERE app.seize('x')",
    )
    database = sql.Identifier(urlsplit(database_url).path[1:])
    admin.execute(sql.SQL("ALTER DATABASE {} SET search_path = public, pg_catalog").format(database))
    with closing(connect(database_url, "firelift-test")) as connection:
        assert connection.execute("SHOW TimeZone").fetchone() == ("UTC",)
        create_control(connection)


OF_APP = """
CREATE TABLE public.users (
    id text PRIMARY KEY, name text CHECK (app.seize(name)), own text DEFAULT 'mine', loud bool GENERATED ALWAYS AS (app.seize(id)) STORED
);
CREATE TRIGGER t BEFORE INSERT OR UPDATE ON public.users FOR EACH ROW EXECUTE FUNCTION app.seize();
INSERT INTO public.users VALUES ('old', 'Old', 'kept'), ('a', 'A', 'kept');
"""


def test_a_table_of_a_trusted_owners_is_written_and_put_back_as_that_owner(admin: psycopg.Connection, database_url: str) -> None:
    as_app(admin, OF_APP)
    before = admin.execute("SELECT * FROM public.users ORDER BY id").fetchall()
    trusting = with_trusted(database_url, ["app"])
    assert len(check_target(database_url, RUN, "public", named("users"))) == 1
    assert check_target(trusting, RUN, "public", named("users")) == []
    with started(trusting, USERS) as connection:
        load(connection, staging_schema(RUN), [(USERS, [row(USERS, "a", "Ada"), row(USERS, "b", "Bob")])])
        publish(connection, RUN, "public", [USERS], AT)
        rows = admin.execute("SELECT id, name, own, loud FROM public.users ORDER BY id").fetchall()
        assert rows == [("a", "Ada", "kept", True), ("b", "Bob", "mine", True)]
        assert connection.execute("SELECT current_user, current_setting('search_path')").fetchone() == ("postgres", "pg_catalog, pg_temp")
        owners = "SELECT relname, relowner::regrole::text FROM pg_class WHERE relname = 'users' AND relkind = 'r' ORDER BY 2"
        assert admin.execute(owners).fetchall() == [("users", "app"), ("users", "postgres")]
        rollback(connection, RUN)
    assert admin.execute("SELECT * FROM public.users ORDER BY id").fetchall() == before


def test_what_a_trusted_owners_table_would_refuse_is_asked_in_the_owners_name_or_not_at_all(
    admin: psycopg.Connection, database_url: str
) -> None:
    as_app(admin, OF_APP)
    as_app(admin, "DELETE FROM public.users; ALTER TABLE public.users ALTER COLUMN name SET DEFAULT app.seize('x')::text")
    as_app(admin, "ALTER TABLE public.users ADD CONSTRAINT c CHECK (10 / name::int > 0)")
    numbered = USERS.model_copy(update={"columns": (USERS.columns[0].model_copy(update={"kind": "integer"}),)})
    with started(with_trusted(database_url, ["app"]), USERS) as connection:
        save_table(connection, RUN, "public", USERS, AT)
        lacking = {"users": {"name": Lacking(1, 2)}}
        # Of a type to come it can be said which catalogs name, and no more.
        assert check_tables(connection, "public", [numbered], None, lacking) == []
        load(connection, staging_schema(RUN), [(USERS, [row(USERS, "b", "Bob")])])
        with pytest.raises(RefusedByConstraint) as refused:
            publish(connection, RUN, "public", [USERS], AT)
        assert refused.value.facts["object"] == "constraint c on table public.users"


def test_a_trusted_owner_runs_nothing_while_its_table_is_read_or_at_the_end(admin: psycopg.Connection, database_url: str) -> None:
    as_app(admin, OF_APP)
    trusting = with_trusted(database_url, ["app"])
    as_app(admin, "CREATE INDEX i ON public.users (app.seize(id))")
    (problem,) = check_target(trusting, RUN, "public", named("users"))
    assert "app.seize(text) belongs to app" in str(problem)
    as_app(admin, "DROP INDEX public.i")
    as_app(
        admin,
        "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON public.users DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION app.seize()",
    )
    with started(trusting, USERS) as connection:
        load(connection, staging_schema(RUN), [(USERS, [row(USERS, "b", "Bob")])])
        with pytest.raises(RunsAtTheEnd, match=r"trigger late on table public\.users"):
            publish(connection, RUN, "public", [USERS], AT)
