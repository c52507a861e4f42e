"""What is foreseen before anything is staged is what publishing then does, line by line; so with a rollback."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psycopg
import pytest

import firelift
from firelift.firestore.channel import Source
from firelift.local.postgres import PostgresServer
from firelift.local.writer import delete_documents
from firelift.planning.increment import Deletes
from firelift.postgres.load.constraints import ForeignKeys
from firelift.postgres.publish import publish as publishing
from firelift.postgres.publish import rollback as rolling
from firelift.postgres.publish.backups import kept_tables
from firelift.postgres.publish.publish import foreseen_stages
from firelift.postgres.publish.rollback import rollback
from firelift.postgres.publish.stages.rolling_back import locking_again, rollback_stages_of
from firelift.postgres.publish.stages.stage import Done, Stage, described, evaluate
from firelift.postgres.publish.target_facts import Publication
from firelift.postgres.schema.compatibility import existing_tables
from firelift.postgres.session.connect import Connection
from firelift.run.reports.plan_text import plan_text
from tests.support.merged_tables import AFTER, Keys, increase, planned
from tests.support.postgres_tables import plan, row
from tests.support.refreshed_tables import FIRST, NEW, OLD, READ_TIME, SECOND, TABLES, migrate, order, target, user
from tests.support.whole_way import Things, new_database, new_source, write


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The descriptions of the stages that the evaluator has run."""
    lines: list[str] = []

    def recorded(connection: Connection, stages: Iterable[Stage], done: Done) -> None:
        listed = tuple(stages)
        evaluate(connection, listed, done)
        lines.extend(described(listed))

    monkeypatch.setattr(publishing, "evaluate", recorded)
    monkeypatch.setattr(rolling, "evaluate", recorded)
    return lines


def without_conditions(lines: Iterable[str]) -> list[str]:
    """Once a full run's rows are staged it is known which foreign keys they allow."""
    return [line.removesuffix(", if no row is orphaned") for line in lines]


def test_new_tables_are_published_as_foreseen(database_url: str, ran: list[str]) -> None:
    with target(database_url) as connection:
        foreseen = foreseen_stages(connection, Publication(FIRST, "public", TABLES, READ_TIME), {"users": 3, "users_orders": 3})
        migrate(connection, FIRST, OLD)
    assert without_conditions(foreseen) == ran
    assert ran[:2] == ["count and digest the staged rows of users and users_orders", "move users (3 rows) into public, with its keys"]


def test_a_schema_is_made_as_foreseen(database_url: str, ran: list[str]) -> None:
    with target(database_url) as connection:
        foreseen = foreseen_stages(connection, Publication(FIRST, "app", TABLES, READ_TIME), {"users": 3, "users_orders": 3})
        migrate(connection, FIRST, OLD, schema="app")
    assert without_conditions(foreseen) == ran
    assert ran[0] == "make the schema app"


def test_rows_are_replaced_as_foreseen(database_url: str, ran: list[str]) -> None:
    """Beside a new table, with a column and a foreign key of the user's."""
    notes = plan("notes", text="string")
    tables, rows = (*TABLES, notes), {**NEW, "notes": [row(notes, "n", "x")]}
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("ALTER TABLE public.users DROP COLUMN name, ADD COLUMN mine text")
        connection.execute("CREATE TABLE public.mine (who text REFERENCES public.users (id))")
        ran.clear()
        foreseen = foreseen_stages(connection, Publication(SECOND, "public", tables, READ_TIME), {"notes": 1})
        migrate(connection, SECOND, rows, tables)
    assert without_conditions(foreseen) == ran
    assert "copy all rows of public.users (about 3) to the backup schema" in ran
    assert "add to public.users the column name" in ran
    assert "stop if the new rows break the foreign key mine_who_fkey of public.mine" in ran
    assert "move notes (1 row) into public, with its keys" in ran


@pytest.mark.parametrize(
    ("deletes", "foreign_keys"), [("propagate", "report"), ("propagate", "strict"), ("mark", "report"), ("ignore", "off")]
)
def test_rows_are_merged_as_foreseen(database_url: str, ran: list[str], deletes: Deletes, foreign_keys: ForeignKeys) -> None:
    written = {"users": [user("bob", "Bob", 2.0), user("dan", "Dan")]}
    gone: Keys = {"users": [("cat",)], "users_orders": [("cat", "1")]}
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD, foreign_keys="off")
        ran.clear()
        increment = planned(connection, written, gone, deletes=deletes)
        changed = tuple(table for table in TABLES if (found := increment.of(table.table)) and found.touched)
        foreseen = foreseen_stages(connection, Publication(SECOND, "public", changed, AFTER, increment, foreign_keys), {})
        increase(connection, SECOND, written, gone, deletes=deletes, foreign_keys=foreign_keys)
    assert list(foreseen) == ran
    assert any(line.startswith("merge into public.users by key: ") for line in ran)


