"""One document beside its row: what Firestore holds, what the table holds, and whether both say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from firelift.errors import ConfigurationError, FireliftError
from firelift.files import FileChanged
from firelift.firestore.channel import Firestore, open_firestore
from firelift.firestore.errors import SnapshotExpired
from firelift.firestore.query import server_time
from firelift.firestore.read_documents import get_serialized
from firelift.firestore.values import Document
from firelift.migration.published.published_runs import PublishedRun, published_runs, recorded_source
from firelift.paths import collection_of, ids_of
from firelift.planning.model import TablePlan
from firelift.postgres.inspect.rows import read_rows
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.lock import session_of
from firelift.receipts import Validated
from firelift.run.receipt_files import Receipts
from firelift.run.workspace import Workspace
from firelift.settings.settings import Settings
from firelift.storage.archive import FIRST_REWRITTEN, ArchiveDamaged, Chunk, StoredFile, ranges, read_chunk, read_paths
from firelift.transform import Rejected, compile_encoder
from firelift.verification.compare import TableComparer
from firelift.verification.differing_fields import FieldDiffers
from firelift.verification.proof import Against


class NoDocumentPath(ConfigurationError):
    """This is not the path of a document."""

    remedy = "Name a document by the path to it, such as users/alice or users/alice/orders/1."


class NoTableFor(ConfigurationError):
    """No published table holds the documents of this collection."""

    remedy = "Check the path, --target-schema and --database-url; `firelift verify` lists what is published."


class DocumentUnknown(FireliftError):
    """There is neither such a document nor such a row."""

    remedy = "Check the path: ids are case-sensitive."


class NotInArchive(FireliftError):
    """The archive of the run that published the table does not have the document."""

    remedy = "Give --against firestore: the archive of an incremental run has only what had changed, and an archive may have been removed."


@dataclass(frozen=True)
class FoundDocument:
    """What there is of a document, and where it was found."""

    where: str
    """In words: the archive of a run, or Firestore, and as of which moment."""
    serialized: bytes | None
    """None: there is no such document."""
    is_of_the_snapshot: bool = True
    """False: it is as it is now, and may have changed since the snapshot that the table holds."""


@dataclass(frozen=True)
class ShownDocument:
    """A document and its row."""

    path: str
    table: TargetTable
    run: PublishedRun
    found: FoundDocument
    document: Document | None
    row: Sequence[Any] | None
    """In the order of the table's columns, as `read_rows` gives them."""
    differences: Sequence[FieldDiffers]
    rejected: str | None
    """Why the document has no row: PostgreSQL cannot hold it. None where it can, or where there is a row."""

    @property
    def is_as_expected(self) -> bool:
        """Whether the row says exactly what the document says, or is missing because the document was rejected."""
        return not self.differences


def show_document(settings: Settings, path: str, against: Against | None) -> ShownDocument:
    """Finds a document, as of the snapshot that the published table holds, and its row, and compares them to the last bit; writes nothing.

    By default it is looked for in the archive of the run that published the table, and else in Firestore as of the run's snapshot; where
    Firestore no longer keeps that, as it is now. Raises NoDocumentPath, NothingPublished, NoTableFor, NotInArchive, DocumentUnknown.
    """
    path = path.strip("/")
    if "" in path.split("/") or path.count("/") % 2 == 0:
        raise NoDocumentPath(path=path)
    collection = collection_of(path)
    run = next((run for run in _runs(settings) if collection in run.tables), None)
    if run is None:
        raise NoTableFor(collection=collection, schema=settings.target_schema)
    table = TargetTable(settings.target_schema, run.tables[collection])
    found = _found(settings, run, path, against)
    with session_of(settings.target_url(), "show").open_to_read() as connection:
        row = next(read_rows(connection, table, [ids_of(path)]), None)
    if found.serialized is None and row is None:
        raise DocumentUnknown(path=path, looked_in=found.where, table=table.name)
    document = None if found.serialized is None else Document.FromString(found.serialized)
    database = recorded_source(settings, run).name
    rejected = _why_rejected(table.plan, database, found.serialized) if row is None and found.serialized is not None else None
    differences = () if rejected else _differences(table.plan, database, found.serialized, row)
    return ShownDocument(path, table, run, found, document, row, differences, rejected)


def _runs(settings: Settings) -> Sequence[PublishedRun]:
    return published_runs(settings.target_url(), settings.migration_id, settings.target_schema)


def _why_rejected(table: TablePlan, database: str, serialized: bytes) -> str | None:
    try:
        compile_encoder(table, database)(serialized)
    except Rejected as rejected:
        return rejected.reason
    return None


def _differences(table: TablePlan, database: str, serialized: bytes | None, row: list[Any] | None) -> Sequence[FieldDiffers]:
    if serialized is None:
        return (FieldDiffers("", "unexpected row", "no row, for there is no document", "a row"),)
    # The comparison takes equal jsonb out of the row that it is given.
    compared = None if row is None else [*row]
    return TableComparer(table, database).compare(serialized, compared).differences


def _found(settings: Settings, run: PublishedRun, path: str, against: Against | None) -> FoundDocument:
    if against != "firestore":
        try:
            archived = _in_archive(Workspace(settings.working_dir.absolute(), run.migration_id), run, path)
        except (ArchiveDamaged, FileChanged):
            if against is not None:
                raise
            archived = None
        if archived is not None:
            return archived
        if against is not None:
            raise NotInArchive(path=path, migration_id=run.migration_id, directory=str(settings.working_dir))
    with closing(open_firestore(recorded_source(settings, run))) as firestore:
        try:
            return FoundDocument(f"Firestore as of {run.read_time}", _read(firestore, path, run.read_time))
        except SnapshotExpired:
            now = server_time(firestore)
            where = f"Firestore as it is now ({now}), which no longer keeps the snapshot of {run.read_time}"
            return FoundDocument(where, _read(firestore, path, now), is_of_the_snapshot=False)


def _read(firestore: Firestore, path: str, read_time: str) -> bytes | None:
    [(_, document)] = get_serialized(firestore, [f"{firestore.source.root}/{path}"], read_time)
    return document


def _in_archive(workspace: Workspace, run: PublishedRun, path: str) -> FoundDocument | None:
    """The document in the run's own archive; None where it is not there, or the archive is that of another snapshot."""
    receipts = Receipts(workspace.run)
    if not receipts.file("pre_validation").is_file():
        return None
    if datetime.fromisoformat(receipts.last("pre_validation", Validated).read_time) != datetime.fromisoformat(run.read_time):
        return None
    for chunk, file in _chunks(workspace.archive, path.partition("/")[0]):
        if path in read_paths(file):
            where = f"the archive of {run.migration_id}, as of {chunk.read_time or run.read_time}"
            return FoundDocument(where, dict(read_chunk(file))[path])
    return None


def _chunks(archive: Path, root: str) -> Iterator[tuple[Chunk, StoredFile]]:
    """Those that Firestore's documents of a root collection are in."""
    for directory in sorted(archive.iterdir()) if archive.is_dir() else ():
        for part in ranges(directory):
            # Later ones are made of rows, and would only say of these what they say.
            if part.number < FIRST_REWRITTEN:
                yield from ((chunk, part.file(chunk)) for chunk in part.chunks() if root in chunk.shares)
