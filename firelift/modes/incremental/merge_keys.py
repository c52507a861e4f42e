"""The keys that Firestore has, merged with those that the tables have: which are new, changed and gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from firelift.errors import FireliftError
from firelift.paths import Key, collection_of, ids_of, key_order
from firelift.postgres.inspect.published_keys import PublishedKeys
from firelift.receipts import TableChanges


class KeysOutOfOrder(FireliftError):
    """Keys that ought to ascend do not, so that nothing can be said about which are gone."""

    remedy = (
        "Nothing was changed. If it is a table's keys, its primary key is gone or they have another collation: "
        "mend that, or migrate anew with --migration-mode full. If it is Firestore's, run again and report it with the migration log."
    )


class Differs(NamedTuple):
    """A document that the target has not, or has otherwise."""

    path: str
    updated: int
    """Its update time in microseconds since 1970."""


class KeyMerge:
    """Reads a stream of Firestore's keys beside the rows of any number of tables, each of which is read once, in step with it.

    `standing` gives the rows of a collection (none for one without a table) when its first document comes, `tables` are the
    collections that have some, `takes` says which the migration takes, and `gone` hears of keys that Firestore has no more.
    """

    def __init__(
        self,
        tables: Iterable[str],
        standing: Callable[[str], PublishedKeys],
        takes: Callable[[str], bool],
        gone: Callable[[str, Key], None],
    ) -> None:
        self._tables, self._standing, self._takes, self._gone = tuple(tables), standing, takes, gone
        self._sides: dict[str, _Side | None] = {}
        self._heads: dict[str, _Side] = {}
        self.skipped = 0
        """Documents of collections that the migration does not take."""

    def differing(self, keys: Iterable[tuple[str, int]]) -> Iterator[Differs]:
        """The documents among `keys`, (path, update time) in key order, that are new or changed. Raises KeysOutOfOrder."""
        heads = self._heads
        for path, updated in keys:
            # Nearly every document is the next row of its table: no other way to look at it is as cheap.
            side = heads.pop(path, None) or self._side_of(path)
            if side is None:
                self.skipped += 1
            elif side.path == path:
                same = side.updated == updated
                side.meet(same)
                if side.advance():
                    heads[side.path] = side
                if not same:
                    yield Differs(path, updated)
            else:
                side.new += 1
                yield Differs(path, updated)
        self._end()

    def changes(self) -> dict[str, TableChanges]:
        """What came of every collection that was met or stands."""
        return {
            collection: TableChanges(
                collection=collection, documents=side.met + side.new, new=side.new, changed=side.met - side.same, deleted=side.gone
            )
            for collection, side in self._sides.items()
            if side is not None
        }

    def _side_of(self, path: str) -> _Side | None:
        """The table's side, its head no longer before the document; None where the migration does not take it."""
        collection = collection_of(path)
        side = self._open(collection)
        if side is None:
            return None
        ids = tuple(ids_of(path))
        order = key_order(ids)
        if side.last is not None and key_order(side.last) >= order:
            raise KeysOutOfOrder(of="Firestore", collection=collection, key="/".join(ids), behind="/".join(side.last))
        if side.ids is not None:
            self._heads.pop(side.path, None)
            while side.ids is not None and key_order(side.ids) < order:
                self._lose(side)
            if side.ids is not None and side.path != path:
                self._heads[side.path] = side
        side.last = ids
        return side

    def _open(self, collection: str) -> _Side | None:
        if collection not in self._sides:
            side = _Side(collection, self._standing(collection)) if self._takes(collection) else None
            self._sides[collection] = side
            if side is not None and side.advance():
                self._heads[side.path] = side
        return self._sides[collection]

    def _end(self) -> None:
        for collection in self._tables:
            side = self._open(collection)
            while side is not None and side.ids is not None:
                self._lose(side)

    def _lose(self, side: _Side) -> None:
        assert side.ids is not None, "a row is lost while there is one"
        side.gone += 1
        self._gone(side.collection, side.ids)
        side.advance()


@dataclass(slots=True)
class _Side:
    """One table: its next row, as the document it stands for, and what has been counted."""

    collection: str
    standing: PublishedKeys
    form: str = ""
    path: str = ""
    ids: Key | None = None
    updated: int | None = None
    last: Key | None = None
    """The document that came last."""
    met: int = 0
    same: int = 0
    new: int = 0
    gone: int = 0

    def __post_init__(self) -> None:
        segments = self.collection.replace("%", "%%").split("/*/")
        self.form = "".join(f"{segment}/%s/" for segment in segments)[:-1]

    def meet(self, same: bool) -> None:
        self.met += 1
        self.same += same
        self.last = self.ids

    def advance(self) -> bool:
        """Goes to the next row; False behind the last one."""
        row = next(self.standing.rows, None)
        if row is None:
            self.ids, self.path = None, ""
            return False
        ids, before = row[:-1], self.ids
        if None in ids or (before is not None and not self._ascends(before, ids)):
            raise KeysOutOfOrder(of="the table", collection=self.collection, key="/".join(map(str, ids)), behind="/".join(before or ()))
        self.ids, self.updated, self.path = ids, row[-1], self.form % ids
        return True

    def _ascends(self, before: Key, ids: Key) -> bool:
        return key_order(before) < key_order(ids) if self.standing.numbered else before < ids
