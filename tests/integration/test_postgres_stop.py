"""A stop is asked for in the target and seen there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg

from firelift.migration.stop import cancel_statements
from firelift.phases.import_ import record_begin, record_failure
from firelift.postgres.schema.control_schema import create_control, record_finish, record_start
from firelift.postgres.session.lock import target_lock
from firelift.postgres.session.stop import forget_stop, request_stop, stop_requested
from tests.support.postgres_tables import values
from tests.support.refreshed_tables import FIRST, SECOND, target


def test_a_request_is_seen_by_the_run_it_names_until_it_is_forgotten(database_url: str) -> None:
    with target(database_url) as connection, target(database_url) as elsewhere:
        create_control(connection)
        for run in (FIRST, SECOND):
            record_start(connection, run, "full", {})
        assert not stop_requested(connection, FIRST)
        assert request_stop(elsewhere, FIRST, "public") == FIRST
        first = values(connection, "SELECT stop_requested_at FROM firelift.migrations ORDER BY 1")
        assert request_stop(elsewhere, FIRST, "public") == FIRST
        assert values(connection, "SELECT stop_requested_at FROM firelift.migrations ORDER BY 1") == first
        assert (stop_requested(connection, FIRST), stop_requested(connection, SECOND)) == (True, False)
        forget_stop(connection, FIRST, 0)
        assert not stop_requested(connection, FIRST)


def test_without_a_name_the_holder_of_the_lock_is_asked(database_url: str) -> None:
    with target(database_url) as connection:
        create_control(connection)
        record_start(connection, FIRST, "full", {})
        record_start(connection, SECOND, "full", {})
        assert request_stop(connection, None, "public") is None
        with target_lock(database_url, FIRST, "public"):
            assert request_stop(connection, None, "public") == FIRST
        assert stop_requested(connection, FIRST)


def test_a_run_that_ended_or_is_unknown_is_not_asked(database_url: str) -> None:
    with target(database_url) as connection:
        assert request_stop(connection, FIRST, "public") is None
        assert not stop_requested(connection, FIRST)
        create_control(connection)
        record_start(connection, FIRST, "full", {})
        record_finish(connection, FIRST, "completed")
        assert request_stop(connection, FIRST, "public") is None
        assert request_stop(connection, "unknown", "public") is None


def test_a_stop_that_goes_on_does_not_cancel_the_record_of_the_end(database_url: str) -> None:
    record_begin(database_url, FIRST, "full", {}, "2026-11-22T10:00:00Z")
    with psycopg.connect(database_url) as holder, ThreadPoolExecutor(1) as thread:
        holder.execute("SELECT FROM firelift.migrations FOR UPDATE")
        recording = thread.submit(record_failure, database_url, FIRST, "stopped")
        while holder.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
            pass
        cancel_statements(database_url, FIRST)
        holder.rollback()
        recording.result()
        assert holder.execute("SELECT status FROM firelift.migrations").fetchall() == [("stopped",)]
