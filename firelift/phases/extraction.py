"""Extraction: archives Firestore's documents, one key range at a time, without missing one or archiving one twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from firelift.files import read_sealed, write_sealed
from firelift.firestore.channel import open_firestore
from firelift.firestore.query import KeyRange
from firelift.firestore.stream import read_documents
from firelift.paths import Selection, collection_of
from firelift.planning.profile import Profile, Profiler, merged, profile_from_json, profile_to_json
from firelift.receipts import Extracted, RangeExtracted, shared
from firelift.storage.archive import RangeArchive, begin_again, file_name, ranges, write_digest
from firelift.storage.archive_repair import archived_chunks
from firelift.storage.chunk_writer import ChunkWriter, Progress, report_chunk
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.storage.key_ranges import counted_in_parts, cut
from firelift.verification.completeness import Scan, prove_archive, prove_count, sum_ranges
from firelift.workers import Workers


def extract_collection(workers: Workers, inputs: ExtractionInputs, progress: Progress) -> Extracted:
    """Archives root collections with everything beneath them, and proves by COUNT, or a second scan of keys, that they are complete."""
    directory = inputs.directory
    directory.mkdir(mode=0o700, exist_ok=True)
    begin_again(directory)
    cuts = workers.call(cut, inputs, workers.number)
    root = counted_in_parts(inputs.root, [expected for _, expected in cuts])
    calls = [(inputs, number, keys, expected) for number, (keys, expected) in enumerate(cuts)]
    done = list(workers.each(extract_range, calls, report=lambda counts: progress(*counts)))
    scans: list[Scan] = []
    if root.documents is None:
        scans = prove_archive(workers, inputs.source, directory, [keys for keys, _ in cuts], inputs.read_time, inputs.selection)
    else:
        prove_count(root, sum(part.documents + part.skipped for part in done), inputs.read_time)
    mended = tuple(file for part in done for file in part.mended)
    return sum_ranges(root, done, scans, write_digest(directory)).model_copy(update={"mended": mended})


def extract_range(
    inputs: ExtractionInputs, number: int, keys: KeyRange, expected: int | None, report: Callable[[Any], None]
) -> RangeExtracted:
    """Archives one key range, beginning after the last chunk in the list of the archive; profiles every document.

    `expected`: how many documents Firestore counts in the range; None where it does not count them.
    """
    target = RangeArchive(inputs.directory, number)
    target.repair()
    existing = target.chunks()
    profiler = Profiler(inputs.source.name)
    breaks: list[str] = []
    mended: list[str] = []
    for chunk, documents in archived_chunks(inputs, target, keys, breaks.append, mended.append):
        for path, _, parsed in documents:
            profiler.see(collection_of(path), parsed)
        report_chunk(chunk, report)
    writer = ChunkWriter(target, len(existing), inputs.batch_size, report, profiler)
    missing = None if expected is None else expected - sum(chunk.documents + chunk.skipped for chunk in existing)
    if missing is None or missing > 0 or not existing:
        after = existing[-1].last_key if existing else None
        with closing(open_firestore(inputs.source)) as firestore:
            found = read_documents(firestore, keys, inputs.read_time, after, missing, breaks.append)
            _archive(found, inputs.selection, writer)
    writer.close()
    write_sealed(target.profile, json.dumps(profile_to_json(profiler.profile)))
    return _range_extracted(target, writer.read, breaks, mended)


def _archive(documents: Iterable[tuple[str, bytes]], selection: Selection, writer: ChunkWriter) -> None:
    takes: dict[str, bool] = {}
    for path, document in documents:
        collection = collection_of(path)
        if collection not in takes:
            takes[collection] = selection.takes(collection)
        if takes[collection]:
            writer.add(path, document)
        else:
            writer.skip(path)


def _range_extracted(target: RangeArchive, reads: int, breaks: Sequence[str], mended: Sequence[str]) -> RangeExtracted:
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
        shares=shared(chunk.shares for chunk in chunks),
    )


def read_profile(archive: Path, roots: list[str]) -> Profile:
    """The profile of everything archived for these root collections."""
    parts = [part for root in roots for part in ranges(archive / file_name(root)) if part.profile.exists()]
    return merged([profile_from_json(json.loads(read_sealed(part.profile))) for part in parts])
