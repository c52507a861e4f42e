"""What Prefect's list of flow runs says of a rollback and of a verification."""

from __future__ import annotations

from firelift.migration.rollback_text import rollback_message
from firelift.receipts import ChangedTable, Index, LeftIndex, Restored, RolledBack, RunVerified, Verified
from firelift.run.reports.verify_text import verified_message
from tests.support.report_cases import tables_of, verified

MADE, FILLED, MERGED = (
    Restored(table="public.a", action="created"),
    Restored(table="public.b", action="replaced", rows=1),
    Restored(table="public.c", action="merged", rows=1),
)


def test_a_rollback_says_how_many_tables_are_gone_and_how_many_as_before() -> None:
    assert rollback_message(RolledBack(migration_id="m", tables=(MADE,))) == "m is rolled back: 1 table removed."
    others = (ChangedTable(table="public.b", rows_then=1, rows_now=2),)
    done = RolledBack(migration_id="m", tables=(MADE, FILLED, MERGED), overridden=others, latest_of_database="n (schema app)")
    assert rollback_message(done) == (
        "m is rolled back: 1 table removed, 2 tables as before, changes by others undone in 1 table. "
        "It was not the latest run of the database: that is n (schema app)."
    )


def test_a_rollback_says_which_of_its_work_is_left() -> None:
    index = Index(table="b", name="b_friend_idx", columns=("friend",), plain=True, comment=None)
    done = RolledBack(migration_id="m", tables=(FILLED,), indexes_left=(LeftIndex(target_schema="public", index=index),))
    assert rollback_message(done) == "m is rolled back: 1 table as before, 1 of our indexes not back yet."


def test_a_rollback_that_found_nothing_to_do_says_so() -> None:
    assert "rolled back before" in rollback_message(RolledBack(migration_id="m", already=True, tables=(MADE,)))
    assert rollback_message(RolledBack(migration_id="m", staging_dropped=True)) == (
        "m is rolled back: it had published nothing, and its staging tables are dropped."
    )


def test_a_verification_says_how_many_of_how_many_and_what_it_left_out() -> None:
    assert verified_message(published(("archive", 40, 100), ("firestore", 7, 7))) == (
        "All expectations are met. standard: 2 tables, 47 of 107 documents compared with the archive of what was read "
        "and with Firestore, read again, 57 expectations. Not looked at: 1 published table."
    )


def test_a_verification_that_failed_says_so_without_a_value() -> None:
    said = verified_message(published(("archive", 40, 100), differing=3))
    assert said.startswith("The target does NOT match Firestore.")
    assert "04109" not in said


def published(*runs: tuple[str, int, int], differing: int = 0) -> Verified:
    told = tuple(
        RunVerified(
            migration_id=f"m{number}",
            read_time="2026-11-22T10:30:00Z",
            against=against,
            tables=1,
            documents=documents,
            compared=compared,
            passed=not differing,
            results="results",
        )
        for number, (against, compared, documents) in enumerate(runs)
    )
    done = verified(tables_of(["orgs", "users"]), differing, "standard")
    return done.model_copy(update={"runs": told, "compared": sum(run.compared for run in told), "not_looked_at": ("teams (of run m9)",)})
