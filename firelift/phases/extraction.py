"""Extraction: Firestore's documents into the archive, one key range at a time, none missing and none twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from firelift.archive import CHUNK_BYTES, ArchiveDamaged, Chunk, RangeArchive, begin_again, file_name, ranges, write_digest
from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.counting import counted
from firelift.firestore.discovery import Root, key_ranges
from firelift.firestore.query import KeyRange
from firelift.firestore.stream import read_documents
from firelift.firestore.values import Document
from firelift.paths import Selection, collection_of
from firelift.phases.completeness import Scan, prove_archive, prove_count
from firelift.phases.mending import standing_documents
from firelift.profile import Profile, Profiler, merged, profile_from_json, profile_to_json
from firelift.receipts import Extracted, RangeExtracted, RootFound, shared
from firelift.sealed import FileChanged, read_sealed, write_sealed
from firelift.workers import Workers

Progress = Callable[[str, int, int], None]
"""Hears of documents and bytes of a root collection that were archived since it last heard."""


def extract_collection(
    workers: Workers,
    source: Source,
    root: RootFound,
    archive: Path,
    read_time: str,
    selection: Selection,
    batch_size: int,
    range_documents: int,
    progress: Progress,
) -> Extracted:
    """Archives root collections with everything beneath them, and proves by COUNT, or a second scan of keys, that they are complete."""
    directory = archive / file_name(root.collection)
    directory.mkdir(mode=0o700, exist_ok=True)
    begin_again(directory)
    cuts = workers.call(cut, source, root, directory, read_time, range_documents, workers.number)
    calls = [(source, directory, number, keys, read_time, selection, batch_size, expected) for number, (keys, expected) in enumerate(cuts)]
    done = list(workers.each(extract_range, calls, report=lambda said: progress(*said)))
    scans: list[Scan] = []
    if root.documents is None:
        scans = prove_archive(workers, source, directory, [keys for keys, _ in cuts], read_time, selection)
    else:
        prove_count(root, sum(part.documents + part.passed for part in done), read_time)
    return Extracted(
        digest=write_digest(directory),
        collection=root.collection,
        beside=root.beside,
        documents=sum(part.documents for part in done),
        passed=sum(part.passed for part in done),
        bytes=sum(part.bytes for part in done),
        chunks=sum(part.chunks for part in done),
        ranges=len(done),
        reads=sum(part.reads for part in done),
        breaks=(*(broken for part in done for broken in part.breaks), *(broken for scan in scans for broken in scan.breaks)),
        counted=root.documents,
        scanned=sum(scan.keys for scan in scans) if root.documents is None else None,
        mended=tuple(mended for part in done for mended in part.mended),
        shares=shared(part.shares for part in done),
    )


def cut(
    source: Source, root: RootFound, directory: Path, read_time: str, range_documents: int, most: int, report: Callable[[Any], None]
) -> list[tuple[KeyRange, int | None]]:
    """The key ranges of a root with their counts, None where Firestore does not count.

    Kept in a file, because chunks are only valid with the same cuts.
    """
    kept = directory / "ranges.json"
    if kept.exists():
        return _kept_ranges(kept, read_time)
    whole = Root(root.collection, KeyRange(root.start, root.end), root.documents, beside=root.beside)
    # Firestore itself makes fewer cuts where there are few documents.
    parts = 4 * most if root.documents is None else min(-(-root.documents // range_documents), 4 * most)
    firestore = open_firestore(source)
    cuts = key_ranges(firestore, whole, parts, read_time)
    known = len(cuts) == 1 or root.documents is None
    counts = [root.documents if known else counted(firestore, keys, read_time).documents for keys in cuts]
    firestore.close()
    listed = [{"keys": asdict(keys), "documents": documents} for keys, documents in zip(cuts, counts, strict=True)]
    write_sealed(kept, json.dumps({"read_time": read_time, "ranges": listed}))
    return list(zip(cuts, counts, strict=True))


def _kept_ranges(kept: Path, read_time: str) -> list[tuple[KeyRange, int | None]]:
    try:
        told = json.loads(read_sealed(kept))
        cuts = [(KeyRange(**cut["keys"]), cut["documents"]) for cut in told["ranges"]]
    except (ValueError, TypeError, KeyError, FileChanged) as error:
        raise ArchiveDamaged(file=str(kept), why="it was changed after it was written, or by an earlier version") from error
    if told["read_time"] != read_time:
        # Documents of two moments are no snapshot.
        raise ArchiveDamaged(file=str(kept), its_snapshot=told["read_time"], snapshot_of_the_run=read_time)
    return cuts


def extract_range(
    source: Source,
    directory: Path,
    number: int,
    keys: KeyRange,
    read_time: str,
    selection: Selection,
    batch_size: int,
    expected: int | None,
    report: Callable[[Any], None],
) -> RangeExtracted:
    """Archives one key range, going on behind the last chunk that stands; profiles every document."""
    target = RangeArchive(directory, number)
    target.repair()
    standing = target.chunks()
    profiler = Profiler(source.name)
    breaks: list[str] = []
    mended: list[str] = []
    for chunk, documents in standing_documents(source, target, keys, read_time, selection, breaks.append, mended.append):
        for path, _, parsed in documents:
            profiler.see(collection_of(path), parsed)
        tell(chunk, report)
    archived = sum(chunk.documents + chunk.passed for chunk in standing)
    after = standing[-1].last_key if standing else None
    writer = ChunkWriter(target, len(standing), batch_size, report)
    if expected is None or archived < expected or not standing:
        firestore = open_firestore(source)
        missing = None if expected is None else expected - archived
        takes: dict[str, bool] = {}
        for path, document in read_documents(firestore, keys, read_time, after, missing, breaks.append):
            collection = collection_of(path)
            if collection not in takes:
                takes[collection] = selection.takes(collection)
            if takes[collection]:
                parsed = Document.FromString(document)
                profiler.see(collection, parsed)
                writer.add(path, document, parsed)
            else:
                writer.passed += 1
                writer.last_key = path
        firestore.close()
    writer.close()
    write_sealed(target.profile, json.dumps(profile_to_json(profiler.profile)))
    chunks = target.chunks()
    return RangeExtracted(
        number=number,
        documents=sum(chunk.documents for chunk in chunks),
        passed=sum(chunk.passed for chunk in chunks),
        bytes=sum(chunk.bytes for chunk in chunks),
        chunks=len(chunks),
        reads=writer.read,
        breaks=tuple(breaks),
        mended=tuple(mended),
        shares=shared(chunk.shares for chunk in chunks),
    )


def tell(chunk: Chunk, report: Callable[[Any], None]) -> None:
    for root, share in chunk.shares.items():
        report((root, share["documents"], share["bytes"]))


class ChunkWriter:
    """Gathers documents and writes a chunk when there are enough."""

    def __init__(self, target: RangeArchive, number: int, batch_size: int, report: Callable[[Any], None]) -> None:
        self.target, self.number, self.batch_size, self.report = target, number, batch_size, report
        self.last_key = ""
        self.read = 0
        self._clear()

    def _clear(self) -> None:
        self.passed, self.size = 0, 0
        self.paths: list[str] = []
        self.created: list[int] = []
        self.updated: list[int] = []
        self.documents: list[bytes] = []

    def add(self, path: str, document: bytes, parsed: Document) -> None:
        self.paths.append(path)
        self.created.append(_microseconds(parsed.create_time))
        self.updated.append(_microseconds(parsed.update_time))
        self.documents.append(document)
        self.last_key = path
        self.size += len(document)
        if len(self.paths) >= self.batch_size or self.size >= CHUNK_BYTES:
            self._write()

    def _write(self) -> None:
        chunk = self.target.write(self.number, self.paths, self.created, self.updated, self.documents, self.last_key, self.passed)
        self.number += 1
        self.read += chunk.documents + chunk.passed
        tell(chunk, self.report)
        self._clear()

    def close(self) -> None:
        if self.paths or self.passed:
            self._write()


def _microseconds(moment: Any) -> int:
    return int(moment.seconds * 1_000_000 + moment.nanos // 1000)


def read_profile(archive: Path, roots: list[str]) -> Profile:
    """The profile of everything archived for these root collections."""
    parts = [part for root in roots for part in ranges(archive / file_name(root)) if part.profile.exists()]
    return merged([profile_from_json(json.loads(read_sealed(part.profile))) for part in parts])
