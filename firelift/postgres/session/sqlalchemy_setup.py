"""How SQLAlchemy is set up where a library queries the target through it."""

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
    """Calls `before`, which may raise, ahead of every statement, and `refused` with the error where PostgreSQL refuses one."""

    def on_error(context: Any) -> None:
        if isinstance(context.original_exception, psycopg.Error):
            refused(translate(context.original_exception, doing))

    event.listen(engine, "handle_error", on_error)
    event.listen(engine, "before_cursor_execute", lambda *_: before())
