"""What a database has to say for the server to answer from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from firelift.paths import path_order

Moment = tuple[int, int]
"""Seconds and nanoseconds since 1970."""


class Row(NamedTuple):
    """A document as it is kept: its path, and serialized the entries of `fields`, `create_time` and `update_time` of a Document."""

    path: str
    fields: bytes
    times: bytes


@dataclass(frozen=True)
class Edge:
    """A place in the order of keys, before or after a path."""

    path: str
    is_after: bool = False
    """Whether the place is just behind the path, still before all documents beneath it."""


@dataclass(frozen=True)
class Scan:
    """Documents in the order of their keys, of one collection, of a collection group, or (without an id) of all collections."""

    parent: str = ""
    """Of which document or, if empty, of the whole database: path without slashes at its ends."""
    collection_id: str | None = None
    all_descendants: bool = True
    start: Edge | None = None
    end: Edge | None = None

    def takes(self, path: str) -> bool:
        """Whether a document lies in one of the collections; the edges are not looked at."""
        below = path.removeprefix(f"{self.parent}/") if self.parent else path
        if self.parent and below == path:
            return False
        *others, collection_id, _ = below.split("/")
        return (self.all_descendants or not others) and self.collection_id in (None, collection_id)

    def holds(self, path: str) -> bool:
        """Whether a document lies in one of the collections and between the edges."""
        order = path_order(path)
        if self.start is not None and (order < (start := path_order(self.start.path)) or (order == start and self.start.is_after)):
            return False
        if self.end is not None and (order > (end := path_order(self.end.path)) or (order == end and not self.end.is_after)):
            return False
        return self.takes(path)


class Database(Protocol):
    """Documents as of a moment; None is now."""

    def scan(self, scan: Scan, moment: Moment | None) -> Iterator[Row]: ...

    def count(self, scan: Scan, moment: Moment | None) -> int: ...

    def cuts(self, scan: Scan, most: int, moment: Moment | None) -> list[str]:
        """At most so many paths that cut what is scanned into parts of about the same size, in order."""

    def get(self, path: str, moment: Moment | None) -> Row | None: ...

    def collection_ids(self, parent: str, moment: Moment | None) -> list[str]:
        """The collections of a document or, if `parent` is empty, of the database, in order."""
