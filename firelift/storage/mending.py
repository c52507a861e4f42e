"""Chunks of the archive whose bytes were lost, read from Firestore once more as of the run's snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice

from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.query import KeyRange
from firelift.firestore.stream import read_documents
from firelift.firestore.values import Document
from firelift.paths import Selection, collection_of
from firelift.storage.archive import ArchiveDamaged, Chunk, ChunkDamaged, RangeArchive, read_chunk
from firelift.times import microseconds

Taken = list[tuple[str, bytes, Document]]
Heard = Callable[[str], None]


def standing_documents(
    source: Source, target: RangeArchive, keys: KeyRange, read_time: str, selection: Selection, broken: Heard, mended: Heard
) -> Iterator[tuple[Chunk, Taken]]:
    """The listed chunks of a key range with their documents. `mended` hears the file of each that was damaged and is whole again.

    Raises ArchiveDamaged where Firestore says otherwise than the list, and what reading raises, such as SnapshotExpired.
    """
    behind: str | None = None
    for chunk in target.chunks():
        try:
            taken = [(path, document, Document.FromString(document)) for path, document in read_chunk(target.file(chunk))]
        except ChunkDamaged:
            taken = _read_again(source, target, chunk, keys, behind, read_time, selection, broken)
            mended(str(target.path(chunk)))
        yield chunk, taken
        behind = chunk.last_key


def _read_again(
    source: Source,
    target: RangeArchive,
    chunk: Chunk,
    keys: KeyRange,
    behind: str | None,
    read_time: str,
    selection: Selection,
    broken: Heard,
) -> Taken:
    wanted = chunk.documents + chunk.skipped
    with closing(open_firestore(source)) as firestore:
        found = list(islice(read_documents(firestore, keys, read_time, behind, wanted, broken), wanted))
    taken = [(path, document, Document.FromString(document)) for path, document in found if selection.takes(collection_of(path))]
    if len(found) != wanted or len(taken) != chunk.documents or found[-1][0] != chunk.last_key:
        raise ArchiveDamaged(file=str(target.path(chunk)), why="read again, other documents are there than it held", read_time=read_time)
    created = [microseconds(parsed.create_time.seconds, parsed.create_time.nanos) for _, _, parsed in taken]
    updated = [microseconds(parsed.update_time.seconds, parsed.update_time.nanos) for _, _, parsed in taken]
    target.replace(chunk, [path for path, _, _ in taken], created, updated, [document for _, document, _ in taken])
    return taken
