"""How numbers, times and foreign names read in a line of text."""

from __future__ import annotations

from collections.abc import Sequence


def count(number: float | None) -> str:
    return "?" if number is None else f"{number:,.0f}"


def counted(number: float | None, what: str) -> str:
    """`1 row`, `1,200 rows`; `? rows` where the number is unknown."""
    return f"{count(number)} {what}{'' if number == 1 else 's'}"


def size(number: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"


def duration(seconds: float | None) -> str:
    """7.4 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def plain(name: str) -> str:
    """A name from the data without what could move a terminal's cursor or break a line: control characters as \\x1b."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in name)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as indented lines, each column as wide as its longest cell."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def shortened(name: str, width: int) -> str:
    name = plain(name)
    return name if len(name) <= width else name[: width - 1] + "…"
