"""Rewriting: turns rows of a published table back into documents, so that they can be transformed by the table's new plan."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from firelift.files import read_sealed, storage_errors, write_sealed
from firelift.firestore.values import Document
from firelift.paths import collection_of, ids_of
from firelift.planning.model import Frozen, TablePlan
from firelift.planning.profile import Profiler, profile_to_json
from firelift.postgres.inspect.rows import read_rows
from firelift.postgres.inspect.soft_deleted import read_soft_deleted
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection, Session
from firelift.receipts import Rewritten
from firelift.storage.archive import FIRST_REWRITTEN, RangeArchive, file_name, ranges, read_parquet, read_paths
from firelift.storage.chunk_writer import ChunkWriter, Progress
from firelift.storage.deleted_keys import deleted_key_files
from firelift.transform import UnreadableRow, compile_decoder
from firelift.transform.decode import Row
from firelift.verification.missing_rows import Key, numbers_of, places_among
from firelift.workers import Workers

A_BATCH = 1000
Fate = Literal["skipped", "deleted", "present"]
"""Of a row: not rewritten, or archived as a deleted document or as one that Firestore has."""


@dataclass(frozen=True)
class RewriteInputs:
    """Which rows are rewritten, and where their documents are archived. Small and picklable, for workers."""

    session: Session
    schema: str
    before: TablePlan
    """The plan by which the rows were written."""
    database: str
    run: Path
    root: str
    """The root collection whose archive takes the documents."""
    batch_size: int
    skip_deleted: bool
    """The rows of deleted documents will be deleted, so they need not be rewritten."""


def rewrite(workers: Workers, inputs: RewriteInputs, progress: Progress) -> Rewritten:
    """Archives the document of every row that is not archived as new or changed; also those of rows marked as deleted.

    What a killed attempt left is removed and made again; what a finished one made is kept. Raises UnreadableRow (table, key) for a row
    from which no document can be made.
    """
    return workers.call(rewrite_table, inputs, report=lambda counts: progress(*counts))


def rewrite_table(inputs: RewriteInputs, report: Callable[[Any], None]) -> Rewritten:
    """`rewrite`, in a worker."""
    before, database = inputs.before, inputs.database
    directory = inputs.run / "archive" / file_name(inputs.root)
    claim = _claimed(directory, before.collection)
    if claim.done is not None:
        report((before.collection.partition("/")[0], claim.done.documents, claim.done.bytes))
        return claim.done
    present, deleted = (RangeArchive(directory, number) for number in claim.ranges)
    _clear(present)
    _clear(deleted)
    writers = _Writers(before, present, deleted, database, inputs.batch_size, report)
    with inputs.session.open_to_read() as connection:
        fates = _Fates(connection, inputs, directory)
        decode = compile_decoder(before, database)
        # Rows marked as deleted are rewritten too.
        whole = before.model_copy(update={"marks_deleted": False})
        for rows in _batches(read_rows(connection, TargetTable(inputs.schema, whole))):
            for row, fate in zip(rows, fates.of(rows), strict=True):
                writers.take(decode, row, fate)
    writers.close()
    done = _receipt(before.collection, present, deleted, writers.skipped)
    write_sealed(_claim_file(directory, before.collection), _Claim(ranges=claim.ranges, done=done).model_dump_json())
    return done


class _Claim(Frozen):
    """Which ranges of the archive belong to a table, and what is in them once they are complete."""

    ranges: tuple[int, int]
    done: Rewritten | None = None


def _claim_file(directory: Path, collection: str) -> Path:
    return directory / f"rewritten-{file_name(collection)}.json"


def _claimed(directory: Path, collection: str) -> _Claim:
    """The existing claim, or a new one."""
    file = _claim_file(directory, collection)
    if file.is_file():
        return _Claim.model_validate_json(read_sealed(file))
    with storage_errors(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    claim = _Claim(ranges=(_new_range(directory), _new_range(directory)))
    write_sealed(file, claim.model_dump_json())
    return claim


def _new_range(directory: Path) -> int:
    """A number that is nobody's, whoever looks for one at the same time."""
    number = FIRST_REWRITTEN
    while True:
        listing = RangeArchive(directory, number).listing
        with storage_errors(listing):
            try:
                listing.touch(mode=0o600, exist_ok=False)
            except FileExistsError:
                number += 1
            else:
                return number


