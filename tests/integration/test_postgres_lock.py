"""Two runs never write one target at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext

import psycopg
import pytest

from firelift.local.postgres import PostgresServer
from firelift.phases.import_ import record_begin
from firelift.postgres.schema.control_schema import create_control, forget_run, record_start
from firelift.postgres.session.connect import connect
from firelift.postgres.session.foreign_owners import schema_exists
from firelift.postgres.session.lock import (
    LOCK_CLASS,
    LockLost,
    TargetLocked,
    application_name,
    lock_key,
    running_elsewhere,
    running_migration,
    target_lock,
)
from tests.support.postgres_tables import RUN


def test_the_second_run_is_told_the_first(database_url: str) -> None:
    with target_lock(database_url, RUN, "public") as lock:
        with pytest.raises(TargetLocked) as caught, target_lock(database_url, "another", "public"):
            pass
        assert caught.value.facts == {"by": RUN, "schema": "public"}
        lock.check()


def test_the_lock_ends_with_the_run(database_url: str) -> None:
    with target_lock(database_url, RUN, "public"):
        pass
    with target_lock(database_url, "another", "public"):
        pass


def test_runs_into_different_databases_do_not_meet(database_url: str, postgres: PostgresServer) -> None:
    with target_lock(database_url, RUN, "public"), target_lock(postgres.url(), "another", "public"):
        pass


def test_runs_into_different_schemas_do_not_meet_and_are_told_apart(database_url: str) -> None:
    long = [f"{'every-night-' * 6}{schema}" for schema in ("public", "apart")]
    assert len({application_name(run) for run in long}) == 2
    with closing(connect(database_url, "firelift-test")) as connection:
        create_control(connection)
        for run, schema in zip(long, ("public", "apart"), strict=True):
            record_start(connection, run, "full", {"target_schema": schema})
        with target_lock(database_url, long[0], "public"), target_lock(database_url, long[1], "apart"):
            assert [running_migration(connection, schema) for schema in ("public", "apart", "none")] == [*long, None]
            assert running_elsewhere(connection, "public") == [application_name(long[1]).removeprefix("firelift ")]


def test_the_control_schema_is_made_by_many_at_once(database_url: str) -> None:
    def begin(number: int) -> bool:
        return record_begin(database_url, f"run-{number}", "full", {"target_schema": f"s{number}"}, "2026-01-01T00:00:00Z")

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(begin, range(8))) == [True] * 8


def test_a_refused_run_leaves_the_control_schema_to_one_that_is_at_work_elsewhere(database_url: str) -> None:
    with target_lock(database_url, "refused", "public"), closing(connect(database_url, "firelift-test")) as connection:
        for elsewhere, stays in ((True, True), (False, False)):
            create_control(connection)
            record_start(connection, "refused", "full", {})
            with target_lock(database_url, "another", "apart") if elsewhere else nullcontext():
                forget_run(connection, "refused")
                assert schema_exists(connection, "firelift") is stays


def test_a_dead_connections_lock_vanishes_and_its_run_learns_of_it(database_url: str) -> None:
    with target_lock(database_url, RUN, "public") as lock:
        with closing(psycopg.connect(database_url, autocommit=True)) as admin:
            # pg_terminate_backend waits here until the backend is gone.
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = %s", [f"firelift {RUN}"]
            ).fetchall()
        assert ended == [(True,)]
        with target_lock(database_url, "another", "public"), pytest.raises(LockLost):
            lock.check()


def test_behind_a_pooler_that_hides_the_name_the_control_schema_tells_it(database_url: str) -> None:
    with closing(connect(database_url, "Supavisor")) as hidden:
        hidden.execute("SELECT pg_advisory_lock(%s, %s)", signed_key("public"))
        assert holder_seen_from(database_url) == "unknown"
        create_control(hidden)
        record_start(hidden, RUN, "full", {})
        assert holder_seen_from(database_url) == RUN


def signed_key(schema: str) -> list[int]:
    return [LOCK_CLASS, int.from_bytes(lock_key(schema).to_bytes(4, "big"), "big", signed=True)]


def holder_seen_from(url: str) -> object:
    with pytest.raises(TargetLocked) as caught, target_lock(url, "another", "public"):
        pass
    return caught.value.facts["by"]
