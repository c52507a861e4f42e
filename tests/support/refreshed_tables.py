"""Migrations one after the other into a target that a user lives in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

from firelift.planning.model import ReferenceTarget, TablePlan
from firelift.postgres.inspect.digest import Digest, digest
from firelift.postgres.load.constraints import ForeignKeys, constrain
from firelift.postgres.load.copy import load_chunk
from firelift.postgres.load.staging import create_staging
from firelift.postgres.publish.publish import publish
from firelift.postgres.schema.control_schema import create_control, record_finish, record_start
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection, connect
from tests.support.postgres_tables import as_arrow, plan, row

FIRST, SECOND, THIRD = (f"migration-2026-11-2{day}T10-30-00-123Z-abc123" for day in (2, 3, 4))
READ_TIME = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)

USERS = plan("users", name="string", score="double", boss=ReferenceTarget(collection="users"))
ORDERS = plan("users/*/orders", parent="users", gift_for=ReferenceTarget(collection="users"))
TABLES = (USERS, ORDERS)
Rows = dict[str, list[list[Any]]]


def user(key: str, name: str | None = None, score: float | None = None, boss: str | None = None) -> list[Any]:
    return row(USERS, key, name, score, boss)


def order(of: str, key: str, gift_for: str | None = None) -> list[Any]:
    return row(ORDERS, of, key, gift_for)


OLD: Rows = {
    "users": [user("ann", "Ann", 1.5), user("bob", "Bob", -0.0, "ann"), user("cat", "Cat", float("nan"))],
    "users_orders": [order("ann", "1", "bob"), order("bob", "1"), order("cat", "1", "ann")],
}
# Ann is as she was, Bob changed by one bit, Cat gone with her order, Dan new and everybody's boss.
NEW: Rows = {
    "users": [user("ann", "Ann", 1.5), user("bob", "Bob", 0.0, "dan"), user("dan", "Dan", 4.0, "dan")],
    "users_orders": [order("ann", "1", "dan"), order("bob", "1"), order("dan", "1", "ann")],
}


@contextmanager
def target(url: str) -> Iterator[Connection]:
    with closing(connect(url, "firelift-test")) as connection:
        yield connection


def stage(
    connection: Connection,
    run: str,
    rows: Rows,
    tables: Sequence[TablePlan] = TABLES,
    foreign_keys: ForeignKeys = "report",
    **settings: str,
) -> None:
    """Everything up to publishing."""
    create_control(connection)
    record_start(connection, run, "full", {"target_schema": "public", **settings})
    schema = create_staging(connection, run, tables)
    load_chunk(connection, run, "c1", [(TargetTable(schema, table), as_arrow(table, rows.get(table.table, []))) for table in tables])
    constrain(connection, schema, tables, foreign_keys)


def migrate(
    connection: Connection,
    run: str,
    rows: Rows,
    tables: Sequence[TablePlan] = TABLES,
    *,
    schema: str = "public",
    foreign_keys: ForeignKeys = "report",
    **settings: str,
) -> None:
    stage(connection, run, rows, tables, foreign_keys, target_schema=schema, **settings)
    publish(connection, run, schema, tables, READ_TIME)
    record_finish(connection, run, "completed")


CATALOG = {
    "columns": """
        SELECT attrelid::regclass || ' ' || attname || ' ' || format_type(atttypid, atttypmod) || attnotnull::text FROM pg_attribute
        JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
    """,
    "constraints": "SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "views": "SELECT viewname || definition FROM pg_views WHERE schemaname = 'public'",
    "policies": "SELECT tablename || ' ' || policyname || cmd || coalesce(qual, '') || roles::text FROM pg_policies",
    "triggers": "SELECT pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal",
    "tables": "SELECT relname || coalesce(relacl::text, '') || relrowsecurity::text || relkind::text FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v')",
    "published": "SELECT t::text FROM firelift.tables AS t",
    "schemas": "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%'",
}


def catalog(connection: Connection) -> dict[str, list[str]]:
    """Everything but the rows."""
    return {what: sorted(line for (line,) in connection.execute(query.encode())) for what, query in CATALOG.items()}


def contents(connection: Connection) -> dict[str, Digest]:
    """The digest of every table of the target schema, with all its columns."""
    listed = connection.execute(
        "SELECT relname, array_agg(attname::text ORDER BY attnum) FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped GROUP BY 1"
    ).fetchall()
    return {table: digest(connection, "public", table, columns) for table, columns in listed}


def live_in(connection: Connection) -> None:
    """What a user adds to published tables."""
    connection.execute("""
        ALTER TABLE public.users ADD COLUMN note text, ADD COLUMN vip boolean NOT NULL DEFAULT false,
            ADD COLUMN upper_name text GENERATED ALWAYS AS (upper(name)) STORED, ADD COLUMN number int GENERATED ALWAYS AS IDENTITY;
        UPDATE public.users SET note = 'mine: ' || id, vip = id = 'ann';
        CREATE VIEW public.scores AS SELECT id, score FROM public.users;
        CREATE INDEX by_name ON public.users (lower(name));
        CREATE POLICY everybody ON public.users FOR SELECT USING (vip);
        GRANT SELECT ON public.users TO PUBLIC;
        CREATE TABLE public.heard (what text);
        CREATE FUNCTION public.hear() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO public.heard VALUES (TG_NAME || ' ' || TG_OP); RETURN coalesce(NEW, OLD); END $$;
        CREATE TRIGGER hears BEFORE INSERT OR UPDATE OR DELETE ON public.users FOR EACH ROW EXECUTE FUNCTION public.hear();
        CREATE TRIGGER always AFTER INSERT OR UPDATE OR DELETE ON public.users FOR EACH STATEMENT EXECUTE FUNCTION public.hear();
        CREATE TRIGGER replica AFTER INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.hear();
        CREATE TRIGGER off AFTER INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.hear();
        ALTER TABLE public.users ENABLE ALWAYS TRIGGER always, ENABLE REPLICA TRIGGER replica, DISABLE TRIGGER off;
        CREATE TABLE public.notes (id int PRIMARY KEY, user_id text REFERENCES public.users ON DELETE CASCADE);
        INSERT INTO public.notes VALUES (1, 'ann'), (2, NULL);
    """)
