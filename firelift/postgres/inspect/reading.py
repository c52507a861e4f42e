"""Connections for looking only: whatever is asked over them, the target stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from firelift.postgres.session.connect import Connection, connect_to_read


@contextmanager
def reading(url: str, session: str) -> Iterator[Connection]:
    """A connection named `session` in autocommit mode that the server lets read only, closed at the end."""
    with closing(connect_to_read(url, session)) as connection:
        yield connection
