"""A user lives in the migrated tables: what is his survives every refresh, and a rollback takes back the rest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from firelift.firestore.channel import Source
from firelift.local.emulator import clear
from firelift.postgres.schema.names import backup_schema
from tests.support import refreshed_tables as refresh_world
from tests.support.command_line import FIRELIFT, QUICKLY, Operator, Said
from tests.support.prefect_servers import eventually, schemas_of, tables_of, text_of
from tests.support.refreshed_tables import FIRST, SECOND, catalog, contents, live_in, target
from tests.support.warm_commands import BY_PREFECT, WITHOUT_PREFECT
from tests.support.whole_way import Things, new_source, write

Database = Callable[[Things], Operator]


@pytest.fixture
def source(emulator_host: str) -> Iterator[Source]:
    with new_source(emulator_host) as source:
        yield source


@pytest.fixture
def holding(source: Source, tmp_path: Path, prefect_api: str, database_url: str) -> Database:
    """Has the Firestore database hold these documents and no others; returns the operator."""
    assert source.emulator_host
    host, variables = source.emulator_host, {"PREFECT_API_URL": prefect_api, "DATABASE_URL": database_url, **QUICKLY, **WITHOUT_PREFECT}

    def hold(documents: Things) -> Operator:
        clear(host, source.project)
        write(source, documents)
        return Operator(tmp_path, {"FIRESTORE_EMULATOR_HOST": host, "GOOGLE_CLOUD_PROJECT": source.project, **variables})

    return hold


@pytest.fixture
def operator(tmp_path: Path, database_url: str) -> Operator:
    """Somebody who has the target's address and nothing else."""
    return Operator(tmp_path, {"DATABASE_URL": database_url})


def state(url: str) -> tuple[dict[str, list[str]], dict[str, Any]]:
    with target(url) as connection:
        return catalog(connection), contents(connection)


