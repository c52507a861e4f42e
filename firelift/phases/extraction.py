"""Extraction: Firestore's documents into the archive, one key range at a time, none missing and none twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firelift.files import read_sealed, write_sealed
from firelift.firestore.channel import open_firestore
from firelift.firestore.query import KeyRange
from firelift.firestore.stream import read_documents
from firelift.firestore.values import Document
from firelift.paths import collection_of
from firelift.planning.profile import Profile, Profiler, merged, profile_from_json, profile_to_json
from firelift.receipts import Extracted, RangeExtracted, shared
from firelift.storage.archive import RangeArchive, begin_again, file_name, ranges, write_digest
from firelift.storage.chunk_writer import ChunkWriter, Progress, tell
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.storage.key_ranges import cut
from firelift.storage.mending import standing_documents
from firelift.verification.completeness import Scan, prove_archive, prove_count
from firelift.workers import Workers


def extract_collection(workers: Workers, inputs: ExtractionInputs, progress: Progress) -> Extracted:
    """Archives root collections with everything beneath them, and proves by COUNT, or a second scan of keys, that they are complete."""
    root, directory = inputs.root, inputs.directory
    directory.mkdir(mode=0o700, exist_ok=True)
    begin_again(directory)
    cuts = workers.call(cut, inputs, workers.number)
    calls = [(inputs, number, keys, expected) for number, (keys, expected) in enumerate(cuts)]
    done = list(workers.each(extract_range, calls, report=lambda said: progress(*said)))
    scans: list[Scan] = []
    if root.documents is None:
        scans = prove_archive(workers, inputs.source, directory, [keys for keys, _ in cuts], inputs.read_time, inputs.selection)
    else:
        prove_count(root, sum(part.documents + part.skipped for part in done), inputs.read_time)
    return Extracted(
        digest=write_digest(directory),
        collection=root.collection,
        beside=root.beside,
        documents=sum(part.documents for part in done),
        skipped=sum(part.skipped for part in done),
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


def extract_range(
    inputs: ExtractionInputs, number: int, keys: KeyRange, expected: int | None, report: Callable[[Any], None]
) -> RangeExtracted:
    """Archives one key range, beginning after the last chunk in the list of the archive; profiles every document."""
    source, read_time, selection = inputs.source, inputs.read_time, inputs.selection
    target = RangeArchive(inputs.directory, number)
    target.repair()
    existing = target.chunks()
    profiler = Profiler(source.name)
    breaks: list[str] = []
    mended: list[str] = []
    for chunk, documents in standing_documents(source, target, keys, read_time, selection, breaks.append, mended.append):
        for path, _, parsed in documents:
            profiler.see(collection_of(path), parsed)
        tell(chunk, report)
    archived = sum(chunk.documents + chunk.skipped for chunk in existing)
    after = existing[-1].last_key if existing else None
    writer = ChunkWriter(target, len(existing), inputs.batch_size, report)
    if expected is None or archived < expected or not existing:
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
                writer.skipped += 1
                writer.last_key = path
        firestore.close()
    writer.close()
    write_sealed(target.profile, json.dumps(profile_to_json(profiler.profile)))
    chunks = target.chunks()
    return RangeExtracted(
        number=number,
        documents=sum(chunk.documents for chunk in chunks),
        skipped=sum(chunk.skipped for chunk in chunks),
        bytes=sum(chunk.bytes for chunk in chunks),
        chunks=len(chunks),
        reads=writer.read,
        breaks=tuple(breaks),
        mended=tuple(mended),
        shares=shared(chunk.shares for chunk in chunks),
    )


def read_profile(archive: Path, roots: list[str]) -> Profile:
    """The profile of everything archived for these root collections."""
    parts = [part for root in roots for part in ranges(archive / file_name(root)) if part.profile.exists()]
    return merged([profile_from_json(json.loads(read_sealed(part.profile))) for part in parts])
