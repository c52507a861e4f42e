"""Where two documents of one name differ: every field path, with both values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from firelift.firestore.values import KIND_OF, ONEOF, Document, Value, is_vector, same_value, vector_elements
from firelift.verification.rendering import render, render_double, render_moment, shortened

MOST_ELEMENTS: Final = 20
"""An array with more elements that differ is one difference."""
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


class FieldDiffers(NamedTuple):
    field: str
    what: str
    expected: str
    found: str


def differing_fields(expected: Document, found: Document) -> Iterator[FieldDiffers]:
    """Every field, and create or update time, in which `found` differs; nothing for equal documents."""
    for difference in _fields("", expected.fields, found.fields):
        yield difference._replace(**dict(zip(("expected", "found"), shortened(difference.expected, difference.found), strict=True)))
    for what, one, other in (
        ("create time", expected.create_time, found.create_time),
        ("update time", expected.update_time, found.update_time),
    ):
        if one != other:
            yield FieldDiffers("", what, render_moment(one), render_moment(other))


def path_of(outer: str, key: str) -> str:
    """The path of a field inside another; a name that is not a plain word is put in backticks, as Firestore writes it."""
    name = key if _PLAIN.fullmatch(key) else "`" + key.replace("\\", "\\\\").replace("`", "\\`") + "`"
    return f"{outer}.{name}" if outer else name


def _fields(outer: str, expected: object, found: object) -> Iterator[FieldDiffers]:
    ours, theirs = dict(expected.items()), dict(found.items())  # type: ignore[attr-defined]
    for key in sorted({*ours, *theirs}):
        path = path_of(outer, key)
        if key not in theirs:
            yield FieldDiffers(path, "missing field", render(ours[key]), "nothing")
        elif key not in ours:
            yield FieldDiffers(path, "unexpected field", "nothing", render(theirs[key]))
        else:
            yield from _values(path, ours[key], theirs[key])


def _values(path: str, expected: Value, found: Value) -> Iterator[FieldDiffers]:
    if same_value(expected, found):
        return
    kinds = _kind(expected), _kind(found)
    if kinds[0] != kinds[1]:
        yield FieldDiffers(path, "type", render(expected), render(found))
    elif kinds[0] == "map":
        yield from _fields(path, expected.map_value.fields, found.map_value.fields)
    elif kinds[0] == "array":
        yield from _elements(path, expected, found)
    elif kinds[0] == "vector":
        yield from _components(path, expected, found)
    else:
        yield FieldDiffers(path, "value", render(expected), render(found))


def _kind(value: Value) -> str:
    # A row that somebody changed may hold what is no value at all, such as NULL inside an array.
    return "vector" if is_vector(value) else KIND_OF.get(value.WhichOneof(ONEOF), "unknown")


def _elements(path: str, expected: Value, found: Value) -> Iterator[FieldDiffers]:
    ours, theirs = list(expected.array_value.values), list(found.array_value.values)
    start, end = _same_ends([render(value) for value in ours], [render(value) for value in theirs])
    missing, unexpected = ours[start : len(ours) - end], theirs[start : len(theirs) - end]
    if max(len(missing), len(unexpected)) > MOST_ELEMENTS or (missing and unexpected and len(missing) != len(unexpected)):
        yield FieldDiffers(path, "value", _counted(expected, len(ours)), _counted(found, len(theirs)))
    elif len(missing) == len(unexpected):
        for place, (one, other) in enumerate(zip(missing, unexpected, strict=True), start):
            yield from _values(f"{path}[{place}]", one, other)
    else:
        for place, value in enumerate(missing, start):
            yield FieldDiffers(f"{path}[{place}]", "missing element", render(value), "nothing")
        for place, value in enumerate(unexpected, start):
            yield FieldDiffers(f"{path}[{place}]", "unexpected element", "nothing", render(value))


def _components(path: str, expected: Value, found: Value) -> Iterator[FieldDiffers]:
    ours, theirs = (list(map(render_double, vector_elements(value))) for value in (expected, found))
    if len(ours) != len(theirs):
        yield FieldDiffers(path, "value", render(expected), render(found))
        return
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if one != other:
            yield FieldDiffers(f"{path}[{place}]", "value", f"double {one}", f"double {other}")


def _same_ends(ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, int]:
    """How many elements are the same at the start, and of the rest at the end."""
    shorter = min(len(ours), len(theirs))
    start = next((place for place in range(shorter) if ours[place] != theirs[place]), shorter)
    end = next((place for place in range(shorter - start) if ours[-1 - place] != theirs[-1 - place]), shorter - start)
    return start, end


def _counted(array: Value, elements: int) -> str:
    return f"{elements} elements: {render(array)}"
