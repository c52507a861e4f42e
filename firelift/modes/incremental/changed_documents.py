"""Compares documents that have changed, according to one of their fields, with the rows of the published tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from firelift.firestore.changed_since import QueryRefused, read_changed
from firelift.firestore.channel import open_firestore
from firelift.firestore.read_documents import REQUEST_SIZE
from firelift.firestore.values import Document
from firelift.formatting import counted
from firelift.modes.incremental.fetch import Fetched, update_time_of
from firelift.modes.incremental.worker import DIFFERS, CompareJob, Once, RangeResult, archiving
from firelift.paths import collection_of, ids_of
from firelift.postgres.inspect.published_keys import count_live, written_at
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.receipts import TableChanges, by_root, tallied


def compare_changed_since(job: CompareJob, report: Callable[[Any], None]) -> tuple[RangeResult, dict[str, int], str]:
    """Archives the documents that have changed according to a field.

    Also returns how many documents there are by root collection, and why those archived cannot be all; empty where they are.
    """
    since, published, breaks = job.published.since, job.published, list[str]()
    assert since is not None, "it is only called where a field is to tell"
    assert job.inputs.root.documents is not None, "and where Firestore counts"
    changes, reads, there, why = list[TableChanges](), 0, dict[str, int](), ""
    found = Once(partial(report, DIFFERS))
    with (
        closing(open_firestore(job.inputs.source)) as firestore,
        published.session.open_to_read() as connection,
        archiving(job, 0, report) as archive,
    ):
        try:
            for table in published.tables:
                look = _ChangedDocuments(connection, TargetTable(published.schema, table))
                for batch in look.batches(read_changed(firestore, table.collection, since, job.inputs.read_time, breaks.append)):
                    archive.add(found.at_first(batch))
                reads += look.reads
                changes.append(look.changes())
        except QueryRefused as refused:
            why = f"Firestore does not answer which documents of {table.collection} have changed by {since.field}: {_said(refused)}"
        else:
            rows = {table.collection: count_live(connection, TargetTable(published.schema, table)) for table in published.tables}
            new = {change.collection: change.new for change in changes}
            there = tallied([by_root(rows), by_root(new)])
            why = _why_not_all(job.inputs.root.documents, sum(rows.values()), sum(new.values()))
    return replace(archive.part(tuple(changes), 0, breaks), reads=reads), there, why


def _said(refused: QueryRefused) -> str:
    return str(refused.facts.get("message") or refused.facts.get("status"))


def _why_not_all(documents: int, rows: int, new: int) -> str:
    if documents == rows + new:
        return ""
    return (
        f"Firestore has {counted(documents, 'document')}, while the tables have {counted(rows, 'row')} "
        f"and {counted(new, 'document')} turned out to be new"
    )


class _ChangedDocuments:
    """The documents of one table that have changed according to a field, compared with their rows."""

    def __init__(self, connection: Connection, table: TargetTable) -> None:
        self._connection, self._table = connection, table
        self.reads = self._met = self._new = self._changed = 0

    def batches(self, documents: Iterator[tuple[str, bytes]]) -> Iterator[list[Fetched]]:
        while batch := list(islice(documents, REQUEST_SIZE)):
            self.reads += len(batch)
            yield self._differing([(path, document) for path, document in batch if collection_of(path) == self._table.plan.collection])

    def _differing(self, batch: Sequence[tuple[str, bytes]]) -> list[Fetched]:
        keys = {path: tuple(ids_of(path)) for path, _ in batch}
        # No text of PostgreSQL holds NUL, so neither does a key.
        rows = written_at(self._connection, self._table, [key for key in keys.values() if "\0" not in "".join(key)])
        found = []
        for path, document in batch:
            parsed = Document.FromString(document)
            new = keys[path] not in rows
            self._met += 1
            self._new += new
            if new or rows[keys[path]] != update_time_of(parsed):
                self._changed += not new
                found.append((path, document, parsed))
        return found

    def changes(self) -> TableChanges:
        return TableChanges(
            collection=self._table.plan.collection, documents=self._met, new=self._new, changed=self._changed, deleted=0, scanned=False
        )
