"""Draws documents of root collections at random, reading of a large one only what a sample needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa

from firelift.firestore.channel import Firestore, Source, open_firestore
from firelift.firestore.counting import REFUSALS, is_refusal
from firelift.firestore.discovery import DiscoveredRoot
from firelift.firestore.query import KeyRange, count_collection
from firelift.firestore.read_first import first_documents
from firelift.firestore.split_points import places
from firelift.firestore.stream import read_documents
from firelift.paths import Selection, collection_of, path_order
from firelift.receipts import RootCollection
from firelift.settings.small_collections import SMALL
from firelift.storage.archive import SCHEMA, file_name, write_parquet
from firelift.verification.completeness import prove_count

PLACES = 20
"""Where a large root collection is looked into."""
DRAWN = pa.schema([SCHEMA.field("path"), SCHEMA.field("document")])


@dataclass(frozen=True)
class SampleInputs:
    """What is sampled, and how. Small and picklable."""

    source: Source
    read_time: str
    selection: Selection
    size: int
    """Documents of each collection that are drawn."""
    seed: str
    batch_size: int


class Drawn(NamedTuple):
    """One root collection's own draw; its documents are in a file."""

    root: RootCollection
    file: Path
    reads: int
    skipped: int
    counted: int
    documents: dict[str, int | None]
    """In the whole database, by collection that the selection takes; None where Firestore does not count."""
    exact: frozenset[str]


class Reservoir:
    """Keeps some of the documents that it sees, each with the same chance, however many there are (Vitter's algorithm R)."""

    def __init__(self, size: int, chance: Random) -> None:
        self.size, self.chance = size, chance
        self.kept: list[tuple[str, bytes]] = []
        self.seen = 0

    def see(self, path: str, document: bytes) -> None:
        self.seen += 1
        if len(self.kept) < self.size:
            self.kept.append((path, document))
        elif (place := self.chance.randrange(self.seen)) < self.size:
            self.kept[place] = (path, document)


def draw_root(inputs: SampleInputs, root: RootCollection, directory: Path, report: Callable[[Any], None]) -> Drawn:
    """Draws from root collections and all beneath; of a large one at most `SMALL` + 1 samples and a few documents are read."""
    read_time, size = inputs.read_time, inputs.size
    firestore = open_firestore(inputs.source)
    draw = _Draw(inputs.selection, size, Random(f"{inputs.seed}:{root.collection}"))
    documents: dict[str, int | None]
    if root.beside or _is_small(firestore, root, read_time, size):
        for path, document in read_documents(firestore, KeyRange(root.start, root.end), read_time, None, root.documents, lambda _: None):
            draw.see(path, document)
        if root.documents is not None:
            prove_count(root, draw.reads, read_time)
        documents, exact, counted = {**draw.met}, frozenset(draw.met), 0
    else:
        _look_into_places(firestore, root, read_time, size, draw)
        own = _own(firestore, root, read_time)
        documents, exact, counted = _reckoned(root, draw, own), frozenset({root.collection} if own is not None else ()), own or 0
    firestore.close()
    file = directory / f"{file_name(root.collection)}.parquet"
    kept = [document for reservoir in draw.reservoirs.values() for document in reservoir.kept]
    paths, documents_drawn = ([one[place] for one in kept] for place in (0, 1))
    write_parquet(pa.table([pa.array(paths, pa.string()), pa.array(documents_drawn, pa.binary())], schema=DRAWN), file)
    taken = {collection: number for collection, number in documents.items() if inputs.selection.takes(collection)}
    return Drawn(root, file, draw.reads, draw.skipped, counted, taken, exact)


def _is_small(firestore: Firestore, root: RootCollection, read_time: str, size: int) -> bool:
    if root.documents is not None:
        return root.documents <= SMALL * size
    keys = KeyRange(root.start, root.end)
    return sum(1 for _ in first_documents(firestore, keys, read_time, SMALL * size + 1)) <= SMALL * size


def _own(firestore: Firestore, root: RootCollection, read_time: str) -> int | None:
    """The root collection's own documents: a COUNT of one collection may be answered although all beneath it is not counted."""
    try:
        return count_collection(firestore, root.collection, read_time)
    except REFUSALS as error:
        if not is_refusal(error):
            raise
        return None


class _Draw:
    """What was read of a root collection, and what of it is kept."""

    def __init__(self, selection: Selection, size: int, chance: Random) -> None:
        self.selection, self.size, self.chance = selection, size, chance
        self.reservoirs: dict[str, Reservoir] = {}
        self.met: Counter[str] = Counter()
        self.reads = self.skipped = 0
        self._takes: dict[str, bool] = {}

    def see(self, path: str, document: bytes, *, counts: bool = True) -> None:
        """`counts`: it was read where documents of all collections are, so it counts for the shares of the collections."""
        self.reads += 1
        collection = collection_of(path)
        self.met[collection] += counts
        if collection not in self._takes:
            self._takes[collection] = self.selection.takes(collection)
        if not self._takes[collection]:
            self.skipped += 1
            return
        if collection not in self.reservoirs:
            self.reservoirs[collection] = Reservoir(self.size, self.chance)
        self.reservoirs[collection].see(path, document)


def _look_into_places(firestore: Firestore, root: RootCollection, read_time: str, size: int, draw: _Draw) -> None:
    """Reads some places of a large root collection: all documents there, and the root collection's own documents, which may be few."""
    whole = DiscoveredRoot(root.collection, KeyRange(root.start, root.end), root.documents)
    found = places(firestore, whole, PLACES, read_time)
    everything, own = -(-SMALL * size // len(found)), -(-size // len(found))
    for keys in found:
        met = set()
        for path, document in first_documents(firestore, keys, read_time, everything):
            met.add(path)
            draw.see(path, document)
        begin = KeyRange(_own_start(root.collection, keys.start))
        for path, document in first_documents(firestore, begin, read_time, own, root.collection):
            if path in met or _is_behind(path, keys.end):
                draw.reads += 1
            else:
                draw.see(path, document, counts=False)


def _own_start(collection: str, start: str | None) -> str | None:
    """The document of the root collection in or behind which a key range begins; None for the first of all."""
    segments = (start or "").split("/")
    return "/".join(segments[:2]) if segments[0] == collection and len(segments) > 1 else None


def _is_behind(path: str, end: str | None) -> bool:
    return end is not None and path_order(path) >= path_order(end)


def _reckoned(root: RootCollection, draw: _Draw, own: int | None) -> dict[str, int | None]:
    """Documents by collection: the root collection's as counted, the rest shared out as the collections beneath it were met."""
    beneath = {collection: number for collection, number in draw.met.items() if collection != root.collection}
    if root.documents is None or own is None:
        return {root.collection: own, **dict.fromkeys(beneath)}
    rest, met = max(0, root.documents - own), sum(beneath.values())
    shares = {collection: max(number, round(rest * number / met)) for collection, number in beneath.items()}
    return {root.collection: own, **shares}
