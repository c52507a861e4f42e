"""An increment merges staged rows into tables that stand, by key, and touches nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from firelift.errors import FireliftError
from firelift.phases.import_ import NewerSnapshotPublished, refuse_older_snapshot
from firelift.planning.increment import SchemaStep
from firelift.planning.model import Column, Plan, ReferenceTarget, TablePlan
from firelift.postgres.inspect.rows import count_rows, read_keys, read_rows
from firelift.postgres.load.constraints import OrphanedRows
from firelift.postgres.load.deleted_keys import deleted_keys_table, load_deleted_keys
from firelift.postgres.publish.merge import DeletedKeysMissing, PlanChanged, RowCountMismatch, rows_after
from firelift.postgres.publish.publish import publish, unpublished
from firelift.postgres.publish.replace_rows import RefusedByConstraint
from firelift.postgres.publish.retype import NotRewritten
from firelift.postgres.publish.target_facts import TableChangedMeanwhile
from firelift.postgres.schema.control_schema import saved_tables
from firelift.postgres.schema.foreign_keys import ForeignKeyBroken
from firelift.postgres.schema.names import backup_schema, staging_schema
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from tests.support.merged_tables import AFTER, LATER, Keys, increase, moment, planned, stage_difference, written
from tests.support.postgres_tables import HOSTILE, bits, plan, row, values
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
    target,
    user,
)

CHANGED: Rows = {
    "users": [user("bob", "Bob", 0.0, "dan"), user("dan", "Dan", 4.0, "dan")],
    "users_orders": [order("ann", "1", "dan"), order("dan", "1", "ann")],
}
GONE: Keys = {"users": [("cat",)], "users_orders": [("cat", "1")]}


def rows_of(connection: Connection, table: TablePlan) -> Any:
    return [bits(found) for found in read_rows(connection, TargetTable("public", table))]


def test_a_run_that_goes_on_moves_no_table_back_not_even_one_in_which_it_changes_nothing(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increment = planned(connection, {}, {})
        assert not increment.touched
        earlier, nothing = (READ_TIME - timedelta(seconds=1)).isoformat(), Plan(database="projects/p/databases/(default)", tables=())
        refuse_older_snapshot(database_url, SECOND, nothing, "public", READ_TIME.isoformat(), increment)
        with pytest.raises(NewerSnapshotPublished, match=FIRST):
            refuse_older_snapshot(database_url, SECOND, nothing, "public", earlier, increment)


def ids(connection: Connection, where: str = "true") -> list[str]:
    return values(connection, f"SELECT id FROM public.users WHERE {where} ORDER BY 1")


def with_column(table: TablePlan, *columns: Column) -> TablePlan:
    """The plan with these columns, each in the place of the one of its name, or behind all."""
    named = {column.name: column for column in columns}
    kept = [named.pop(column.name, column) for column in table.columns]
    return table.model_copy(update={"columns": (*kept, *named.values())})


def step(table: TablePlan, column: str, **what: Any) -> dict[str, list[SchemaStep]]:
    what = {"kind": "wider column", **what}
    return {table.table: [SchemaStep(collection=table.collection, table=table.table, column=column, field=column, **what)]}


def test_the_difference_makes_the_target_what_a_full_run_would_and_all_else_stays(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        before, increment = catalog(connection), planned(connection, CHANGED, GONE)
        relations = increase(connection, SECOND, CHANGED, GONE, expected_rows={"users": 3, "users_orders": 3})
        assert rows_of(connection, USERS) == [bits(found) for found in NEW["users"]]
        assert rows_of(connection, ORDERS) == [bits(found) for found in NEW["users_orders"]]
        assert all(relation.created and not relation.orphans for relation in relations)
        assert len(relations) == 3
        assert publish(connection, SECOND, "public", TABLES, AFTER, increment) == relations
        after = catalog(connection)
        assert backup_schema(SECOND) in after.pop("schemas")
        assert SECOND in str(after.pop("published"))
        del before["published"], before["schemas"]
        assert after == before
        assert connection.execute("SELECT id, note, vip, upper_name, number FROM public.users ORDER BY id").fetchall() == [
            ("ann", "mine: ann", True, "ANN", 1),
            ("bob", "mine: bob", False, "BOB", 2),
            ("dan", None, False, "DAN", 4),
        ]
        assert values(connection, "SELECT what FROM public.heard") == []


def test_only_touched_rows_are_written_and_only_they_are_backed_up(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = values(connection, "SELECT ctid::text || xmin::text FROM public.users WHERE id = 'ann'")
        increase(connection, SECOND, {"users": CHANGED["users"]}, {"users_orders": [("cat", "1")]})
        assert values(connection, "SELECT ctid::text || xmin::text FROM public.users WHERE id = 'ann'") == before
        assert values(connection, f"SELECT id FROM {backup_schema(SECOND)}.users") == ["bob"]
        assert values(connection, f'SELECT id FROM {backup_schema(SECOND)}."inserted/users"') == ["dan"]
        assert connection.execute("SELECT table_name, action, rows_before, rows_after FROM firelift.backups ORDER BY made_at").fetchall()[
            -2:
        ] == [("users", "merged", 1, 2), ("users_orders", "merged", 1, 0)]


def test_tables_in_which_nothing_changes_are_moved_on(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = contents(connection)
        assert increase(connection, SECOND, {}) == ()
        assert contents(connection) == before
        saved = saved_tables(connection, "public")
        assert [(table.migration_id, table.watermark, table.runs_since_scan) for table in saved.values()] == [(SECOND, AFTER, 0)] * 2
        assert not connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", (backup_schema(SECOND),)).fetchall()
        assert unpublished(connection, SECOND, "public", [], planned(connection, {})) == []
        assert unpublished(connection, THIRD, "public", [], planned(connection, {})) == ["users", "users_orders"]
        publish(connection, SECOND, "public", [], AFTER, planned(connection, {}))


def test_runs_that_did_not_compare_all_keys_are_counted_until_one_does(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        counts = []
        for run, scanned in ((SECOND, False), (THIRD, False), (f"{THIRD}-2", True)):
            increase(connection, run, {"users": [user("ann", run)]}, scanned=scanned)
            counts.append([table.runs_since_scan for table in saved_tables(connection, "public").values()])
        assert counts == [[1, 1], [2, 2], [0, 0]]


def test_gone_rows_are_marked_and_a_marked_one_is_no_row_to_a_reader(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increment = planned(connection, {}, GONE, deletes="mark")
        touched = stage_difference(connection, SECOND, increment, {}, GONE, TABLES)
        assert rows_after(connection, SECOND, "public", increment) == {"users": 2, "users_orders": 2}
        publish(connection, SECOND, "public", touched, AFTER, increment, expected_rows={"users": 2, "users_orders": 2})
        assert values(connection, "SELECT firestore_deleted_at FROM public.users ORDER BY id") == [None, None, AFTER]
        table = saved_tables(connection, "public")["users"].plan
        assert table == USERS.model_copy(update={"marks_deleted": True})
        assert [found[0] for found in read_rows(connection, TargetTable("public", table))] == ["ann", "bob"]
        assert [found[0] for found in read_rows(connection, TargetTable("public", table), [("bob",), ("cat",)])] == ["bob"]
        assert sorted(next(read_keys(connection, TargetTable("public", table)))) == [("ann",), ("bob",)]
        assert count_rows(connection, TargetTable("public", table)) == 2
        assert count_rows(connection, TargetTable("public", USERS)) == 3


def test_the_column_for_marks_comes_with_the_first_row_that_is_to_have_one(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increase(connection, SECOND, CHANGED, deletes="mark")
        assert "firestore_deleted_at" not in str(catalog(connection)["columns"])
        assert not saved_tables(connection, "public")["users"].plan.marks_deleted


def test_a_document_that_is_there_again_loses_its_mark_and_one_that_is_only_rewritten_keeps_it(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increase(connection, SECOND, {}, {"users": [("bob",), ("cat",)]}, deletes="mark")
        again: Rows = {"users": [written(user("bob", "Bob again"), moment(23), moment(23)), user("cat", "Cat, in another form")]}
        increment = planned(connection, again, deletes="mark")
        touched = stage_difference(connection, THIRD, increment, again, {}, TABLES)
        assert rows_after(connection, THIRD, "public", increment) == {"users": 2}
        publish(connection, THIRD, "public", touched, LATER, increment, expected_rows={"users": 2})
        assert connection.execute("SELECT name, firestore_deleted_at FROM public.users ORDER BY id").fetchall() == [
            ("Ann", None),
            ("Bob again", None),
            ("Cat, in another form", AFTER),
        ]


def test_gone_rows_stay_as_they_are_where_deletes_are_ignored(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = contents(connection)
        increase(connection, SECOND, {}, GONE, deletes="ignore", expected_rows={"users": 3})
        assert contents(connection) == before


def test_a_full_run_empties_the_marks_and_remembers_whose_the_column_is(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increase(connection, SECOND, {}, GONE, deletes="mark")
        migrate(connection, THIRD, OLD)
        assert values(connection, "SELECT firestore_deleted_at FROM public.users ORDER BY id") == [None, None, None]
        increase(connection, f"{THIRD}-2", {}, GONE, deletes="mark")
        assert ids(connection, "firestore_deleted_at IS NOT NULL") == ["cat"]


def test_a_users_own_column_of_the_name_for_marks_is_not_taken(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("ALTER TABLE public.users ADD COLUMN firestore_deleted_at timestamptz")
        before = contents(connection)
        with pytest.raises(TableChangedMeanwhile, match="firestore_deleted_at"):
            increase(connection, SECOND, {}, GONE, deletes="mark")
        assert contents(connection) == before


def test_what_a_run_foresees_is_what_comes(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increment = planned(connection, CHANGED, GONE)
        touched = stage_difference(connection, SECOND, increment, CHANGED, GONE, TABLES)
        foreseen = rows_after(connection, SECOND, "public", increment)
        assert foreseen == {"users": 3, "users_orders": 3}
        publish(connection, SECOND, "public", touched, AFTER, increment, expected_rows=foreseen)


def test_another_number_of_rows_than_expected_changes_nothing(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = catalog(connection), contents(connection)
        with pytest.raises(RowCountMismatch, match=r"public\.users: 3 rows instead of 4") as differs:
            increase(connection, SECOND, CHANGED, GONE, expected_rows={"users": 4, "users_orders": 3})
        assert differs.value.exit_code == 4
        connection.execute(f"DROP SCHEMA {staging_schema(SECOND)} CASCADE".encode())
        assert (catalog(connection), contents(connection)) == before


def test_gone_keys_that_are_not_all_staged_change_nothing(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increment = planned(connection, {}, {"users": [("bob",), ("cat",)]})
        touched = stage_difference(connection, SECOND, increment, {}, {"users": [("cat",)]}, TABLES)
        with pytest.raises(DeletedKeysMissing):
            publish(connection, SECOND, "public", touched, AFTER, increment)
        assert ids(connection) == ["ann", "bob", "cat"]


def test_a_chunk_of_gone_keys_is_loaded_once(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        stage_difference(connection, SECOND, planned(connection, {}, GONE), {}, GONE, TABLES)
        assert load_deleted_keys(connection, SECOND, USERS, "gone/users", pa.table({"id": ["cat"]})) == 1
        staged = f'SELECT id FROM {staging_schema(SECOND)}."{deleted_keys_table("users")}"'
        assert values(connection, staged) == ["cat"]


def test_a_table_that_was_published_anew_meanwhile_is_not_merged_into(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increment = planned(connection, CHANGED)
        touched = stage_difference(connection, SECOND, increment, CHANGED, {}, TABLES)
        other = with_column(USERS, Column(name="more", path=("more",), kind="string"))
        migrate(connection, THIRD, {}, [other])
        before = contents(connection)
        with pytest.raises((PlanChanged, ForeignKeyBroken)):
            publish(connection, SECOND, "public", touched, AFTER, increment)
        assert contents(connection) == before


def test_a_column_of_ours_that_is_gone_is_not_half_filled(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("ALTER TABLE public.users DROP COLUMN score")
        with pytest.raises(TableChangedMeanwhile, match="score"):
            increase(connection, SECOND, CHANGED)


def test_new_columns_are_null_in_rows_that_are_not_touched(database_url: str) -> None:
    wider = with_column(USERS, Column(name="email", path=("email",), kind="string"))
    changed = [row(wider, "bob", "Bob", 1.0, None, "bob@example.org")]
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        increase(connection, SECOND, {"users": changed}, tables=[wider, ORDERS], steps=step(wider, "email", kind="new column"))
        assert connection.execute("SELECT id, email, note FROM public.users ORDER BY id").fetchall() == [
            ("ann", None, "mine: ann"),
            ("bob", "bob@example.org", "mine: bob"),
            ("cat", None, "mine: cat"),
        ]
        assert saved_tables(connection, "public")["users"].plan == wider


def test_a_new_column_does_not_take_one_of_the_users(database_url: str) -> None:
    wider = with_column(USERS, Column(name="note", path=("note",), kind="string"))
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        with pytest.raises(TableChangedMeanwhile, match="note"):
            increase(connection, SECOND, {"users": [row(wider, "bob", "Bob", 1.0, None, "x")]}, tables=[wider, ORDERS])


JSON_SCORES = with_column(USERS, Column(name="score", path=("score",), kind="json"))
JSON_ROWS: Rows = {
    "users": [
        row(JSON_SCORES, "ann", "Ann", "1.5", None),
        row(JSON_SCORES, "bob", "Bob", '"high"', "ann"),
        row(JSON_SCORES, "cat", "Cat", '"NaN"', None),
    ]
}


def test_a_column_gets_a_wider_type_when_all_rows_are_written_anew(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("CREATE INDEX ON public.users (score)")
        increase(connection, SECOND, JSON_ROWS, tables=[JSON_SCORES, ORDERS], steps=step(USERS, "score"))
        assert values(connection, "SELECT score FROM public.users ORDER BY id") == [1.5, "high", "NaN"]
        assert rows_of(connection, JSON_SCORES) == [bits(found) for found in JSON_ROWS["users"]]


def test_a_column_does_not_get_another_type_while_rows_are_not_written_anew(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        with pytest.raises(NotRewritten):
            increase(connection, SECOND, {"users": JSON_ROWS["users"][:2]}, tables=[JSON_SCORES, ORDERS], steps=step(USERS, "score"))
        assert rows_of(connection, USERS) == [bits(found) for found in OLD["users"]]


# All of them are found before anything is loaded, unless they come meanwhile.
@pytest.mark.parametrize(
    ("hindrance", "kind", "named"),
    [
        ("CREATE VIEW public.scores AS SELECT score FROM public.users", TableChangedMeanwhile, "scores"),
        ("CREATE POLICY high ON public.users USING (score > 1)", TableChangedMeanwhile, "high"),
        ("ALTER TABLE public.users ADD COLUMN twice float8 GENERATED ALWAYS AS (score * 2) STORED", TableChangedMeanwhile, "twice"),
        ("ALTER TABLE public.users ADD CHECK (score <> -1)", TableChangedMeanwhile, "users_score_check"),
        ("ALTER TABLE public.users ALTER COLUMN score SET DEFAULT 0", TableChangedMeanwhile, "default value for column score"),
        (
            "ALTER TABLE public.users ADD UNIQUE (score); CREATE TABLE public.s (s float8 REFERENCES public.users (score))",
            TableChangedMeanwhile,
            "s_s_fkey",
        ),
    ],
)
def test_what_hinders_another_type_is_named_and_nothing_is_changed(
    database_url: str, hindrance: str, kind: type[FireliftError], named: str
) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute(hindrance.encode())
        before = contents(connection), catalog(connection)["columns"]
        with pytest.raises(kind, match=named) as hindered:
            increase(connection, SECOND, JSON_ROWS, tables=[JSON_SCORES, ORDERS], steps=step(USERS, "score"))
        assert hindered.value.recovery == "after_fix"
        assert (contents(connection), catalog(connection)["columns"]) == before


def test_a_link_that_becomes_json_loses_our_foreign_key(database_url: str) -> None:
    other = with_column(USERS, Column(name="boss", path=("boss",), kind="json"))
    rows: Rows = {
        "users": [row(other, "ann", "Ann", 1.5, "7"), row(other, "bob", "Bob", -0.0, '"users/ann"'), row(other, "cat", "Cat", 1.0, None)]
    }
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        increase(connection, SECOND, rows, tables=[other, ORDERS], steps=step(USERS, "boss"))
        assert values(connection, "SELECT boss FROM public.users ORDER BY id") == [7, "users/ann", None]
        assert values(connection, "SELECT conname FROM pg_constraint WHERE contype = 'f' ORDER BY 1") == [
            "users_orders_gift_for_fkey",
            "users_orders_users_id_fkey",
        ]


def test_the_ancestors_of_a_link_that_is_none_any_more_become_null_in_written_rows(database_url: str) -> None:
    people = plan("orgs/*/people")
    linked = TablePlan(
        collection="things",
        table="things",
        keys=("id",),
        columns=(
            Column(
                name="who", path=("who",), kind="link", reference=ReferenceTarget(collection="orgs/*/people", ancestors=("who_orgs_id",))
            ),
        ),
    )
    unlinked = linked.model_copy(update={"columns": (Column(name="who", path=("who",), kind="reference"),)})
    with target(database_url) as connection:
        migrate(connection, FIRST, {"things": [row(linked, "a", "p", "o")], "orgs_people": [row(people, "o", "p")]}, [linked, people])
        increase(connection, SECOND, {"things": [row(unlinked, "a", "orgs/o/people/p")]}, tables=[unlinked, people])
        assert connection.execute("SELECT who, who_orgs_id FROM public.things").fetchall() == [("orgs/o/people/p", None)]


def test_a_foreign_key_of_ours_that_would_break_is_dropped_and_counted(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        relations = increase(connection, SECOND, {"users": [user("ann", "Ann", 1.5, "nobody")]})
        found = {(relation.table, relation.columns): (relation.orphans, relation.created) for relation in relations}
        assert found == {
            ("users", ("boss",)): (1, False),
            ("users_orders", ("users_id",)): (0, True),
            ("users_orders", ("gift_for",)): (0, True),
        }


def test_a_foreign_key_is_made_once_every_row_allows_it(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, {"users": [user("ann", "Ann", 1.5, "nobody")]})
        assert "boss" not in str(catalog(connection)["constraints"])
        assert [relation.created for relation in increase(connection, SECOND, {"users": [user("nobody")]}, foreign_keys="off")] == [
            False,
            True,
            True,
        ]
        increase(connection, THIRD, {"users": [user("bob")]})
        assert "FOREIGN KEY (boss) REFERENCES users(id)" in str(catalog(connection)["constraints"]).replace("public.", "")
        assert "(boss)" in str(catalog(connection)["indexes"])


def test_a_reference_that_leads_nowhere_is_refused_where_foreign_keys_are_strict(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        before = contents(connection)
        with pytest.raises(OrphanedRows, match="boss"):
            increase(connection, SECOND, {"users": [user("ann", "Ann", 1.5, "nobody")]}, foreign_keys="strict")
        assert contents(connection) == before


def test_a_users_foreign_key_that_would_break_stops_everything(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
        connection.execute("INSERT INTO public.notes VALUES (3, 'cat')")
        before = contents(connection)
        with pytest.raises(ForeignKeyBroken, match="notes_user_id_fkey"):
            increase(connection, SECOND, CHANGED, GONE)
        assert contents(connection) == before
        increase(connection, THIRD, CHANGED, GONE, deletes="mark")


def test_unique_values_of_the_users_trade_places(database_url: str) -> None:
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        connection.execute("ALTER TABLE public.users ADD UNIQUE (name)")
        increase(connection, SECOND, {"users": [user("ann", "Bob"), user("bob", "Ann"), user("dan", "Cat")]}, GONE)
        assert values(connection, "SELECT name FROM public.users ORDER BY id") == ["Bob", "Ann", "Cat"]
        with pytest.raises(RefusedByConstraint):
            increase(connection, THIRD, {"users": [user("eve", "Ann")]})


def test_a_new_collection_moves_in_beside_and_gets_its_relations(database_url: str) -> None:
    teams = plan("teams", lead=ReferenceTarget(collection="users"))
    tables = (*TABLES, teams)
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        rows = {"teams": [row(teams, "red", "ann")]}
        relations = increase(connection, SECOND, rows, tables=tables)
        assert [(relation.table, relation.columns, relation.created) for relation in relations] == [("teams", ("lead",), True)]
        increase(connection, THIRD, {"teams": [row(teams, "blue", "bob")]}, tables=tables, expected_rows={"teams": 2, "users": 3})


def test_names_of_any_kind_are_merged_and_taken_back(database_url: str) -> None:
    odd = TablePlan(collection=HOSTILE, table=HOSTILE[:60], keys=("id",), columns=(Column(name=HOSTILE, path=(HOSTILE,), kind="string"),))
    with target(database_url) as connection:
        migrate(connection, FIRST, {odd.table: [row(odd, "a", "x"), row(odd, "%s", "y")]}, [odd])
        increase(connection, SECOND, {odd.table: [row(odd, "b", "z")]}, {odd.table: [("%s",)]}, [odd], deletes="mark")
        assert sorted(found[0] for found in rows_of(connection, saved_tables(connection, "public")[HOSTILE].plan)) == ["a", "b"]
