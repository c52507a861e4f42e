"""Extraction: archives Firestore's documents, one key range at a time, without missing one or archiving one twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from firelift.errors import FireliftError
from firelift.files import read_sealed, write_sealed
from firelift.firestore.channel import Firestore, open_firestore
from firelift.firestore.errors import SnapshotExpired
from firelift.firestore.query import KeyRange, server_time
from firelift.firestore.stream import read_documents
from firelift.paths import collection_of
from firelift.planning.profile import Profile, Profiler, merged, profile_from_json, profile_to_json
from firelift.receipts import Extracted, RangeExtracted, RootCollection, shared
from firelift.storage.archive import RangeArchive, begin_again, file_name, ranges, write_digest
from firelift.storage.archive_repair import archived_chunks
from firelift.storage.chunk_writer import ChunkWriter, Progress, report_chunk
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.storage.key_ranges import WORTH_A_STREAM, counted_in_parts, cut, divide, kept_ranges
from firelift.verification.completeness import Scan, prove_archive, prove_count, sum_ranges
from firelift.workers import CallReport, Workers


def extract_collection(workers: Workers, inputs: ExtractionInputs, progress: Progress) -> Extracted:
    """Archives root collections with everything beneath them, and proves by COUNT, or a second scan of keys, that they are complete."""
    directory = inputs.directory
    directory.mkdir(mode=0o700, exist_ok=True)
    begin_again(directory)
    cuts = workers.call(cut, inputs, workers.number)
    root = counted_in_parts(inputs.root, [expected for _, expected in cuts])
    calls = [(inputs, number, keys, expected) for number, (keys, expected) in enumerate(cuts)]
    done = list(workers.each(extract_range, calls, report=lambda counts: progress(*counts), divisible=True))
    later = {moment for part in done for moment in part.later}
    scans: list[Scan] = []
    try:
        if not later:
            scans = _prove(workers, inputs, root, done)
    except SnapshotExpired:
        # A range in whose second scan something differed was discarded, and is to be read again.
        discarded = any(part.chunks != len(RangeArchive(directory, part.number).chunks()) for part in done)
        if not inputs.catch_up or discarded:
            raise
        later = {workers.call(now, inputs)}
    found = sum_ranges(root, done, scans, write_digest(directory))
    if later:
        # What Firestore counts at one moment says nothing of documents of several.
        found = found.model_copy(update={"counted": None, "scanned": None, "later": tuple(sorted(later))})
    return found.model_copy(update={"mended": tuple(file for part in done for file in part.mended)})


def _prove(workers: Workers, inputs: ExtractionInputs, root: RootCollection, done: Sequence[RangeExtracted]) -> list[Scan]:
    """Shows that all documents were read; raises CountMismatch, ScansDiffer."""
    if root.documents is None:
        read = [keys for keys, _ in kept_ranges(inputs)]
        return prove_archive(workers, inputs.source, inputs.directory, read, inputs.read_time, inputs.selection)
    prove_count(root, sum(part.documents + part.skipped for part in done), inputs.read_time)
    return []


def now(inputs: ExtractionInputs, report: Callable[[Any], None]) -> str:
    """Firestore's own time, RFC 3339."""
    with closing(open_firestore(inputs.source)) as firestore:
        return server_time(firestore)


def extract_range(
    inputs: ExtractionInputs, number: int, keys: KeyRange, expected: int | None, report: Callable[[Any], None]
) -> RangeExtracted:
    """Archives one key range, beginning after the last chunk in the list of the archive; profiles every document.

    `expected`: how many documents Firestore counts in the range; None where it does not count them. While another worker is idle the
    range is divided: what is left of it becomes two, of which the other worker reads the second.
    """
    target = RangeArchive(inputs.directory, number)
    target.repair()
    existing = target.chunks()
    profiler = Profiler(inputs.source.name)
    breaks: list[str] = []
    mended: list[str] = []
    later: list[str] = []
    for chunk, documents in archived_chunks(inputs, target, keys, breaks.append, mended.append):
        for path, _, parsed in documents:
            profiler.see(collection_of(path), parsed)
        report_chunk(chunk, report)
    writer = ChunkWriter(target, len(existing), inputs.batch_size, report, profiler)
    # What Firestore counts at the snapshot says nothing of what was read later.
    known = None if any(chunk.read_time for chunk in existing) else expected
    missing = None if known is None else known - sum(chunk.documents + chunk.skipped for chunk in existing)
    if missing is None or missing > 0 or not existing:
        after = existing[-1].last_key if existing else None
        with closing(open_firestore(inputs.source)) as firestore:
            later += _Reading(inputs, number, firestore, writer, breaks.append, report).read(keys, after, missing)
    writer.close()
    write_sealed(target.profile, json.dumps(profile_to_json(profiler.profile)))
    return _range_extracted(target, writer.read, breaks, mended, later)


