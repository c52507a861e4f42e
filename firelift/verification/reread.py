"""Compares rows with their documents, read from Firestore again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from firelift.errors import FireliftError
from firelift.firestore.channel import Firestore, Source, open_firestore
from firelift.firestore.errors import UNAVAILABLE, SnapshotExpired
from firelift.firestore.read_documents import REQUEST_SIZE, get_documents
from firelift.firestore.values import Document, same_document
from firelift.postgres.inspect.rows import read_rows
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection, Session
from firelift.receipts import Difference
from firelift.transform.decode import Row, UnreadableRow, compile_decoder
from firelift.transform.document_names import Ids, Names
from firelift.verification.differing_fields import FieldDiffers, differing_fields
from firelift.verification.proof import Reread

Key = tuple[str, ...]
Read = Document | UnreadableRow
Progress = Callable[[int], None]


def reread(
    source: Source, read_time: str, session: Session, table: TargetTable, database: str, keys: Sequence[Key]
) -> tuple[Reread, list[Difference]]:
    """The documents of one table that have these keys, read from Firestore as of `read_time`, against the table's rows.

    A snapshot that Firestore no longer keeps makes it `unavailable`, which says nothing about the rows.
    """
    [(receipt, found)] = reread_tables(source, read_time, session, database, [(table, keys)])
    return receipt, found


def reread_tables(
    source: Source,
    read_time: str,
    session: Session,
    database: str,
    chosen: Sequence[tuple[TargetTable, Sequence[Key]]],
    progress: Progress = lambda _: None,
) -> Iterator[tuple[Reread, list[Difference]]]:
    """`reread` of table after table over one channel and one connection; `progress` gets the number of documents compared.

    Where Firestore does not answer a table it is not asked about the others.
    """
    try:
        firestore = open_firestore(source)
    except UNAVAILABLE as error:
        yield from ((_unavailable(table, keys, error), []) for table, keys in chosen)
        return
    refused: FireliftError | None = None
    with closing(firestore), session.open_to_read() as connection:
        for table, keys in chosen:
            if refused is not None:
                yield _unavailable(table, keys, refused), []
                continue
            done, found, refused = _reread(firestore, read_time, connection, table, database, keys)
            yield done, found
            progress(len(keys))


def _reread(
    firestore: Firestore, read_time: str, connection: Connection, table: TargetTable, database: str, keys: Sequence[Key]
) -> tuple[Reread, list[Difference], FireliftError | None]:
    found: list[Difference] = []
    try:
        for start in range(0, len(keys), REQUEST_SIZE):
            found += _compared(firestore, read_time, connection, table, database, keys[start : start + REQUEST_SIZE])
    except UNAVAILABLE as error:
        return _unavailable(table, keys, error, found), found, error
    return Reread(table=table.name, asked=len(keys), differing=len(_documents(found))), found, None


def _unavailable(table: TargetTable, keys: Sequence[Key], error: FireliftError, found: Sequence[Difference] = ()) -> Reread:
    return Reread(table=table.name, asked=len(keys), differing=len(_documents(found)), unavailable=_why(error))


def _compared(
    firestore: Firestore, read_time: str, connection: Connection, table: TargetTable, database: str, keys: Sequence[Key]
) -> Iterator[Difference]:
    ids = Ids(Names(database), table.plan.collection)
    named = {ids.name(key): tuple(key) for key in keys}
    rows = _rows(connection, table, database, list(named.values()))
    for name, document in get_documents(firestore, list(named), read_time):
        key = named[name]
        for field, what, expected, found in _differing(document, rows.get(key), read_time):
            yield Difference(table=table.name, key="/".join(key), field=field, what=what, expected=expected, found=found)


def _rows(connection: Connection, table: TargetTable, database: str, keys: Sequence[Key]) -> dict[Key, Read]:
    decode = compile_decoder(table.plan, database)
    return {tuple(row[: len(table.keys)]): _decoded(decode, row) for row in read_rows(connection, table, keys)}


def _decoded(decode: Callable[[Row], Document], row: Row) -> Read:
    try:
        return decode(row)
    except UnreadableRow as unreadable:
        return unreadable


def _differing(document: Document | None, row: Read | None, read_time: str) -> Iterator[FieldDiffers]:
    if document is None:
        yield FieldDiffers("", "missing document", "a document in the archive", f"none in Firestore at {read_time}")
    elif row is None:
        yield FieldDiffers("", "missing row", f"a row, for Firestore's document at {read_time}", "none")
    elif isinstance(row, UnreadableRow):
        yield FieldDiffers("", "unreadable row", "a row that says what document it is", str(row.facts.get("cause"))[:200])
    elif not same_document(document, row):
        differs = list(differing_fields(document, row))
        yield from differs or [FieldDiffers("", "value", "a document of other bytes", "a document of other bytes")]


def _documents(found: Sequence[Difference]) -> set[str]:
    return {difference.key for difference in found}


def _why(error: FireliftError) -> str:
    if isinstance(error, SnapshotExpired):
        return f"Firestore no longer keeps the snapshot: {error.facts.get('message', '')}".removesuffix(": ")
    return str(error)
