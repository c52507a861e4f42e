"""The list of differences: written part by part, however many there are, and put together into one CSV file."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, NamedTuple

from firelift.files import appearing, storage_errors
from firelift.receipts import Difference

FIRST: Final = 100
"""Differences that receipts carry; the file has all of them."""
HEADER: Final = ("table", "key", "field", "what", "expected", "found")


# What a spreadsheet takes for a formula, or skips and then does.
_A_FORMULA = re.compile(r"[=+\-@＝＋－＠\t\r\n]")
_A_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def harmless(cell: str) -> str:
    """The text as a spreadsheet shows it, with an apostrophe before what it would carry out; a number such as -5 stays one."""
    return f"'{cell}" if _A_FORMULA.match(cell) and not _A_NUMBER.fullmatch(cell) else cell


class Listed(NamedTuple):
    """How many differences there are, the first of them, and the file that has all; no file where there is none."""

    total: int = 0
    first: tuple[Difference, ...] = ()
    part: Path | None = None


def listed(differences: Iterable[Difference], part: Path) -> Listed:
    """Takes the differences one by one and writes them into a file, without a header."""
    taken = iter(differences)
    first = next(taken, None)
    if first is None:
        return Listed()
    total, some = 0, []
    with storage_errors(part), part.open("w", newline="", encoding="utf-8") as file:
        part.chmod(0o600)
        writer = csv.writer(file)
        for difference in chain((first,), taken):
            writer.writerow([harmless(getattr(difference, name)) for name in HEADER])
            total += 1
            if total <= FIRST:
                some.append(difference)
    return Listed(total, tuple(some), part)


def joined(parts: Sequence[Listed], file: Path) -> Listed:
    """All parts in one CSV file with a header, which is there also when no part is; the parts are gone then."""
    with appearing(file) as unfinished, unfinished.open("wb") as whole:
        whole.write((",".join(HEADER) + "\r\n").encode())
        for each in parts:
            if each.part is not None:
                with each.part.open("rb") as part:
                    shutil.copyfileobj(part, whole)
    for each in parts:
        if each.part is not None:
            each.part.unlink()
    first = tuple(chain.from_iterable(each.first for each in parts))[:FIRST]
    return Listed(sum(each.total for each in parts), first, file)
