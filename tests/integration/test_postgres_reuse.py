"""A run's pieces of work leave their sessions to each other, and nobody notices but by the time it takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest

from firelift.postgres.session.connect import Session, connect
from firelift.postgres.session.connection import Connection
from firelift.postgres.session.foreign_owners import BelongsToAnother
from firelift.postgres.session.reuse import MOST_LEFT, connections_reused
from tests.support.prefect_servers import eventually

NAME = "firelift reuse"


@pytest.fixture
def session(database_url: str) -> Session:
    return Session(database_url, NAME)


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def pid(connection: Connection) -> int:
    return connection.info.backend_pid


def used(session: Session) -> int:
    with session.open() as connection:
        return pid(connection)


def sessions(admin: psycopg.Connection) -> int:
    row = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [NAME]).fetchone()
    assert row
    return int(row[0])


def end_sessions(admin: psycopg.Connection) -> None:
    admin.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = %s", [NAME])


def test_one_session_serves_all_that_come_after_each_other_and_ends_with_the_block(session: Session, admin: psycopg.Connection) -> None:
    with connections_reused():
        assert used(session) == used(session)
        with connections_reused():
            first = used(session)
        assert first == used(session)
        assert sessions(admin) == 1
    assert eventually(10, lambda: sessions(admin) == 0)


def test_without_a_block_every_piece_of_work_has_its_own(session: Session) -> None:
    assert used(session) != used(session)


def test_those_at_work_at_the_same_time_and_those_that_only_read_have_their_own(session: Session) -> None:
    with connections_reused():
        with session.open() as one, session.open() as other, session.open_to_read() as reading:
            assert len({pid(one), pid(other), pid(reading)}) == 3
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                reading.execute("CREATE TABLE public.t ()")
        with session.open() as connection:
            connection.execute("CREATE TABLE public.t ()")
        with session.open_to_read() as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TABLE public.u ()")


def test_what_the_one_before_has_set_is_gone(session: Session) -> None:
    with connections_reused():
        with session.open() as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            connection.execute("SET search_path TO public; SET statement_timeout TO 10000; SET TimeZone TO 'Asia/Kathmandu'")
            connection.execute("SET ROLE pg_monitor; LISTEN heard; SELECT pg_advisory_lock(7); CREATE TEMPORARY TABLE pg_roles ()")
            first = pid(connection)
        with session.open() as connection:
            assert pid(connection) == first
            assert connection.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
            ).fetchone() == (0,)
            assert connection.execute("SELECT current_user = session_user, to_regclass('pg_temp.pg_roles')").fetchone() == (True, None)
            shown = [connection.execute(f"SHOW {name}").fetchone() for name in ("search_path", "statement_timeout", "TimeZone")]
            assert shown == [("pg_catalog, pg_temp",), ("0",), ("UTC",)]
            with connection.transaction():
                connection.execute("CREATE TABLE public.t ()")


def test_no_more_than_a_few_are_left(session: Session, admin: psycopg.Connection) -> None:
    with connections_reused():
        with ExitStack() as stack:
            for _ in range(MOST_LEFT + 3):
                stack.enter_context(session.open())
        assert eventually(10, lambda: sessions(admin) == MOST_LEFT)


def test_a_session_that_ended_meanwhile_is_replaced(session: Session, admin: psycopg.Connection) -> None:
    with connections_reused():
        first = used(session)
        end_sessions(admin)
        assert used(session) != first


def test_after_an_error_or_with_a_transaction_left_open_it_is_not_used_again(session: Session, admin: psycopg.Connection) -> None:
    with connections_reused():
        first = used(session)
        with pytest.raises(psycopg.errors.DivisionByZero), session.open() as connection:
            connection.execute("SELECT 1 / 0")
        with session.open() as connection:
            left_open = pid(connection)
            connection.execute("BEGIN")
        assert len({first, left_open, used(session)}) == 3
        assert eventually(10, lambda: sessions(admin) == 1)


def test_a_control_schema_that_has_come_from_somebody_else_is_refused_all_the_same(session: Session, admin: psycopg.Connection) -> None:
    admin.execute(f"CREATE ROLE stranger_{os.getpid()}")
    try:
        with connections_reused():
            used(session)
            admin.execute(f"CREATE SCHEMA firelift AUTHORIZATION stranger_{os.getpid()}")
            with pytest.raises(BelongsToAnother), session.open():
                pass
    finally:
        admin.execute(f"DROP OWNED BY stranger_{os.getpid()}; DROP ROLE stranger_{os.getpid()}")


def test_a_process_uses_no_session_of_the_one_it_was_forked_from(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    with connections_reused():
        first = used(session)
        here = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: here + 1)
        assert used(session) != first
        monkeypatch.undo()
        assert used(session) == first


def test_a_connection_that_the_caller_closes_is_his(database_url: str, session: Session) -> None:
    with connections_reused(), closing(connect(database_url, NAME)) as own:
        assert pid(own) != used(session)
