"""Sampling: a few documents of every collection into the archive, with the parents and references they need, at a bounded price.

A small root collection is read whole and drawn from; a large one is read in places spread over its key range. What was drawn is
completed by key: the parents and the referred documents, and theirs, so that the tables' relations hold as far as Firestore's own do.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from firelift.files import write_sealed
from firelift.firestore.channel import Firestore, Source, open_firestore
from firelift.firestore.counting import REFUSALS, is_refusal
from firelift.firestore.discovery import DiscoveredRoot
from firelift.firestore.first import first_documents
from firelift.firestore.get import get_documents
from firelift.firestore.query import KeyRange, count_collection
from firelift.firestore.split_points import places
from firelift.firestore.stream import read_documents
from firelift.firestore.values import Document
from firelift.paths import Selection, collection_of, path_order
from firelift.planning.build import why_no_table
from firelift.planning.profile import Profiler, profile_to_json
from firelift.receipts import Extracted, Receipt, RootCollection, Validated, shared
from firelift.settings.grouping import SMALL
from firelift.storage.archive import SCHEMA, RangeArchive, file_name, write_digest, write_parquet
from firelift.storage.chunk_writer import ChunkWriter
from firelift.verification.completeness import prove_count
from firelift.workers import Workers

PLACES = 20
"""Where a large root collection is looked into."""
MOST = 10
"""So many times the sample a collection may have together with what others need of it."""

DRAWN = pa.schema([SCHEMA.field("path"), SCHEMA.field("document")])


class CollectionSampled(Receipt):
    """What was drawn of a collection, and what it has."""

    collection: str
    drawn: int
    needed: int
    """Documents beyond those drawn: the parents of others, and what others refer to."""
    left_out: int
    """Needed as well, but more than a sample may have."""
    absent: int
    """Looked for because others name them; Firestore has none."""
    documents: int | None
    """In the whole database; None where nobody knows."""
    exact: bool
    """`documents` was counted, not reckoned from what was seen."""
    bytes: int
    """Of the sampled documents, as Firestore sent them."""


class Sampled(Receipt):
    """A sample in the archive, as if the database held nothing else."""

    seed: str
    """Draws the same sample again from the same snapshot."""
    size: int
    """Documents a collection that were to be drawn."""
    reads: int
    counted: int
    """Documents that COUNT went over, beyond the first count of every root collection."""
    parts: tuple[Extracted, ...]
    collections: tuple[CollectionSampled, ...]

    def of(self, validated: Validated) -> Validated:
        """The snapshot as the phases behind see it: each root collection with the documents of the sample."""
        archived = {part.collection: part.documents for part in self.parts}
        roots = tuple(root.model_copy(update={"documents": archived.get(root.collection, 0)}) for root in validated.roots)
        return validated.model_copy(update={"roots": roots, "documents": sum(archived.values())})


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


def sample_database(
    workers: Workers,
    source: Source,
    roots: Sequence[RootCollection],
    run: Path,
    read_time: str,
    selection: Selection,
    size: int,
    seed: str,
    batch_size: int,
) -> Sampled:
    """Archives at most `size` documents of every collection and what they need. What an earlier attempt left is drawn anew."""
    drawn = run / "sample"
    for left in (drawn, *(run / "archive" / file_name(root.collection) for root in roots)):
        shutil.rmtree(left, ignore_errors=True)
    drawn.mkdir(mode=0o700)
    calls = [(source, root, drawn, read_time, selection, size, seed) for root in roots]
    done = sorted(workers.each(draw_root, calls), key=lambda each: each.root.collection)
    sampled = workers.call(complete, source, done, run / "archive", read_time, selection, size, seed, batch_size)
    shutil.rmtree(drawn, ignore_errors=True)
    return sampled


# ── drawing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Reservoir:
    """Some of the things that pass, each with the same chance, however many there are (Vitter's algorithm R)."""

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


def draw_root(
    source: Source,
    root: RootCollection,
    directory: Path,
    read_time: str,
    selection: Selection,
    size: int,
    seed: str,
    report: Callable[[Any], None],
) -> Drawn:
    """Draws from root collections and all beneath; of a large one at most `SMALL` + 1 samples and a few documents are read."""
    firestore = open_firestore(source)
    draw = _Draw(selection, size, Random(f"{seed}:{root.collection}"))
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
    kept = [each for reservoir in draw.reservoirs.values() for each in reservoir.kept]
    paths, documents_drawn = ([one[place] for one in kept] for place in (0, 1))
    write_parquet(pa.table([pa.array(paths, pa.string()), pa.array(documents_drawn, pa.binary())], schema=DRAWN), file)
    taken = {collection: number for collection, number in documents.items() if selection.takes(collection)}
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
        """`counts`: it was met where every document of the root collection had a place, so it says what the collections' shares are."""
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
    """Reads on from some places of a large root collection: everything there, and the root collection's own documents, which may be few."""
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


# ── completing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def complete(
    source: Source,
    drawn: Sequence[Drawn],
    archive: Path,
    read_time: str,
    selection: Selection,
    size: int,
    seed: str,
    batch_size: int,
    report: Callable[[Any], None],
) -> Sampled:
    """Adds what the drawn documents need and writes everything into the archive."""
    sample = _Sample(source, {name: each.root.collection for each in drawn for name in each.root.collections}, selection, size)
    for each in drawn:
        for batch in pq.ParquetFile(each.file).iter_batches():
            for path, document in zip(batch["path"].to_pylist(), batch["document"].to_pylist(), strict=True):
                sample.take(each.root.collection, path, document)
    own = Counter(collection_of(path) for path in sample.documents)
    firestore = open_firestore(source)
    while wanted := sample.wanted():
        for name, found in get_documents(firestore, [f"{source.root}/{path}" for path in wanted], read_time):
            sample.found(name.removeprefix(f"{source.root}/"), found)
    firestore.close()
    parts = [_archived(sample, each, archive / file_name(each.root.collection), batch_size) for each in drawn]
    return Sampled(
        seed=seed,
        size=size,
        reads=sum(part.reads for part in parts),
        counted=sum(each.counted for each in drawn),
        parts=tuple(parts),
        collections=tuple(_told(sample, own, drawn)),
    )


