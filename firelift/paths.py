"""Collection paths without document ids, and the patterns that choose among them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

NUMBERED = "__id(-?[1-9][0-9]*)__"
"""How ids that Datastore numbered are spelled; Firestore takes no others of the form `__…__`."""
_NUMBER = re.compile(NUMBERED)


Key = tuple[str, ...]
"""The ids in a document path: the key of its row."""


def collection_of(path: str) -> str:
    """The collection path of a document path: `users/alice/orders/1` lies in `users/*/orders`."""
    segments = path.split("/")
    segments[1::2] = ["*"] * (len(segments) // 2)
    return "/".join(segments[:-1])


def ids_of(path: str) -> list[str]:
    """The document ids in a document path, outermost first: the values of its table's key."""
    return path.split("/")[1::2]


def id_order(document_id: str) -> tuple[bool, int, str]:
    """Sorts ids as Firestore does: those of the form `__id<int64>__` first, as numbers, then the others by their UTF-8 bytes."""
    number = _NUMBER.fullmatch(document_id) if document_id.startswith("__id") else None
    return (True, 0, document_id) if number is None else (False, int(number[1]), "")


def key_order(ids: Iterable[str]) -> list[tuple[bool, int, str]]:
    """Sorts the keys of one collection as Firestore does."""
    return [id_order(document_id) for document_id in ids]


def path_order(path: str) -> list[tuple[bool, int, str]]:
    """Sorts document paths, at any depth, as Firestore does: segment by segment."""
    return [id_order(segment) if place % 2 else _named(segment) for place, segment in enumerate(path.split("/"))]


def _named(collection_id: str) -> tuple[bool, int, str]:
    return True, 0, collection_id


def parent_of(collection: str) -> str | None:
    """The collection of the parent documents; None for a root collection."""
    return collection[: collection.rindex("/*/")] if "/*/" in collection else None


def matches(collection: str, pattern: str) -> bool:
    """Whether `pattern` names the collection or one above it. `*`, `?` and `[…]` stand for parts of one segment."""
    wanted, given = pattern.split("/"), collection.split("/")
    return len(wanted) <= len(given) and all(fnmatchcase(segment, glob) for segment, glob in zip(given, wanted, strict=False))


class Selection:
    """Which collections a migration takes: those that match an `include` pattern (all, if there is none) and no `exclude` pattern."""

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        self.include, self.exclude = tuple(include), tuple(exclude)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def takes(self, collection: str) -> bool:
        included = not self.include or any(matches(collection, pattern) for pattern in self.include)
        return included and not any(matches(collection, pattern) for pattern in self.exclude)

    def may_take_below(self, root: str) -> bool:
        """Whether the root collection or one beneath it can be taken."""
        included = not self.include or any(fnmatchcase(root, pattern.split("/")[0]) for pattern in self.include)
        return included and not any(matches(root, pattern) for pattern in self.exclude)

    def idle(self, collections: Iterable[str]) -> list[str]:
        """The patterns that name none of these collections."""
        found = list(collections)
        return [pattern for pattern in (*self.include, *self.exclude) if not any(matches(collection, pattern) for collection in found)]


class Exactly(Selection):
    """These collections and no other, also none above or beneath them: names, not patterns."""

    def __init__(self, collections: Iterable[str]) -> None:
        super().__init__()
        self._collections = frozenset(collections)

    def takes(self, collection: str) -> bool:
        return collection in self._collections

    def may_take_below(self, root: str) -> bool:
        return any(collection.partition("/")[0] == root for collection in self._collections)
