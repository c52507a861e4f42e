"""Chunks of the archive whose bytes were lost, read from Firestore once more as of the run's snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice

from firelift.firestore.channel import open_firestore
from firelift.firestore.query import KeyRange
from firelift.firestore.stream import read_documents
from firelift.firestore.values import Document
from firelift.paths import collection_of
from firelift.rfc3339 import microseconds
from firelift.storage.archive import ArchiveDamaged, Chunk, ChunkDamaged, RangeArchive, read_chunk
from firelift.storage.extraction_inputs import ExtractionInputs

Documents = list[tuple[str, bytes, Document]]
Report = Callable[[str], None]


def archived_chunks(
    inputs: ExtractionInputs, target: RangeArchive, keys: KeyRange, broken: Report, mended: Report
) -> Iterator[tuple[Chunk, Documents]]:
    """The listed chunks of a key range with their documents. A damaged file is written again, and `mended` is called with its path.

    Raises ArchiveDamaged where Firestore no longer has the documents of the list, and what reading raises, such as SnapshotExpired.
    """
    after: str | None = None
    for chunk in target.chunks():
        try:
            documents = [(path, document, Document.FromString(document)) for path, document in read_chunk(target.file(chunk))]
        except ChunkDamaged:
            documents = _read_again(inputs, target, chunk, keys, after, broken)
            mended(str(target.path(chunk)))
        yield chunk, documents
        after = chunk.last_key


def _read_again(
    inputs: ExtractionInputs, target: RangeArchive, chunk: Chunk, keys: KeyRange, after: str | None, broken: Report
) -> Documents:
    wanted, read_time = chunk.documents + chunk.skipped, chunk.read_time or inputs.read_time
    with closing(open_firestore(inputs.source)) as firestore:
        found = list(islice(read_documents(firestore, keys, read_time, after, wanted, broken), wanted))
    takes = inputs.selection.takes
    documents = [(path, document, Document.FromString(document)) for path, document in found if takes(collection_of(path))]
    if len(found) != wanted or len(documents) != chunk.documents or found[-1][0] != chunk.last_key:
        why = "read again, Firestore has other documents than the chunk had"
        raise ArchiveDamaged(file=str(target.path(chunk)), why=why, read_time=read_time)
    created = [microseconds(parsed.create_time.seconds, parsed.create_time.nanos) for _, _, parsed in documents]
    updated = [microseconds(parsed.update_time.seconds, parsed.update_time.nanos) for _, _, parsed in documents]
    target.replace(chunk, [path for path, _, _ in documents], created, updated, [document for _, document, _ in documents])
    return documents
