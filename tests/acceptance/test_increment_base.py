"""What an incremental run goes by: the tables of its own database, as its first attempt found them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from firelift.local.postgres import PostgresServer
from firelift.migration.rollback import roll_back
from firelift.planning.deletion_limits import WOULD_STOP
from firelift.run.reports.plan_text import plan_text
from tests.support.command_line import QUICKLY
from tests.support.flow_runner import Outcome, Runner
from tests.support.synced_database import Steps, steps
from tests.support.whole_way import Things, new_source

FIRST: Things = {
    "users/ada": {"name": "Ada"},
    "users/bob": {"name": "Bob"},
    "users/ada/orders/1": {"total": 10},
    "teams/red": {"size": 2},
}


@pytest.fixture
def target(runner: Runner, emulator_host: str, postgres: PostgresServer, tmp_path: Path) -> Iterator[Steps]:
    """A target that is in step with the first documents."""
    with steps(runner, emulator_host, postgres, tmp_path) as stepping:
        stepping.write(FIRST)
        stepping.in_step(stepping.full())
        yield stepping


def test_another_firestore_database_would_empty_the_tables_and_is_refused(target: Steps, emulator_host: str) -> None:
    before = target.content()
    with new_source(emulator_host) as other:
        elsewhere = target.variables | QUICKLY | {"GOOGLE_CLOUD_PROJECT": other.project}
        for dry_run in (True, False):
            refused = target.runner.migrate(elsewhere, migration_mode="incremental", dry_run=dry_run)
            assert refused.error == "SourceMismatch"
            assert target.source.name in refused.message
            assert other.project in refused.message
        assert target.content() == before
        # The runs' own rows may have been pruned since.
        target.ask("DELETE FROM firelift.migrations")
        assert target.runner.migrate(elsewhere, migration_mode="incremental").error == "SourceMismatch"
        assert target.content() == before
        apart = target.runner.migrate(elsewhere, migration_mode="incremental", target_schema="apart")
        assert apart.error is None, apart.message
    target.in_step(target.increment())


def test_rows_of_an_emulator_are_not_those_of_the_real_database_of_that_name(target: Steps) -> None:
    target.ask("UPDATE firelift.tables SET source = replace(source, ' of an emulator', '')")
    assert target.migrate(migration_mode="incremental").error == "SourceMismatch"


def test_tables_that_nothing_is_recorded_of_any_more_are_not_filled_by_an_increment(target: Steps) -> None:
    before = target.content()
    target.ask("DELETE FROM firelift.migrations; DELETE FROM firelift.tables")
    refused = target.migrate(migration_mode="incremental")
    assert refused.error == "RowsOfUnknownOrigin"
    assert "public.users" in refused.message
    assert {name: target.content()[name] for name in ("users", "teams", "users_orders")} == {
        name: before[name] for name in ("users", "teams", "users_orders")
    }
    target.full()
    target.in_step(target.increment())


def test_an_earlier_snapshot_than_the_tables_hold_is_refused(target: Steps) -> None:
    first = target.saved()["users"].watermark
    assert first is not None
    target.write({"users/cy": {"name": "Cy"}})
    target.increment()
    before = target.content()
    assert target.migrate(migration_mode="incremental", read_time=first.isoformat()).error == "ReadTimeTooEarly"
    assert target.content() == before


def test_a_collection_without_any_document_may_still_be_named_and_that_its_rows_go_is_said(target: Steps) -> None:
    target.delete("teams/red")
    left = target.increment(exclude_collections="teams")
    assert left.increment["gone"] == 0
    done = target.increment(collections="users,teams")
    target.in_step(done)
    assert "teams: Firestore has no document of it any more; 1 row to be deleted" in said(done)
    again = target.increment(collections="teams")
    assert not any("no document" in warning for warning in said(again))
    assert target.migrate(migration_mode="incremental", collections="nothing").error == "NothingMatches"


@pytest.mark.parametrize("deletes", ["propagate", "mark"])
def test_an_empty_database_stops_the_run_until_somebody_allows_that_all_rows_go(target: Steps, deletes: str) -> None:
    target.delete(*FIRST)
    before = target.content()
    planned = target.increment(deletes=deletes, dry_run=True)
    assert [message for message in said(planned) if message.startswith(WOULD_STOP) and "in all: 4 of 4 rows" in message]
    assert WOULD_STOP in plan_text(planned.report)
    stopped = target.migrate(migration_mode="incremental", deletes=deletes, migration_id="emptied")
    assert stopped.error == "TooManyDeletions"
    assert "users 2 of 2 rows" in stopped.message
    assert "--max-deletes 4" in stopped.message
    assert target.migrate(migration_id="emptied", resume=True, max_deletes="3").error == "TooManyDeletions"
    assert target.content() == before
    done = target.migrate(migration_id="emptied", resume=True, max_deletes="4")
    target.in_step(done)
    verb = {"propagate": "deleted", "mark": "marked as deleted"}[deletes]
    assert {
        "The Firestore database holds no document.",
        f"users: Firestore has no document of it any more; 2 rows to be {verb}",
    } <= said(done)


def test_rows_that_are_left_are_not_lost(target: Steps) -> None:
    target.delete(*FIRST)
    assert target.increment(deletes="ignore").increment["gone"] == 4


def test_a_full_run_that_would_shrink_a_table_is_held_back_too(target: Steps) -> None:
    many: Things = {f"users/ada/visits/{number:03}": {"n": number} for number in range(130)}
    target.write(many)
    target.in_step(target.full())
    target.delete(*list(many)[:105])
    before = target.content()
    for mode in ("full", "incremental"):
        stopped = target.migrate(migration_mode=mode, migration_id=mode)
        assert stopped.error == "TooManyDeletions"
        assert "users_visits 105 of 130 rows, in all: 105 of 134 rows" in stopped.message
    assert target.content() == before
    target.in_step(target.migrate(migration_id="full", resume=True, max_deletes="81%"))


def test_a_table_that_is_left_out_does_not_hinder_the_others(target: Steps) -> None:
    target.ask("ALTER TABLE teams DROP COLUMN size")
    assert target.migrate(migration_mode="incremental").error == "ColumnsMissing"
    target.increment(exclude_collections="teams")


def test_a_mapping_of_fields_that_stand_is_not_idle_because_they_have_not_changed(target: Steps, tmp_path: Path) -> None:
    file = tmp_path / "mapping.json"
    file.write_text(json.dumps({"collections": {"users": {"columns": {"name": "name", "nickname": "nick"}}}}))
    assert {warning for warning in said(target.increment(mapping=str(file))) if "mapping" in warning} == {
        "--mapping names what is not in the database: users: nickname"
    }


def interrupted(target: Steps) -> None:
    """A run that has compared everything and could not go on, as something is in the way of a new table."""
    target.ask("CREATE TABLE users_pets (id text PRIMARY KEY)")
    target.write({"users/bob": {"name": "Bob the second"}, "users/ada/pets/1": {"legs": 4}})
    assert target.migrate(migration_mode="incremental", migration_id="interrupted").error == "PrimaryKeyMismatch"
    target.ask("DROP TABLE users_pets")


def test_a_run_that_was_interrupted_goes_on_with_what_it_has_compared(target: Steps) -> None:
    interrupted(target)
    resumed = target.migrate(migration_id="interrupted", resume=True)
    assert resumed.error is None
    target.in_step(resumed)


def test_what_was_compared_with_rows_that_are_taken_back_since_is_not_merged_into_others(target: Steps) -> None:
    target.write({"users/ada": {"name": "Ada the second"}})
    later = target.increment().report["migrationId"]
    interrupted(target)
    roll_back(target.url, later)
    assert target.migrate(migration_id="interrupted", resume=True).error == "BaselineChanged"
    target.in_step(target.increment())


def test_what_was_compared_with_a_table_that_is_dropped_since_does_not_pass_for_the_whole_collection(target: Steps) -> None:
    interrupted(target)
    target.ask("DROP TABLE users CASCADE")
    assert target.migrate(migration_id="interrupted", resume=True).error == "BaselineChanged"
    target.in_step(target.increment())


def said(outcome: Outcome) -> set[str]:
    return {warning["message"] for warning in outcome.report["warnings"]}
