"""What people and machines read about an incremental run: what was new, changed and gone, and nothing of a full run's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firelift.cli.display import status_lines
from firelift.planning.increment import Deletes, Increment
from firelift.planning.model import Plan, TablePlan
from firelift.planning.shown_plan import shown_plan
from firelift.run.reports import executive_summary, html_report
from firelift.run.reports.increment import increment_report
from firelift.run.reports.plan_text import plan_text
from firelift.run.status import Status
from firelift.run.workspace import Workspace
from tests.support.increment_cases import BASE, MANY, NOTHING, SINCE, difference, some, whole, wider
from tests.support.report_cases import EVIL, Differs, report_of, table, verified
from tests.support.reported import undocumented

WRITTEN = [table("users", 1000, rejected=1, residue=4), table("users/*/orders", 2), table("reviews", 40)]
CLEAN = [table("users", 1000), table("users/*/orders", 2), table("reviews", 40)]
READ_AT = "2026-11-22T10:30:00Z"


def report(directory: Path, increment: Increment, **how: Any) -> dict[str, Any]:
    tables = how.pop("tables", CLEAN if increment.touched else [])
    return report_of(directory, tables=tables, increment=increment, **how)


def headline(found: dict[str, Any]) -> str:
    return executive_summary(found).splitlines()[2].strip("*")


WAYS: dict[str, dict[str, Any]] = {
    "nothing changed": {"increment": NOTHING},
    "something of everything": {"increment": some(), "proof": verified(CLEAN)},
    "with rejects": {"increment": some(), "tables": WRITTEN, "proof": verified(WRITTEN)},
    "marked": {"increment": some("mark"), "proof": verified(CLEAN)},
    "left": {"increment": some("ignore"), "proof": verified(CLEAN)},
    "by a field": {"increment": SINCE, "tables": [table("users", 15)], "proof": verified([table("users", 15)])},
    "unverified": {"increment": some()},
    "failed in verification": {"increment": some(), "proof": verified(CLEAN, differing=3), "error": Differs(), "rolled_back": True},
    "stopped": {"increment": some(), "error": KeyboardInterrupt()},
    "a plan": {"increment": some(), "dry_run": True},
    "a plan of nothing": {"increment": NOTHING, "dry_run": True},
    "500 tables": {"increment": MANY, "tables": [], "proof": verified(CLEAN)},
    "ugly names": {"increment": Increment(tables=(difference(EVIL, new=1, steps=(wider(EVIL, "x`|<b>"),)), whole("a" * 300, 2)))},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_report_is_as_documented(way: dict[str, Any], tmp_path: Path) -> None:
    found = report(tmp_path, **way)
    assert undocumented(found) == []
    page, summary = html_report(found), executive_summary(found)
    assert page.count("<script") == 0
    assert len(page) < 100_000
    assert len(summary.splitlines()) < 80
    for said in (page, summary):
        assert "every document read is a row" not in said
        assert "held no documents" not in said


def test_the_report_has_each_table_and_the_totals(tmp_path: Path) -> None:
    found = report(tmp_path, some())["increment"]
    users, orders = found["tables"][:2]
    assert users == {
        "collection": "users",
        "table": "users",
        "how": "difference",
        "base": BASE,
        "keys": 1000,
        "scanned": True,
        "new": 12,
        "changed": 3,
        "gone": 1,
        "rewritten": 985,
        "unchanged": 985,
        "steps": [
            "users.nick: new column, text, for the field nick",
            "users.age: wider column, jsonb instead of bigint, for the field age",
        ],
        "ddl": ['ALTER TABLE "public"."users" ADD COLUMN "nick" text', 'ALTER TABLE "public"."users" ALTER COLUMN "age" TYPE jsonb'],
    }
    assert (orders["unchanged"], orders["steps"]) == (3998, [])
    assert found["tables"][-1].items() >= {"how": "whole", "base": None, "keys": 40, "new": 40, "unchanged": 0}.items()
    assert found["totals"] == {"keys": 25_500, "new": 52, "changed": 5, "gone": 8, "rewritten": 985, "unchanged": 25_483, "steps": 3}


def test_other_modes_have_none(tmp_path: Path) -> None:
    assert report_of(tmp_path)["increment"] is None
    assert increment_report(None, "public") is None


def test_where_not_all_keys_were_compared_nobody_knows_what_is_unchanged(tmp_path: Path) -> None:
    users, rooms = report(tmp_path, SINCE)["increment"]["tables"]
    assert (users["unchanged"], rooms["unchanged"]) == (None, 9)


def test_a_table_that_marks_deleted_rows_for_the_first_time_gets_a_column() -> None:
    first = increment_report(Increment(deletes="mark", tables=(difference("users", deleted=1),)), 'my"schema')
    again = increment_report(Increment(deletes="mark", tables=(difference("users", deleted=1, marks_deleted=True),)), "public")
    assert first is not None
    assert again is not None
    assert first["tables"][0]["ddl"] == ['ALTER TABLE "my""schema"."users" ADD COLUMN IF NOT EXISTS firestore_deleted_at timestamptz']
    assert again["tables"][0]["ddl"] == []


def test_keys_are_reads_too(tmp_path: Path) -> None:
    billed = report(tmp_path, some(), proof=verified(CLEAN))["readsBilled"]
    assert (billed["documents"], billed["keys"], billed["rereads"]) == (1042, 25_500, 200)
    assert billed["total"] == 1042 + 25_500 + billed["counts"] + 200


def test_nothing_to_do_says_so_and_reproaches_nobody(tmp_path: Path) -> None:
    found = report(tmp_path, NOTHING)
    assert headline(found) == (
        f"Completed: nothing has changed since run {BASE}; "
        f"key and update time of all 5,000 documents in Firestore as of {READ_AT} are those of their rows."
    )
    assert [step for step in found["nextSteps"] if "verified" in step or "policies" in step or "rollback" in step] == []
    summary, page = executive_summary(found), html_report(found)
    assert "| Documents compared by key and update time | 5,000 |" in summary
    assert "## What has changed" not in summary
    assert "Nothing: 5,000 documents compared" in page
    assert "No row was written, so there was none to verify" in page
    assert "switched off" not in page


COUNTS = "52 new, 5 changed, 8 {}, 985 rewritten because a column's type changed, 3 schema changes"
ROWS = f"by key and update time the rows are those of the documents in Firestore as of {READ_AT} (24,498 unchanged ones not read)"
HEADLINES: dict[str, tuple[dict[str, Any], str]] = {
    "verified": ({"increment": some(), "proof": verified(CLEAN)}, f"{COUNTS.format('deleted')}; {ROWS}"),
    "marked": ({"increment": some("mark"), "proof": verified(CLEAN)}, f"{COUNTS.format('marked as deleted')}; {ROWS}"),
    "left": (
        {"increment": some("ignore"), "proof": verified(CLEAN)},
        f"{COUNTS.format('gone, but left in the target')}; but for the rows left {ROWS}",
    ),
    "rejected": (
        {"increment": some(), "tables": WRITTEN, "proof": verified(WRITTEN)},
        f"; but for 1 rejected document {ROWS}",
    ),
    "unverified": ({"increment": some()}, f"; the target was brought to Firestore as of {READ_AT}, unverified."),
    "by a field": (
        {"increment": SINCE, "tables": [table("users", 15)], "proof": verified([table("users", 15)])},
        "12 new, 3 changed; 9 documents compared with their rows by key and update time, "
        "in 1 table only documents that a field says have changed were looked for, and none that are gone.",
    ),
}


@pytest.mark.parametrize(("way", "said"), HEADLINES.values(), ids=HEADLINES)
def test_the_headline_counts_and_claims_no_more_than_is_known(way: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert said in headline(report(tmp_path, **way))


def test_of_chosen_collections_nothing_is_said_about_the_rest(tmp_path: Path) -> None:
    found = report(tmp_path, NOTHING)
    found["settings"]["collections"] = ["users"]
    assert "documents in the chosen collections of Firestore as of" in headline(found)


def test_the_summary_lists_tables_that_change_and_schema_changes(tmp_path: Path) -> None:
    summary = executive_summary(report(tmp_path, some(), proof=verified(CLEAN)))
    for said in (
        "## What has changed",
        "| Table |  | New | Changed | Deleted | Written anew |",
        "| `users` |  | 12 | 3 | 1 | 985 |",
        "| `reviews` | new table | 40 | 0 | 0 | 0 |",
        "No change was found in 2 other tables.",
        "## Schema changes",
        "users.age: wider column, jsonb instead of bigint, for the field age",
        "With the increment each of the 3 tables that changed, of 6, has as many rows as Firestore has documents.",
        "documents whose rows were written compared to the last bit with the archive of what was read (985 of them made from existing rows",
        "Write policies for 1 new table",
    ):
        assert said in summary
    assert "`products`" not in summary
    assert "## Collections" not in summary


def test_a_schema_change_is_told_once(tmp_path: Path) -> None:
    found = report(tmp_path, some(), proof=verified(CLEAN))
    step = found["increment"]["tables"][0]["steps"][0]
    found["warnings"].append({**found["warnings"][0], "message": f"the schema changes: {step}"})
    assert executive_summary(found).count(step) == 1


def test_of_many_tables_those_with_most_changes_are_shown(tmp_path: Path) -> None:
    found = report(tmp_path, MANY, tables=[])
    summary, page = executive_summary(found), html_report(found)
    assert "| `collection499` |  | 499 | 0 | 0 |" in summary
    assert "| 489 others |" in summary
    assert "No change was found in 1 other table." in summary
    assert page.index('data-changed="collection499"') < page.index('data-changed="collection490"')
    assert "479 others" in page


def test_a_plan_is_a_plan(tmp_path: Path) -> None:
    found = report(tmp_path, some(), dry_run=True)
    assert headline(found) == (
        "Planned: 52 rows would be inserted, 5 updated, 8 deleted, 985 rewritten because a column's type changed, 3 schema changes; "
        "nothing has been written to the target."
    )
    assert "## What would change" in executive_summary(found)
    assert "What would change" in html_report(found)
    assert len(found["nextSteps"]) == 1


def test_what_did_not_come_to_an_end_has_changed_nothing(tmp_path: Path) -> None:
    found = report(tmp_path, some(), error=KeyboardInterrupt())
    assert "## What is to change" in executive_summary(found)
    assert "What has changed" not in html_report(found)


def planned(increment: Increment) -> str:
    new = TablePlan(collection="reviews", table="reviews", keys=("id",), columns=())
    return plan_text(
        {
            "increment": increment_report(increment, "public"),
            "plan": shown_plan(Plan(database="d", tables=(new,))),
            "tables": [table("reviews", 40)],
            "settings": {"target_schema": "public", "foreign_keys": "report"},
        }
    )


def test_the_plan_says_what_would_be_done_to_each_table() -> None:
    assert planned(some()).splitlines() == [
        "users -> public.users: insert 12, update 3, delete 1, write 985 anew for a wider column",
        '  ALTER TABLE "public"."users" ADD COLUMN "nick" text;',
        '  ALTER TABLE "public"."users" ALTER COLUMN "age" TYPE jsonb;',
        "",
        "reviews -> public.reviews (40 documents, 0 rejects expected)",
        "  column                type         field  holds        NULL means      notes",
        "  id                    text                document id  never           key",
        "  firestore_created_at  timestamptz         create time  never",
        "  firestore_updated_at  timestamptz         update time  never",
        "  firestore_residue     jsonb               residue      nothing to add  what the columns cannot say",
        "  primary key (id)",
        "",
        "rooms -> public.rooms: delete 7",
        "",
        "users/*/orders -> public.users_orders: update 2",
        "",
        "No change was found in 2 other tables. 52 rows would be inserted, 5 updated, 8 deleted, "
        "985 rewritten because a column's type changed, "
        "3 schema changes. Nothing has been written to the target.",
    ]


GONE: dict[Deletes, str] = {"propagate": "delete 7", "mark": "mark 7 as deleted", "ignore": "leave 7 that are gone"}


@pytest.mark.parametrize(("deletes", "said"), GONE.items(), ids=GONE)
def test_the_plan_says_what_becomes_of_rows_without_documents(deletes: Deletes, said: str) -> None:
    assert f"rooms -> public.rooms: {said}\n" in planned(some(deletes))


def test_the_plan_of_nothing_is_one_line() -> None:
    assert planned(NOTHING) == (
        f"Nothing to do: nothing has changed since run {BASE}; 5,000 documents compared with their rows by key and update time. "
        "Nothing has been written to the target.\n"
    )


def test_the_status_says_what_was_found(tmp_path: Path) -> None:
    with Status.open(Workspace(tmp_path, "migration-1").create(), "incremental") as status:
        assert "compared" not in "\n".join(status_lines(status.data()))
        status.add_statistics(keysCompared=25_500)
        assert status_lines(status.data())[1] == "  25,500 keys compared"
        status.add_statistics(new=52, changed=5, gone=8)
        assert status_lines(status.data())[1] == "  52 new, 5 changed, 8 gone, 25,500 keys compared"