def _clear(archive: RangeArchive) -> None:
    with storage_errors(archive.listing):
        # First the list: chunks that are not in it do not count.
        archive.listing.write_bytes(b"")
        for chunk in archive.directory.glob(f"{archive.number:04}-*.parquet"):
            chunk.unlink()
        archive.profile.unlink(missing_ok=True)


class _Fates:
    """Which rows are rewritten, by the numbers of their keys: 8 bytes for each that is new, changed, gone or marked."""

    def __init__(self, connection: Connection, inputs: RewriteInputs, directory: Path) -> None:
        before = inputs.before
        self._keys, self._skip_deleted = len(before.keys), inputs.skip_deleted
        self._archived = numbers_of(_archived_keys(directory, before.collection))
        self._deleted = numbers_of(_deleted_keys(inputs.run, before))
        self._soft_deleted = numbers_of(read_soft_deleted(connection, TargetTable(inputs.schema, before)))

    def of(self, rows: list[Row]) -> Iterator[Fate]:
        """`skipped`, `deleted` or `present`, a row each."""
        keys: list[Key] = [tuple(row[: self._keys]) for row in rows]
        known = (places_among(keys, numbers) for numbers in (self._archived, self._deleted, self._soft_deleted))
        for archived, deleted, soft_deleted in zip(*known, strict=True):
            if archived is not None or (deleted is not None and self._skip_deleted):
                yield "skipped"
            else:
                yield "present" if deleted is None and soft_deleted is None else "deleted"


def _archived_keys(directory: Path, collection: str) -> Iterator[Key]:
    for part in ranges(directory):
        for chunk in part.chunks():
            yield from (tuple(ids_of(path)) for path in read_paths(part.file(chunk)) if collection_of(path) == collection)


def _deleted_keys(run: Path, table: TablePlan) -> Iterator[Key]:
    for file in deleted_key_files(run, table.collection):
        columns = read_parquet(file, list(table.keys))
        yield from zip(*(columns[key].to_pylist() for key in table.keys), strict=True)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, A_BATCH)):
        yield batch


class _Writers:
    """Writes documents into the two ranges of a table: those that Firestore has, and those that only rows have."""

    def __init__(
        self,
        table: TablePlan,
        present: RangeArchive,
        deleted: RangeArchive,
        database: str,
        batch_size: int,
        report: Callable[[Any], None],
    ) -> None:
        self._table, self._below = table, len(f"{database}/documents/")
        self._targets: dict[Fate, ChunkWriter] = {
            "present": ChunkWriter(present, 0, batch_size, report, Profiler(database)),
            "deleted": ChunkWriter(deleted, 0, batch_size, report, Profiler(database)),
        }
        self.skipped = 0

    def take(self, decode: Callable[[Row], Document], row: Row, fate: Fate) -> None:
        if fate == "skipped":
            self.skipped += 1
            return
        document = decode(row)
        path = document.name[self._below :]
        if collection_of(path) != self._table.collection:
            # No document has a slash in its id: somebody else has inserted this row.
            raise UnreadableRow(table=self._table.table, key=row[: len(self._table.keys)])
        self._targets[fate].add(path, document.SerializeToString())

    def close(self) -> None:
        for writer in self._targets.values():
            writer.close()
            write_sealed(writer.target.profile, json.dumps(profile_to_json(writer.profiler.profile)))


def _receipt(collection: str, present: RangeArchive, deleted: RangeArchive, skipped: int) -> Rewritten:
    deleted_chunks = deleted.chunks()
    chunks = [*present.chunks(), *deleted_chunks]
    return Rewritten(
        collection=collection,
        documents=sum(chunk.documents for chunk in chunks),
        bytes=sum(chunk.bytes for chunk in chunks),
        chunks=len(chunks),
        deleted_documents=sum(chunk.documents for chunk in deleted_chunks),
        deleted_chunks=f"{deleted.directory.name}/{deleted.number:04}-",
        skipped=skipped,
    )
