"""Tables that cannot take new rows are found before anything is written, each with table and column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from firelift.errors import FireliftError
from firelift.local.writer import Reference
from firelift.paths import Selection
from firelift.planning.absent_fields import lacking_of
from firelift.planning.build import ForecastTables, PlanOptions, forecast_tables
from firelift.planning.model import Column, Plan, ReferenceTarget, TablePlan
from firelift.postgres.schema import compatibility as fit
from firelift.postgres.schema.name_conflicts import NamesTaken
from firelift.postgres.schema.preflight import check_tables, check_target
from firelift.postgres.session.connect import Connection
from tests.support.postgres_tables import as_role, named, plan
from tests.support.refreshed_tables import FIRST, OLD, SECOND, TABLES, USERS, catalog, migrate, target, user
from tests.unit.test_profile import BELOW, DATABASE, profiled

PLAN = plan("users/*/orders", name="string", seen="timestamps", price="double")
FITS = "users_id text, id text, PRIMARY KEY (users_id, id)"
TABLE = "public.users_orders"


def found(connection: Connection, table: str) -> list[tuple[type[FireliftError], dict[str, Any]]]:
    connection.execute(f"CREATE {table}".encode())
    return [(type(problem), problem.facts) for problem in check_tables(connection, "public", [PLAN])]


@pytest.mark.parametrize(
    "table",
    [
        f"TABLE {TABLE} ({FITS})",
        f"TABLE {TABLE} ({FITS}, name text NOT NULL, seen timestamptz[], price double precision DEFAULT 1)",
        f"TABLE {TABLE} ({FITS}, mine varchar(3), n int NOT NULL DEFAULT 1, i int GENERATED ALWAYS AS IDENTITY, s serial)",
        f"TABLE {TABLE} ({FITS}, twice text GENERATED ALWAYS AS (id || id) STORED NOT NULL)",
        f"UNLOGGED TABLE {TABLE} ({FITS})",
        "TABLE public.other (id int)",
    ],
)
def test_what_fits_is_no_problem(database_url: str, table: str) -> None:
    with target(database_url) as connection:
        assert found(connection, table) == []


COLUMNS = [
    ("name varchar(20)", fit.ColumnTypeMismatch, {"column": "name", "has": "character varying(20)", "needs": "text"}),
    ("price real", fit.ColumnTypeMismatch, {"column": "price", "has": "real", "needs": "double precision"}),
    (
        "seen timestamptz",
        fit.ColumnTypeMismatch,
        {"column": "seen", "has": "timestamp with time zone", "needs": "timestamp with time zone[]"},
    ),
    (
        "firestore_created_at timestamptz(3)",
        fit.ColumnTypeMismatch,
        {"column": "firestore_created_at", "has": "timestamp(3) with time zone", "needs": "timestamp with time zone"},
    ),
    ("name text GENERATED ALWAYS AS ('x') STORED", fit.ComputedColumn, {"column": "name"}),
    ("mine text NOT NULL", fit.ColumnNeedsValue, {"column": "mine"}),
]


@pytest.mark.parametrize(("column", "kind", "facts"), COLUMNS, ids=[column for column, _, _ in COLUMNS])
def test_a_column_that_does_not_fit_is_named(database_url: str, column: str, kind: type[FireliftError], facts: dict[str, str]) -> None:
    with target(database_url) as connection:
        assert found(connection, f"TABLE {TABLE} ({FITS}, {column})") == [(kind, {"table": TABLE, **facts})]


HOLDERS = [
    ("CREATE VIEW public.names AS SELECT name FROM public.users", "rule _RETURN on view public.names"),
    ("CREATE MATERIALIZED VIEW public.names AS SELECT upper(name) FROM public.users", "rule _RETURN on materialized view public.names"),
    ("CREATE POLICY mine ON public.users USING (name <> '')", "policy mine on table public.users"),
    (
        "CREATE TRIGGER renamed BEFORE UPDATE OF name ON public.users FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "trigger renamed on table public.users",
    ),
    (
        "ALTER TABLE public.users ADD COLUMN loud text GENERATED ALWAYS AS (upper(name)) STORED",
        "default value for column loud of table public.users",
    ),
    ("ALTER TABLE public.users ADD CONSTRAINT mine CHECK (name <> 'x')", "constraint mine on table public.users"),
    ("ALTER TABLE public.users ADD CONSTRAINT mine CHECK (name IS NOT NULL)", "constraint mine on table public.users"),
    ("ALTER TABLE public.users ALTER COLUMN name SET DEFAULT 'x'", "default value for column name of table public.users"),
    ('CREATE INDEX "by ON name" ON public.users (score, lower(name))', 'index public."by ON name"'),
    ("CREATE UNIQUE INDEX mine ON public.users (score) WHERE name LIKE 'a%'", "index public.mine"),
    ("CREATE INDEX mine ON public.users (name text_pattern_ops)", "index public.mine"),
    ("ALTER TABLE public.users ADD CONSTRAINT mine EXCLUDE (lower(name) WITH =)", "constraint mine on table public.users"),
    (
        "ALTER TABLE public.users ADD UNIQUE (name); CREATE TABLE public.notes (of text CONSTRAINT mine REFERENCES public.users (name))",
        "constraint mine on table public.notes",
    ),
    (
        "CREATE TABLE public.names (name text PRIMARY KEY); INSERT INTO public.names VALUES ('Ann'), ('Bob'), ('Cat');"
        " ALTER TABLE public.users ADD CONSTRAINT mine FOREIGN KEY (name) REFERENCES public.names",
        "constraint mine on table public.users",
    ),
]


@pytest.mark.parametrize(("holder", "named"), HOLDERS, ids=[holder for holder, _ in HOLDERS])
def test_what_keeps_a_column_from_another_type_is_found_before_anything_is_written(database_url: str, holder: str, named: str) -> None:
    users = next(table for table in TABLES if table.table == "users")
    other = users.model_copy(update={"columns": tuple(_numbered(column) for column in users.columns)})
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        assert check_tables(connection, "public", [other]) == []
        connection.execute(holder.encode())
        (problem,) = check_tables(connection, "public", [other])
        assert isinstance(problem, fit.ColumnHasDependents)
        assert (problem.facts["column"], problem.facts["needs"], problem.facts["held_by"]) == ("name", "bigint", named)
        # A column that stays as it is may be named by whatever there is.
        assert check_tables(connection, "public", [users]) == []


FREE = """
    CREATE INDEX by_name ON public.users (name); CREATE INDEX by_score ON public.users (score) WHERE name IS NOT NULL;
    ALTER TABLE public.users ADD CONSTRAINT other CHECK (score <> 100), ADD CONSTRAINT said CHECK (name IS NOT NULL OR score > 0);
    CREATE STATISTICS public.both ON name, score FROM public.users; ALTER TABLE public.users ADD UNIQUE (name)
