"""The notes of an expectation: its level, a sentence for people, and how to look for oneself."""

from __future__ import annotations

from typing import Any

from firelift.settings.types import LevelName


def annotated(level: LevelName, sentence: str, recompute: str = "", column: str | None = None) -> dict[str, Any]:
    """The keyword arguments that every expectation of Great Expectations takes for this. `recompute` is SQL, or where to look."""
    return {"notes": sentence, "meta": {"level": level, "sentence": sentence, "recompute": recompute, "column": column}}


def rows_of(query: str) -> str:
    """A query as UnexpectedRowsExpectation needs it, which formats it and binds every name after a colon.

    It also prints a warning where the query does not name {batch}: this names it and formats it as nothing.
    """
    return query.replace("{", "{{").replace("}", "}}").replace(":", "\\:") + " {batch!s:.0}"
