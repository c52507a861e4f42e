"""What SQLAlchemy must be told where somebody else's code asks through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
from sqlalchemy import event
from sqlalchemy.sql import quoted_name

from firelift.errors import FireliftError
from firelift.postgres.session.errors import translate


def to_the_letter(name: str) -> str:
    """A name that is always quoted, never folded or taken apart."""
    return quoted_name(name, True)


def watch(engine: Any, before: Callable[[], None], refused: Callable[[FireliftError], None], doing: str) -> None:
    """Calls `before` ahead of every statement, which may raise, and `refused` with PostgreSQL's answer where it refuses one."""

    def heard(context: Any) -> None:
        if isinstance(context.original_exception, psycopg.Error):
            refused(translate(context.original_exception, doing))

    event.listen(engine, "handle_error", heard)
    event.listen(engine, "before_cursor_execute", lambda *_: before())
