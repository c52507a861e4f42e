"""A moment is (seconds since 1970 UTC, nanoseconds): here as RFC 3339 text, years 1 to 9999, without `datetime`'s local zones."""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

from firelift.errors import FireliftError

_DAY = 86_400
_EPOCH = date(1970, 1, 1).toordinal()
_TEXT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{6}|[0-9]{9}))?Z",
)


class MomentOutOfRange(FireliftError):
    """A timestamp lies outside the years 1 to 9999."""


def rfc3339(seconds: int, nanos: int) -> str:
    """The moment as text: no fraction when it is zero, else 6 digits, or 9 when finer than microseconds."""
    days, second = divmod(seconds, _DAY)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return f"{_date(days)}T{hour:02d}:{minute:02d}:{second:02d}{_fraction(nanos)}Z"


def read_rfc3339(text: str) -> tuple[int, int]:
    """Exact inverse of `rfc3339`; ValueError for any other text."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(text)
    day, hour, minute, second, fraction = found.groups()
    return _days(day) * _DAY + int(hour) * 3600 + int(minute) * 60 + int(second), int((fraction or "0").ljust(9, "0"))


def microseconds(seconds: int, nanos: int) -> int:
    """The moment as microseconds since 1970, cut towards the past."""
    return seconds * 1_000_000 + nanos // 1000


def from_microseconds(stamp: int) -> tuple[int, int]:
    seconds, micros = divmod(stamp, 1_000_000)
    return seconds, micros * 1000


def _fraction(nanos: int) -> str:
    if not nanos:
        return ""
    micros, rest = divmod(nanos, 1000)
    return f".{nanos:09d}" if rest else f".{micros:06d}"


# Documents of one collection share few days, and the calendar is the slow part of both directions.
@lru_cache(maxsize=16_384)
def _date(days: int) -> str:
    try:
        return date.fromordinal(days + _EPOCH).isoformat()
    except (ValueError, OverflowError):
        raise MomentOutOfRange(days_since_1970=days) from None


@lru_cache(maxsize=16_384)
def _days(day: str) -> int:
    return date.fromisoformat(day).toordinal() - _EPOCH
