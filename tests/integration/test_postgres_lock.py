"""Two runs never write one target at a time."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from firelift.local.postgres import PostgresServer
from firelift.postgres.connect import connect
from firelift.postgres.control import create_control, record_start
from firelift.postgres.lock import LOCK_KEY, LockLost, TargetLocked, target_lock
from tests.integration.postgres_world import RUN


def test_the_second_run_is_told_the_first(database_url: str) -> None:
    with target_lock(database_url, RUN) as lock:
        with pytest.raises(TargetLocked) as caught, target_lock(database_url, "another"):
            pass
        assert caught.value.facts == {"by": RUN}
        lock.check()


def test_the_lock_ends_with_the_run(database_url: str) -> None:
    with target_lock(database_url, RUN):
        pass
    with target_lock(database_url, "another"):
        pass


def test_runs_into_different_databases_do_not_meet(database_url: str, postgres: PostgresServer) -> None:
    with target_lock(database_url, RUN), target_lock(postgres.url(), "another"):
        pass


def test_a_dead_connections_lock_vanishes_and_its_run_learns_of_it(database_url: str) -> None:
    with target_lock(database_url, RUN) as lock:
        with closing(psycopg.connect(database_url, autocommit=True)) as admin:
            # pg_terminate_backend waits here until the backend is gone.
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = %s", [f"firelift {RUN}"]
            ).fetchall()
        assert ended == [(True,)]
        with target_lock(database_url, "another"), pytest.raises(LockLost):
            lock.check()


def test_behind_a_pooler_that_hides_the_name_the_control_schema_tells_it(database_url: str) -> None:
    with closing(connect(database_url, "Supavisor")) as hidden:
        hidden.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        assert holder_seen_from(database_url) == "unknown"
        create_control(hidden)
        record_start(hidden, RUN, "full", {})
        assert holder_seen_from(database_url) == RUN


def holder_seen_from(url: str) -> object:
    with pytest.raises(TargetLocked) as caught, target_lock(url, "another"):
        pass
    return caught.value.facts["by"]
