"""A role whose every default is odd migrates, publishes, refreshes, verifies and rolls back as any other."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from firelift.local.postgres import PostgresServer
from firelift.migration.rollback import roll_back_run
from tests.support.postgres_tables import ODD, as_role
from tests.support.whole_way import migrate, new_database, new_source, write

AT = datetime(2026, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)
DOCUMENTS: dict[str, dict[str, object]] = {
    "users/ada": {"at": AT, "times": [AT, AT], "bytes": b"\x00\xff\\", "double": 0.1 + 0.2, "doubles": [1e-300, 1.1], "name": "Zoë 🔥"},
    "users/bob": {"at": AT, "times": [AT], "bytes": b"'", "double": 1e308, "doubles": [0.3], "name": "O'Neil \\ x", "none": None},
    "users/ada/orders/1": {"total": 3.3, "select": 1, "Order": True, "paid": None, "map": {"at": AT}},
}


def test_one_role_with_all_odd_defaults_at_once(emulator_host: str, postgres: PostgresServer, tmp_path: Path) -> None:
    with new_source(emulator_host) as source, new_database(postgres) as url, psycopg.connect(url, autocommit=True) as admin:
        database = sql.Identifier(urlsplit(url).path[1:])
        admin.execute(sql.SQL("CREATE ROLE odd LOGIN PASSWORD 'p'; GRANT CREATE ON DATABASE {} TO odd").format(database))
        admin.execute("GRANT CREATE ON SCHEMA public TO odd")
        for setting, value in ODD.items():
            admin.execute(f"ALTER ROLE odd SET {setting} = {value}".encode())
        try:
            write(source, DOCUMENTS)
            odd_url = as_role(url, "odd", "p")
            first = migrate(source, odd_url, tmp_path)
            first.check()
            write(source, {"users/eve": {"at": "now a text", "double": 7}})
            # The column's type changes, and what was there before is kept.
            second = migrate(source, odd_url, tmp_path)
            second.check()
            done = roll_back_run(odd_url, None, False)
            assert [table.rows for table in done.tables] == [2, 1]
        finally:
            admin.execute("DROP OWNED BY odd CASCADE; DROP ROLE odd")
