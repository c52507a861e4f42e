"""Resource names of documents: as paths below `documents/`, and as the ids of a collection's documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

_FULL = re.compile(r"projects/[^/]+/databases/[^/]+/documents(/|\Z)")


class Names:
    """The names of one database, a resource name `projects/{project}/databases/{database}`."""

    def __init__(self, database: str) -> None:
        self.prefix = f"{database}/documents/"
        self._start = len(self.prefix)

    def path(self, name: str) -> str:
        """The path below `documents/`; a name in another database stays whole, and so does one whose path looks like a whole name."""
        if not name.startswith(self.prefix) or _FULL.match(name, self._start):
            return name
        return name[self._start :]

    def name(self, path: str) -> str:
        """Inverse of `path` for every well-formed name."""
        return path if _FULL.match(path) else self.prefix + path

    def exact(self, name: str) -> bool:
        """True where a path kept as Postgres text gives the name back."""
        return "\0" not in name and self.name(self.path(name)) == name


class Ids:
    """The documents of one collection (`users/*/orders`), each named by its ids, outermost ancestor first."""

    def __init__(self, names: Names, collection: str) -> None:
        self._prefix = names.prefix
        self._start = len(names.prefix)
        self._collections = collection.split("/")[::2]
        self._depth = 2 * len(self._collections)

    def of(self, name: str) -> list[str] | None:
        """The ids in the document's name; None if it is no document of this collection."""
        parts = name[self._start :].split("/")
        if len(parts) != self._depth or parts[::2] != self._collections or not name.startswith(self._prefix):
            return None
        return parts[1::2]

    def name(self, ids: Sequence[str]) -> str:
        return self._prefix + "/".join(chain.from_iterable(zip(self._collections, ids, strict=True)))