class _Reading:
    """Reads a key range into the archive, or so much of it as remains when it is divided."""

    def __init__(
        self,
        inputs: ExtractionInputs,
        number: int,
        firestore: Firestore,
        writer: ChunkWriter,
        broken: Callable[[str], None],
        report: Callable[[Any], None],
    ) -> None:
        self._inputs, self._number, self._firestore = inputs, number, firestore
        self._writer, self._broken, self._report = writer, broken, report
        self._takes: dict[str, bool] = {}
        self._read_time = inputs.read_time
        self._later: list[str] = []
        self._since = 0
        """How many documents had been read when the range was last divided."""

    def read(self, keys: KeyRange, after: str | None, missing: int | None) -> list[str]:
        """Archives the documents of `keys` after `after`, of which there are `missing`, None where that is unknown.

        Returns the later moments as of which a part was read, where that is wanted and Firestore no longer keeps the snapshot.
        """
        expired_after: str | None = ""
        while True:
            try:
                with closing(read_documents(self._firestore, keys, self._read_time, after, missing, self._broken)) as documents:
                    divided = self._archive(documents, keys, missing)
            except SnapshotExpired:
                after = self._writer.last_key or after
                if not self._inputs.catch_up or after == expired_after:
                    raise
                expired_after, missing = after, None
                self._go_on_later()
                continue
            if divided is None:
                return self._later
            (keys, missing), after = divided, self._writer.last_key

    def _go_on_later(self) -> None:
        self._writer.close()
        self._read_time = self._writer.read_time = server_time(self._firestore)
        self._later.append(self._read_time)

    def _archive(self, documents: Iterable[tuple[str, bytes]], keys: KeyRange, missing: int | None) -> tuple[KeyRange, int | None] | None:
        """Archives all of them; returns early, at the end of a chunk, where the range was divided, with what remains of it."""
        takes, chunks, begun, first = self._takes, self._writer.number, self._writer.read, ""
        for path, document in documents:
            collection = collection_of(path)
            if collection not in takes:
                takes[collection] = self._inputs.selection.takes(collection)
            if takes[collection]:
                self._writer.add(path, document)
            else:
                self._writer.skip(path)
            if self._writer.number != chunks:
                left = None if missing is None else missing - (self._writer.read - begun)
                if remains := self._divided(keys, first, left):
                    return remains
                chunks, first = self._writer.number, ""
            first = first or path
        return None

    def _divided(self, keys: KeyRange, first: str, left: int | None) -> tuple[KeyRange, int | None] | None:
        report, read = self._report, self._writer.read
        if not isinstance(report, CallReport) or (left is None and read - self._since < WORTH_A_STREAM):
            # Where nobody knows how many are left, so many are read before each division: otherwise the last ones would be divided to dust.
            return None
        if not report.is_asked_to_divide():
            return None
        self._since = read
        try:
            parts = divide(self._inputs, self._number, keys, self._firestore, first, self._writer.last_key, left, self._read_time)
        except FireliftError:
            # What Firestore does not say of a cut is no reason to end the reading, which meets the same error if it lasts.
            parts = None
        report.give_away(None if parts is None else (self._inputs, *parts[1]))
        return parts and parts[0]


def _range_extracted(
    target: RangeArchive, reads: int, breaks: Sequence[str], mended: Sequence[str], later: Sequence[str]
) -> RangeExtracted:
    chunks = target.chunks()
    return RangeExtracted(
        number=target.number,
        documents=sum(chunk.documents for chunk in chunks),
        skipped=sum(chunk.skipped for chunk in chunks),
        bytes=sum(chunk.bytes for chunk in chunks),
        chunks=len(chunks),
        reads=reads,
        breaks=tuple(breaks),
        mended=tuple(mended),
        later=tuple(sorted({*later, *(chunk.read_time for chunk in chunks if chunk.read_time)})),
        shares=shared(chunk.shares for chunk in chunks),
    )


def read_profile(archive: Path, roots: list[str]) -> Profile:
    """The profile of everything archived for these root collections."""
    parts = [part for root in roots for part in ranges(archive / file_name(root)) if part.profile.exists()]
    return merged([profile_from_json(json.loads(read_sealed(part.profile))) for part in parts])
