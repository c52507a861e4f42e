"""Runs that keep a target equal to Firestore, one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from firelift.local.postgres import PostgresServer
from firelift.local.writer import Reference
from firelift.migration.rollback import roll_back_run
from tests.support.flow_runner import Runner
from tests.support.prefect_servers import eventually
from tests.support.synced_database import Steps, moment, steps
from tests.support.whole_way import Things

FIRST: Things = {
    "users/ada": {"name": "Ada", "age": 36, "active": True},
    "users/bob": {"name": "Bob", "age": 41, "active": False},
    "users/cy": {"name": "Cy", "age": 7, "active": True},
    "users/ada/orders/1": {"total": 10, "at": moment(1)},
    "users/ada/orders/2": {"total": 20, "at": moment(2)},
    "users/bob/orders/1": {"total": 30, "at": moment(3)},
    "users/ghost/orders/1": {"total": 40, "at": moment(4)},
    "teams/red": {"size": 2},
}


@pytest.fixture
def target(runner: Runner, emulator_host: str, postgres: PostgresServer, tmp_path: Path) -> Iterator[Steps]:
    """A target that is in step with the first documents."""
    with steps(runner, emulator_host, postgres, tmp_path) as stepping:
        stepping.write(FIRST)
        stepping.in_step(stepping.full())
        yield stepping


def test_whatever_happened_meanwhile_the_target_is_equal_to_firestore_afterwards(target: Steps) -> None:
    target.write(
        {
            "users/ada": {"name": "Ada Lovelace", "age": 36, "active": True},
            "users/dee": {"name": "Dee", "age": 5, "active": False},
            "users/__id7__": {"name": "Seven", "age": 1, "active": True},
            "users/ghost/orders/2": {"total": 50, "at": moment(5)},
            "users/nobody/orders/9": {"total": 60, "at": moment(6)},
            "cities/rome": {"people": 3},
            "cities/rome/streets/main": {"length": 1.5},
        }
    )
    target.delete("users/bob", "users/ada/orders/1", "teams/red", "users/cy")
    target.write({"users/cy": {"name": "Cy again", "age": 8, "active": True}})
    done = target.increment(verified=True)
    target.in_step(done)
    assert done.increment == {**done.increment, "new": 6, "changed": 2, "gone": 3, "unchanged": 3}
    assert done.report["verification"]["passed"]
    assert target.ask("SELECT count(*) FROM teams") == [(0,)]
    again = target.increment(verified=True)
    target.in_step(again)
    assert again.increment == {**again.increment, "new": 0, "changed": 0, "gone": 0, "rewritten": 0, "unchanged": 11}
    assert again.report["phases"]["verification"]["state"] == "skipped"


WAITING = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND locktype = 'relation'"


@pytest.mark.parametrize(("table", "by"), [("teams", "flow_runner"), ("users", "runner")])
def test_killed_while_it_publishes_an_increment_has_changed_nothing_and_is_gone_on_with(
    target: Steps, table: str, by: str, request: pytest.FixtureRequest
) -> None:
    target.runner = request.getfixturevalue(by)
    before = target.content()
    target.write({"users/dee": {"name": "Dee", "age": 5.5, "active": True}, "users/ada/orders/3": {"total": 5, "at": moment(9)}})
    target.delete("users/bob", "teams/red")
    options: dict[str, Any] = {"migration_mode": "incremental", "migration_id": "the-increment"}
    with psycopg.connect(target.url) as reader:
        # With it the transaction waits at this table, whatever it has done to the others.
        reader.execute(f"LOCK TABLE public.{table} IN SHARE MODE".encode())
        target.runner.begin(target.unverified, **options)
        eventually(60, lambda: target.ask(WAITING) == [(True,)])
        target.runner.kill()
    assert target.runner.end() is None
    eventually(60, target.is_quiet)
    assert target.content() == before
    done = target.migrate(**options, resume=True)
    assert done.error is None, done.message
    target.in_step(done)
    assert done.increment == {**done.increment, "new": 2, "gone": 2, "rewritten": 2}
    roll_back_run(target.url, "the-increment", force=False)
    assert target.content() == before


def test_a_view_that_keeps_a_column_from_another_type_is_named_before_anything_is_loaded(target: Steps, flow_runner: Runner) -> None:
    target.runner = flow_runner
    target.ask("CREATE VIEW ages AS SELECT age FROM users")
    target.write({"users/dee": {"name": "Dee", "age": 5.5, "active": True}})
    before = target.content()
    refused = target.migrate(migration_mode="incremental")
    assert refused.error == "ColumnHasDependents"
    assert "rule _RETURN on view public.ages" in refused.message
    assert target.content() == before
    target.in_step(target.increment(schema_changes="freeze"))
    target.ask("DROP VIEW ages")
    target.write({"users/eve": {"name": "Eve", "age": 6.5, "active": True}})
    target.in_step(target.increment())


def test_the_first_increment_into_an_empty_target_migrates_everything(
    runner: Runner, emulator_host: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    with steps(runner, emulator_host, postgres, tmp_path) as stepping:
        stepping.write(FIRST)
        stepping.in_step(stepping.increment())


def test_new_fields_become_columns_and_types_widen_without_losing_a_value(target: Steps) -> None:
    target.ask(
        "ALTER TABLE users ADD COLUMN note text DEFAULT 'mine', ADD COLUMN nick text; UPDATE users SET note = 'Ada''s' WHERE id = 'ada'"
    )
    target.write({"users/dee": {"name": "Dee", "age": 5.5, "nick": "D"}, "users/bob": {"name": "Bob", "age": 42, "active": False}})
    done = target.increment()
    target.in_step(done)
    assert done.increment == {**done.increment, "new": 1, "changed": 1, "rewritten": 2}
    assert target.ask("SELECT id, age, nick_2, note FROM users ORDER BY id") == [
        ("ada", 36.0, None, "Ada's"),
        ("bob", 42.0, None, "mine"),
        ("cy", 7.0, None, "mine"),
        ("dee", 5.5, "D", "mine"),
    ]
    target.write({"users/eve": {"name": 5, "age": "old"}})
    done = target.increment(verified=True)
    target.in_step(done)
    assert target.ask("SELECT name #>> '{}', age #>> '{}' FROM users WHERE id IN ('ada', 'eve') ORDER BY id") == [
        ("Ada", "36"),
        ("5", "old"),
    ]
    steps_taken = [step for table in done.report["increment"]["tables"] for step in table["steps"]]
    assert len(steps_taken) == 2
    assert target.increment().increment["unchanged"] == 10


def test_a_reference_that_begins_to_lead_elsewhere_keeps_every_path(target: Steps) -> None:
    lead = f"{target.source.name}/documents"
    target.write({"users/cy": {"name": "Cy", "boss": Reference(f"{lead}/users/ada")}})
    target.in_step(target.increment())
    assert target.ask("SELECT boss FROM users WHERE id = 'cy'") == [("ada",)]
    target.write({"users/bob": {"name": "Bob", "boss": Reference(f"{lead}/teams/red")}})
    target.in_step(target.increment())
    assert target.ask("SELECT boss FROM users ORDER BY id") == [(None,), ("teams/red",), ("users/ada",)]


def test_frozen_tables_keep_what_does_not_fit_in_the_residue(target: Steps) -> None:
    columns = target.content()["columns"]
    target.write({"users/cy": {"name": 5, "age": 1, "active": True}, "users/bob": {"name": "Bob", "age": 7, "active": True, "new": [1]}})
    target.write({"cities/rome": {"people": 3}})
    done = target.increment(schema_changes="freeze")
    assert target.content()["columns"] == columns
    found = target.decoded()
    assert sorted(found) == sorted(path for path in FIRST)
    documents = target.documents(done.report["readTime"])
    assert all(found[path].fields == documents[path].fields for path in FIRST)
    assert any("freeze" in warning["message"] for warning in done.report["warnings"])


def test_a_change_of_the_schema_can_be_an_error_and_then_nothing_is_written(target: Steps) -> None:
    before = target.content()
    target.write({"users/cy": {"name": "Cy", "age": 1.5, "more": True}})
    failed = target.migrate(migration_mode="incremental", schema_changes="fail")
    assert failed.error == "SchemaChanged"
    assert "age" in failed.message
    assert "more" in failed.message
    assert target.content() == before
    target.in_step(target.increment())


def test_rows_of_deleted_documents_can_be_marked(target: Steps) -> None:
    target.delete("users/bob")
    done = target.increment(deletes="mark")
    target.in_step(done)
    assert target.ask("SELECT id, name, firestore_deleted_at IS NOT NULL FROM users ORDER BY id") == [
        ("ada", "Ada", False),
        ("bob", "Bob", True),
        ("cy", "Cy", False),
    ]
    target.write({"users/bob": {"name": "Bob is back"}})
    target.delete("users/cy")
    target.in_step(target.increment(deletes="mark"))
    assert target.ask("SELECT name, firestore_deleted_at FROM users WHERE id = 'bob'") == [("Bob is back", None)]
    # The rows of gone documents are written anew with all others, and stay marked.
    target.write({"users/ada": {"name": "Ada", "age": 0.5}})
    again = target.increment(deletes="mark")
    target.in_step(again)
    assert again.increment == {**again.increment, "gone": 0, "changed": 1}
    assert target.ask("SELECT id, age FROM users WHERE firestore_deleted_at IS NOT NULL") == [("cy", 7.0)]
    target.in_step(target.full())
    assert target.ask("SELECT id, firestore_deleted_at FROM users ORDER BY id") == [("ada", None), ("bob", None)]


def test_rows_of_deleted_documents_can_be_left(target: Steps) -> None:
    target.delete("users/bob")
    done = target.increment(deletes="ignore")
    assert done.increment["gone"] == 1
    assert target.ask("SELECT id FROM users ORDER BY id") == [("ada",), ("bob",), ("cy",)]
    target.in_step(target.increment())


def test_a_field_that_is_trusted_saves_reading_the_keys_and_counts_tell_when_it_is_not_enough(target: Steps) -> None:
    target.write({f"logs/{n}": {"at": moment(n), "text": str(n)} for n in range(20)})
    target.in_step(target.increment())
    now = target.saved()["logs"].watermark
    assert now is not None
    later = now.replace(year=now.year + 1)
    target.write({"logs/3": {"at": later, "text": "changed"}, "logs/new": {"at": later, "text": "new"}})
    done = target.increment(changed_since_field="at")
    target.in_step(done)
    by_collection = {table["collection"]: table for table in done.report["increment"]["tables"]}
    assert (by_collection["logs"]["scanned"], by_collection["logs"]["new"], by_collection["logs"]["changed"]) == (False, 1, 1)
    target.delete("logs/5")
    done = target.increment(changed_since_field="at")
    target.in_step(done)
    assert {table["collection"]: table["scanned"] for table in done.report["increment"]["tables"]}["logs"]
    target.write({"logs/7": {"text": "no time"}})
    target.increment(changed_since_field="at")
    assert target.ask("SELECT text FROM logs WHERE id = '7'") == [("7",)]
    target.in_step(target.increment(changed_since_field="at", full_scan_every=1))


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(target: Steps) -> None:
    target.write({"users/ada": {"name": "Ada", "age": 1.5}, "cities/rome": {"people": 3}})
    target.delete("users/bob")
    before = target.content()
    planned = target.increment(dry_run=True)
    assert planned.increment == {**planned.increment, "new": 1, "changed": 1, "gone": 1, "rewritten": 1}
    assert target.content() == before


def test_each_run_can_be_taken_back_and_the_one_before_it_too(target: Steps) -> None:
    from firelift.migration.rollback import roll_back

    states = [target.content()]
    runs = []
    for number in range(3):
        target.write(
            {"users/ada": {"name": f"Ada {number}", "age": 0.5 if number else 36}, f"users/new{number}": {"name": "N", "x": number}}
        )
        target.delete("users/bob" if number == 1 else "users/ghost/orders/1")
        runs.append(target.increment().report["migrationId"])
        states.append(target.content())
    for run in reversed(runs):
        states.pop()
        roll_back(target.url, run)
        assert target.content() == states[-1]
    target.in_step(target.increment())


def test_a_run_that_fails_its_verification_leaves_rows_and_watermark_as_they_were(target: Steps) -> None:
    target.ask(
        """
        CREATE FUNCTION public.spoil_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$;
        CREATE FUNCTION public.spoil() RETURNS event_trigger LANGUAGE plpgsql AS $$
        DECLARE made record;
        BEGIN
            FOR made IN SELECT * FROM pg_event_trigger_ddl_commands() WHERE object_identity LIKE 'firelift\\_staging%.users' LOOP
                EXECUTE format('CREATE TRIGGER spoiled BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION public.spoil_row()',
                    made.object_identity);
            END LOOP;
        END $$;
        CREATE EVENT TRIGGER spoil ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.spoil();
        """
    )
    before = target.content()
    target.write({"users/ada": {"name": "Ada Lovelace", "age": 36, "active": True}})
    failed = target.migrate(verified=True, migration_mode="incremental", verification_level="basic")
    assert failed.error == "VerificationFailed"
    assert "ada" in failed.message
    assert target.content() == before
    target.ask("DROP EVENT TRIGGER spoil")
    target.in_step(target.increment(verified=True))


def test_somebody_who_writes_during_the_run_changes_nothing_about_it(target: Steps) -> None:
    target.write({f"logs/{n:04}": {"n": n} for n in range(300)})
    target.in_step(target.increment())
    target.write({f"logs/{n:04}": {"n": -n} for n in range(0, 300, 3)})
    ended = threading.Event()

    def keep_writing() -> None:
        number = 0
        while not ended.wait(0.02):
            number += 1
            target.write({f"logs/{number % 300:04}": {"n": f"written {number}"}, f"logs/more-{number}": {"n": number}})
            # However long the run takes: fewer deletions than --max-deletes allows by default.
            target.delete(f"logs/{(number * 7) % 80:04}")

    writer = threading.Thread(target=keep_writing)
    writer.start()
    try:
        done = target.increment()
    finally:
        ended.set()
        writer.join()
    target.in_step(done)
    target.in_step(target.increment())


def test_a_published_target_is_verified_against_firestore_as_an_increment_s_archive_is_only_the_difference(target: Steps) -> None:
    from tests.support.command_line import Operator

    target.delete("users/bob")
    target.write({"users/ada": {"name": "Ada", "age": 0.5}})
    target.increment(deletes="mark")
    somebody = Operator(target.directory / "verifying", target.variables)
    refused = somebody.firelift("verify", "--against", "archive")
    assert refused.code == 2
    assert "--against firestore" in refused.error
    said = somebody.firelift("verify", "--verification-level", "comprehensive")
    assert said.code == 0, said.err
    assert "with Firestore, read again" in said.out
    target.ask("UPDATE users SET age = 0.25 WHERE id = 'ada'")
    found = somebody.firelift("verify", "--against", "firestore")
    assert found.code == 4


def test_an_increment_that_was_killed_goes_on_or_gives_way_to_a_new_one(target: Steps) -> None:
    target.write({f"logs/{n:04}": {"n": n} for n in range(500)})
    target.delete("users/bob")
    for seconds in (1.0, 2.0):
        target.runner.begin(target.unverified, migration_mode="incremental", batch_size=50)
        with target.runner.killing(seconds):
            target.runner.end()
    target.in_step(target.increment())
