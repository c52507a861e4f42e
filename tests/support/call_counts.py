"""What work costs, counted and not timed: statements that PostgreSQL is sent, functions that Python calls."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import psycopg
from psycopg import sql

from firelift.local.postgres import PostgresServer

_SENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (.*)")


@contextmanager
def statements(server: PostgresServer, url: str) -> Iterator[list[str]]:
    """The first lines of what new connections to this database send within the block; they are there behind it."""
    found: list[str] = []
    with psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(name))
        before = server.log.stat().st_size
        yield found
        with server.log.open("rb") as log:
            log.seek(before)
            found += _SENT.findall(log.read().decode())
        connection.execute(sql.SQL("ALTER DATABASE {} RESET log_statement").format(name))


@contextmanager
def calls() -> Iterator[Counter[tuple[str, str]]]:
    """How often this thread calls each function of Python's within the block, by file and name; a generator each time it goes on."""
    found: Counter[tuple[str, str]] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            found[frame.f_code.co_filename, frame.f_code.co_name] += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)
