"""Tables that exist get new rows and keep everything that hangs on them."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
import pytest

from firelift.planning.model import ColumnKind, ReferenceTarget, TablePlan
from firelift.postgres.inspect.digest import digest
from firelift.postgres.inspect.rows import read_rows
from firelift.postgres.publish.publish import publish
from firelift.postgres.publish.replace_rows import NotReplaced, RefusedByConstraint
from firelift.postgres.publish.retype import CannotRetype
from firelift.postgres.publish.rollback import rollback
from firelift.postgres.publish.target_facts import TableChangedMeanwhile
from firelift.postgres.schema.control_schema import save_table, saved_tables
from firelift.postgres.schema.foreign_keys import ForeignKeyBroken
from firelift.postgres.schema.names import backup_schema, staging_schema
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.errors import PermissionDenied
from tests.support.postgres_tables import HOSTILE, as_role, bits, plan, row, values
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
    Rows,
    catalog,
    contents,
    live_in,
    migrate,
    order,
    stage,
    target,
    user,
)


def rows_of(connection: Any, table: TablePlan) -> Any:
    return [bits(found) for found in read_rows(connection, TargetTable("public", table))]


def foreign_keys(connection: Any) -> list[str]:
    return values(
        connection, "SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' ORDER BY 1"
    )


def test_rows_are_replaced_to_the_bit_and_all_else_stays(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        before = catalog(connection)
        migrate(connection, SECOND, NEW)
        assert rows_of(connection, USERS) == [bits(found) for found in NEW["users"]]
        assert rows_of(connection, ORDERS) == [bits(found) for found in NEW["users_orders"]]
        after = catalog(connection)
        assert after.pop("schemas") == [*before.pop("schemas")[:1], backup_schema(SECOND), "information_schema", "public"]
        assert SECOND in str(after.pop("published"))
        del before["published"]
        assert after == before


def test_the_users_own_columns_keep_their_values_and_new_rows_get_the_defaults(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        migrate(connection, SECOND, NEW)
        assert connection.execute("SELECT id, note, vip, upper_name, number FROM public.users ORDER BY id").fetchall() == [
            ("ann", "mine: ann", True, "ANN", 1),
            ("bob", "mine: bob", False, "BOB", 2),
            ("dan", None, False, "DAN", 4),
        ]


def test_triggers_are_silent_and_awake_again_afterwards(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        migrate(connection, SECOND, NEW)
        assert values(connection, "SELECT what FROM public.heard") == []
        connection.execute("UPDATE public.users SET name = 'A' WHERE id = 'ann'")
        assert values(connection, "SELECT what FROM public.heard ORDER BY 1") == ["always UPDATE", "hears UPDATE"]


def test_rows_that_did_not_change_are_not_written(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = values(connection, "SELECT ctid::text || xmin::text FROM public.users")
        migrate(connection, SECOND, OLD)
        assert values(connection, "SELECT ctid::text || xmin::text FROM public.users") == before


def test_old_rows_are_in_the_backup_with_every_column_and_their_digest(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        before = contents(connection)
        migrate(connection, SECOND, NEW)
        kept = connection.execute(
            "SELECT table_name, action, columns, digest_before, rows_before, digest_after, rows_after FROM firelift.backups"
            " WHERE migration_id = %s ORDER BY 1",
            (SECOND,),
        ).fetchall()
        now = contents(connection)
        for table, action, columns, digest_before, rows_before, digest_after, rows_after in kept:
            assert action == "replaced"
            assert (rows_before, digest_before) == (before[table].rows, before[table].value)
            assert (rows_after, digest_after) == (now[table].rows, now[table].value)
            assert digest(connection, backup_schema(SECOND), table, columns) == before[table]


def test_a_users_foreign_key_that_would_break_stops_everything_by_name_whatever_it_would_do(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        connection.execute("INSERT INTO public.notes VALUES (3, 'cat'), (4, 'cat')")
        before = catalog(connection), contents(connection)
        stage(connection, SECOND, NEW)
        with pytest.raises(ForeignKeyBroken) as broken:
            publish(connection, SECOND, "public", TABLES, READ_TIME)
        assert broken.value.facts == {
            "constraint": "notes_user_id_fkey",
            "table": "public.notes",
            "refers_to": "public.users",
            "rows": 2,
            "such_as": "cat, cat",
        }
        now = catalog(connection)
        now["schemas"].remove(staging_schema(SECOND))
        assert (now, contents(connection)) == before
        connection.execute("DELETE FROM public.notes WHERE id > 2")
        publish(connection, SECOND, "public", TABLES, READ_TIME)


@pytest.mark.parametrize("action", ["", "ON DELETE RESTRICT", "ON DELETE SET NULL", "ON DELETE CASCADE", "DEFERRABLE INITIALLY DEFERRED"])
def test_a_users_foreign_key_between_refreshed_tables_holds_and_loses_no_row(database_url: str, action: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD, foreign_keys="off")
        add = "ALTER TABLE public.users_orders ADD COLUMN note text, ADD CONSTRAINT mine FOREIGN KEY (gift_for) REFERENCES public.users "
        connection.execute((add + action).encode())
        connection.execute("UPDATE public.users_orders SET note = 'keep'")
        before = foreign_keys(connection)
        # Cat goes, and the order that was for her is for Dan now, who is new.
        swapped: Rows = {"users": NEW["users"], "users_orders": [order("ann", "1", "dan"), order("cat", "1", "dan")]}
        migrate(connection, SECOND, swapped, foreign_keys="off")
        assert values(connection, "SELECT note FROM public.users_orders") == ["keep", "keep"]
        assert foreign_keys(connection) == before
        stage(connection, THIRD, {**NEW, "users_orders": [order("ann", "1", "nobody")]}, foreign_keys="off")
        with pytest.raises((RefusedByConstraint, NotReplaced)):
            publish(connection, THIRD, "public", TABLES, READ_TIME)


def test_our_own_foreign_key_goes_when_the_new_rows_break_it_and_comes_when_they_do_not(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        whole = foreign_keys(connection)
        migrate(connection, SECOND, {**NEW, "users_orders": [order("ann", "1", "nobody")]})
        assert foreign_keys(connection) == [key for key in whole if "gift_for" not in key]
        migrate(connection, THIRD, NEW)
        assert foreign_keys(connection) == whole


def test_our_foreign_key_from_a_table_outside_the_run_goes_too(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        migrate(connection, SECOND, {"users": NEW["users"]}, [USERS])
        assert foreign_keys(connection) == [
            "public.users FOREIGN KEY (boss) REFERENCES public.users(id)",
            "public.users_orders FOREIGN KEY (gift_for) REFERENCES public.users(id)",
        ]


def test_new_and_old_tables_are_joined_by_foreign_keys(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, {"users": OLD["users"]}, [USERS])
        migrate(connection, SECOND, NEW)
        assert foreign_keys(connection) == [
            "public.users FOREIGN KEY (boss) REFERENCES public.users(id)",
            "public.users_orders FOREIGN KEY (gift_for) REFERENCES public.users(id)",
            "public.users_orders FOREIGN KEY (users_id) REFERENCES public.users(id)",
        ]
        assert values(connection, "SELECT relrowsecurity FROM pg_class WHERE oid = 'public.users_orders'::regclass") == [True]


def test_an_old_table_gets_a_foreign_key_to_a_new_one_with_an_index(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, {"users_orders": OLD["users_orders"]}, [ORDERS])
        migrate(connection, SECOND, NEW)
        assert len(foreign_keys(connection)) == 3
        assert len(values(connection, "SELECT 1 FROM pg_indexes WHERE tablename = 'users_orders' AND indexdef LIKE '%(gift_for)'")) == 1


def test_new_columns_of_the_plan_are_added_and_lost_ones_become_null(database_url: str) -> None:
    later = plan(
        "users", name="string", boss=ReferenceTarget(collection="users"), seen="timestamps", friend=ReferenceTarget(collection="users")
    )
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        migrate(
            connection, SECOND, {"users": [row(later, "ann", "Ann", None, [5], "ann"), row(later, "new", None, None, None, None)]}, [later]
        )
        assert rows_of(connection, later) == [row(later, "ann", "Ann", None, [5], "ann"), row(later, "new", None, None, None, None)]
        assert values(connection, "SELECT score FROM public.users") == [None, None]
        assert values(
            connection,
            "SELECT attcollation::regcollation::text FROM pg_attribute WHERE attname = 'friend' AND attrelid = 'public.users'::regclass",
        ) == ['"C"']
        assert saved_tables(connection, "public")["users"].plan == later


def test_a_table_of_the_users_own_that_fits_is_refreshed(database_url: str) -> None:
    with target(database_url) as connection:
        connection.execute("CREATE TABLE public.users (id text PRIMARY KEY, email text DEFAULT 'none', name text)")
        connection.execute("INSERT INTO public.users VALUES ('ann', 'a@x', 'Anne'), ('zoe', 'z@x', 'Zoe')")
        migrate(connection, FIRST, {"users": NEW["users"]}, [USERS])
        assert rows_of(connection, USERS) == [bits(found) for found in NEW["users"]]
        assert values(connection, "SELECT email FROM public.users ORDER BY id") == ["a@x", "none", "none"]


@pytest.mark.parametrize(
    "unique",
    [
        "ALTER TABLE public.users ADD UNIQUE (name)",
        "ALTER TABLE public.users ADD UNIQUE (name) DEFERRABLE",
        "CREATE UNIQUE INDEX mine ON public.users (lower(name))",
        "ALTER TABLE public.users ADD EXCLUDE USING btree (name WITH =)",
    ],
)
def test_values_of_a_users_unique_column_may_move_between_rows(database_url: str, unique: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute(unique.encode())
        traded = [user("ann", "Bob"), user("bob", "Ann"), user("dan", "Cat")]
        migrate(connection, SECOND, {"users": traded, "users_orders": []})
        assert rows_of(connection, USERS) == traded


def test_a_unique_value_that_a_users_row_refers_to_is_not_traded_behind_its_back(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("ALTER TABLE public.users ADD UNIQUE (name)")
        connection.execute("CREATE TABLE public.notes (name text REFERENCES public.users (name) ON UPDATE CASCADE ON DELETE CASCADE)")
        connection.execute("INSERT INTO public.notes VALUES ('Ann')")
        before = contents(connection)
        stage(connection, SECOND, {"users": [user("ann", "Bob"), user("bob", "Ann")]})
        with pytest.raises(RefusedByConstraint, match="users_name_key"):
            publish(connection, SECOND, "public", TABLES, READ_TIME)
        assert contents(connection) == before
        stage(connection, THIRD, {"users": [user("ann", "Anne")]})
        with pytest.raises(ForeignKeyBroken, match="notes_name_fkey"):
            publish(connection, THIRD, "public", TABLES, READ_TIME)
        assert contents(connection) == before


@pytest.mark.parametrize(
    ("constraint", "named"),
    [
        ("ADD CONSTRAINT mine UNIQUE (name)", "mine"),
        ("ADD CONSTRAINT mine CHECK (name <> 'Twin')", "mine"),
        ("ALTER COLUMN name SET NOT NULL", "name"),
    ],
)
def test_rows_that_a_users_constraint_refuses_stop_everything_by_name(database_url: str, constraint: str, named: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute(f"ALTER TABLE public.users {constraint}".encode())
        before = contents(connection)
        stage(connection, SECOND, {"users": [user("ann", "Twin"), user("bob", "Twin"), user("cat", None)]})
        with pytest.raises(RefusedByConstraint, match=named) as refused:
            publish(connection, SECOND, "public", TABLES, READ_TIME)
        assert "Failing row" not in str(refused.value)
        assert contents(connection) == before


FAILING = [
    ("CREATE INDEX mine ON public.users ((name::int))", "index public.mine"),
    ("CREATE UNIQUE INDEX mine ON public.users (id) WHERE name::int > 1", "index public.mine"),
    ("ALTER TABLE public.users ADD CONSTRAINT mine CHECK (10 / name::int >= 0)", "constraint mine on table public.users"),
    (
        "ALTER TABLE public.users ADD COLUMN mine int GENERATED ALWAYS AS (name::int) STORED",
        "default value for column mine of table public.users",
    ),
    ("CREATE STATISTICS public.mine ON (name::int), score FROM public.users", "statistics object public.mine"),
    (
        """CREATE FUNCTION public.ask(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
            $$ BEGIN IF $1 LIKE 'T%' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN $1; END $$;
        CREATE INDEX mine ON public.users (public.ask(name))""",
        "index public.mine",
    ),
]


@pytest.mark.parametrize(("made", "named"), FAILING, ids=[made.partition("(")[0] for made, _ in FAILING])
def test_an_expression_of_the_users_that_fails_for_new_rows_is_named_among_others(database_url: str, made: str, named: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, {"users": [user("ann", "1"), user("bob", "2")]})
        connection.execute("CREATE INDEX other ON public.users ((score / 2)); ALTER TABLE public.users ADD CHECK (length(name) > 0)")
        connection.execute(made.encode())
        before = contents(connection)
        stage(connection, SECOND, {"users": [user("ann", "Twin"), user("bob", "2")]})
        with pytest.raises(RefusedByConstraint) as refused:
            publish(connection, SECOND, "public", TABLES, READ_TIME)
        assert (refused.value.facts["table"], refused.value.facts["object"]) == ("public.users", named)
        assert "Twin" not in str(refused.value)
        assert contents(connection) == before


def test_a_default_that_fails_for_new_rows_is_named(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("CREATE SEQUENCE public.few MAXVALUE 2; SELECT nextval('public.few'), nextval('public.few')")
        connection.execute("ALTER TABLE public.users ADD COLUMN mine int")
        connection.execute("ALTER TABLE public.users ALTER COLUMN mine SET DEFAULT nextval('public.few')")
        stage(connection, SECOND, NEW)
        with pytest.raises(RefusedByConstraint) as refused:
            publish(connection, SECOND, "public", TABLES, READ_TIME)
        assert refused.value.facts["object"] == "default value for column mine of table public.users"


def test_a_table_that_changed_after_the_checks_stops_publishing(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        stage(connection, SECOND, NEW)
        connection.execute("ALTER TABLE public.users ALTER COLUMN name TYPE varchar(20)")
        with pytest.raises(TableChangedMeanwhile, match=r"public\.users, column: name, has: character varying\(20\), needs: text"):
            publish(connection, SECOND, "public", TABLES, READ_TIME)


OTHER = plan("users", name="integer", score="json", boss="json")


def test_columns_that_were_published_get_the_types_of_the_new_plan_and_their_old_ones_back(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("ALTER TABLE public.users ADD COLUMN note text; UPDATE public.users SET note = 'mine', name = id")
        connection.execute("ALTER TABLE public.users ALTER COLUMN name SET NOT NULL")
        before, catalog_before = contents(connection), catalog(connection)
        rows = [row(OTHER, "ann", 7, '"seven"', '"users/ann"'), row(OTHER, "dan", 8, "{}", None)]
        migrate(connection, SECOND, {"users": rows, "users_orders": NEW["users_orders"][:1]}, [OTHER, ORDERS])
        assert rows_of(connection, OTHER) == [bits(found) for found in rows]
        assert values(connection, "SELECT note FROM public.users ORDER BY id") == ["mine", None]
        assert "public.users name biginttrue" in catalog(connection)["columns"]
        rollback(connection, SECOND)
        assert contents(connection) == before
        after = catalog(connection)
        assert {what: after[what] for what in after if what != "schemas"} == {
            what: catalog_before[what] for what in after if what != "schemas"
        }


def test_a_value_that_a_column_must_have_is_missed_with_its_new_type_too(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, {"users": [user("ann", "Ann")]}, [USERS])
        connection.execute("ALTER TABLE public.users ALTER COLUMN name SET NOT NULL")
        before = contents(connection)
        stage(connection, SECOND, {"users": [row(OTHER, "ann", None, None, None)]}, [OTHER])
        with pytest.raises(CannotRetype, match="name"):
            publish(connection, SECOND, "public", [OTHER], READ_TIME)
        assert contents(connection) == before


def test_hostile_names_are_refreshed(database_url: str) -> None:
    columns: dict[str, ColumnKind] = {HOSTILE + "!": "string"}
    table = plan("x", parent=None, table=HOSTILE, **columns)
    with target(database_url) as connection:
        migrate(connection, FIRST, {HOSTILE: [row(table, HOSTILE, "x"), row(table, "b", "x")]}, [table])
        migrate(connection, SECOND, {HOSTILE: [row(table, HOSTILE, "y"), row(table, "c", "x")]}, [table])
        assert rows_of(connection, table) == [row(table, HOSTILE, "y"), row(table, "c", "x")]


def test_readers_see_the_old_rows_until_the_commit_where_nothing_but_rows_changes(database_url: str) -> None:
    things = plan("things", name="string")
    with target(database_url) as connection, closing(psycopg.connect(database_url, autocommit=True)) as reader:
        migrate(connection, FIRST, {"things": [row(things, "a", "old")]}, [things])
        stage(connection, SECOND, {"things": [row(things, "a", "new")]}, [things])
        reader.execute("SET lock_timeout = '5s'")
        with connection.transaction():
            publish(connection, SECOND, "public", [things], READ_TIME)
            assert reader.execute("SELECT name FROM public.things").fetchall() == [("old",)]
        assert reader.execute("SELECT name FROM public.things").fetchall() == [("new",)]


def test_nobody_else_may_enter_the_backup(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        migrate(connection, SECOND, NEW)
        connection.execute("CREATE ROLE poor LOGIN PASSWORD 'p'")
        try:
            with target(as_role(database_url, "poor", "p")) as poor:
                for table in (f"{backup_schema(SECOND)}.users", "firelift.backups"):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        poor.execute(f"SELECT FROM {table}".encode())
        finally:
            connection.execute("DROP ROLE poor")


def test_an_owner_who_is_no_superuser_can_refresh_and_row_security_hides_nothing(database_url: str) -> None:
    with target(database_url) as admin:
        name = values(admin, "SELECT current_database()")[0]
        admin.execute(
            f"CREATE ROLE plain LOGIN PASSWORD 'p'; GRANT CREATE ON DATABASE {name} TO plain; GRANT ALL ON SCHEMA public TO plain".encode()
        )
        try:
            with target(as_role(database_url, "plain", "p")) as connection:
                migrate(connection, FIRST, OLD)
                live_in(connection)
                migrate(connection, SECOND, NEW)
                assert rows_of(connection, USERS) == [bits(found) for found in NEW["users"]]
        finally:
            admin.execute("DROP OWNED BY plain CASCADE; DROP ROLE plain")


def test_a_plan_whose_names_hold_nul_survives(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        save_table(connection, FIRST, "public", plan("odd\0", table="odd", x="string"), READ_TIME)
        migrate(connection, SECOND, NEW)


def test_a_role_that_does_not_own_a_table_outside_cannot_be_fooled_by_its_rows(database_url: str) -> None:
    """A user's table that we may not read could hold references to rows that go."""
    with target(database_url) as admin:
        name = values(admin, "SELECT current_database()")[0]
        admin.execute(
            f"CREATE ROLE plain LOGIN PASSWORD 'p'; GRANT CREATE ON DATABASE {name} TO plain; GRANT ALL ON SCHEMA public TO plain".encode()
        )
        try:
            with target(as_role(database_url, "plain", "p")) as connection:
                migrate(connection, FIRST, OLD)
                admin.execute("CREATE TABLE public.notes (user_id text REFERENCES public.users ON DELETE CASCADE)")
                stage(connection, SECOND, NEW)
                with pytest.raises(PermissionDenied, match="notes"):
                    publish(connection, SECOND, "public", TABLES, READ_TIME)
        finally:
            admin.execute("DROP OWNED BY plain CASCADE; DROP ROLE plain")


STATISTICS = """
    SELECT relname::text, reltuples::int, (SELECT most_common_vals::text FROM pg_stats WHERE tablename = relname AND attname = 'users_id')
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1
"""


def test_the_planner_knows_the_rows_as_soon_as_they_are_seen(database_url: str) -> None:
    """Also those of new tables, which were counted in staging, before their keys were made."""
    with target(database_url) as connection:
        migrate(connection, FIRST, {"users": OLD["users"], "users_orders": [order("ann", str(number)) for number in range(300)]})
        assert connection.execute(STATISTICS).fetchall() == [("users", 3, None), ("users_orders", 300, "{ann}")]
        migrate(connection, SECOND, {"users": NEW["users"][:2], "users_orders": [order("bob", str(number)) for number in range(500)]})
        assert connection.execute(STATISTICS).fetchall() == [("users", 2, None), ("users_orders", 500, "{bob}")]
