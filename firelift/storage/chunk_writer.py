"""Gathers documents, counts the types of their values, and writes them into the archive as chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from firelift.firestore import fields
from firelift.firestore.values import Document
from firelift.paths import collection_of
from firelift.planning.profile import Profiler
from firelift.planning.profile_fields import see_documents
from firelift.rfc3339 import microseconds
from firelift.storage.archive import CHUNK_BYTES, Chunk, RangeArchive

Progress = Callable[[str, int, int], None]
"""Called with a root collection, and with its documents and bytes that were archived since the last call."""


def report_chunk(chunk: Chunk, report: Callable[[Any], None]) -> None:
    """Reports the documents and bytes of a chunk, by root collection."""
    for root, share in chunk.shares.items():
        report((root, share["documents"], share["bytes"]))


class ChunkWriter:
    """Gathers documents, and writes a chunk whenever there are enough for one. `profiler` sees each chunk before it is written."""

    def __init__(self, target: RangeArchive, number: int, batch_size: int, report: Callable[[Any], None], profiler: Profiler) -> None:
        self.target, self.number, self.batch_size, self.report = target, number, batch_size, report
        self.profiler = profiler
        self.last_key = ""
        self.read = 0
        self.read_time = ""
        """As of which moment the next documents are read; empty: the run's snapshot."""
        self._clear()

    def _clear(self) -> None:
        self.skipped, self.size = 0, 0
        self.paths: list[str] = []
        self.documents: list[bytes] = []

    def add(self, path: str, document: bytes) -> None:
        self.paths.append(path)
        self.documents.append(document)
        self.last_key = path
        self.size += len(document)
        if len(self.paths) >= self.batch_size or self.size >= CHUNK_BYTES:
            self._write()

    def skip(self, path: str) -> None:
        """Counts a document that was read and is not archived."""
        self.skipped += 1
        self.last_key = path

    def _write(self) -> None:
        created, updated = self._see()
        chunk = self.target.write(self.number, self.paths, created, updated, self.documents, self.last_key, self.skipped, self.read_time)
        self.number += 1
        self.read += chunk.documents + chunk.skipped
        report_chunk(chunk, self.report)
        self._clear()

    def _see(self) -> tuple[list[int], list[int]]:
        """Counts all values; returns each document's create and update time, in microseconds since 1970."""
        created, updated = [0] * len(self.paths), [0] * len(self.paths)
        for collection, rows in self._by_collection().items():
            documents = [self.documents[row] for row in rows]
            for row, *times in zip(rows, *self._see_collection(collection, documents), strict=True):
                created[row], updated[row] = times
        return created, updated

    def _by_collection(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row, path in enumerate(self.paths):
            found.setdefault(collection_of(path), []).append(row)
        return found

    def _see_collection(self, collection: str, documents: list[bytes]) -> tuple[list[int], list[int]]:
        if len(documents) >= fields.fewest_together:
            found = fields.Documents(pa.array(documents, pa.binary()))
            see_documents(self.profiler, collection, found)
            return found.created.tolist(), found.updated.tolist()
        created, updated = [], []
        for document in documents:
            parsed = Document.FromString(document)
            self.profiler.see(collection, parsed)
            created.append(microseconds(parsed.create_time.seconds, parsed.create_time.nanos))
            updated.append(microseconds(parsed.update_time.seconds, parsed.update_time.nanos))
        return created, updated

    def close(self) -> None:
        """Writes what is left as a chunk."""
        if self.paths or self.skipped:
            self._write()
