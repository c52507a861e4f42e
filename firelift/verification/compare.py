"""Rows decoded back into documents and compared with those of the archive, an archive chunk at a time, in worker processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from firelift.firestore.values import Document
from firelift.paths import collection_of, ids_of
from firelift.planning.model import CREATED_AT, EXTRA, RESIDUE, UPDATED_AT, TablePlan, read_plan
from firelift.postgres.inspect.rows import read_rows
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Session
from firelift.receipts import Difference
from firelift.storage.archive import StoredFile, read_chunk
from firelift.storage.transformed import read_receipt, read_rejects
from firelift.transform import UnreadableRow, compile_decoder, compile_parsed_encoder
from firelift.verification.difference_file import DifferenceFile, write_differences
from firelift.verification.differing_fields import FieldDiffers, differing_fields
from firelift.verification.proof import DigestUnit, Presence
from firelift.verification.rendering import quoted
from firelift.verification.row_comparison import RowForm

Key = tuple[str, ...]
Row = list[Any]


@dataclass(frozen=True)
class CompareInputs:
    """What a worker needs to compare documents with rows. Small and picklable."""

    session: Session
    schema: str
    run: Path
    parts: Path
    """Directory for the files with differences."""
    whole: bool
    """Whether all documents are compared. Then there is one digest for each chunk and table, else one for each document."""


@dataclass
class TableTally:
    """The counts of one table in one chunk."""

    compared: int = 0
    differing: int = 0
    missing: int = 0
    """Of those that differ, the ones without a row."""

    def __add__(self, other: TableTally) -> TableTally:
        return TableTally(self.compared + other.compared, self.differing + other.differing, self.missing + other.missing)


@dataclass
class ChunkCompared:
    """The result of comparing one chunk, by collection."""

    chunk: str
    tables: dict[str, TableTally] = field(default_factory=dict)
    pieces: list[DigestUnit] = field(default_factory=list)
    differences: DifferenceFile = field(default_factory=DifferenceFile)


def compare_chunk(
    inputs: CompareInputs, chunk: str, archived: StoredFile, chosen: Mapping[str, Sequence[int] | None], report: Callable[[Any], None]
) -> ChunkCompared:
    """Compares the chosen documents of one archive chunk with their rows, and every column with the one made from the document.

    `chosen` gives by collection the positions among its stored documents in the chunk; None: all of them. `report` gets the number of
    documents compared.
    """
    done = ChunkCompared(chunk)
    documents = _chosen(inputs.run, chunk, archived, chosen)
    done.differences = write_differences(_compared(inputs, documents, done, report), inputs.parts / f"{chunk.replace('/', '-')}.csv")
    return done


def _compared(
    inputs: CompareInputs, documents: dict[str, dict[Key, bytes]], done: ChunkCompared, report: Callable[[Any], None]
) -> Iterator[Difference]:
    connection = inputs.session.kept_open(read_only=True)
    comparers = _comparers(inputs.run)
    for collection, theirs in documents.items():
        comparer, tally = comparers[collection], done.tables.setdefault(collection, TableTally())
        digests = _Digests(comparer.table.table, done.chunk, inputs.whole)
        rows = read_rows(connection, TargetTable(inputs.schema, comparer.table), list(theirs))
        for key, document, row in _paired(theirs, rows, len(comparer.table.keys)):
            comparison = comparer.compare(document, row)
            tally.compared += document is not None
            tally.missing += row is None
            if comparison.differences:
                tally.differing += 1
                table, joined = comparer.table.table, "/".join(key)
                yield from (Difference(table=table, key=joined, **differs._asdict()) for differs in comparison.differences)
            digests.add("/".join(key), comparison)
        done.pieces.extend(digests.pieces())
        report(len(theirs))


def _chosen(run: Path, chunk: str, archived: StoredFile, chosen: Mapping[str, Sequence[int] | None]) -> dict[str, dict[Key, bytes]]:
    """The serialized documents, by collection and key."""
    rejected = rejected_paths(run, chunk)
    wanted = {collection: None if places is None else frozenset(places) for collection, places in chosen.items()}
    places: dict[str, int] = dict.fromkeys(wanted, 0)
    documents: dict[str, dict[Key, bytes]] = {collection: {} for collection in wanted}
    for path, document in read_chunk(archived):
        collection = collection_of(path)
        if collection not in wanted or path in rejected:
            continue
        few, place = wanted[collection], places[collection]
        places[collection] = place + 1
        if few is None or place in few:
            documents[collection][tuple(ids_of(path))] = document
    return documents


def rejected_paths(run: Path, chunk: str) -> frozenset[str]:
    """The documents of a chunk that have no row because they cannot be stored."""
    return read_rejects(run, read_receipt(run, chunk))


def _paired(documents: Mapping[Key, bytes], rows: Iterator[Row], keys: int) -> Iterator[tuple[Key, bytes | None, Row | None]]:
    """Documents with their rows, both in byte order of their keys; a second row of one key comes without a document."""
    waiting = sorted(documents, reverse=True)
    for row in rows:
        key = tuple(row[:keys])
        while waiting and waiting[-1] < key:
            alone = waiting.pop()
            yield alone, documents[alone], None
        if waiting and waiting[-1] == key:
            yield waiting.pop(), documents[key], row
        else:
            yield key, None, row
    while waiting:
        alone = waiting.pop()
        yield alone, documents[alone], None


@dataclass(slots=True)
class _Comparison:
    """One document, its row, and every difference between them."""

    source: bytes | None
    target: bytes | None
    differences: Sequence[FieldDiffers] = ()


OWN = (CREATED_AT, EXTRA, RESIDUE, UPDATED_AT)


class TableComparer:
    """How the documents and rows of one table are compared."""

    def __init__(self, table: TablePlan, database: str) -> None:
        self.table = table
        self._decode, self._encode = compile_decoder(table, database), compile_parsed_encoder(table, database)
        self._rows = RowForm(table)

    def compare(self, document: bytes | None, row: Row | None) -> _Comparison:
        if document is None:
            assert row is not None, "a pair has a document or a row"
            return _Comparison(None, b"", (FieldDiffers("", "unexpected row", "one row", "another row of the same key"),))
        source = Document.FromString(document)
        expected = source.SerializeToString(deterministic=True)
        if row is None:
            key = ", ".join(map(quoted, source.name.split("/documents/", 1)[1].split("/")[1::2]))
            return _Comparison(expected, None, (FieldDiffers("", "missing row", f"a row {key} of {len(source.fields)} fields", "no row"),))
        made = self._encode(source)
        try:
            target = self._decode(row)
        except UnreadableRow as unreadable:
            cause = str(unreadable.facts["cause"])
            return _Comparison(
                expected, b"", (FieldDiffers("", "unreadable row", "a row that says a document", cause), *self._columns(made, row))
            )
        rebuilt = target.SerializeToString(deterministic=True)
        if rebuilt == expected and self._rows.same(made, row):
            return _Comparison(expected, rebuilt)
        return self._differing(source, expected, target, rebuilt, made, row)

    def _differing(self, source: Document, expected: bytes, target: Document, rebuilt: bytes, made: Row, row: Row) -> _Comparison:
        if rebuilt == expected:
            # What the columns show is a part of the row: its digest must not be that of a faultless one.
            return _Comparison(expected, rebuilt + b"columns", self._columns(made, row))
        fields = list(differing_fields(source, target))
        if not fields:
            fields = [FieldDiffers("", "value", "a document of other bytes", "a document of other bytes")]
        named = [differs.field for differs in fields]
        # A field that differs is not listed a second time as its column; the times and the residue have no field.
        columns = (differs for differs in self._columns(made, row) if differs.field not in OWN)
        return _Comparison(expected, rebuilt, [*fields, *(differs for differs in columns if not _within(differs.field, named))])

    def _columns(self, made: Row, row: Row) -> list[FieldDiffers]:
        return list(self._rows.differing(made, row))


def _within(field: str, paths: Sequence[str]) -> bool:
    return any(path == field or path.startswith((f"{field}.", f"{field}[")) for path in paths)


class _Digests:
    """The digests of one table in one chunk: one for all its documents, or one for each."""

    def __init__(self, table: str, chunk: str, whole: bool) -> None:
        self._table, self._chunk, self._whole = table, chunk, whole
        self._source, self._target = hashlib.sha256(), hashlib.sha256()
        self._documents = self._rows = 0
        self._pieces: list[DigestUnit] = []

    def add(self, key: str, comparison: _Comparison) -> None:
        if not self._whole:
            source, target = (hashlib.sha256(side or b"").hexdigest() for side in (comparison.source, comparison.target))
            self._keep(key, 1, source, target, comparison.source is not None, comparison.target is not None)
            return
        if comparison.source is not None:
            self._documents += 1
            self._source.update(comparison.source)
        if comparison.target is not None:
            self._rows += 1
            self._target.update(comparison.target)

    def pieces(self) -> list[DigestUnit]:
        if self._whole and self._documents:
            self._keep(self._chunk, self._documents, self._source.hexdigest(), self._target.hexdigest(), True, self._rows > 0)
        return self._pieces

    def _keep(self, key: str, documents: int, source: str, target: str, in_source: bool, in_target: bool) -> None:
        presence: Presence = "both" if in_source and in_target else "source" if in_source else "target"
        piece = DigestUnit(
            table=self._table,
            key=key,
            documents=documents,
            source_digest=source if in_source else "",
            target_digest=target if in_target else "",
            presence=presence,
        )
        self._pieces.append(piece)


@lru_cache(maxsize=2)
def _comparers(run: Path) -> dict[str, TableComparer]:
    plan = read_plan(run)
    return {table.collection: TableComparer(table, plan.database) for table in plan.tables}
