"""Compares all keys of a table with all keys of the archive: finds rows without a document and documents without a row."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from firelift.paths import collection_of, ids_of
from firelift.planning.model import TablePlan, read_plan
from firelift.postgres.inspect.rows import read_keys
from firelift.postgres.schema.target_table import TargetTable
from firelift.receipts import Difference
from firelift.storage.archive import StoredFile, file_name, read_paths
from firelift.verification.compare import CompareInputs, rejected_paths
from firelift.verification.difference_file import DifferenceFile, write_differences
from firelift.verification.rendering import quoted

Key = tuple[str, ...]
Archived = Sequence[tuple[str, StoredFile]]
"""The chunks with documents of the collection: name and file."""


def compare_keys(
    inputs: CompareInputs,
    collection: str,
    archived: Archived,
    rows: int,
    documents: int,
    known_missing: frozenset[str],
    report: Callable[[Any], None],
) -> DifferenceFile:
    """Lists every row that no archived document has, and every document without a row except `known_missing`. Where the whole table
    is compared, its comparison has listed the documents without a row. Lists the table itself if `rows` is not `documents`.

    Needs some 20 bytes of memory a document. Two different keys are taken for one in 1 of 2^64 cases.
    """
    table = read_plan(inputs.run).table_of(collection)
    found = _found(inputs, table, archived, rows, documents, known_missing)
    return write_differences(found, inputs.parts / f"keys-{file_name(collection)}.csv")


def _found(
    inputs: CompareInputs, table: TablePlan, archived: Archived, rows: int, documents: int, known_missing: frozenset[str]
) -> Iterator[Difference]:
    if rows != documents:
        yield Difference(table=table.table, key="*", what="number of rows", expected=str(documents), found=str(rows))
    known = numbers_of(_archived_keys(inputs.run, table.collection, archived))
    met = np.zeros(len(known), np.bool_)
    yield from _unknown(inputs, table, known, met)
    if not inputs.whole:
        yield from (missing for missing in _missing(inputs.run, table, archived, known, met) if missing.key not in known_missing)


def _unknown(inputs: CompareInputs, table: TablePlan, known: Any, met: Any) -> Iterator[Difference]:
    for keys in read_keys(inputs.session.kept_open(read_only=True), TargetTable(inputs.schema, table)):
        for key, place in zip(keys, places_among(keys, known), strict=True):
            if place is None or met[place]:
                expected = "no document of this key" if place is None else "one row of this key"
                yield _difference(table, key, "unexpected row", expected, f"{'a' if place is None else 'another'} row {_quoted(key)}")
            else:
                met[place] = True


def _missing(run: Path, table: TablePlan, archived: Archived, known: Any, met: Any) -> Iterator[Difference]:
    for key in _archived_keys(run, table.collection, archived):
        [place] = places_among([key], known)
        if place is not None and not met[place]:
            yield _difference(table, key, "missing row", f"a row {_quoted(key)}", "no row")


def numbers_of(keys: Iterable[Key]) -> Any:
    """The numbers of these keys, sorted, each once: 8 bytes a key."""
    return np.unique(np.fromiter(map(number_of, keys), np.uint64))


def places_among(keys: Sequence[Key], known: Any) -> list[int | None]:
    """The position of each key's number among `known`, which is sorted; None where it is not there."""
    if not len(known):
        return [None] * len(keys)
    numbers = np.fromiter(map(number_of, keys), np.uint64, len(keys))
    places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
    return [int(place) if same else None for place, same in zip(places, known[places] == numbers, strict=True)]


def _archived_keys(run: Path, collection: str, archived: Archived) -> Iterator[Key]:
    for chunk, file in archived:
        yield from keys_at(run, collection, chunk, file, None)


def keys_at(run: Path, collection: str, chunk: str, archived: StoredFile, places: Sequence[int] | None) -> Iterator[Key]:
    """The keys of the stored documents of a collection in one archive chunk; with `places`, of those only."""
    rejected = rejected_paths(run, chunk)
    keys = (tuple(ids_of(path)) for path in read_paths(archived) if collection_of(path) == collection and path not in rejected)
    wanted = None if places is None else frozenset(places)
    return (key for place, key in enumerate(keys) if wanted is None or place in wanted)


def number_of(key: Key) -> int:
    """64 bits that stand for a key: two keys have the same in 1 of 2^64 cases."""
    return int.from_bytes(hashlib.blake2b(_joined(key).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _joined(key: Key) -> str:
    # NULL in a table whose primary key somebody took away; no text of Postgres has this character.
    return "/".join("\0" if part is None else part for part in key)


def _difference(table: TablePlan, key: Key, what: str, expected: str, found: str) -> Difference:
    return Difference(table=table.table, key=_joined(key).replace("\0", "NULL"), what=what, expected=expected, found=found)


def _quoted(key: Key) -> str:
    return ", ".join("NULL" if part is None else quoted(part) for part in key)