"""


def test_what_goes_along_with_another_type_keeps_no_column_and_trying_leaves_nothing(database_url: str) -> None:
    users = next(table for table in TABLES if table.table == "users")
    other = users.model_copy(update={"columns": tuple(_numbered(column) for column in users.columns)})
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute(FREE.encode())
        before = catalog(connection)
        assert check_tables(connection, "public", [other]) == []
        assert catalog(connection) == before


NULL_REFUSED = [
    ("ALTER COLUMN name SET NOT NULL", {"column": "name", "condition": "NOT NULL", "documents_without_a_value": "2 of 3"}),
    ("ALTER COLUMN boss SET NOT NULL", {"column": "boss", "condition": "NOT NULL", "documents_without_a_value": "3 of 3"}),
    ("ADD CONSTRAINT mine CHECK (name IS NOT NULL)", {"column": "name", "condition": "mine", "documents_without_a_value": "2 of 3"}),
    (
        "ADD CONSTRAINT mine CHECK (coalesce(length(name), 0) > 2)",
        {"column": "name", "condition": "mine", "documents_without_a_value": "2 of 3"},
    ),
]


@pytest.mark.parametrize(("condition", "facts"), NULL_REFUSED, ids=[condition for condition, _ in NULL_REFUSED])
def test_a_column_that_must_have_a_value_which_documents_lack_is_told_by_the_profile(
    database_url: str, condition: str, facts: dict[str, str]
) -> None:
    documents: dict[str, dict[str, object]] = {
        "users/ann": {"name": "Ann", "score": 1.5},
        "users/bob": {"name": None, "score": 2},
        "users/cat": {"score": 3.0},
    }
    everywhere: dict[str, dict[str, object]] = {
        key: {"name": "Ann", "score": 1.5, "boss": Reference(f"{BELOW}/users/ann")} for key in documents
    }
    with target(database_url) as connection:
        migrate(connection, FIRST, {"users": [user("ann", "Ann", 1.5, "ann")]}, [USERS])
        # Conditions that NULL meets, or that say nothing of it alone, are no matter for the profile.
        connection.execute("ALTER TABLE public.users ADD CHECK (name <> ''), ADD CHECK (name IS NOT NULL OR score > 0)")
        connection.execute(f"ALTER TABLE public.users {condition}".encode())
        plans = Plan(database=DATABASE, tables=(USERS,))
        (problem,) = check_tables(connection, "public", plans.tables, lacking=lacking_of(plans, profiled(documents)))
        assert isinstance(problem, fit.ValuesLacking)
        assert problem.exit_code == 2
        assert problem.facts == {"table": "public.users", **facts}
        assert check_tables(connection, "public", plans.tables, lacking=lacking_of(plans, profiled(everywhere))) == []


def test_a_column_that_must_have_a_value_and_whose_field_is_gone_is_found(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("ALTER TABLE public.users ALTER COLUMN name SET DEFAULT 'x', ALTER COLUMN name SET NOT NULL")
        (problem,) = check_tables(connection, "public", [plan("users", score="double")])
        assert (type(problem), problem.facts["column"]) == (fit.ValuesLacking, "name")


def _numbered(column: Column) -> Column:
    return column.model_copy(update={"kind": "integer"}) if column.name == "name" else column


@pytest.mark.parametrize(
    ("columns", "has"),
    [
        ("users_id text, id text", "none"),
        ("users_id text, id text PRIMARY KEY", "id"),
        ("users_id text, id text, PRIMARY KEY (id, users_id)", "id, users_id"),
    ],
)
def test_another_primary_key_is_shown_beside_the_one_needed(database_url: str, columns: str, has: str) -> None:
    with target(database_url) as connection:
        assert found(connection, f"TABLE {TABLE} ({columns})") == [
            (fit.PrimaryKeyMismatch, {"table": TABLE, "has": has, "needs": "users_id, id"})
        ]


def test_every_problem_is_listed(database_url: str) -> None:
    with target(database_url) as connection:
        assert [kind for kind, _ in found(connection, f"TABLE {TABLE} (users_id int, id text PRIMARY KEY, name int, x int NOT NULL)")] == [
            fit.PrimaryKeyMismatch,
            fit.ColumnTypeMismatch,
            fit.ColumnTypeMismatch,
            fit.ColumnNeedsValue,
        ]


TABLES_IN_THE_WAY = [
    (f"TABLE {TABLE} ({FITS}) PARTITION BY LIST (id)", "it is partitioned"),
    (
        f"TABLE public.whole ({FITS}) PARTITION BY LIST (id); CREATE TABLE {TABLE} PARTITION OF public.whole DEFAULT",
        "it is a partition of another",
    ),
    (f"TABLE {TABLE} ({FITS}); CREATE TABLE public.child () INHERITS ({TABLE})", "it inherits from a table or has children"),
    (f"TABLE {TABLE} ({FITS}); CREATE RULE r AS ON INSERT TO {TABLE} DO INSTEAD NOTHING", "it has rewrite rules"),
]


@pytest.mark.parametrize(("table", "why"), TABLES_IN_THE_WAY, ids=[why for _, why in TABLES_IN_THE_WAY])
def test_a_table_whose_rows_cannot_be_replaced_says_why_with_and_without_a_plan(database_url: str, table: str, why: str) -> None:
    with target(database_url) as connection:
        assert found(connection, table) == [(fit.CannotReplaceRows, {"table": TABLE, "why": why})]
    (problem,) = check_target(database_url, FIRST, "public", named("users_orders"))
    assert (type(problem), problem.facts["why"]) == (fit.CannotReplaceRows, why)


def test_a_view_has_taken_the_name(database_url: str) -> None:
    with target(database_url) as connection:
        assert found(connection, f"VIEW {TABLE} AS SELECT 1 AS id") == [
            (NamesTaken, {"schema": "public", "taken": "users_orders is a view"})
        ]


def test_a_nondeterministic_key_is_refused(database_url: str) -> None:
    with target(database_url) as connection:
        try:
            connection.execute("CREATE COLLATION public.loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
        except psycopg.errors.FeatureNotSupported:
            pytest.skip("this server is built without ICU, so it has no nondeterministic collations")
        columns = "users_id text COLLATE public.loose, id text, PRIMARY KEY (users_id, id)"
        assert found(connection, f"TABLE {TABLE} ({columns})") == [(fit.UnorderedKey, {"table": TABLE, "column": "users_id"})]


def test_a_table_of_another_role_and_one_that_forces_row_security_are_refused(database_url: str) -> None:
    with target(database_url) as admin:
        admin.execute("CREATE ROLE plain LOGIN PASSWORD 'p'; GRANT ALL ON SCHEMA public TO plain")
        try:
            assert found(admin, f"TABLE {TABLE} ({FITS})") == []
            with target(as_role(database_url, "plain", "p")) as connection:
                (theirs,) = check_tables(connection, "public", [PLAN])
                assert theirs.facts["why"] == "it belongs to postgres"
                admin.execute(f"ALTER TABLE {TABLE} OWNER TO plain; ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY".encode())
                (forced,) = check_tables(connection, "public", [PLAN])
                assert forced.facts["why"] == "it forces row-level security on its owner"
        finally:
            admin.execute("DROP OWNED BY plain CASCADE; DROP ROLE plain")


def again(roots: Sequence[str] = ("users",), *, selection: Selection | None = None, last: Sequence[TablePlan] = ()) -> ForecastTables:
    """These root collections are to be migrated again; `last` was planned and refused."""
    refused = {each.collection: each for each in last}
    return lambda earlier: forecast_tables(roots, selection or Selection(), PlanOptions(), earlier, refused)


def test_pre_validation_sees_that_a_published_table_was_changed_before_there_is_a_plan(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        assert check_target(database_url, SECOND, "public", again()) == []
        connection.execute("ALTER TABLE public.users ALTER COLUMN score TYPE numeric")
        connection.execute("ALTER TABLE public.users_orders ALTER COLUMN gift_for TYPE varchar(9), ADD COLUMN mine int NOT NULL DEFAULT 1")
        connection.execute("ALTER TABLE public.users_orders ALTER COLUMN mine DROP DEFAULT")
        assert [problem.facts for problem in check_target(database_url, SECOND, "public", again())] == [
            {"table": "public.users", "column": "score", "has": "numeric", "needs": "double precision"},
            {"table": "public.users_orders", "column": "gift_for", "has": "character varying(9)", "needs": "text"},
            {"table": "public.users_orders", "column": "mine"},
        ]


def test_pre_validation_looks_at_no_table_that_the_run_leaves_alone(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("ALTER TABLE public.users_orders ALTER COLUMN gift_for TYPE varchar(9)")
        assert len(check_target(database_url, SECOND, "public", again())) == 1
        assert check_target(database_url, SECOND, "public", again(["teams"])) == []
        assert check_target(database_url, SECOND, "public", again(selection=Selection((), ["users/*/orders"]))) == []
        assert check_target(database_url, SECOND, "public", named("teams")) == []


def test_a_column_changed_as_the_last_plan_needs_it_is_no_problem(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("ALTER TABLE public.users ALTER COLUMN score TYPE text")
        needed = plan("users", name="string", score="string", boss=ReferenceTarget(collection="users"))
        assert check_target(database_url, SECOND, "public", again(last=[needed])) == []
        (problem,) = check_target(database_url, SECOND, "public", again(last=[plan("users", score="integer")]))
        assert problem.facts["needs"] == "double precision"


def test_a_table_that_gave_way_to_a_view_is_found_under_the_name_it_was_published_with(database_url: str) -> None:
    people = plan("users", table="people")
    with target(database_url) as connection:
        migrate(connection, FIRST, {}, [people])
        connection.execute("CREATE VIEW public.users AS SELECT id FROM public.people")
        assert check_target(database_url, SECOND, "public", again()) == []
        connection.execute("DROP TABLE public.people CASCADE; CREATE VIEW public.people AS SELECT 1 AS id")
        (problem,) = check_target(database_url, SECOND, "public", again())
        assert problem.facts["taken"] == "people is a view"
