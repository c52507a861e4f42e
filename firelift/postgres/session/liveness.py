"""A connection whose waiting ends when the server no longer knows of it.

TCP itself reports a peer that is gone, but not through a proxy or pooler, which keeps our half of the connection alive when it has lost
the other: we would wait for an answer for ever. So whoever waits for long asks on a second connection.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

from firelift.postgres.session.queries import QUERY

T = TypeVar("T")

# How long a server may take for a question that costs it nothing (s).
ANSWER = 15.0
# After so many times the patience without any answer, by default five minutes, a server is given up.
GIVEN_UP = 5

Another = Callable[[], psycopg.Connection[tuple[Any, ...]]]


class WatchedConnection(psycopg.Connection[tuple[Any, ...]]):
    """Records how long it has been waiting for the server."""

    waiting_since: float | None = None
    trusted: tuple[str, ...] = ()
    """Other roles whose tables are written as them: see `firelift.postgres.session.foreign_owners`."""

    def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        self.waiting_since = time.monotonic()
        try:
            return super().wait(gen, *args, **options)
        finally:
            self.waiting_since = None


@contextmanager
def at_most(connection: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
    """What is asked within the block is answered at once, or the connection is cut: for short questions."""
    timer = threading.Timer(seconds, _cut, [connection])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def watch(connection: WatchedConnection, another: Another, patience: float, interval: float) -> None:
    """Checks a wait that has lasted `patience` seconds every `interval` seconds from now on, over a connection that `another` opens.

    Where the session no longer exists, or is found waiting for us twice in a row, our connection is cut: its wait ends as if the server
    had hung up. It is also cut where nobody has answered such a check for `GIVEN_UP` times `patience`: a server that hangs, whose
    kernel still answers for it. A long statement is left alone as long as the server answers.
    """
    session = connection.execute(QUERY["session"]).fetchone()
    if session is None:
        return
    watching = (weakref.ref(connection), session, another, patience, interval)
    threading.Thread(target=_watch, args=watching, name="firelift-postgres-watch", daemon=True).start()


def _watch(watched: weakref.ref[WatchedConnection], session: tuple[Any, ...], another: Another, patience: float, interval: float) -> None:
    deaf_since: float | None = None
    silence = _Silence(patience * GIVEN_UP)
    while True:
        time.sleep(interval)
        connection = watched()
        if connection is None or connection.closed:
            return
        since = connection.waiting_since
        if since is None or time.monotonic() - since < patience:
            continue
        try:
            waits_for_us = _waits_for_us(session, another)
        except psycopg.Error as error:
            if silence.lasts(since, error) and connection.waiting_since == since:
                _cut(connection)
        else:
            silence.ended()
            forgotten = waits_for_us is None or (waits_for_us and since == deaf_since)
            if forgotten and connection.waiting_since == since:
                _cut(connection)
            deaf_since = since if waits_for_us else None
        del connection


class _Silence:
    """How long nobody has answered while we wait for one and the same thing."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._wait: float | None = None
        self._began = 0.0

    def lasts(self, wait: float, error: psycopg.Error) -> bool:
        """Notes that a question came to nothing; True where that has been so for too long."""
        if error.sqlstate is not None:
            # To refuse is an answer: there may be no connection left, or the server is starting up.
            self.ended()
            return False
        if self._wait != wait:
            self._wait, self._began = wait, time.monotonic()
        return time.monotonic() - self._began >= self._longest

    def ended(self) -> None:
        self._wait = None


def _waits_for_us(session: tuple[Any, ...], another: Another) -> bool | None:
    """Whether the server's session waits for the client; None where the session no longer exists."""
    with another() as connection, at_most(connection, ANSWER):
        row = connection.execute(QUERY["session_waits_for_client"], session).fetchone()
    return None if row is None else bool(row[0])


def _cut(connection: psycopg.Connection[Any]) -> None:
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as twin:
        twin.shutdown(socket.SHUT_RDWR)