def ask(url: str, query: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def done(said: Said) -> Said:
    assert said.code == 0, said.err
    return said


def refused(said: Said, code: int, *words: str) -> None:
    assert (said.code, said.out) == (code, ""), said.err
    assert said.error.startswith("error: "), said.err
    assert [word for word in words if word not in said.error] == []
    assert "Traceback" not in said.err


OLD: Things = {
    "users/ada": {"name": "Ada", "score": 1.5, "city": "London"},
    "users/bob": {"name": "Bob", "score": 2.5},
    "users/cal": {"name": "Cal", "score": -0.0},
    "users/ada/orders/1": {"total": 3},
    "users/bob/orders/1": {"total": 4},
    "teams/red": {"size": 2},
}
NEW: Things = {
    "users/ada": {"name": "Ada L.", "score": 1.5, "vip": True},
    "users/cal": {"name": "Cal", "score": 0.0},
    "users/dan": {"name": "Dan"},
    "users/ada/orders/1": {"total": 30},
    "users/dan/orders/2": {"total": 5},
    "teams/red": {"size": 3},
    "posts/1": {"text": "new"},
}
LIFE = """
    ALTER TABLE users ADD COLUMN note text;
    UPDATE users SET note = 'mine: ' || id;
    CREATE VIEW names AS SELECT id, name FROM users;
    CREATE INDEX by_name ON users (lower(name));
    CREATE POLICY everybody ON users FOR SELECT USING (score > 0);
    GRANT SELECT ON users TO PUBLIC;
    CREATE TABLE heard (what text);
    CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.heard VALUES (TG_OP); RETURN NEW; END $$;
    CREATE TRIGGER hears BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION hear();
    CREATE TABLE notes (id int PRIMARY KEY, user_id text REFERENCES users);
    INSERT INTO notes VALUES (1, 'ada');
"""
HIS = ("constraints", "indexes", "views", "policies", "triggers", "tables", "columns")


def test_rows_are_replaced_what_is_the_users_stays_and_a_rollback_needs_no_working_directory(holding: Database, database_url: str) -> None:
    operator = holding(OLD)
    said = [done(operator.with_(**BY_PREFECT).firelift("migrate"))]
    ask(database_url, LIFE)
    before = state(database_url)

    said.append(done(holding(NEW).with_(**BY_PREFECT).firelift("migrate", "--json")))
    run = json.loads(said[-1].out)["migrationId"]

    assert ask(database_url, "SELECT id, name, score::text, city, vip, note FROM users ORDER BY id") == [
        ("ada", "Ada L.", "1.5", None, True, "mine: ada"),
        ("cal", "Cal", "0", None, None, "mine: cal"),
        ("dan", "Dan", None, None, None, None),
    ]
    assert ask(database_url, "SELECT users_id, id, total FROM users_orders ORDER BY 1") == [("ada", "1", 30), ("dan", "2", 5)]
    assert ask(database_url, "SELECT id, name FROM names ORDER BY 1") == [("ada", "Ada L."), ("cal", "Cal"), ("dan", "Dan")]
    assert ask(database_url, "SELECT count(*) FROM heard") == [(0,)]
    assert ask(database_url, "SELECT user_id FROM notes") == [("ada",)]
    after = state(database_url)
    assert {what: set(before[0][what]) - set(after[0][what]) for what in HIS} == {what: set() for what in HIS}
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        ask(database_url, "INSERT INTO notes VALUES (2, 'nobody')")

    shutil.rmtree(operator.workspace)
    said.append(done(operator.firelift("rollback")))
    assert said[-1].out.splitlines() == [
        f"{run} is rolled back.",
        "  public.posts: removed: the run had created it",
        "  public.teams: has its 1 row back, digest equal",
        "  public.users: has its 3 rows back, digest equal",
        "  public.users_orders: has its 2 rows back, digest equal",
    ]
    assert state(database_url) == before

    said.append(done(operator.firelift("rollback")))
    assert said[-1].out == f"{run} was rolled back before; there is nothing left to undo.\n"
    assert state(database_url) == before
    assert not operator.workspace.exists()

    password = urlsplit(database_url).password
    assert password
    assert password not in "".join(each.out + each.err for each in said) + operator.left_behind() + text_of(database_url)


def test_a_failed_verification_leaves_the_tables_of_before(holding: Database, database_url: str) -> None:
    done(holding(OLD).firelift("migrate"))
    ask(database_url, LIFE)
    before = state(database_url)
    unstorable = f"users/{token_urlsafe(1050)}/orders/{token_urlsafe(1050)}"
    operator = holding({**NEW, unstorable: {"total": 1}}).with_(MIGRATION_AUTO_VERIFICATION=None)
    refused(operator.firelift("migrate", "--migration-id", "the-failed"), 4, "rejected: 1, allowed: 0")
    assert state(database_url) == before
    assert "the-failed" in done(operator.firelift("rollback")).out
    assert state(database_url) == before


def test_a_run_killed_while_it_publishes_is_rolled_back(holding: Database, database_url: str) -> None:
    done(holding(OLD).firelift("migrate"))
    ask(database_url, LIFE)
    before = state(database_url)
    operator = holding(NEW)
    waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'firelift.tables'::regclass)"
    with psycopg.connect(database_url) as holder:
        holder.execute("LOCK TABLE firelift.tables IN SHARE MODE")
        with operator.start([FIRELIFT, "migrate", "--migration-id", "the-killed"]) as process:
            try:
                eventually(120, lambda: process.poll() is not None or ask(database_url, waits) == [(True,)])
                everybody = [*psutil.Process(process.pid).children(recursive=True), process]
            finally:
                for each in locals().get("everybody", [process]):
                    each.kill()
    assert state(database_url)[1] == before[1]
    assert done(operator.firelift("rollback")).out.startswith("the-killed is rolled back")
    assert state(database_url) == before


def test_names_stay_when_fields_come_and_go_and_the_column_of_a_vanished_one_is_null(holding: Database, database_url: str) -> None:
    done(holding({"users/a": {"user_name": "first", "city": "Ur"}, "user_s/b": {}}).firelift("migrate"))
    assert ask(database_url, "SELECT user_name, city FROM users") == [("first", "Ur")]

    # In byte order `userName` and `Users` come first: without the plans in the target they would get the names.
    done(holding({"users/a": {"user_name": "first", "userName": "second"}, "Users/b": {}, "user_s/b": {}}).firelift("migrate"))
    assert ask(database_url, "SELECT user_name, user_name_2, city FROM users") == [("first", "second", None)]
    assert tables_of(database_url) == {"users": 1, "users_2": 1, "user_s": 1}

    done(holding({"users/a": {"userName": "second", "city": "Uruk"}, "user_s/b": {}}).firelift("migrate"))
    assert ask(database_url, "SELECT user_name, user_name_2, city FROM users") == [(None, "second", "Uruk")]


