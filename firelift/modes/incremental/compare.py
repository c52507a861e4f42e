"""Extraction of an increment: what has changed in Firestore since its tables were published, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from firelift.errors import FireliftError
from firelift.files import storage_errors, write_sealed
from firelift.firestore.changed_since import QueryRefused, Since, read_changed
from firelift.firestore.channel import Firestore, Source, open_firestore
from firelift.firestore.get import A_REQUEST, get_serialized
from firelift.firestore.keys import read_keys
from firelift.firestore.query import KeyRange
from firelift.firestore.values import Document
from firelift.formatting import counted
from firelift.modes.incremental.merge_keys import Differs, KeyMerge
from firelift.paths import Key, Selection, collection_of, ids_of
from firelift.planning.model import TablePlan
from firelift.planning.profile import Profiler, profile_to_json
from firelift.postgres.inspect.published_keys import Between, PublishedKeys, count_live, published_keys, written_at
from firelift.postgres.inspect.reading import reading
from firelift.postgres.session.connect import Connection
from firelift.receipts import Extracted, RootCollection, TableChanges, by_root, shared, tallied
from firelift.storage.archive import RangeArchive, file_name, write_digest
from firelift.storage.chunk_writer import ChunkWriter, Progress
from firelift.storage.deleted_keys import deleted_keys_directory, write_deleted_keys
from firelift.storage.key_ranges import cut
from firelift.times import microseconds
from firelift.verification.completeness import Digest, Scan, Seen, prove_count, prove_digests
from firelift.workers import Workers

GONE_A_FILE: Final = 5000
KEYS_A_REPORT: Final = 5000
REQUESTS_AT_ONCE: Final = 3
DIFFERS: Final = "differs"
"""What a worker reports beside its counts, once, as soon as it has found anything new, changed or gone."""

Thing = TypeVar("Thing")
Fetched = tuple[str, bytes, Document]
"""A document: its path, as Firestore serialized it, and parsed."""


class SnapshotInconsistent(FireliftError):
    """Firestore does not have a document at the read time as its stream of keys says."""

    recovery = "automatic"
    remedy = "Run again; if it happens again, the database is served inconsistently: report it with the migration log."


@dataclass(frozen=True)
class Standing:
    """The tables that stand below some root collections, those that the migration takes, as they were published."""

    url: str
    session: str
    schema: str
    tables: tuple[TablePlan, ...]
    since: Since | None = None
    """Set where a field of the documents is to tell which have changed."""


@dataclass(frozen=True)
class _Work:
    """What every worker is told."""

    source: Source
    root: RootCollection
    run: Path
    standing: Standing
    read_time: str
    selection: Selection
    batch_size: int

    @property
    def archive(self) -> Path:
        return self.run / "archive" / file_name(self.root.collection)


@dataclass(frozen=True)
class _Part:
    """What a worker has compared."""

    changes: tuple[TableChanges, ...] = ()
    documents: int = 0
    skipped: int = 0
    bytes: int = 0
    chunks: int = 0
    reads: int = 0
    breaks: tuple[str, ...] = ()
    seen: Seen | None = None
    """Set where a second scan must find the same keys."""
    shares: dict[str, dict[str, int]] = field(default_factory=dict)
    """Archived documents and bytes, by root collection."""

    @property
    def keys(self) -> int:
        return sum(each.documents for each in self.changes)


def extract_difference(
    workers: Workers,
    source: Source,
    root: RootCollection,
    run: Path,
    standing: Standing,
    read_time: str,
    selection: Selection,
    batch_size: int,
    range_documents: int,
    progress: Progress,
    differs: Callable[[], object] = lambda: None,
) -> Extracted:
    """Archives the new and changed documents of root collections with everything beneath them, and keeps the keys of those that are gone.

    All keys at the read time are compared with those of the tables, or, with `standing.since`, only documents are read that a field says
    have changed; where that cannot be all, everything is compared after all and `scan_reason` says why. Always begins anew: what
    another attempt has left is removed. `progress` hears of documents that were compared and of bytes that were archived, `differs` is
    called (once or more) as soon as there is anything that differs.
    """

    def heard(said: Any) -> None:
        differs() if said == DIFFERS else progress(*said)

    def heard_of_look(said: Any) -> None:
        # Whether what it found counts is only known at its end.
        if said == DIFFERS:
            differs()

    work = _Work(source, root, run, standing, read_time, selection, batch_size)
    looked, there, why = _Part(), dict[str, int](), ""
    if standing.since is not None and root.documents is None:
        why = f"Firestore does not count its documents, and only their number shows whether {standing.since.field} has told of all"
    elif standing.since is not None:
        _begin_anew(work)
        looked, there, why = workers.call(look_since, work, report=heard_of_look)
        if not why:
            for name, documents in there.items():
                progress(name, documents, looked.shares.get(name, {}).get("bytes", 0))
            return _extracted(root, [looked], write_digest(work.archive))
    _begin_anew(work)
    ranges = workers.call(cut_at_documents, source, root, work.archive, read_time, range_documents, workers.number)
    calls = [(work, number, keys, between, expected) for number, (keys, between, expected) in enumerate(ranges)]
    done = list(workers.each(compare_range, calls, report=heard))
    scans: list[Scan] = []
    if root.documents is None:
        scans = prove_digests(workers, source, [part.seen for part in done if part.seen], read_time)
    else:
        prove_count(root, sum(part.keys + part.skipped for part in done), read_time)
    extracted = _extracted(root, done, write_digest(work.archive), scans)
    return extracted.model_copy(update={"scan_reason": why, "reads": extracted.reads + looked.reads})


def _extracted(root: RootCollection, parts: Sequence[_Part], digest: str, scans: Sequence[Scan] = ()) -> Extracted:
    return Extracted(
        collection=root.collection,
        beside=root.beside,
        digest=digest,
        documents=sum(part.documents for part in parts),
        skipped=sum(part.skipped for part in parts),
        bytes=sum(part.bytes for part in parts),
        chunks=sum(part.chunks for part in parts),
        ranges=len(parts),
        reads=sum(part.reads for part in parts),
        breaks=(*(broken for part in parts for broken in part.breaks), *(broken for scan in scans for broken in scan.breaks)),
        counted=root.documents,
        scanned=sum(scan.keys for scan in scans) if root.documents is None else None,
        changes=_summed(each for part in parts for each in part.changes),
        shares=shared(part.shares for part in parts),
    )


def _summed(changes: Iterable[TableChanges]) -> tuple[TableChanges, ...]:
    total: dict[str, TableChanges] = {}
    for each in changes:
        known = total.get(each.collection)
        counts = ("documents", "new", "changed", "deleted")
        total[each.collection] = known.model_copy(update={n: getattr(known, n) + getattr(each, n) for n in counts}) if known else each
    return tuple(total[collection] for collection in sorted(total))


def _begin_anew(work: _Work) -> None:
    gone = [deleted_keys_directory(work.run, table.collection) for table in work.standing.tables]
    # What was made of the chunks goes with them: others will have their names.
    for directory in (work.archive, *gone, work.run / "transformed" / work.archive.name):
        with storage_errors(directory):
            if directory.exists():
                shutil.rmtree(directory)
    with storage_errors(work.archive):
        work.archive.mkdir(mode=0o700, parents=True)


def cut_at_documents(
    source: Source, root: RootCollection, directory: Path, read_time: str, range_documents: int, most: int, report: Callable[[Any], None]
) -> list[tuple[KeyRange, Between, int | None]]:
    """The key ranges of a root with their counts, cut at documents of the root collection only: there the tables can be cut as well."""
    ranges: list[tuple[KeyRange, int | None]] = []
    for keys, documents in cut(source, root, directory, read_time, range_documents, most, report):
        if ranges and _border(root, keys.start) is None:
            before, counted = ranges.pop()
            documents = None if counted is None or documents is None else counted + documents
            keys = KeyRange(before.start, keys.end)
        ranges.append((keys, documents))
    lows = [None, *(_border(root, keys.start) for keys, _ in ranges[1:])]
    return [(keys, Between(low, high), documents) for (keys, documents), low, high in zip(ranges, lows, [*lows[1:], None], strict=True)]


def _border(root: RootCollection, path: str | None) -> str | None:
    """The id of the root collection's document that a range begins at; None where it begins elsewhere."""
    collection, _, document_id = (path or "").partition("/")
    cuts_tables = collection == root.collection and document_id and "/" not in document_id and "\0" not in document_id
    return document_id if cuts_tables else None


