"""How a number of things reads in a line of text."""

from __future__ import annotations


def count(number: float | None) -> str:
    return "?" if number is None else f"{number:,.0f}"


def counted(number: float | None, what: str) -> str:
    """`1 row`, `1,200 rows`; `? rows` where nobody knows how many."""
    return f"{count(number)} {what}{'' if number == 1 else 's'}"
