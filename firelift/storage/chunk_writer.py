"""Gathers documents and writes them into the archive as chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from firelift.firestore.values import Document
from firelift.storage.archive import CHUNK_BYTES, Chunk, RangeArchive

Progress = Callable[[str, int, int], None]
"""Called with a root collection, and with its documents and bytes that were archived since the last call."""


def report_chunk(chunk: Chunk, report: Callable[[Any], None]) -> None:
    """Reports the documents and bytes of a chunk, by root collection."""
    for root, share in chunk.shares.items():
        report((root, share["documents"], share["bytes"]))


class ChunkWriter:
    """Gathers documents, and writes a chunk whenever there are enough for one."""

    def __init__(self, target: RangeArchive, number: int, batch_size: int, report: Callable[[Any], None]) -> None:
        self.target, self.number, self.batch_size, self.report = target, number, batch_size, report
        self.last_key = ""
        self.read = 0
        self._clear()

    def _clear(self) -> None:
        self.skipped, self.size = 0, 0
        self.paths: list[str] = []
        self.created: list[int] = []
        self.updated: list[int] = []
        self.documents: list[bytes] = []

    def add(self, path: str, document: bytes, parsed: Document) -> None:
        self.paths.append(path)
        self.created.append(_microseconds(parsed.create_time))
        self.updated.append(_microseconds(parsed.update_time))
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
        chunk = self.target.write(self.number, self.paths, self.created, self.updated, self.documents, self.last_key, self.skipped)
        self.number += 1
        self.read += chunk.documents + chunk.skipped
        report_chunk(chunk, self.report)
        self._clear()

    def close(self) -> None:
        if self.paths or self.skipped:
            self._write()


def _microseconds(moment: Any) -> int:
    return int(moment.seconds * 1_000_000 + moment.nanos // 1000)