def test_what_does_not_change_is_left_as_foreseen(database_url: str, ran: list[str]) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        ran.clear()
        foreseen = foreseen_stages(connection, Publication(SECOND, "public", (), AFTER, planned(connection, {})), {})
        increase(connection, SECOND, {})
    assert list(foreseen) == ran
    assert ran[0] == "leave public.users and public.users_orders unchanged"


def test_foreseeing_writes_and_locks_nothing(database_url: str) -> None:
    with target(database_url) as connection, psycopg.connect(database_url) as other:
        migrate(connection, FIRST, OLD)
        other.execute("LOCK TABLE public.users IN ROW EXCLUSIVE MODE")
        connection.execute("SET default_transaction_read_only = on")
        connection.execute("SET lock_timeout = '1s'")
        assert foreseen_stages(connection, Publication(SECOND, "public", TABLES, READ_TIME), {})


def new_tables(connection: Connection) -> None:
    migrate(connection, SECOND, OLD)


def replaced_rows(connection: Connection) -> None:
    migrate(connection, FIRST, OLD)
    migrate(connection, SECOND, NEW)


def merged_rows(connection: Connection) -> None:
    migrate(connection, FIRST, OLD)
    increase(connection, SECOND, {"users_orders": [order("ann", "2")]}, {"users_orders": [("cat", "1")]})


@pytest.mark.parametrize("published", [new_tables, replaced_rows, merged_rows])
def test_a_rollback_does_what_its_list_says(database_url: str, ran: list[str], published: Callable[[Connection], None]) -> None:
    with target(database_url) as connection:
        published(connection)
        ran.clear()
        kept = kept_tables(connection, SECOND)
        existing = {f"public.{name}": table for name, table in existing_tables(connection, "public", [one.table for one in kept]).items()}
        changed = [table for table in kept if not table.only_moved_on]
        foreseen = [*described(locking_again(changed, existing)), *described(rollback_stages_of(SECOND, kept, existing, None))]
        rollback(connection, SECOND)
    assert foreseen == ran
    assert ran[-1] == "drop the backup schema and record the tables as they were published before the run"


DOCUMENTS: Things = {"users/ada": {"name": "Ada"}, "users/bob": {"name": "Bob"}, "users/ada/orders/1": {"total": 1}, "teams/a": {"n": 1}}


@pytest.fixture
def app(emulator_host: str, postgres: PostgresServer, tmp_path: Path) -> Iterator[tuple[Source, firelift.Settings]]:
    with new_source(emulator_host) as source, new_database(postgres) as url:
        write(source, DOCUMENTS)
        place = {"project_id": source.project, "firestore_emulator_host": emulator_host, "working_dir": tmp_path / "workspace"}
        yield source, firelift.Settings(database_url=url, max_workers=1, **place)


def planned_lines(settings: firelift.Settings) -> list[str]:
    """The section of `firelift plan` on publishing, without the numbers."""
    text = plan_text(firelift.plan(settings).report)
    section = text.partition("Publishing would do this to the target, in one transaction:\n")[2].partition("\n\n")[0]
    return [line.split(". ", 1)[1] for line in section.splitlines()]


def test_a_plan_prints_what_the_migration_then_does(app: tuple[Source, firelift.Settings], ran: list[str], emulator_host: str) -> None:
    source, settings = app
    first = planned_lines(settings)
    assert ran == []
    firelift.migrate(settings)
    assert without_conditions(first) == ran
    assert "move users (2 rows) into public, with its keys" in ran
    ran.clear()
    write(source, {"users/cy": {"name": "Cy", "age": 3}, "notes/n": {"text": "x"}})
    delete_documents(emulator_host, source.name, ["users/bob"])
    step = settings.model_copy(update={"migration_mode": "incremental"})
    second = planned_lines(step)
    firelift.migrate(step)
    assert second == ran
    assert "merge into public.users by key: 1 new, 1 deleted" in ran
    assert "add to public.users the column age" in ran
    assert "move notes (1 row) into public, with its keys" in ran
    ran.clear()
    again = planned_lines(settings)
    firelift.migrate(settings)
    assert without_conditions(again) == ran
    assert "replace the rows of public.users with those of this run" in ran
