"""Connections that a run's pieces of work leave to each other: to open one takes some nine round trips, to look at one again takes two."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg.pq import TransactionStatus

from firelift.postgres.session.connection import Connection
from firelift.postgres.session.foreign_owners import refuse_foreign_in_own
from firelift.postgres.session.liveness import ANSWER, at_most
from firelift.postgres.session.queries import QUERY

Kind = tuple[str, str, bool]
"""URL, `application_name`, and whether it only reads."""

_lock = threading.Lock()
_blocks = 0
# By process, for a fork must not use what it has inherited.
_left: dict[tuple[int, Kind], list[Connection]] = {}


@contextmanager
def connections_reused() -> Iterator[None]:
    """Within the block this process keeps what `opened` is done with, for the next that asks; at its end all are closed.

    Where blocks overlap, the last one to end closes.
    """
    global _blocks
    with _lock:
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks:
                for connection in [connection for left in _left.values() for connection in left]:
                    connection.close()
                _left.clear()


@contextmanager
def opened(kind: Kind, connect: Callable[[], Connection]) -> Iterator[Connection]:
    """A connection for one piece of work: one of this kind that is left, or a new one by `connect`.

    A session that is used again is as a new one: settings are set anew, and a control schema that is somebody else's is refused
    (BelongsToAnother). After an error none is left to others.
    """
    connection = _taken(kind) or connect()
    try:
        yield connection
    except BaseException:
        connection.close()
        raise
    if not _keeps(kind, connection):
        connection.close()


def _keeps(kind: Kind, connection: Connection) -> bool:
    """Keeps it where somebody may ask for it again and nothing is left open in it."""
    is_idle = not connection.closed and connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE
    with _lock:
        if is_idle and _blocks:
            _left.setdefault((os.getpid(), kind), []).append(connection)
        return is_idle and _blocks > 0


def _taken(kind: Kind) -> Connection | None:
    while connection := _popped(kind):
        try:
            with at_most(connection, ANSWER):
                # How transactions of the one before began.
                connection.read_only = connection.isolation_level = connection.deferrable = None
                connection.execute(QUERY["prepare_session"])
                refuse_foreign_in_own(connection, "firelift")
            return connection
        except psycopg.Error:
            # The server has ended it meanwhile, or it was cut.
            connection.close()
        except BaseException:
            connection.close()
            raise
    return None


def _popped(kind: Kind) -> Connection | None:
    with _lock:
        left = _left.get((os.getpid(), kind))
        return left.pop() if left else None
