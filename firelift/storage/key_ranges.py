"""The key ranges in which a root collection is read, kept in a file: chunks are only valid with the same cuts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from firelift.files import FileChanged, read_sealed, write_sealed
from firelift.firestore.channel import open_firestore
from firelift.firestore.counting import counted
from firelift.firestore.discovery import DiscoveredRoot, key_ranges
from firelift.firestore.query import KeyRange
from firelift.storage.archive import ArchiveDamaged
from firelift.storage.extraction_inputs import ExtractionInputs


def cut(inputs: ExtractionInputs, most: int, report: Callable[[Any], None]) -> list[tuple[KeyRange, int | None]]:
    """The key ranges of root collections with their counts, None where Firestore does not count. `most`: how many are read at once.

    Kept in a file, because chunks are only valid with the same cuts.
    """
    kept, root, read_time = inputs.directory / "ranges.json", inputs.root, inputs.read_time
    if kept.exists():
        return _kept_ranges(kept, read_time)
    whole = DiscoveredRoot(root.collection, KeyRange(root.start, root.end), root.documents, beside=root.beside)
    # Firestore itself makes fewer cuts where there are few documents.
    parts = 4 * most if root.documents is None else min(-(-root.documents // inputs.range_documents), 4 * most)
    firestore = open_firestore(inputs.source)
    cuts = key_ranges(firestore, whole, parts, read_time)
    known = len(cuts) == 1 or root.documents is None
    counts = [root.documents if known else counted(firestore, keys, read_time).documents for keys in cuts]
    firestore.close()
    listed = [{"keys": asdict(keys), "documents": documents} for keys, documents in zip(cuts, counts, strict=True)]
    write_sealed(kept, json.dumps({"read_time": read_time, "ranges": listed}))
    return list(zip(cuts, counts, strict=True))


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
