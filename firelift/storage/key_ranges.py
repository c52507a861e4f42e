"""The key ranges in which a root collection is read, kept in a file: chunks are only valid with the same cuts, and those made since."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from firelift.files import FileChanged, read_sealed, write_sealed
from firelift.firestore.channel import Firestore, open_firestore
from firelift.firestore.counting import counted
from firelift.firestore.discovery import DiscoveredRoot, key_ranges
from firelift.firestore.errors import SnapshotExpired
from firelift.firestore.query import KeyRange
from firelift.receipts import RootCollection
from firelift.storage.archive import FIRST_REWRITTEN, ArchiveDamaged
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.storage.halving import halved

NAME: Final = "ranges.json"
MOST_RANGES: Final = FIRST_REWRITTEN
WORTH_A_STREAM: Final = 5_000
"""So many documents are worth a range of their own where Firestore itself cuts."""
COUNTS_AT_ONCE: Final = 4


def cut(inputs: ExtractionInputs, most: int, report: Callable[[Any], None]) -> list[tuple[KeyRange, int | None]]:
    """The key ranges of root collections with their counts, None where Firestore does not count. `most`: how many are read at once.

    Kept in a file, because chunks are only valid with the same cuts.
    """
    kept, root, read_time = inputs.directory / NAME, inputs.root, inputs.read_time
    if kept.exists():
        return _kept_ranges(kept, read_time)
    whole = DiscoveredRoot(root.collection, KeyRange(root.start, root.end), root.documents, beside=root.beside)
    # Firestore itself makes fewer cuts where there are few documents.
    parts = 4 * most if root.documents is None else min(-(-root.documents // inputs.range_documents), 4 * most)
    by_server = parts if root.documents is None else max(parts, min(root.documents // WORTH_A_STREAM, 4 * most))
    with closing(open_firestore(inputs.source)) as firestore:
        try:
            cuts = key_ranges(firestore, whole, parts, read_time, by_server)
            counts = [root.documents] if len(cuts) == 1 else _counts(firestore, cuts, read_time)
        except SnapshotExpired:
            if not inputs.catch_up:
                raise
            # Whoever reads the range finds the same, and reads it as of a later moment.
            cuts, counts = [whole.keys], [None]
    cuts, counts = _joined(cuts, counts, 0 if root.documents is None else root.documents // max(1, by_server))
    found = list(zip(cuts, counts, strict=True))
    _keep(kept, read_time, found)
    return found


def kept_ranges(inputs: ExtractionInputs) -> list[tuple[KeyRange, int | None]]:
    """The ranges that were cut, and divided since, in the order of their numbers."""
    return _kept_ranges(inputs.directory / NAME, inputs.read_time)


def divide(
    inputs: ExtractionInputs,
    number: int,
    keys: KeyRange,
    firestore: Firestore,
    before: str,
    after: str,
    left: int | None,
    read_time: str,
) -> tuple[tuple[KeyRange, int | None], tuple[int, KeyRange, int | None]] | None:
    """Cuts range `number`, `keys`, which was read up to the document `after`, into two; `left`: its documents that are still to be read.
    `before` is a document that was read some time before. `read_time`: as of when Firestore is asked.

    Returns what remains of it, and the new range with its number, both with the documents to be read, None where they are unknown; the
    file has both by then. None where there are few, or there is no place for a cut.
    """
    if inputs.root.beside or (left is not None and left < 2 * WORTH_A_STREAM):
        return None
    kept = inputs.directory / NAME
    with _locked(kept):
        found = kept_ranges(inputs)
        kept_keys, expected = found[number]
        if kept_keys != keys:
            # A worker that outlived its run for a moment has divided it.
            return None
        half = halved(firestore, DiscoveredRoot(inputs.root.collection, keys, left), before, after, left, read_time)
        if half is None or len(found) >= MOST_RANGES:
            return None
        stays, remains = _less(left, half.documents), _less(expected, half.documents)
        found[number] = KeyRange(keys.start, half.start), remains
        found.append((KeyRange(half.start, keys.end), half.documents))
        _keep(kept, inputs.read_time, found)
    return (found[number][0], stays), (len(found) - 1, *found[-1])


def _less(documents: int | None, those: int | None) -> int | None:
    return None if documents is None or those is None else documents - those


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """One process at a time: two may divide ranges of the same root collection."""
    with file.with_suffix(".lock").open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _keep(kept: Path, read_time: str, found: Sequence[tuple[KeyRange, int | None]]) -> None:
    listed = [{"keys": asdict(keys), "documents": documents} for keys, documents in found]
    write_sealed(kept, json.dumps({"read_time": read_time, "ranges": listed}))


def _counts(firestore: Firestore, cuts: Sequence[KeyRange], read_time: str) -> list[int | None]:
    """Of each range, None where Firestore does not count it. What it does not count at all is not asked for range by range."""

    def ask(keys: KeyRange) -> int | None:
        return counted(firestore, keys, read_time).documents

    first = ask(cuts[0])
    if first is None:
        return [None] * len(cuts)
    with ThreadPoolExecutor(COUNTS_AT_ONCE) as threads:
        return [first, *threads.map(ask, cuts[1:])]


def counted_in_parts(root: RootCollection, counts: Sequence[int | None]) -> RootCollection:
    """The root collections with their number of documents, where Firestore has counted all ranges, though perhaps not all at once."""
    if root.documents is not None or None in counts:
        return root
    return root.model_copy(update={"documents": sum(documents or 0 for documents in counts)})


def _joined(cuts: list[KeyRange], counts: list[int | None], most: int) -> tuple[list[KeyRange], list[int | None]]:
    """Neighbours as one as long as they have at most so many documents: cuts through several collections lie close to one another."""
    ranges: list[KeyRange] = []
    sums: list[int | None] = []
    for keys, documents in zip(cuts, counts, strict=True):
        before = sums[-1] if sums else None
        if before is not None and documents is not None and before + documents <= most:
            ranges[-1], sums[-1] = KeyRange(ranges[-1].start, keys.end), before + documents
        else:
            ranges.append(keys)
            sums.append(documents)
    return ranges, sums


def _kept_ranges(kept: Path, read_time: str) -> list[tuple[KeyRange, int | None]]:
    try:
        content = json.loads(read_sealed(kept))
        cuts = [(KeyRange(**cut["keys"]), cut["documents"]) for cut in content["ranges"]]
    except (ValueError, TypeError, KeyError, FileChanged) as error:
        raise ArchiveDamaged(file=str(kept), why="it was changed after it was written") from error
    if content["read_time"] != read_time:
        # Documents of two moments are no snapshot.
        raise ArchiveDamaged(file=str(kept), its_snapshot=content["read_time"], snapshot_of_the_run=read_time)
    return cuts
