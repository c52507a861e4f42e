"""Connections that a run's pieces of work leave to each other: to open one takes ten round trips and more, to renew one takes four."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg.pq import TransactionStatus

from firelift.postgres.session.connection import Connection

Kind = tuple[str, str, bool]
"""URL, `application_name`, and whether it only reads."""

# One that writes and one that reads are asked for again and again; a pooler in front of the target may have few for each user.
MOST_LEFT = 4

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
def opened(kind: Kind, connect: Callable[[], Connection], renew: Callable[[Connection], None]) -> Iterator[Connection]:
    """A connection for one piece of work: one of this kind that is left, once `renew` has made it as a new one, or a new one by `connect`.

    Where `renew` finds that the server has ended it (psycopg.Error) another is taken; other errors are raised. After an error within the
    block it is left to nobody.
    """
    connection = _taken(kind, renew) or connect()
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
        kept = is_idle and _blocks > 0 and sum(map(len, _left.values())) < MOST_LEFT
        if kept:
            _left.setdefault((os.getpid(), kind), []).append(connection)
        return kept


def _taken(kind: Kind, renew: Callable[[Connection], None]) -> Connection | None:
    while connection := _popped(kind):
        try:
            renew(connection)
            return connection
        except psycopg.Error:
            connection.close()
        except BaseException:
            connection.close()
            raise
    return None


def _popped(kind: Kind) -> Connection | None:
    with _lock:
        left = _left.get((os.getpid(), kind))
        return left.pop() if left else None
