"""Compares the target's rows with those that the encoder makes, to the last bit of every column.

A row may decode to the right document and still show a wrong value: the residue overrides a column, and two spellings of one reference
or timestamp decode to the same value. So each row is also compared with the one that its document makes.
"""

from __future__ import annotations

import json
import marshal
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import reduce
from typing import Any, Final

import orjson

from firelift.planning.model import RESIDUE, TablePlan
from firelift.verification.differing_fields import FieldDiffers, path_of
from firelift.verification.rendering import render_cell, shortened

Row = list[Any]
_LONG: Final = re.compile(r"[0-9.]{17}")


class RowForm:
    """How the rows of one table are compared."""

    def __init__(self, table: TablePlan) -> None:
        columns = table.target_columns()
        self._names = [name for name, _ in columns]
        self._json = [place for place, (_, pg_type) in enumerate(columns) if pg_type == "jsonb"]
        self._keys = len(table.keys)
        self._fields = {name: reduce(path_of, column.path, "") for column in table.columns for name in _columns_of(column)}

    def same(self, expected: Row, found: Row) -> bool:
        """Whether both rows are the same: jsonb as Postgres compares it, all else bit by bit. Removes equal jsonb from both rows."""
        for place in self._json:
            one, other = expected[place], found[place]
            if isinstance(one, str) and isinstance(other, str) and same_json(one, other):
                expected[place] = found[place] = None
        return _image(expected) == _image(found)

    def differing(self, expected: Row, found: Row) -> Iterator[FieldDiffers]:
        """Each column that differs, under the name of its field."""
        for place in range(self._keys, len(self._names)):
            one, other = expected[place], found[place]
            if _image(one) == _image(other):
                continue
            if place in self._json and isinstance(one, str) and isinstance(other, str) and same_json(one, other):
                continue
            name = self._names[place]
            what = "residue" if name == RESIDUE else "column"
            yield FieldDiffers(self._fields.get(name, name), what, *shortened(render_cell(one), render_cell(other)))


def _image(cells: Any) -> bytes:
    """Plain values as bytes, which differ where `==` does not: for another NaN, -0.0, and 1 instead of 1.0 or true."""
    try:
        return marshal.dumps(cells, 2)
    except ValueError:
        # A column whose type was changed may hold values that the encoder never makes.
        return repr(cells).encode("utf-8", "backslashreplace")


def _columns_of(column: Any) -> tuple[str, ...]:
    return (column.name, *column.reference.ancestors) if column.reference else (column.name,)


def same_json(one: str, other: str) -> bool:
    """Whether two JSON texts are one jsonb: numbers by value and not by spelling, but 1 is not 1.0."""
    if one == other:
        return True
    try:
        # Decimals of at most 15 digits are one to one with the doubles that they are read as, and that is ten times as fast.
        if not _LONG.search(one) and not _LONG.search(other) and _canonical(one) == _canonical(other):
            return True
        return bool(_exactly(one) == _exactly(other))
    except (RecursionError, ValueError):
        # jsonb holds numbers of more digits, and deeper values, than any that we write.
        return False


def _canonical(text: str) -> bytes:
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)


def _integer(digits: str) -> tuple[str, int]:
    return "integer", int(digits)


def _decimal(digits: str) -> tuple[str, Decimal]:
    # Equal for -0.0 and 0.0, which are one number to Postgres.
    return "decimal", Decimal(digits)


_exactly = json.JSONDecoder(parse_int=_integer, parse_float=_decimal).decode
