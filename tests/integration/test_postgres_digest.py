"""Equal digests mean equal rows, to the last bit."""

from __future__ import annotations

import pytest

from firelift.postgres.inspect.digest import digest
from firelift.postgres.session.connect import Connection
from tests.support.postgres_tables import HOSTILE
from tests.support.refreshed_tables import target

TABLE = "CREATE TABLE public.t (id text, f float8, j jsonb, b bytea, a text[], n numeric, x xid)"
ROWS = """('a', 0.0, '{"a": 1}', '\\x00', '{a,NULL}', 1.0, '7'), ('b', 'NaN', NULL, NULL, '{}', NULL, NULL)"""
COLUMNS = ("id", "f", "j", "b", "a", "n", "x")


def filled(connection: Connection, rows: str = ROWS) -> str:
    connection.execute("DROP TABLE IF EXISTS public.t")
    connection.execute(TABLE)
    connection.execute(f"INSERT INTO public.t VALUES {rows}".encode())
    return digest(connection, "public", "t", COLUMNS).value


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE public.t SET f = '-0.0' WHERE id = 'a'",
        "UPDATE public.t SET f = NULL WHERE id = 'b'",
        """UPDATE public.t SET j = '{"a": 1.0}' WHERE id = 'a'""",
        "UPDATE public.t SET n = 1.00 WHERE id = 'a'",
        "UPDATE public.t SET a = '{a,\"NULL\"}' WHERE id = 'a'",
        "UPDATE public.t SET a = NULL WHERE id = 'b'",
        "UPDATE public.t SET b = '' WHERE id = 'b'",
        "UPDATE public.t SET id = 'a '  WHERE id = 'a'",
        "INSERT INTO public.t SELECT * FROM public.t WHERE id = 'a'",
        # Twice: to an XOR nothing would have happened.
        "INSERT INTO public.t SELECT t.* FROM public.t CROSS JOIN generate_series(1, 2) WHERE id = 'a'",
        "DELETE FROM public.t WHERE id = 'b'",
        "UPDATE public.t SET id = CASE id WHEN 'a' THEN 'b' ELSE 'a' END",
        "TRUNCATE public.t",
    ],
)
def test_any_change_changes_it(database_url: str, change: str) -> None:
    with target(database_url) as connection:
        before = filled(connection)
        connection.execute(change.encode())
        assert digest(connection, "public", "t", COLUMNS).value != before


def test_the_order_of_rows_their_storage_and_the_session_do_not_matter(database_url: str) -> None:
    with target(database_url) as connection:
        before = filled(connection)
        reversed_rows = "), (".join(reversed(ROWS.strip("()").split("), (")))
        assert filled(connection, f"({reversed_rows})") == before
        connection.execute(
            "SET extra_float_digits = 0; SET bytea_output = 'escape'; SET TimeZone = 'Asia/Tokyo'; UPDATE public.t SET id = id"
        )
        assert digest(connection, "public", "t", COLUMNS).value == before


def test_an_empty_table_and_odd_names_have_one_too(database_url: str) -> None:
    with target(database_url) as connection:
        name = '"' + HOSTILE.replace('"', '""') + '"'
        connection.execute(f"CREATE TABLE public.{name} ({name} text)".encode())
        assert digest(connection, "public", HOSTILE, [HOSTILE]).rows == 0


def test_types_without_a_binary_form_are_read_as_text(database_url: str) -> None:
    with target(database_url) as connection:
        connection.execute("CREATE TABLE public.t (id text, acl aclitem, acls aclitem[])")
        connection.execute("INSERT INTO public.t VALUES ('a', 'postgres=r/postgres', '{postgres=r/postgres}')")
        before = digest(connection, "public", "t", ("id", "acl", "acls"))
        connection.execute("UPDATE public.t SET acls = '{postgres=w/postgres}'")
        assert digest(connection, "public", "t", ("id", "acl", "acls")) != before
