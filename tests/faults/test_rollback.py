"""Whatever becomes of a run, a rollback leaves every table, view, policy, grant and trigger as they were before it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firelift.postgres.schema.control_schema import create_control, record_finish, record_start
from firelift.postgres.schema.names import staging_schema
from firelift.postgres.session.lock import target_lock
from tests.support.command_line import Operator, Said
from tests.support.held_write import ACTS, held, kill_in
from tests.support.prefect_servers import schemas_of, tables_of
from tests.support.refreshed_tables import FIRST, NEW, OLD, SECOND, catalog, contents, live_in, migrate, stage, target


@pytest.fixture
def operator(tmp_path: Path, database_url: str) -> Operator:
    """Somebody with nothing but the target's address: no working directory was ever there."""
    return Operator(tmp_path, {"DATABASE_URL": database_url})


def state(url: str) -> tuple[Any, Any]:
    with target(url) as connection:
        return catalog(connection), contents(connection)


@pytest.fixture
def lived_in(database_url: str) -> tuple[Any, Any]:
    """A migrated target in which a user lives: what it is like before the run in question."""
    with target(database_url) as connection:
        migrate(connection, FIRST, OLD)
        live_in(connection)
    return state(database_url)


def nothing_yet(url: str) -> None:
    with target(url) as connection:
        record_start(connection, SECOND, "full", {})


def all_staged(url: str) -> None:
    with target(url) as connection:
        stage(connection, SECOND, NEW)


def succeeded(url: str) -> None:
    with target(url) as connection:
        migrate(connection, SECOND, NEW)


def failed_verification(url: str) -> None:
    all_staged(url)
    with target(url) as connection:
        record_finish(connection, SECOND, "failed")


def killed_in_import(url: str) -> None:
    kill_in(url, "importing", SECOND)


def killed_in_publish(url: str) -> None:
    all_staged(url)
    kill_in(url, "publishing", SECOND)


def killed_in_rollback(url: str) -> None:
    succeeded(url)
    kill_in(url, "rolling_back", SECOND)


def killed_in_publish_and_gone_on_with(url: str) -> None:
    killed_in_publish(url)
    ACTS["publishing"](url, SECOND)


def killed_in_rollback_twice(url: str) -> None:
    killed_in_rollback(url)
    kill_in(url, "rolling_back", SECOND)


ENDS: list[Callable[[str], None]] = [
    nothing_yet,
    succeeded,
    failed_verification,
    killed_in_import,
    killed_in_publish,
    killed_in_publish_and_gone_on_with,
    killed_in_rollback,
    killed_in_rollback_twice,
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_a_rollback_puts_everything_back(
    end: Callable[[str], None], operator: Operator, database_url: str, lived_in: tuple[Any, Any]
) -> None:
    end(database_url)
    said = operator.firelift("rollback", "--json")
    assert (said.code, said.err) == (0, "")
    done = json.loads(said.out)
    assert (done["migration_id"], done["already"]) == (SECOND, False)
    digests = {table["table"].removeprefix("public."): table["digest"] for table in done["tables"]}
    assert digests in ({}, {table: found.value for table, found in lived_in[1].items() if table in ("users", "users_orders")})
    assert state(database_url) == lived_in

    again = operator.firelift("rollback")
    assert (again.code, again.out) == (0, f"{SECOND} was rolled back before; there is nothing left to undo.\n")
    assert state(database_url) == lived_in


@pytest.mark.parametrize("end", [killed_in_import, killed_in_publish, killed_in_rollback], ids=lambda end: end.__name__)
def test_a_kill_alone_changes_nothing_that_a_reader_sees(end: Callable[[str], None], database_url: str, lived_in: tuple[Any, Any]) -> None:
    end(database_url)
    if end is killed_in_rollback:
        with target(database_url) as connection:
            assert contents(connection)["users"] != lived_in[1]["users"]
    else:
        assert state(database_url)[1] == lived_in[1]


def test_of_a_first_run_that_was_killed_nothing_stays(operator: Operator, database_url: str) -> None:
    with target(database_url) as connection:
        create_control(connection)
    for killed in (killed_in_import, killed_in_publish, killed_in_rollback):
        killed(database_url)
        assert operator.firelift("rollback").code == 0
        assert tables_of(database_url) == {}
        assert schemas_of(database_url) == ["firelift", "public"]


def refused(said: Said, *words: str) -> None:
    assert (said.code, said.out) == (1, "")
    (line,) = said.err.splitlines()
    assert line.startswith("error: Another run of Firelift is writing this target")
    for word in words:
        assert word in line


@pytest.mark.parametrize("act", ["importing", "publishing", "rolling_back"])
def test_while_a_run_is_going_on_its_rollback_is_refused_by_name(act: str, operator: Operator, database_url: str, lived_in: Any) -> None:
    {"importing": lambda _: None, "publishing": all_staged, "rolling_back": succeeded}[act](database_url)
    with held(database_url, act, SECOND):
        refused(operator.firelift("rollback", "--migration-id", FIRST), f"by: {SECOND}", "stop it")
    assert operator.firelift("rollback", "--migration-id", SECOND).code == 0
    assert state(database_url) == lived_in


def test_a_cleanup_waits_for_nobody_either(operator: Operator, database_url: str, lived_in: Any) -> None:
    succeeded(database_url)
    with target_lock(database_url, "the-other", "public"):
        shown = operator.firelift("cleanup", "--backup-retention", "0")
        assert (shown.code, shown.err) == (0, "")
        refused(operator.firelift("cleanup", "--backup-retention", "0", "--yes"), "by: the-other")


def test_a_run_that_was_stopped_before_it_staged_anything_is_rolled_back_with_a_word_on_that(operator: Operator, database_url: str) -> None:
    with target(database_url) as connection:
        create_control(connection)
    nothing_yet(database_url)
    said = operator.firelift("rollback")
    assert (said.code, said.out) == (0, f"{SECOND} is rolled back: it had published nothing, and nothing of it was in the target.\n")
    all_staged(database_url)
    assert staging_schema(SECOND) in schemas_of(database_url)
    assert "its staging tables are dropped" in operator.firelift("rollback").out
    assert schemas_of(database_url) == ["firelift", "public"]