def test_a_field_that_was_gone_comes_back_with_another_type_into_its_column(holding: Database, database_url: str) -> None:
    done(holding({"users/a": {"x": 1, "tags": [1]}}).firelift("migrate"))
    done(holding({"users/a": {"x": 1}}).firelift("migrate"))
    done(holding({"users/a": {"x": 2}}).firelift("migrate"))
    operator = holding({"users/a": {"x": 3, "tags": "plain"}})
    done(operator.firelift("migrate"))
    assert ask(database_url, "SELECT x, tags FROM users") == [(3, "plain")]
    done(operator.firelift("rollback"))
    assert ask(database_url, "SELECT x, tags FROM users") == [(2, None)]
    assert ask(database_url, "SELECT pg_typeof(tags)::text FROM users") == [("bigint[]",)]


def test_who_changes_a_column_as_he_was_told_can_go_on(holding: Database, database_url: str) -> None:
    done(holding({"users/a": {"zip": 8000}}).firelift("migrate"))
    ask(database_url, "ALTER TABLE users ALTER COLUMN zip TYPE numeric")
    operator = holding({"users/a": {"zip": "08000"}})
    refused(operator.firelift("migrate"), 2, "public.users", "column: zip", "has: numeric", "needs: bigint", "ALTER COLUMN")
    assert ask(database_url, "SELECT zip FROM users") == [(8000,)]
    ask(database_url, "ALTER TABLE users ALTER COLUMN zip TYPE bigint")
    done(operator.firelift("migrate"))
    assert ask(database_url, "SELECT zip FROM users") == [("08000",)]


def test_a_column_that_nobody_has_changed_follows_the_type_of_its_field_there_and_back(holding: Database, database_url: str) -> None:
    done(holding({"users/a": {"zip": 8000}}).firelift("migrate"))
    operator = holding({"users/a": {"zip": "08000"}})
    done(operator.firelift("migrate"))
    assert ask(database_url, "SELECT zip FROM users") == [("08000",)]
    done(operator.firelift("rollback"))
    assert ask(database_url, "SELECT zip FROM users") == [(8000,)]


# --- rollback and cleanup of what the engine has migrated ---


@pytest.fixture
def refreshed(database_url: str) -> tuple[Any, Any]:
    """A target that was migrated, lived in and migrated again: what it was like before the second time."""
    with target(database_url) as connection:
        refresh_world.migrate(connection, FIRST, refresh_world.OLD)
        live_in(connection)
    before = state(database_url)
    with target(database_url) as connection:
        refresh_world.migrate(connection, SECOND, refresh_world.NEW)
    return before


def test_rows_that_others_changed_are_listed_and_only_force_undoes_them(operator: Operator, database_url: str, refreshed: Any) -> None:
    ask(
        database_url,
        "UPDATE public.users SET name = 'changed' WHERE id = 'bob'; DELETE FROM public.users_orders WHERE id = '1' AND users_id = 'bob'",
    )
    changed = state(database_url)
    refused(
        operator.firelift("rollback"),
        1,
        "Somebody changed tables",
        "public.users: 3 rows published, 3 now, 1 inserted or updated, such as bob",
        "public.users_orders: 3 rows published, 2 now, at least 1 deleted",
        "--force",
    )
    assert state(database_url) == changed
    said = done(operator.firelift("rollback", "--force"))
    assert "public.users: later changes by others were undone too (--force)" in said.out
    (objects, rows), (objects_before, rows_before) = state(database_url), refreshed
    assert objects == objects_before
    assert [rows[table] for table in ("users", "users_orders")] == [rows_before[table] for table in ("users", "users_orders")]


def test_an_earlier_run_is_not_rolled_back_before_a_later_one(operator: Operator, database_url: str, refreshed: Any) -> None:
    after = state(database_url)
    refused(
        operator.firelift("rollback", "--migration-id", FIRST, "--force"), 1, "later migration", SECOND, "Roll back the later one first"
    )
    assert state(database_url) == after


