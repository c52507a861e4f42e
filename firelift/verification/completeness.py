"""Proves that every document of a root collection was read: by Firestore's COUNT, or by a second scan of keys where it does not count."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.errors import CountMismatch, ScansDiffer
from firelift.firestore.query import KeyRange
from firelift.firestore.read_keys import read_keys
from firelift.paths import Selection, collection_of
from firelift.receipts import Extracted, RootCollection, shared
from firelift.storage.archive import RangeArchive, read_chunk_keys
from firelift.workers import Workers

Key = tuple[str, int]
"""A document's path, and its update time in microseconds since 1970."""
UNCOUNTED: Final = (
    "Firestore does not count the documents of {number} of {of} root collections ({why}). To show that none is missing, a full or "
    "incremental run counts them in parts or, where that is refused as well, scans their keys a second time at the same read time, for "
    "which Firestore bills each document once more."
)


class Scan(NamedTuple):
    """A second scan of a key range."""

    keys: int
    breaks: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """A key range as it was read: how many keys, and a digest of them with their update times."""

    keys: KeyRange
    documents: int
    digest: str


class Digest:
    """A digest of keys and update times in the order they come."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.keys = 0

    def of(self, keys: Iterator[Key]) -> Iterator[Key]:
        """Yields the same keys and adds each to the digest."""
        see = self._hash.update
        for path, updated in keys:
            see(f"{path}\0{updated}\0".encode())
            self.keys += 1
            yield path, updated

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


class RangeRead(Protocol):
    """What was read of one key range, whole or only where it differs."""

    @property
    def documents(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def chunks(self) -> int: ...
    @property
    def reads(self) -> int: ...
    @property
    def breaks(self) -> tuple[str, ...]: ...
    @property
    def shares(self) -> dict[str, dict[str, int]]: ...


def sum_ranges(root: RootCollection, parts: Sequence[RangeRead], scans: Sequence[Scan], digest: str) -> Extracted:
    """The receipt of root collections whose ranges were read, with how many documents COUNT or a second scan has shown to be all."""
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
        shares=shared(part.shares for part in parts),
    )


def prove_count(root: RootCollection, read: int, read_time: str) -> None:
    """Raises CountMismatch unless as many documents were read as Firestore counts."""
    if read != root.documents:
        raise CountMismatch(collection=root.label, read=read, counted=root.documents, read_time=read_time)


def prove_archive(
    workers: Workers, source: Source, directory: Path, ranges: Sequence[KeyRange], read_time: str, selection: Selection
) -> list[Scan]:
    """Scans the keys of every range again; raises ScansDiffer unless they are those in the archive, and no others."""
    calls = [(source, directory, number, keys, read_time, selection) for number, keys in enumerate(ranges)]
    return list(workers.each(scan_archived, calls))


def prove_digests(workers: Workers, source: Source, seen: Sequence[Seen], read_time: str) -> list[Scan]:
    """Scans the keys of every range again; raises ScansDiffer unless the same come in the same order."""
    return list(workers.each(scan_seen, [(source, each, read_time) for each in seen]))


def scan_archived(
    source: Source, directory: Path, number: int, keys: KeyRange, read_time: str, selection: Selection, report: Callable[[Any], None]
) -> Scan:
    """One range: what differs from the archive is named, and the range will be read anew."""
    archive = RangeArchive(directory, number)
    chunks, skipped, breaks = archive.chunks(), 0, list[str]()
    archived = (key for chunk in chunks for key in read_chunk_keys(archive.file(chunk)))

    def taken(found: Iterator[Key]) -> Iterator[Key]:
        nonlocal skipped
        takes: dict[str, bool] = {}
        for key in found:
            collection = collection_of(key[0])
            if collection not in takes:
                takes[collection] = selection.takes(collection)
            if takes[collection]:
                yield key
            skipped += not takes[collection]

    with closing(open_firestore(source)) as firestore:
        scanned = 0
        for other, key in zip_longest(archived, taken(read_keys(firestore, keys, read_time, None, breaks.append))):
            if other != key:
                archive.discard()
                raise ScansDiffer(read_time=read_time, read=_path_or_none(other), found_again=_path_or_none(key))
            scanned += 1
    if (before := sum(chunk.skipped for chunk in chunks)) != skipped:
        archive.discard()
        raise ScansDiffer(read_time=read_time, documents_passed_over=before, found_again=skipped)
    return Scan(scanned + skipped, tuple(breaks))


def scan_seen(source: Source, seen: Seen, read_time: str, report: Callable[[Any], None]) -> Scan:
    """Scans again a range of which only a digest was kept."""
    digest, breaks = Digest(), list[str]()
    with closing(open_firestore(source)) as firestore:
        for _ in digest.of(read_keys(firestore, seen.keys, read_time, None, breaks.append)):
            pass
    if digest.hexdigest() != seen.digest:
        where = f"{seen.keys.start or 'the beginning'} to {seen.keys.end or 'the end'}"
        raise ScansDiffer(read_time=read_time, range=where, read=seen.documents, found_again=digest.keys)
    return Scan(digest.keys, tuple(breaks))


def _path_or_none(key: Key | None) -> str:
    return "no document" if key is None else key[0]
