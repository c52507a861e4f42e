"""A B-tree refuses a row of which it has to hold more than 2704 bytes: what becomes of the rows, and of the index."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest

from firelift.migration.rollback_text import rollback_text
from firelift.phases.import_ import publish_tables
from firelift.planning.model import Column, Plan, ReferenceTarget, TablePlan
from firelift.postgres.load.constraints import ForeignKeys, OrphanedRows
from firelift.postgres.publish.backups import kept_tables
from firelift.postgres.publish.rollback import rollback
from firelift.postgres.schema.control_schema import saved_tables
from firelift.postgres.schema.indexes import TooLongForIndex
from firelift.postgres.session.connect import Connection
from tests.integration.test_postgres_merge import step, with_column
from tests.support.merged_tables import LATER, increase
from tests.support.postgres_tables import plan, row, values
from tests.support.refreshed_tables import FIRST, OLD, READ_TIME, SECOND, TABLES, THIRD, Rows, catalog, contents, migrate, stage, target

NOTES = plan("notes", seen=ReferenceTarget(collection="users/*/orders", ancestors=("seen_of",)))
ALL = (*TABLES, NOTES)
COLUMNS = [name for name, _ in NOTES.target_columns()]
PLAN = Plan(database="projects/p/databases/(default)", tables=ALL)
INDEX = "notes_seen_of_seen_idx"


def long_id(seed: int, length: int = 1490) -> str:
    """An id that PostgreSQL cannot compress."""
    return base64.urlsafe_b64encode(random.Random(seed).randbytes(length)).decode()[:length]


def note(key: str, of: str, seen: str) -> list[Any]:
    there = {"id": key, "seen_of": of, "seen": seen}
    return row(NOTES, *(there[name] for name in COLUMNS if name in there))


WHOLE = note("n", "ann", "1")
DANGLING = note("long", long_id(1), long_id(2))
BEFORE: Rows = {**OLD, "notes": [WHOLE]}
AFTER: Rows = {**OLD, "notes": [WHOLE, DANGLING]}


def state(connection: Connection) -> tuple[Any, ...]:
    comments = values(
        connection,
        "SELECT objoid::regclass || description FROM pg_description WHERE description = 'Made by Firelift'"
        " AND classoid = 'pg_class'::regclass ORDER BY 1",
    )
    return catalog(connection), contents(connection), saved_tables(connection, "public"), comments


def write(connection: Connection, run: str, how: str, foreign_keys: ForeignKeys = "report") -> None:
    """The dangling reference into the target."""
    if how == "full":
        migrate(connection, run, AFTER, ALL, foreign_keys=foreign_keys)
    else:
        increase(connection, run, {"notes": [DANGLING]}, tables=ALL, foreign_keys=foreign_keys)


def hangs_on_notes(connection: Connection) -> tuple[list[str], list[str]]:
    """Its indexes and its foreign keys."""
    return (
        values(connection, "SELECT indexname FROM pg_indexes WHERE tablename = 'notes' AND schemaname = 'public' ORDER BY 1"),
        values(connection, "SELECT conname FROM pg_constraint WHERE conrelid = 'public.notes'::regclass AND contype = 'f'"),
    )


@pytest.mark.parametrize("how", ["full", "increment"])
def test_index_and_foreign_key_go_before_a_dangling_reference_too_long_for_them_and_a_rollback_puts_them_back(
    database_url: str, how: str
) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, BEFORE, ALL)
        before = state(connection)
        write(connection, SECOND, how)
        assert hangs_on_notes(connection) == (["notes_pkey"], [])
        assert values(connection, "SELECT seen FROM public.notes ORDER BY id") == [long_id(2), "1"]
        dropped = {table.table: [index.name for index in table.changes.indexes_dropped] for table in kept_tables(connection, SECOND)}
        assert {table: names for table, names in dropped.items() if names} == {"notes": [INDEX]}
        assert rollback(connection, SECOND).indexes_left == ()
        assert state(connection) == before


@pytest.mark.parametrize("how", ["full", "increment"])
def test_an_index_goes_whose_foreign_key_an_earlier_dangling_reference_had_cost(database_url: str, how: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, BEFORE, ALL)
        increase(connection, SECOND, {"notes": [note("short", "ann", "absent")]}, tables=ALL)
        assert hangs_on_notes(connection) == (["notes_pkey", INDEX], [])
        before = state(connection)
        if how == "full":
            migrate(connection, THIRD, AFTER, ALL)
        else:
            increase(connection, THIRD, {"notes": [DANGLING]}, tables=ALL, read_time=LATER)
        assert hangs_on_notes(connection) == (["notes_pkey"], [])
        rollback(connection, THIRD)
        assert state(connection) == before


def test_an_index_from_before_there_were_comments_is_known_by_its_name_and_its_foreign_key(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, BEFORE, ALL)
        connection.execute(f"COMMENT ON INDEX public.{INDEX} IS NULL".encode())
        write(connection, SECOND, "increment")
        assert hangs_on_notes(connection) == (["notes_pkey"], [])


def test_once_no_reference_dangles_any_more_index_and_foreign_key_are_made_again(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, AFTER, ALL)
        before = state(connection)
        assert hangs_on_notes(connection) == (["notes_pkey"], [])
        increase(connection, SECOND, {"notes": [note("long", "bob", "1")]}, tables=ALL)
        assert hangs_on_notes(connection) == (["notes_pkey", INDEX], ["notes_seen_of_seen_fkey"])
        rollback(connection, SECOND)
        assert state(connection) == before


def test_an_index_that_rows_which_are_gone_are_too_long_for_is_made_once_nobody_can_see_them(database_url: str) -> None:
    with target(database_url) as connection, target(database_url) as reader:
        migrate(connection, FIRST, AFTER, ALL)
        before = state(connection)
        increase(connection, SECOND, {}, {"notes": [("long",)]}, tables=ALL)
        assert hangs_on_notes(connection) == (["notes_pkey"], ["notes_seen_of_seen_fkey"])
        with reader.transaction():
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT FROM pg_class")
            rollback(connection, SECOND)
            increase(connection, THIRD, {}, {"notes": [("long",)]}, tables=ALL)
            (told,) = publish_tables(database_url, THIRD, PLAN, "public", READ_TIME.isoformat()).index_notes
            assert "public.notes: the foreign key (seen_of, seen) was made without an index" in told
        for _ in range(2):
            assert publish_tables(database_url, THIRD, PLAN, "public", READ_TIME.isoformat()).index_notes == ()
            assert hangs_on_notes(connection) == (["notes_pkey", INDEX], ["notes_seen_of_seen_fkey"])
        rollback(connection, THIRD)
        assert state(connection) == before


def test_while_another_session_sees_the_rows_that_are_gone_the_index_waits_for_another_rollback(database_url: str) -> None:
    with target(database_url) as connection, target(database_url) as reader:
        migrate(connection, FIRST, BEFORE, ALL)
        before = state(connection)
        write(connection, SECOND, "increment")
        with reader.transaction():
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT FROM pg_class")
            done = rollback(connection, SECOND)
            assert [each.index.name for each in done.indexes_left] == [INDEX]
            assert 'CREATE INDEX ON "public"."notes"' in rollback_text(done)
            assert hangs_on_notes(connection) == (["notes_pkey"], ["notes_seen_of_seen_fkey"])
        assert rollback(connection, SECOND).indexes_left == ()
        assert state(connection) == before


def test_long_ids_that_postgresql_can_compress_cost_no_index(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, BEFORE, ALL)
        increase(connection, SECOND, {"notes": [note("long", "a" * 1490, "b" * 1490)]}, tables=ALL)
        assert hangs_on_notes(connection) == (["notes_pkey", INDEX], [])


def test_without_new_foreign_keys_the_index_goes_too(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, BEFORE, ALL)
        write(connection, SECOND, "increment", "off")
        assert hangs_on_notes(connection) == (["notes_pkey"], [])


def test_where_references_may_not_dangle_that_is_what_is_said(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, BEFORE, ALL)
        with pytest.raises(OrphanedRows, match="notes"):
            write(connection, SECOND, "increment", "strict")
        assert hangs_on_notes(connection) == (["notes_pkey", INDEX], ["notes_seen_of_seen_fkey"])


@pytest.mark.parametrize("how", ["full", "increment"])
@pytest.mark.parametrize(
    "made", ["INDEX mine ON public.notes (seen_of, seen)", "UNIQUE INDEX mine ON public.notes (seen, id) INCLUDE (seen_of)"]
)
def test_an_index_of_the_users_is_named_before_a_row_is_written_and_all_stays(database_url: str, how: str, made: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, BEFORE, ALL)
        connection.execute(f"CREATE {made}".encode())
        before = hangs_on_notes(connection), contents(connection)
        with pytest.raises(TooLongForIndex, match=r"table: public\.notes, index: mine, columns: seen.*Drop the index.*--resume"):
            write(connection, SECOND, how)
        assert (hangs_on_notes(connection), contents(connection)) == before


@pytest.mark.parametrize(
    "made",
    [
        "btree ((seen_of || seen))",
        "btree (seen_of, seen) WHERE seen IS NOT NULL",
        "gin ((ARRAY[seen_of || seen]))",
        "btree ((repeat(seen_of || seen, 90)))",
    ],
)
def test_an_index_that_only_writing_the_rows_tells_of_is_named_too(database_url: str, made: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, BEFORE, ALL)
        connection.execute(f"CREATE INDEX mine ON public.notes USING {made}".encode())
        before = contents(connection)
        with pytest.raises(TooLongForIndex, match=r"table: public\.notes, index: mine, said: .*Drop the index"):
            write(connection, SECOND, "increment")
        assert contents(connection) == before


def test_the_index_of_a_link_that_becomes_a_long_text_goes(database_url: str) -> None:
    users = with_column(TABLES[0], Column(name="boss", path=("boss",), kind="json"))
    rows: Rows = {"users": [row(users, key, key, 1.0, f'"{long_id(3, 9000)}"') for key in ("ann", "bob", "cat")]}
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = state(connection)
        increase(connection, SECOND, rows, tables=[users, TABLES[1]], steps=step(TABLES[0], "boss"))
        rollback(connection, SECOND)
        assert state(connection) == before
        migrate(connection, THIRD, rows, [users, TABLES[1]])
        rollback(connection, THIRD)
        assert state(connection) == before


def test_what_was_dropped_is_told_when_the_tables_are_published_even_by_a_second_attempt(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, BEFORE, ALL)
        stage(connection, SECOND, AFTER, ALL)
    for _ in range(2):
        (told,) = publish_tables(database_url, SECOND, PLAN, "public", READ_TIME.isoformat()).index_notes
        assert f"public.notes: the index {INDEX} (seen_of, seen)" in told
        assert "2704 bytes" in told


def test_collections_whose_names_are_too_long_for_an_index_are_remembered_by_their_beginning_and_a_digest(database_url: str) -> None:
    path = f"{long_id(5)}/*/{long_id(6)}"
    near, far = (
        TablePlan(collection=f"{path}{end}", table=f"t{end}", keys=("up_id", "id"), columns=(Column(name="n", path=("n",), kind="string"),))
        for end in "12"
    )
    tables = [near, far]
    with target(database_url) as connection:
        migrate(connection, FIRST, {"t1": [row(near, "a", "b", "old")]}, tables)
        before = state(connection)
        increase(connection, SECOND, {"t1": [row(near, "a", "b", "new")], "t2": [row(far, "a", "c", "new")]}, tables=tables)
        assert {saved.migration_id for saved in saved_tables(connection, "public").values()} == {SECOND}
        assert values(connection, "SELECT n FROM public.t1 UNION ALL SELECT n FROM public.t2") == ["new", "new"]
        rollback(connection, SECOND)
        assert state(connection) == before
        assert saved_tables(connection, "public").keys() == {near.collection, far.collection}
