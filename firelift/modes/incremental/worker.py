"""What a worker gets that compares published tables with Firestore, what it keeps on disk, and what it returns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from firelift.files import storage_errors, write_sealed
from firelift.firestore.changed_since import Since
from firelift.modes.incremental.fetch import Fetched
from firelift.paths import Key
from firelift.planning.model import TablePlan
from firelift.planning.profile import Profiler, profile_to_json
from firelift.postgres.session.connect import Session
from firelift.receipts import TableChanges, shared
from firelift.storage.archive import RangeArchive
from firelift.storage.chunk_writer import ChunkWriter
from firelift.storage.deleted_keys import deleted_keys_directory, write_deleted_keys
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.verification.completeness import Seen

GONE_A_FILE: Final = 5000
DIFFERS: Final = "differs"
"""What a worker reports besides its counts, once, as soon as it has found a new, changed or deleted document."""

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class PublishedTables:
    """The published tables of some root collections and of everything beneath them, as far as the migration takes them."""

    session: Session
    schema: str
    tables: tuple[TablePlan, ...]
    since: Since | None = None
    """Set where a field of the documents is to tell which have changed."""


@dataclass(frozen=True)
class CompareJob:
    """What every worker gets."""

    inputs: ExtractionInputs
    run: Path
    published: PublishedTables


@dataclass(frozen=True)
class RangeResult:
    """What a worker has compared."""

    changes: tuple[TableChanges, ...] = ()
    documents: int = 0
    skipped: int = 0
    bytes: int = 0
    chunks: int = 0
    reads: int = 0
    breaks: tuple[str, ...] = ()
    seen: Seen | None = None
    """Set where a second scan must find the same keys."""
    shares: dict[str, dict[str, int]] = field(default_factory=dict)
    """Archived documents and bytes, by root collection."""

    @property
    def keys(self) -> int:
        return sum(change.documents for change in self.changes)


class Once:
    """Calls a function the first time that it is called itself."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function, self._called = function, False

    def __call__(self) -> None:
        if not self._called:
            self._called = True
            self._function()

    def at_first(self, things: Iterable[Thing]) -> Iterator[Thing]:
        """The same things; called as the first comes."""
        for thing in things:
            self()
            yield thing


class DifferenceArchive:
    """The chunks of one worker, with their profile."""

    def __init__(self, job: CompareJob, number: int, report: Callable[[Any], None]) -> None:
        self._target = RangeArchive(job.inputs.directory, number)
        self._profiler = Profiler(job.inputs.source.name)
        # Keys have been reported already; of a chunk only its bytes are new.
        self._writer = ChunkWriter(self._target, 0, job.inputs.batch_size, lambda counts: report((counts[0], 0, counts[2])), self._profiler)

    def add(self, documents: Iterable[Fetched]) -> None:
        for path, document, _ in documents:
            self._writer.add(path, document)

    def close(self) -> None:
        self._writer.close()
        write_sealed(self._target.profile, json.dumps(profile_to_json(self._profiler.profile)))

    def part(self, changes: tuple[TableChanges, ...], skipped: int, breaks: Sequence[str]) -> RangeResult:
        chunks = self._target.chunks()
        return RangeResult(
            changes=changes,
            documents=sum(chunk.documents for chunk in chunks),
            skipped=skipped,
            bytes=sum(chunk.bytes for chunk in chunks),
            chunks=len(chunks),
            breaks=tuple(breaks),
            shares=shared(chunk.shares for chunk in chunks),
        )


@contextmanager
def archiving(job: CompareJob, number: int, report: Callable[[Any], None]) -> Iterator[DifferenceArchive]:
    """Nothing that was gathered is written where the block fails."""
    archive = DifferenceArchive(job, number, report)
    yield archive
    archive.close()


@dataclass
class DeletedKeys:
    """The keys of documents that are gone, some thousands a file."""

    job: CompareJob
    range: int
    held: dict[str, list[Key]] = field(default_factory=dict)
    number: int = 0
    files: int = 0

    def add(self, collection: str, key: Key) -> None:
        self.held.setdefault(collection, []).append(key)
        self.number += 1
        if self.number == GONE_A_FILE:
            self.write()

    def write(self) -> None:
        tables = {table.collection: table for table in self.job.published.tables}
        for collection, keys in self.held.items():
            directory = deleted_keys_directory(self.job.run, collection)
            with storage_errors(directory):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            columns = [pa.array(column, pa.string()) for column in zip(*keys, strict=True)]
            keyed = pa.table(columns, names=list(tables[collection].keys))
            write_deleted_keys(self.job.run, collection, f"{self.range:04}-{self.files:06}", keyed)
        self.files += 1
        self.held, self.number = {}, 0