def compare_range(work: _Work, number: int, keys: KeyRange, between: Between, expected: int | None, report: Callable[[Any], None]) -> _Part:
    """Merges the keys of one range with the tables' and archives what differs, while they are read."""
    tables = {table.collection: table for table in work.standing.tables}
    standing, breaks = work.standing, list[str]()
    gone = _Gone(work, number)
    digest = Digest() if work.root.documents is None else None
    found = _Once(partial(report, DIFFERS))
    with (
        closing(open_firestore(work.source)) as firestore,
        _archiving(work, number, report) as archive,
        published_keys(standing.url, standing.session, standing.schema, len(tables), between) as rows_of,
    ):

        def departed(collection: str, key: Key) -> None:
            found()
            gone.add(collection, key)

        merge = KeyMerge(tables, partial(_keys_of, tables, rows_of), work.selection.takes, departed)
        read = read_keys(firestore, keys, work.read_time, expected, breaks.append)
        stream = _told(digest.of(read) if digest else read, report)
        fetch = partial(fetch_documents, firestore, work.read_time, breaks.append)
        for documents in _in_turn(fetch, _batches(found.at_first(merge.differing(stream)))):
            archive.add(documents)
    gone.write()
    changes = merge.changes()
    part = archive.part(tuple(changes.values()), merge.skipped, breaks)
    seen = Seen(keys, digest.keys, digest.hexdigest()) if digest else None
    return replace(part, reads=part.keys + part.skipped + part.documents, seen=seen)


