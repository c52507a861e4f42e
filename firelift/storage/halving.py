"""The place at which what is left of a key range is cut into two halves, while it is read."""

from __future__ import annotations

from itertools import takewhile
from typing import Final, NamedTuple

from firelift.firestore.channel import Firestore
from firelift.firestore.counting import counted
from firelift.firestore.discovery import DiscoveredRoot, ascending, server_cuts, with_nested_cuts
from firelift.firestore.query import FIRST_ID, KeyRange
from firelift.firestore.read_first import first_documents
from firelift.firestore.split_points import between_two, greatest_id

CUTS: Final = 32
"""So many cuts Firestore is asked for, of which the one in the middle of what is left is taken."""
LOOKED_AT: Final = 20
"""The ids of so many documents show what ids look like."""
TRIES: Final = 5
SMALLEST: Final = 0.2
"""A part with less than this share of the documents is no half."""


class Halved(NamedTuple):
    """Where the second half begins, and its number of documents; None where Firestore does not count them."""

    start: str
    documents: int | None


def halved(firestore: Firestore, root: DiscoveredRoot, before: str, after: str, left: int | None, read_time: str) -> Halved | None:
    """Cuts what is left of `root.keys` behind the document `after`, of which there are `left` documents (None: unknown).

    `before` is a document that was read some time before `after`: the collection in which the two lie is likely to be the large one.
    None where there is no place for a cut: all that is left is one document's, or lies where neither Firestore nor ids show a middle.
    And where Firestore has no cuts at all, which is the emulator: a query that begins in the middle of 100,000 documents takes it seconds.
    """
    rest = _Rest(firestore, KeyRange(after, root.keys.end), left, read_time)
    cuts = server_cuts(firestore, root, CUTS, read_time)
    if cuts is None:
        return None
    inside = ascending(rest.keys, with_nested_cuts(firestore, root, cuts, CUTS, read_time))
    return rest.nearest(inside) or next(
        (found for level in _levels(before, after) if (found := rest.in_collection(*level)) is not None), None
    )


def _levels(before: str, after: str) -> list[tuple[str, str]]:
    """The collections on the way to the document `after`, each with the id on that way: first the one that holds both documents, then
    those above it, and last those beneath it."""
    parts = after.split("/")
    levels = [("/".join(parts[:depth]), parts[depth]) for depth in range(1, len(parts), 2)]
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(before.split("/"), parts, strict=False)))
    own = min(common // 2, len(levels) - 1)
    return [*reversed(levels[: own + 1]), *levels[own + 1 :]]


class _Rest:
    """What is left of a key range."""

    def __init__(self, firestore: Firestore, keys: KeyRange, left: int | None, read_time: str) -> None:
        self.keys = keys
        self._firestore, self._left, self._read_time = firestore, left, read_time

    def nearest(self, cuts: list[str]) -> Halved | None:
        """The cut that comes nearest to the middle."""
        while cuts:
            middle = len(cuts) // 2
            found, share = self._behind(cuts[middle])
            if SMALLEST <= share <= 1 - SMALLEST:
                return found
            cuts = cuts[:middle] if share < SMALLEST else cuts[middle + 1 :]
        return None

    def in_collection(self, collection: str, low: str) -> Halved | None:
        """A cut between the documents of one collection, by their ids."""
        end = self._end_in(collection)
        if low.startswith("__"):
            return None
        ids = [path.split("/")[collection.count("/") + 1] for path in self._first(KeyRange(self.keys.start, end), LOOKED_AT)]
        high = greatest_id(lambda name: bool(self._first(KeyRange(f"{collection}/{name}", end), 1)), low)
        for _ in range(TRIES):
            middle = between_two(low, high, sorted({sign for name in ids for sign in name}))
            if middle is None:
                return None
            found, share = self._behind(f"{collection}/{middle}")
            if SMALLEST <= share <= 1 - SMALLEST:
                return found
            low, high = (low, middle) if share < SMALLEST else (middle, high)
        return None

    def _end_in(self, collection: str) -> str | None:
        """Where the collection, with everything beneath it, ends in this range."""
        end = f"{collection}\0/{FIRST_ID}"
        return end if ascending(self.keys, [end]) else self.keys.end

    def _behind(self, start: str) -> tuple[Halved, float]:
        """The part from there on, and its share; a half where Firestore does not count it and it has a document."""
        behind = KeyRange(start, self.keys.end)
        number = None if self._left is None else counted(self._firestore, behind, self._read_time).documents
        if number is None or not self._left:
            return Halved(start, None), 0.5 if self._first(behind, 1) else 0.0
        return Halved(start, number), number / self._left

    def _first(self, keys: KeyRange, limit: int) -> list[str]:
        return [path for path, _ in first_documents(self._firestore, keys, self._read_time, limit)]
