"""The list of differences: each worker writes a part, and the parts are joined into one CSV file."""

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


# A spreadsheet runs what begins with one of these as a formula, tab and newline because it skips them.
_A_FORMULA = re.compile(r"[=+\-@＝＋－＠\t\r\n]")
_A_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def harmless(cell: str) -> str:
    """The text with an apostrophe in front where a spreadsheet would run it as a formula; a number such as -5 stays as it is."""
    return f"'{cell}" if _A_FORMULA.match(cell) and not _A_NUMBER.fullmatch(cell) else cell


class DifferenceFile(NamedTuple):
    """How many differences there are, the first of them, and the file with all of them. Without a difference there is no file."""

    total: int = 0
    first: tuple[Difference, ...] = ()
    file: Path | None = None


def write_differences(differences: Iterable[Difference], part: Path) -> DifferenceFile:
    """Writes the differences, one at a time, into a CSV file without a header."""
    taken = iter(differences)
    first = next(taken, None)
    if first is None:
        return DifferenceFile()
    total, some = 0, []
    with storage_errors(part), part.open("w", newline="", encoding="utf-8") as file:
        part.chmod(0o600)
        writer = csv.writer(file)
        for difference in chain((first,), taken):
            writer.writerow([harmless(getattr(difference, name)) for name in HEADER])
            total += 1
            if total <= FIRST:
                some.append(difference)
    return DifferenceFile(total, tuple(some), part)


def join_files(parts: Sequence[DifferenceFile], file: Path) -> DifferenceFile:
    """Joins all parts into one CSV file with a header, and removes them. Without any part the file has the header only."""
    written = [part.file for part in parts if part.file is not None]
    with appearing(file) as unfinished, unfinished.open("wb") as whole:
        whole.write((",".join(HEADER) + "\r\n").encode())
        for part in written:
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, whole)
    for part in written:
        part.unlink()
    first = tuple(chain.from_iterable(part.first for part in parts))[:FIRST]
    return DifferenceFile(sum(part.total for part in parts), first, file)