class _Once:
    """Calls a function the first time that it is called itself."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function, self._called = function, False

    def __call__(self) -> None:
        if not self._called:
            self._called = True
            self._function()

    def at_first(self, things: Iterable[Thing]) -> Iterator[Thing]:
        """The same things; called as the first comes."""
        for thing in things:
            self()
            yield thing


def _keys_of(tables: dict[str, TablePlan], rows_of: Callable[[TablePlan], PublishedKeys], collection: str) -> PublishedKeys:
    return rows_of(tables[collection]) if collection in tables else PublishedKeys(iter(()))


def _told(keys: Iterator[tuple[str, int]], report: Callable[[Any], None]) -> Iterator[tuple[str, int]]:
    for root, those in groupby(keys, key=lambda key: key[0].partition("/")[0]):
        number = 0
        for number, key in enumerate(those, 1):
            if number % KEYS_A_REPORT == 0:
                report((root, KEYS_A_REPORT, 0))
            yield key
        report((root, number % KEYS_A_REPORT, 0))


def _batches(differing: Iterator[Differs]) -> Iterator[list[Differs]]:
    while batch := list(islice(differing, A_REQUEST)):
        yield batch


def _in_turn(fetch: Callable[[list[Differs]], list[Fetched]], batches: Iterator[list[Differs]]) -> Iterator[list[Fetched]]:
    """What is fetched for each batch, in their order, while the next batches are looked for and asked for."""
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        waiting: deque[Future[list[Fetched]]] = deque()
        for batch in batches:
            waiting.append(threads.submit(fetch, batch))
            if len(waiting) > REQUESTS_AT_ONCE:
                yield waiting.popleft().result()
        yield from (asked.result() for asked in waiting)


def fetch_documents(firestore: Firestore, read_time: str, broken: Callable[[str], None], differing: Sequence[Differs]) -> list[Fetched]:
    """The documents in the order of their keys, each as the stream of keys has said that it is."""
    prefix = firestore.source.root + "/"
    found = dict(get_serialized(firestore, [prefix + each.path for each in differing], read_time, broken))
    return [_as_told(each, found.get(prefix + each.path), read_time) for each in differing]


def _as_told(each: Differs, document: bytes | None, read_time: str) -> Fetched:
    if document is None:
        raise SnapshotInconsistent(document=each.path, read_time=read_time, found="no document")
    parsed = Document.FromString(document)
    if _updated(parsed) != each.updated:
        raise SnapshotInconsistent(document=each.path, read_time=read_time, found="another update time")
    return each.path, document, parsed


def _updated(document: Document) -> int:
    return microseconds(document.update_time.seconds, document.update_time.nanos)


class _Archive:
    """The chunks of one worker, with their profile."""

    def __init__(self, work: _Work, number: int, report: Callable[[Any], None]) -> None:
        self._target = RangeArchive(work.archive, number)
        self._profiler = Profiler(work.source.name)
        # The keys are told already; what is new of a chunk is its bytes.
        self._writer = ChunkWriter(self._target, 0, work.batch_size, lambda said: report((said[0], 0, said[2])))

    def add(self, documents: Iterable[Fetched]) -> None:
        for path, document, parsed in documents:
            self._profiler.see(collection_of(path), parsed)
            self._writer.add(path, document, parsed)

    def close(self) -> None:
        self._writer.close()
        write_sealed(self._target.profile, json.dumps(profile_to_json(self._profiler.profile)))

    def part(self, changes: tuple[TableChanges, ...], skipped: int, breaks: Sequence[str]) -> _Part:
        chunks = self._target.chunks()
        return _Part(
            changes=changes,
            documents=sum(chunk.documents for chunk in chunks),
            skipped=skipped,
            bytes=sum(chunk.bytes for chunk in chunks),
            chunks=len(chunks),
            breaks=tuple(breaks),
            shares=shared(chunk.shares for chunk in chunks),
        )


@contextmanager
def _archiving(work: _Work, number: int, report: Callable[[Any], None]) -> Iterator[_Archive]:
    """Nothing that was gathered is written where the block fails."""
    archive = _Archive(work, number, report)
    yield archive
    archive.close()


@dataclass
class _Gone:
    """The keys of documents that are gone, some thousands a file."""

    work: _Work
    range: int
    held: dict[str, list[Key]] = field(default_factory=dict)
    number: int = 0
    files: int = 0

    def add(self, collection: str, key: Key) -> None:
        self.held.setdefault(collection, []).append(key)
        self.number += 1
        if self.number == GONE_A_FILE:
            self.write()

    def write(self) -> None:
        tables = {table.collection: table for table in self.work.standing.tables}
        for collection, keys in self.held.items():
            directory = deleted_keys_directory(self.work.run, collection)
            with storage_errors(directory):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            columns = [pa.array(column, pa.string()) for column in zip(*keys, strict=True)]
            keyed = pa.table(columns, names=list(tables[collection].keys))
            write_deleted_keys(self.work.run, collection, f"{self.range:04}-{self.files:06}", keyed)
        self.files += 1
        self.held, self.number = {}, 0


def look_since(work: _Work, report: Callable[[Any], None]) -> tuple[_Part, dict[str, int], str]:
    """Archives the documents that a field says have changed; also how many there are by root collection, and why these cannot be all."""
    since, standing, breaks = work.standing.since, work.standing, list[str]()
    assert since is not None, "it is only called where a field is to tell"
    assert work.root.documents is not None, "and where Firestore counts"
    changes, reads, there, why = list[TableChanges](), 0, dict[str, int](), ""
    found = _Once(partial(report, DIFFERS))
    with (
        closing(open_firestore(work.source)) as firestore,
        reading(standing.url, standing.session) as connection,
        _archiving(work, 0, report) as archive,
    ):
        try:
            for table in standing.tables:
                look = _Look(connection, standing.schema, table)
                for batch in look.batches(read_changed(firestore, table.collection, since, work.read_time, breaks.append)):
                    archive.add(found.at_first(batch))
                reads += look.reads
                changes.append(look.changes())
        except QueryRefused as refused:
            why = f"Firestore does not answer which documents of {table.collection} have changed by {since.field}: {_said(refused)}"
        else:
            rows = {table.collection: count_live(connection, standing.schema, table) for table in standing.tables}
            new = {each.collection: each.new for each in changes}
            there = tallied([by_root(rows), by_root(new)])
            why = _why_not_all(work.root.documents, sum(rows.values()), sum(new.values()))
    return replace(archive.part(tuple(changes), 0, breaks), reads=reads), there, why


def _said(refused: QueryRefused) -> str:
    return str(refused.facts.get("message") or refused.facts.get("status"))


def _why_not_all(documents: int, rows: int, new: int) -> str:
    if documents == rows + new:
        return ""
    return (
        f"Firestore has {counted(documents, 'document')}, while the tables have {counted(rows, 'row')} "
        f"and {counted(new, 'document')} turned out to be new"
    )


class _Look:
    """One table's look at the documents that a field says have changed: which of them differ from their rows."""

    def __init__(self, connection: Connection, schema: str, table: TablePlan) -> None:
        self._connection, self._schema, self._table = connection, schema, table
        self.reads = self._met = self._new = self._changed = 0

    def batches(self, documents: Iterator[tuple[str, bytes]]) -> Iterator[list[Fetched]]:
        while batch := list(islice(documents, A_REQUEST)):
            self.reads += len(batch)
            yield self._differing([(path, document) for path, document in batch if collection_of(path) == self._table.collection])

    def _differing(self, batch: Sequence[tuple[str, bytes]]) -> list[Fetched]:
        keys = {path: tuple(ids_of(path)) for path, _ in batch}
        # No text of PostgreSQL holds NUL, so neither does a key.
        rows = written_at(self._connection, self._schema, self._table, [key for key in keys.values() if "\0" not in "".join(key)])
        found = []
        for path, document in batch:
            parsed = Document.FromString(document)
            new = keys[path] not in rows
            self._met += 1
            self._new += new
            if new or rows[keys[path]] != _updated(parsed):
                self._changed += not new
                found.append((path, document, parsed))
        return found

    def changes(self) -> TableChanges:
        return TableChanges(
            collection=self._table.collection, documents=self._met, new=self._new, changed=self._changed, deleted=0, scanned=False
        )
