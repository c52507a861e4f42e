"""Publishing and rolling back are lists of stages: built from facts, without a connection, and described line by line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from firelift.planning.increment import Deletes, Increment, SchemaStep, TableIncrement
from firelift.planning.model import ReferenceTarget, TablePlan
from firelift.planning.references import relations_of
from firelift.postgres.load.constraints import ForeignKeys
from firelift.postgres.publish.backups import Changes, KeptTable, Retyped
from firelift.postgres.publish.merge import merge_planned
from firelift.postgres.publish.publish import before_and_lock, stages_of
from firelift.postgres.publish.stages.new_tables import making_schema
from firelift.postgres.publish.stages.rolling_back import locking_again, rollback_stages_of
from firelift.postgres.publish.stages.stage import described, listed
from firelift.postgres.publish.target_facts import Found, Publication, Refresh, Wanted
from firelift.postgres.schema.compatibility import SPELLED, ExistingColumn, ExistingTable
from firelift.postgres.schema.foreign_keys import ForeignKey
from firelift.postgres.schema.names import MADE_BY_US, backup_schema
from firelift.receipts import Index
from tests.support.postgres_tables import plan

RUN = "nightly"
READ_TIME = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
USERS = plan("users", name="string")
ORDERS = plan("users/*/orders", parent="users", gift_for=ReferenceTarget(collection="users"))
TABLES = (USERS, ORDERS)


def existing(table: TablePlan, required: Sequence[str] = (), **others: str) -> ExistingTable:
    """A table of the target as the plan makes it, with other columns or types."""
    types = {name: SPELLED.get(pg_type, pg_type) for name, pg_type in table.target_columns()} | others
    columns = {
        name: ExistingColumn(
            name=name,
            type=pg_type,
            generated=False,
            always_identity=False,
            needs_value=False,
            deterministic=True,
            required=name in required,
        )
        for name, pg_type in types.items()
    }
    return ExistingTable(name=table.table, obstacle=None, primary_key=table.keys, columns=columns)


def foreign_key(
    name: str, source: str, columns: tuple[str, ...], references: str = "users", schema: str = "public", *, ours: bool = True
) -> ForeignKey:
    return ForeignKey(
        name=name,
        source_schema=schema,
        source=source,
        columns=columns,
        references_schema="public",
        references=references,
        referenced=("id",),
        definition="",
        deferrable=False,
        deferred=False,
        acts=False,
        comment=MADE_BY_US if ours else None,
    )


def publication(
    tables: Sequence[TablePlan] = TABLES, increment: Increment | None = None, foreign_keys: ForeignKeys = "report", **expected: int
) -> Publication:
    return Publication(RUN, "public", tuple(tables), READ_TIME, increment, foreign_keys, expected)


def lines(publication: Publication, found: Found) -> list[str]:
    return [*described(before_and_lock(publication, found)), *described(stages_of(publication, found))]


WANTED = tuple(Wanted(*relation.ends) for relation in relations_of(TABLES))


def test_new_tables_are_moved_and_recorded() -> None:
    assert lines(publication(), Found((), (), {}, wanted=WANTED, new_rows={"users": 1, "users_orders": 1204})) == [
        "count and digest the staged rows of users and users_orders",
        "move users (1 row) into public, with its keys",
        "move users_orders (1,204 rows) into public, with its keys",
        "record digest, plan and read time of public.users and public.users_orders",
        "drop the staging schema and record the run as published",
        "let the API read its schema again",
    ]


def test_a_schema_that_is_not_there_is_made_first() -> None:
    assert described(making_schema(publication(), exists=False)) == ("make the schema public",)
    assert described(making_schema(publication(), exists=True)) == ()


def test_a_table_that_exists_is_backed_up_and_its_rows_are_replaced() -> None:
    keys = (
        foreign_key("users_orders_users_id_fkey", "users_orders", ("users_id",)),
        foreign_key("notes_user_fkey", "notes", ("user",), schema="app", ours=False),
    )
    found = Found((Refresh(USERS, existing(USERS)),), keys, {}, wanted=WANTED, rows={"users": 1204}, new_rows={"users_orders": 3})
    assert lines(publication(), found) == [
        "count and digest the staged rows of users_orders",
        "lock public.users: readers and writers wait until the commit",
        "copy all rows of public.users (about 1,204) to the backup schema",
        "drop the foreign key users_orders_users_id_fkey of public.users_orders if the new rows break it",
        "stop if the new rows break the foreign key notes_user_fkey of app.notes",
        "replace the rows of public.users with those of this run",
        "run ANALYZE on public.users",
        "drop the staging tables of users",
        "move users_orders (3 rows) into public, with its keys",
        "add the foreign key public.users_orders (gift_for) -> public.users",
        "record digest, plan and read time of public.users and public.users_orders",
        "drop the staging schema and record the run as published",
        "let the API read its schema again",
    ]


def test_readers_see_the_old_rows_where_no_column_key_or_index_must_change() -> None:
    found = Found((Refresh(USERS, existing(USERS)),), (), {})
    assert "lock public.users: writers wait, readers see the old rows until the commit" in lines(publication([USERS]), found)


def test_tables_are_locked_in_one_order() -> None:
    found = Found((Refresh(ORDERS, existing(ORDERS)), Refresh(USERS, existing(USERS))), (), {})
    assert lines(publication([ORDERS, USERS]), found)[0].startswith("lock public.users and public.users_orders:")


def test_a_foreign_key_that_orphaned_rows_may_prevent_is_promised_with_that_condition() -> None:
    found = Found((Refresh(USERS, existing(USERS)),), (), {}, wanted=WANTED, uncertain=frozenset(WANTED[:1]))
    said = [line for line in lines(publication(), found) if "foreign key" in line]
    assert said == [
        "add the foreign key public.users_orders (users_id) -> public.users, if no row is orphaned",
        "add the foreign key public.users_orders (gift_for) -> public.users",
    ]


def test_columns_are_added_and_get_other_types_before_any_row_is_written() -> None:
    text = existing(ORDERS, ["gift_for"], gift_for="bigint")
    wider = ExistingTable(
        name=text.name,
        obstacle=None,
        primary_key=text.primary_key,
        columns={name: column for name, column in text.columns.items() if name != "firestore_residue"},
    )
    keys = (foreign_key("gift_fkey", "users_orders", ("gift_for",)), foreign_key("parent_fkey", "users_orders", ("users_id",)))
    full = Index(table="users_orders", name="users_orders_users_id_idx", columns=("users_id",), plain=True, comment=MADE_BY_US)
    found = Found((Refresh(ORDERS, wider),), keys, {"users_orders": (full,)}, wanted=WANTED)
    assert lines(publication([ORDERS]), found) == [
        "lock public.users_orders: readers and writers wait until the commit",
        "copy all rows of public.users_orders to the backup schema",
        "add to public.users_orders the column firestore_residue",
        "drop the index users_orders_users_id_idx of public.users_orders: a value is too long for it",
        "drop the foreign key gift_fkey of public.users_orders: its column gets another type",
        "give the column gift_for of public.users_orders the type text",
        "drop the foreign key parent_fkey of public.users_orders if the new rows break it",
        "replace the rows of public.users_orders with those of this run",
        "make the column gift_for of public.users_orders NOT NULL again",
        "run ANALYZE on public.users_orders",
        "drop the staging tables of users_orders",
        "add the foreign key public.users_orders (gift_for) -> public.users",
        "record digest, plan and read time of public.users_orders",
        "drop the staging schema and record the run as published",
        "let the API read its schema again",
    ]


def increment(deletes: Deletes = "propagate", before: TablePlan = USERS, **counts: int) -> Increment:
    """Changes in users, none in users_orders."""
    users = TableIncrement(collection="users", table="users", before=before).model_copy(update=counts)
    return Increment(deletes=deletes, tables=(users, TableIncrement(collection="users/*/orders", table="users_orders", before=ORDERS)))


def merged(found: Increment, plan: TablePlan = USERS) -> Found:
    merge = merge_planned(RUN, found.tables[0], found, READ_TIME)
    assert merge is not None
    return Found((Refresh(plan, existing(merge.before), merge),), (), {}, published=TABLES, unchanged=((ORDERS, existing(ORDERS)),))


def test_an_increment_merges_rows_by_key_and_leaves_other_tables_as_they_are() -> None:
    changes = increment(new=2, changed=1, deleted=1200)
    assert lines(publication([USERS], changes, users=7), merged(changes)) == [
        "lock public.users: writers wait, readers see the old rows until the commit",
        "copy the rows of public.users that change, and the keys of new ones, to the backup schema",
        "leave public.users_orders unchanged",
        "merge into public.users by key: 2 new, 1 changed, 1,200 deleted",
        "drop the staging tables of users",
        "stop unless public.users has 7 rows",
        "add the foreign key public.users_orders (users_id) -> public.users, if no row is orphaned",
        "add the foreign key public.users_orders (gift_for) -> public.users, if no row is orphaned",
        "record digest, plan and read time of public.users and public.users_orders",
        "drop the staging schema and record the run as published",
        "let the API read its schema again, if a column or a foreign key has come or gone",
    ]


def test_a_strict_increment_stops_at_an_orphaned_reference_but_not_at_a_missing_parent() -> None:
    changes = increment(new=2)
    assert [line for line in lines(publication([USERS], changes, "strict"), merged(changes)) if "foreign key public" in line] == [
        "add the foreign key public.users_orders (users_id) -> public.users, if no row is orphaned",
        "add the foreign key public.users_orders (gift_for) -> public.users, or stop if a row is orphaned",
    ]
    assert not any("foreign key public" in line for line in lines(publication([USERS], changes, "off"), merged(changes)))


def test_the_first_soft_deleted_row_brings_its_column() -> None:
    changes = increment("mark", deleted=3)
    assert lines(publication([USERS], changes, "off"), merged(changes))[:5] == [
        "lock public.users: readers and writers wait until the commit",
        "copy the rows of public.users that change, and the keys of new ones, to the backup schema",
        "leave public.users_orders unchanged",
        "add to public.users the column firestore_deleted_at",
        "merge into public.users by key: 3 marked as deleted",
    ]
    again = increment("mark", USERS.model_copy(update={"marks_deleted": True}), deleted=3)
    assert not any("add" in line for line in lines(publication([USERS], again, "off"), merged(again)))


def test_rows_that_stay_although_their_documents_are_gone_are_not_said_to_go() -> None:
    changes = increment("ignore", new=1, deleted=3)
    assert "merge into public.users by key: 1 new" in lines(publication([USERS], changes), merged(changes))


def test_a_new_column_without_a_row_that_fills_it_writes_no_row() -> None:
    step = SchemaStep(collection="users", table="users", kind="new column", column="age", after="bigint")
    grown = plan("users", name="string", age="integer")
    changes = increment()
    changes = changes.model_copy(update={"tables": (changes.tables[0].model_copy(update={"steps": (step,)}), changes.tables[1])})
    said = lines(publication([grown], changes), merged(changes, grown))
    assert "add to public.users the column age" in said
    assert "merge into public.users by key: no row" in said
    assert said[-1] == "let the API read its schema again"


def test_an_increment_in_which_nothing_changes_only_moves_on() -> None:
    nothing = increment()
    found = Found((), (), {}, published=TABLES, unchanged=((USERS, existing(USERS)), (ORDERS, existing(ORDERS))))
    assert lines(publication([], nothing), found) == [
        "leave public.users and public.users_orders unchanged",
        "record digest, plan and read time of public.users and public.users_orders",
        "drop the staging schema and record the run as published",
        "let the API read its schema again, if a column or a foreign key has come or gone",
    ]


def test_a_test_run_publishes_for_nobody_but_whoever_started_it() -> None:
    scratch = Publication(RUN, "firelift_test_nightly", (USERS,), READ_TIME)
    assert described(stages_of(scratch, Found((), (), {})))[-1] == "drop the staging schema and record the run as published"


@pytest.mark.parametrize(("names", "said"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_names_are_listed_as_one_says_them(names: list[str], said: str) -> None:
    assert listed(names) == said


def test_of_many_names_the_first_ten_are_listed() -> None:
    names = [f"t{number}" for number in range(500)]
    assert listed(names) == "t0, t1, t2, t3, t4, t5, t6, t7, t8, t9 and 490 others"
    assert listed(names[:11]).endswith("t9 and t10")


def kept(plan: TablePlan, action: str, changes: Changes, rows: int | None = 3) -> KeptTable:
    return KeptTable.model_validate(
        {
            "target_schema": "public",
            "table": plan.table,
            "action": action,
            "backup_schema": backup_schema(RUN) if action != "created" and rows is not None else None,
            "columns": tuple(name for name, _ in plan.target_columns()),
            "changes": changes,
            "rows_before": rows,
            "digest_before": "before",
            "rows_after": 3,
            "digest_after": "after",
            "last_transaction": "1",
            "published_by": RUN,
            "dropped_at": None,
        }
    )


def taken_back(tables: Sequence[KeptTable], there: Sequence[ExistingTable], made_schema: str | None = None) -> list[str]:
    by_name = {f"public.{table.name}": table for table in there}
    return [*described(locking_again(tables, by_name)), *described(rollback_stages_of(RUN, tables, by_name, made_schema))]


def test_a_rollback_drops_what_was_made() -> None:
    tables = [kept(USERS, "created", Changes(), None), kept(ORDERS, "created", Changes(), None)]
    assert taken_back(tables, [existing(USERS), existing(ORDERS)], "public") == [
        "lock public.users and public.users_orders: readers and writers wait until the commit",
        "drop public.users",
        "drop public.users_orders",
        "drop the schema public, if there is nothing in it",
        "drop the backup schema and record the tables as they were published before the run",
    ]


def test_a_rollback_undoes_the_last_effect_first() -> None:
    index = Index(table="users_orders", name="gift_idx", columns=("gift_for",), plain=True, comment=MADE_BY_US)
    changes = Changes(
        columns_added=("note", "firestore_residue"),
        indexes_added=("parent_idx",),
        foreign_keys_added=("parent_fkey",),
        foreign_keys_dropped=(foreign_key("gift_fkey", "users_orders", ("gift_for",)),),
        indexes_dropped=(index,),
        columns_retyped=(Retyped(column="gift_for", before="bigint"),),
    )
    assert taken_back([kept(ORDERS, "replaced", changes, 1)], [existing(ORDERS, note="text")]) == [
        "lock public.users_orders: readers and writers wait until the commit",
        "drop the foreign key parent_fkey of public.users_orders",
        "drop the index parent_idx of public.users_orders",
        "give the column gift_for of public.users_orders the type bigint again",
        "put 1 old row back into public.users_orders in place of all that are there",
        "drop the columns note and firestore_residue of public.users_orders",
        "make the index gift_idx of public.users_orders again",
        "make the foreign key gift_fkey of public.users_orders again",
        "stop unless the rows of public.users_orders have the digest from before the run",
        "drop the backup schema and record the tables as they were published before the run",
    ]


def test_a_rollback_of_a_merge_touches_only_rows_of_the_run() -> None:
    tables = [
        kept(USERS, "merged", Changes(keys=("id",), inserted="inserted/users")),
        kept(ORDERS, "merged", Changes(keys=ORDERS.keys), None),
    ]
    assert taken_back(tables, [existing(USERS), existing(ORDERS)])[1:] == [
        "put 3 old rows back into public.users and delete those that the run inserted",
        "stop unless the rows of public.users have the digest from before the run",
        "drop the backup schema and record the tables as they were published before the run",
    ]


def test_a_rollback_of_a_run_that_published_nothing_has_nothing_to_do() -> None:
    assert taken_back([], []) == []
