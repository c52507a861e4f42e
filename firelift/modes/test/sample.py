"""Sampling: a few documents of every collection into the archive, with the parents and references they need, and a limit on reads.

A small root collection is read whole and drawn from; a large one is read in places spread over its key range. What was drawn is
completed by key: the parents and the referenced documents, and theirs, so that the tables' relations hold as far as Firestore's own do.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from firelift.files import write_sealed
from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.read_documents import get_documents
from firelift.firestore.values import Document
from firelift.modes.test.draw_sample import Drawn, SampleInputs, draw_root
from firelift.paths import Selection, collection_of, path_order
from firelift.planning.build import why_no_table
from firelift.planning.profile import Profiler, profile_to_json
from firelift.receipts import CollectionSampled, Extracted, RootCollection, Sampled, shared
from firelift.storage.archive import RangeArchive, file_name, write_digest
from firelift.storage.chunk_writer import ChunkWriter
from firelift.workers import Workers

MOST = 10
"""So many times the sample a collection may have together with what others need of it."""


def sample_database(
    workers: Workers,
    inputs: SampleInputs,
    roots: Sequence[RootCollection],
    run: Path,
) -> Sampled:
    """Archives at most `inputs.size` documents of every collection and what they need. What an earlier attempt left is drawn anew."""
    drawn = run / "sample"
    for left in (drawn, *(run / "archive" / file_name(root.collection) for root in roots)):
        shutil.rmtree(left, ignore_errors=True)
    drawn.mkdir(mode=0o700)
    calls = [(inputs, root, drawn) for root in roots]
    done = sorted(workers.each(draw_root, calls), key=lambda draw: draw.root.collection)
    sampled = workers.call(complete, inputs, done, run / "archive")
    shutil.rmtree(drawn, ignore_errors=True)
    return sampled


def complete(
    inputs: SampleInputs,
    drawn: Sequence[Drawn],
    archive: Path,
    report: Callable[[Any], None],
) -> Sampled:
    """Adds what the drawn documents need and writes everything into the archive."""
    source, roots = inputs.source, {name: draw.root.collection for draw in drawn for name in draw.root.collections}
    sample = _Sample(source, roots, inputs.selection, inputs.size)
    for draw in drawn:
        for batch in pq.ParquetFile(draw.file).iter_batches():
            for path, document in zip(batch["path"].to_pylist(), batch["document"].to_pylist(), strict=True):
                sample.take(draw.root.collection, path, document)
    own = Counter(collection_of(path) for path in sample.documents)
    firestore = open_firestore(source)
    while wanted := sample.wanted():
        for name, found in get_documents(firestore, [f"{source.root}/{path}" for path in wanted], inputs.read_time):
            sample.found(name.removeprefix(f"{source.root}/"), found)
    firestore.close()
    parts = [_archived(sample, draw, archive / file_name(draw.root.collection), inputs.batch_size) for draw in drawn]
    return Sampled(
        seed=inputs.seed,
        size=inputs.size,
        reads=sum(part.reads for part in parts),
        counted=sum(draw.counted for draw in drawn),
        parts=tuple(parts),
        collections=tuple(_sampled_collections(sample, own, drawn)),
    )


def _sampled_collections(sample: _Sample, own: Mapping[str, int], drawn: Sequence[Drawn]) -> Iterator[CollectionSampled]:
    documents = {collection: number for draw in drawn for collection, number in draw.documents.items()}
    exact = {collection for draw in drawn for collection in draw.exact}
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
    writer = ChunkWriter(target, 0, batch_size, lambda _: None, profiler)
    for path in sorted((path for path, (root, _) in sample.documents.items() if root == drawn.root.collection), key=path_order):
        writer.add(path, sample.documents[path][1])
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
