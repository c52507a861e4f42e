"""Finds every root collection of a database and cuts it into key ranges that can be read in parallel."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

from firelift.firestore import errors
from firelift.firestore.channel import Firestore
from firelift.firestore.counting import counted
from firelift.firestore.query import KeyRange, partition_cursors, root_range
from firelift.firestore.read_first import first_documents
from firelift.paths import path_order

FEW: Final = 8
"""So few root collections are counted one by one, which is as fast as all at once."""
LOOKED_AT: Final = 10
"""So many documents behind each cut are looked at for collections beneath them."""
MOST_NESTED: Final = 5
"""Of so many nested collections Firestore is asked for cuts."""


@dataclass(frozen=True)
class DiscoveredRoot:
    """A root collection, or several neighbours, as Firestore has them: with everything beneath them, and the number of documents.

    `keys` reaches to the start of the next root collection, so that the ranges of all roots cover the whole database: a collection
    that the list of ids does not name is read, and counted, with its neighbour. `RootCollection` is what the phases hand on of it.
    """

    collection_id: str
    keys: KeyRange
    documents: int | None
    """None where Firestore does not count them."""
    why_uncounted: str = ""
    beside: tuple[str, ...] = ()
    """The following root collections, up to the end of `keys`."""
    each: tuple[int, ...] = ()
    """The documents of each collection, where they were counted one by one."""


@dataclass(frozen=True)
class _Span:
    """Neighbouring root collections, by their indexes in the list, and their documents once they are counted."""

    first: int
    end: int
    documents: int | None = None
    why_not: str = ""
    each: tuple[int, ...] = ()

    @property
    def single(self) -> bool:
        return self.end - self.first == 1

    def fits(self, together: int) -> bool:
        return self.documents is not None and self.documents <= together

    def split(self) -> list[_Span]:
        """Two halves; or one by one where they are few, or where Firestore does not count them together."""
        number = self.end - self.first
        halves = number > FEW and not self.why_not
        edges = [self.first, self.first + number // 2, self.end] if halves else range(self.first, self.end + 1)
        return [_Span(first, end) for first, end in itertools.pairwise(edges)]

    def with_next(self, other: _Span) -> _Span:
        known = self.documents is not None and other.documents is not None
        documents = (self.documents or 0) + (other.documents or 0) if known else None
        return _Span(self.first, other.end, documents, each=self.each + other.each if self.each and other.each else ())


def roots(firestore: Firestore, ids: Sequence[str], read_time: str, together: int, takes: Callable[[str], bool]) -> list[DiscoveredRoot]:
    """The root collections that `takes` selects among `ids`, which are all in key order; small neighbours become one root.

    A root of several collections has at most `together` documents. Where all are selected, the counts add up to COUNT over the whole
    database by construction.
    """
    edges = [None, *(root_range(collection_id).start for collection_id in ids[1:]), None]

    def ask(span: _Span) -> _Span:
        found = counted(firestore, KeyRange(edges[span.first], edges[span.end]), read_time, None if span.single else together + 1)
        each = (found.documents,) if span.single and found.documents is not None else ()
        return replace(span, documents=found.documents, why_not=found.why_not, each=each)

    def root(span: _Span) -> DiscoveredRoot:
        first, *beside = ids[span.first : span.end]
        keys = KeyRange(edges[span.first], edges[span.end])
        return DiscoveredRoot(first, keys, span.documents, span.why_not, tuple(beside), span.each)

    return [root(span) for span in _joined(_counted(_chosen(ids, takes), ask, together), together)]


def _chosen(ids: Sequence[str], takes: Callable[[str], bool]) -> list[_Span]:
    """The selected ones; neighbours make one span."""
    runs = itertools.groupby(range(len(ids)), key=lambda place: takes(ids[place]))
    return [_Span(places[0], places[-1] + 1) for chosen, run in runs if chosen and (places := list(run))]


def _counted(spans: Sequence[_Span], ask: Callable[[_Span], _Span], together: int) -> list[_Span]:
    """Spans with their counts, split until each is one root collection or has at most `together` documents."""
    settled: list[_Span] = []
    with ThreadPoolExecutor(max_workers=4) as threads:
        waiting = [part for span in spans for part in ([span] if span.end - span.first > FEW else span.split())]
        while waiting:
            found = list(threads.map(ask, waiting))
            settled += [span for span in found if span.single or span.fits(together)]
            waiting = [part for span in found if not (span.single or span.fits(together)) for part in span.split()]
    return sorted(settled, key=lambda span: span.first)


def _joined(spans: Sequence[_Span], together: int) -> list[_Span]:
    """Joins neighbours as long as they have at most `together` documents."""
    joined: list[_Span] = []
    for span in spans:
        if joined and joined[-1].end == span.first and (both := joined[-1].with_next(span)).fits(together):
            joined[-1] = both
        else:
            joined.append(span)
    return joined


def key_ranges(firestore: Firestore, root: DiscoveredRoot, parts: int, read_time: str, by_server: int | None = None) -> list[KeyRange]:
    """The root collection cut into key ranges without gap or overlap; a group of small collections stays one range.

    Firestore's own cuts cost next to nothing: where it makes them there may be `by_server` ranges (None: `parts`), and more where large
    collections lie beneath documents. Where it makes none there are at most `parts`.
    """
    by_server = by_server or parts
    if by_server <= 1 or root.beside or (root.documents is not None and root.documents < 2):
        return [root.keys]
    cuts = server_cuts(firestore, root, by_server, read_time)
    if cuts is not None:
        cuts = with_nested_cuts(firestore, root, cuts, by_server, read_time)
    elif parts > 1 and root.documents is not None:
        cuts = _counted_cuts(firestore, root, root.documents, parts, read_time)
    edges = [root.keys.start, *(cuts or ()), root.keys.end]
    return [KeyRange(start, end) for start, end in itertools.pairwise(edges)]


def server_cuts(firestore: Firestore, root: DiscoveredRoot, parts: int, read_time: str, below: str | None = None) -> list[str] | None:
    """Cuts by PartitionQuery through the collection and all of its name `below` a root collection (None: itself).

    None where the server has none (the emulator), or does not answer.
    """
    try:
        cursors = partition_cursors(firestore, root.collection_id, parts, read_time)
    except (errors.FirestoreError, errors.FirestoreDenied, errors.FirestoreUnreachable):
        # Cuts are optional. If anything else is wrong, the next request raises it.
        return None
    # A collection group's cursors also lie in collections of that name below other roots.
    return ascending(root.keys, [path for path in cursors if path.startswith(f"{below or root.collection_id}/")])


def with_nested_cuts(firestore: Firestore, root: DiscoveredRoot, cuts: Sequence[str], parts: int, read_time: str) -> list[str]:
    """These cuts, and such as go through collections beneath the root's documents: most documents may lie below few parents.

    Which collections there are is seen at the first documents, and at those behind each cut.
    """
    below: dict[str, None] = {}
    for start in (root.keys.start, *cuts):
        for path, _ in first_documents(firestore, KeyRange(start, root.keys.end), read_time, LOOKED_AT):
            below[path.rsplit("/", 2)[1]] = None
    below.pop(root.collection_id, None)
    nested = [
        server_cuts(firestore, replace(root, collection_id=name), parts, read_time, root.collection_id) for name in [*below][:MOST_NESTED]
    ]
    return ascending(root.keys, [*cuts, *itertools.chain.from_iterable(found or () for found in nested)])


def ascending(keys: KeyRange, cuts: Iterable[str]) -> list[str]:
    """These paths as cuts of a key range: in Firestore's key order, without duplicates, and only those inside it."""
    low, high = (path_order(edge) if edge is not None else None for edge in (keys.start, keys.end))
    placed = sorted((path_order(path), path) for path in {*cuts})
    return [path for place, path in placed if (low is None or low < place) and (high is None or place < high)]


