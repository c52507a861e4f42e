"""Joins the keys that Firestore has with those that the tables have, to find new, changed and deleted documents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from firelift.errors import FireliftError
from firelift.paths import Key, collection_of, ids_of, key_order
from firelift.postgres.inspect.published_keys import PublishedKeys
from firelift.receipts import TableChanges


class KeysOutOfOrder(FireliftError):
    """Keys are not in ascending order, so it cannot be known which documents were deleted."""

    remedy = (
        "Nothing was changed. If it is a table's keys, its primary key is gone or they have another collation: "
        "mend that, or migrate anew with --migration-mode full. If it is Firestore's, run again and report it with the migration log."
    )


class DifferingDocument(NamedTuple):
    """A document that the target does not have, or has with another update time."""

    path: str
    updated: int
    """Its update time in microseconds since 1970."""


class KeyMergeJoin:
    """Joins a stream of Firestore's keys with the keys of any number of tables, in order, reading each table once.

    `tables` are the collections that have a table. `keys_of` gives a table's keys, without any for a collection that has none; it is
    called when the collection's first document arrives. `takes` says whether the migration takes a collection. `deleted` is called
    with every key that Firestore no longer has.
    """

    def __init__(
        self,
        tables: Iterable[str],
        keys_of: Callable[[str], PublishedKeys],
        takes: Callable[[str], bool],
        deleted: Callable[[str, Key], None],
    ) -> None:
        self._tables, self._keys_of, self._takes, self._deleted = tuple(tables), keys_of, takes, deleted
        self._cursors: dict[str, _Cursor | None] = {}
        self._pending: dict[str, _Cursor] = {}
        self.skipped = 0
        """Documents of collections that the migration does not take."""

    def differing(self, keys: Iterable[tuple[str, int]]) -> Iterator[DifferingDocument]:
        """The documents among `keys`, (path, update time) in key order, that are new or changed. Raises KeysOutOfOrder."""
        pending = self._pending
        for path, updated in keys:
            # Nearly every document is the next row of its table, which is the cheapest case.
            cursor = pending.pop(path, None) or self._cursor_of(path)
            if cursor is None:
                self.skipped += 1
            elif cursor.path == path:
                same = cursor.updated == updated
                cursor.match(same)
                if cursor.advance():
                    pending[cursor.path] = cursor
                if not same:
                    yield DifferingDocument(path, updated)
            else:
                cursor.new += 1
                yield DifferingDocument(path, updated)
        self._end()

    def changes(self) -> dict[str, TableChanges]:
        """The counts of every collection that was read or has a table."""
        return {
            collection: TableChanges(
                collection=collection,
                documents=cursor.met + cursor.new,
                new=cursor.new,
                changed=cursor.met - cursor.same,
                deleted=cursor.deleted,
            )
            for collection, cursor in self._cursors.items()
            if cursor is not None
        }

    def _cursor_of(self, path: str) -> _Cursor | None:
        """The table's cursor, moved to the document or behind it; None where the migration does not take the collection."""
        collection = collection_of(path)
        cursor = self._open(collection)
        if cursor is None:
            return None
        ids = tuple(ids_of(path))
        order = key_order(ids)
        if cursor.last is not None and key_order(cursor.last) >= order:
            raise KeysOutOfOrder(of="Firestore", collection=collection, key="/".join(ids), behind="/".join(cursor.last))
        if cursor.ids is not None:
            self._pending.pop(cursor.path, None)
            while cursor.ids is not None and key_order(cursor.ids) < order:
                self._delete(cursor)
            if cursor.ids is not None and cursor.path != path:
                self._pending[cursor.path] = cursor
        cursor.last = ids
        return cursor

    def _open(self, collection: str) -> _Cursor | None:
        if collection not in self._cursors:
            cursor = _Cursor(collection, self._keys_of(collection)) if self._takes(collection) else None
            self._cursors[collection] = cursor
            if cursor is not None and cursor.advance():
                self._pending[cursor.path] = cursor
        return self._cursors[collection]

    def _end(self) -> None:
        for collection in self._tables:
            cursor = self._open(collection)
            while cursor is not None and cursor.ids is not None:
                self._delete(cursor)

    def _delete(self, cursor: _Cursor) -> None:
        assert cursor.ids is not None, "only a row that was read can be deleted"
        cursor.deleted += 1
        self._deleted(cursor.collection, cursor.ids)
        cursor.advance()


@dataclass(slots=True)
class _Cursor:
    """One table: its next key, as the path of a document, and the counts so far."""

    collection: str
    keys: PublishedKeys
    form: str = ""
    path: str = ""
    ids: Key | None = None
    updated: int | None = None
    last: Key | None = None
    """The document that came last."""
    met: int = 0
    same: int = 0
    new: int = 0
    deleted: int = 0

    def __post_init__(self) -> None:
        segments = self.collection.replace("%", "%%").split("/*/")
        self.form = "".join(f"{segment}/%s/" for segment in segments)[:-1]

    def match(self, same: bool) -> None:
        self.met += 1
        self.same += same
        self.last = self.ids

    def advance(self) -> bool:
        """Moves to the next row; False after the last one."""
        row = next(self.keys.rows, None)
        if row is None:
            self.ids, self.path = None, ""
            return False
        ids, before = row[:-1], self.ids
        if None in ids or (before is not None and not self._ascends(before, ids)):
            raise KeysOutOfOrder(of="the table", collection=self.collection, key="/".join(map(str, ids)), behind="/".join(before or ()))
        self.ids, self.updated, self.path = ids, row[-1], self.form % ids
        return True

    def _ascends(self, before: Key, ids: Key) -> bool:
        return key_order(before) < key_order(ids) if self.keys.numbered else before < ids