def _told(sample: _Sample, own: Mapping[str, int], drawn: Sequence[Drawn]) -> Iterator[CollectionSampled]:
    documents = {collection: number for each in drawn for collection, number in each.documents.items()}
    exact = {collection for each in drawn for collection in each.exact}
    held, size = Counter[str](), Counter[str]()
    for path, (_, document) in sample.documents.items():
        held[collection_of(path)] += 1
        size[collection_of(path)] += len(document)
    # In a large root collection what the places missed may still have been found by its key.
    for collection in sorted({*documents, *held, *sample.left_out, *sample.absent}, key=lambda name: name.encode()):
        yield CollectionSampled(
            collection=collection,
            drawn=own.get(collection, 0),
            needed=held[collection] - own.get(collection, 0),
            left_out=len(sample.left_out.get(collection, ())),
            absent=sample.absent[collection],
            documents=_at_least(documents.get(collection, 0), held[collection]),
            exact=collection in exact,
            bytes=size[collection],
        )


def _at_least(counted: int | None, held: int) -> int | None:
    return None if counted is None else max(counted, held)


class _Sample:
    """The documents of the sample by path, and what they still need."""

    def __init__(self, source: Source, roots: Mapping[str, str], selection: Selection, size: int) -> None:
        self.roots, self.selection, self.most = roots, selection, MOST * size
        self.documents: dict[str, tuple[str, bytes]] = {}
        """What they are archived with, and serialized Document."""
        self.left_out: dict[str, set[str]] = {}
        self.absent: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        """Those that were fetched by their key, by root collection."""
        self.database, self._prefix = source.name, f"{source.root}/"
        self._held: Counter[str] = Counter()
        self._asked: set[str] = set()
        self._parents: dict[str, None] = {}
        self._referred: dict[str, None] = {}

    def take(self, root: str, path: str, document: bytes) -> None:
        if path in self.documents:
            return
        self.documents[path] = (root, document)
        self._held[collection_of(path)] += 1
        if path.count("/") > 1:
            self._parents[path.rsplit("/", 2)[0]] = None
        # Only a field's own value can become a column with a foreign key.
        fields = Document.FromString(document).fields
        for name in fields:
            reference = fields[name].reference_value
            if reference.startswith(self._prefix):
                self._referred[reference[len(self._prefix) :]] = None

    def wanted(self) -> list[str]:
        """What is needed next and has not been asked for: parents first, as far as a collection has room."""
        needed = [path for path in (*self._parents, *self._referred) if self._may_come(path)]
        self._parents.clear()
        self._referred.clear()
        coming: Counter[str] = Counter()
        wanted = []
        for path in dict.fromkeys(needed):
            collection = collection_of(path)
            if self._held[collection] + coming[collection] < self.most:
                coming[collection] += 1
                wanted.append(path)
            else:
                self.left_out.setdefault(collection, set()).add(path)
        self._asked.update(wanted)
        return wanted

    def _may_come(self, path: str) -> bool:
        if path in self.documents or path in self._asked or path.count("/") % 2 == 0 or path.split("/", 1)[0] not in self.roots:
            return False
        collection = collection_of(path)
        return self.selection.takes(collection) and why_no_table(collection) is None

    def found(self, path: str, document: Document | None) -> None:
        root = path.split("/", 1)[0]
        self.reads[root] += 1
        if document is None:
            self.absent[collection_of(path)] += 1
        else:
            self.take(self.roots[root], path, document.SerializeToString())


def _archived(sample: _Sample, drawn: Drawn, directory: Path, batch_size: int) -> Extracted:
    """Writes the documents of root collections in key order, as extraction does."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = RangeArchive(directory, 0)
    profiler = Profiler(sample.database)
    writer = ChunkWriter(target, 0, batch_size, lambda _: None)
    for path in sorted((path for path, (root, _) in sample.documents.items() if root == drawn.root.collection), key=path_order):
        document = sample.documents[path][1]
        parsed = Document.FromString(document)
        profiler.see(collection_of(path), parsed)
        writer.add(path, document, parsed)
    writer.close()
    write_sealed(target.profile, json.dumps(profile_to_json(profiler.profile)))
    chunks = target.chunks()
    return Extracted(
        collection=drawn.root.collection,
        beside=drawn.root.beside,
        digest=write_digest(directory),
        documents=sum(chunk.documents for chunk in chunks),
        skipped=drawn.skipped,
        bytes=sum(chunk.bytes for chunk in chunks),
        chunks=len(chunks),
        ranges=1,
        reads=drawn.reads + sum(sample.reads[name] for name in drawn.root.collections),
        shares=shared(chunk.shares for chunk in chunks),
    )