def test_a_rollback_and_a_cleanup_tell_what_they_did_as_json(operator: Operator, database_url: str, refreshed: Any) -> None:
    shown = json.loads(done(operator.firelift("cleanup", "--backup-retention", "0", "--json")).out)
    assert [(each["migration_id"], each["tables"]) for each in shown["expired"]] == [
        (run, ["users", "users_orders"]) for run in (FIRST, SECOND)
    ]
    assert shown["dropped"] == []
    told = json.loads(done(operator.firelift("rollback", "--json")).out)
    assert (told["migration_id"], told["already"]) == (SECOND, False)
    assert {table["table"]: (table["action"], table["digest"]) for table in told["tables"]} == {
        f"public.{table}": ("replaced", refreshed[1][table].value) for table in ("users", "users_orders")
    }
    assert json.loads(done(operator.firelift("rollback", "--json")).out) == {**told, "already": True}


def aged(url: str, run: str, days: int) -> None:
    ask(url, f"UPDATE firelift.backups SET made_at = made_at - interval '{days} days' WHERE migration_id = '{run}'")


def test_cleanup_shows_first_and_drops_only_what_is_older_than_the_retention(operator: Operator, database_url: str, refreshed: Any) -> None:
    backup = backup_schema(SECOND)
    assert done(operator.firelift("cleanup", "--yes")).out == "No backup is old enough to drop.\n"
    aged(database_url, SECOND, days=8)
    (line, hint) = done(operator.firelift("cleanup")).out.splitlines()
    assert line.startswith(f"{SECOND}: 2 tables, ")
    assert line.endswith("8 days old")
    assert hint.startswith("Nothing has been dropped: run `firelift cleanup --yes`")
    longer = operator.with_(MIGRATION_BACKUP_RETENTION="9")
    assert done(longer.firelift("cleanup", "--yes")).out == "No backup is old enough to drop.\n"
    (operator.here / ".env").write_text("MIGRATION_BACKUP_RETENTION=9\n")
    assert done(operator.firelift("cleanup", "--yes")).out == "No backup is old enough to drop.\n"
    assert backup in schemas_of(database_url)

    dropped = done(operator.firelift("cleanup", "--yes", "--backup-retention", "8")).out
    assert dropped.endswith("8 days old, dropped\n")
    assert backup not in schemas_of(database_url)
    assert done(operator.firelift("cleanup", "--yes", "--backup-retention", "8")).out == "No backup is old enough to drop.\n"
    refused(operator.firelift("rollback"), 1, "old rows of this migration are no longer kept", SECOND, "MIGRATION_BACKUP_RETENTION")
    assert contents_of(database_url) != refreshed[1]


def contents_of(url: str) -> dict[str, Any]:
    return state(url)[1]


def test_what_a_user_built_on_a_backup_is_not_dropped_with_it(operator: Operator, database_url: str, refreshed: Any) -> None:
    ask(database_url, f'CREATE VIEW public.lost AS SELECT * FROM "{backup_schema(SECOND)}".users')
    refused(operator.firelift("cleanup", "--backup-retention", "0", "--yes"), 1, "view public.lost depends on", "Drop what is named")
    assert backup_schema(SECOND) in schemas_of(database_url)


def test_a_rollback_asks_for_nothing_but_the_target(operator: Operator, database_url: str, refreshed: Any) -> None:
    wrong = operator.with_(
        GOOGLE_APPLICATION_CREDENTIALS="gone.json",
        MIGRATION_BATCH_SIZE="many",
        MIGRATION_WORKING_DIR="/proc/nowhere",
        MIGRATION_MIGRATION_ID=SECOND,
    )
    done(wrong.firelift("rollback"))
    assert state(database_url) == refreshed


def test_nothing_to_roll_back_and_an_unknown_run_are_said_so(operator: Operator, database_url: str) -> None:
    refused(operator.firelift("rollback"), 2, "The target knows of no migration", "--database-url")
    refused(operator.firelift("rollback", "--migration-id", "nobody"), 2, "The target knows no migration of this id", "nobody")
    assert done(operator.firelift("cleanup", "--yes")).out == "No backup is old enough to drop.\n"
    assert schemas_of(database_url) == ["public"]


def test_a_collection_that_is_gone_is_told(holding: Database, database_url: str) -> None:
    done(holding({"users/ada": {"name": "Ada"}, "teams/red": {"size": 2}}).firelift("migrate"))
    said = done(holding({"users/ada": {"name": "Ada"}}).firelift("migrate"))
    assert "teams → teams: there is no document of it any more; its table keeps the rows of the last migration" in said.err
    assert ask(database_url, "SELECT count(*) FROM public.teams") == [(1,)]