def _counted_cuts(firestore: Firestore, root: DiscoveredRoot, documents: int, parts: int, read_time: str) -> list[str]:
    """Cuts found by COUNT, with a binary search over ids for each, until it is near enough to its share."""
    cuts: list[str] = []
    for part in range(1, parts):
        cut = _counted_cut(firestore, root, documents * part // parts, documents // (4 * parts), read_time)
        if cut is not None:
            cuts.append(cut)
    return ascending(root.keys, cuts)


# Two printable ASCII characters are fine enough for ids that are spread out; for others one range does all the work.
_ALPHABET = [chr(code) for code in range(0x21, 0x7F) if chr(code) != "/"]


def _counted_cut(firestore: Firestore, root: DiscoveredRoot, wanted: int, tolerance: int, read_time: str) -> str | None:
    low, high = 0, len(_ALPHABET) ** 2
    while high - low > 1:
        middle = (low + high) // 2
        path = f"{root.collection_id}/{_ALPHABET[middle // len(_ALPHABET)]}{_ALPHABET[middle % len(_ALPHABET)]}"
        before = counted(firestore, KeyRange(root.keys.start, path), read_time).documents
        if before is None:
            return None
        if abs(before - wanted) <= tolerance:
            return path
        low, high = (middle, high) if before < wanted else (low, middle)
    return None
