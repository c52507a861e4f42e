"""A database that is made by rule: any number of documents, each made when it is asked for, none kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import grpc

from firelift.local.firestore_server.calls import Refused
from firelift.local.firestore_server.database import Edge, Moment, Row, Scan
from firelift.local.firestore_server.encoding import times
from firelift.paths import id_order

Order = tuple[bool, int, str]
Fields = Callable[[int], bytes]
"""The serialized entries of `fields` of the document with this number."""
Ids = Callable[[int, int], str]
"""The id of the document with this number of so many; rising with the number, in Firestore's order."""

_SIGNS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = [first + second for first in _SIGNS for second in _SIGNS]
_SPREAD: Final = len(_SIGNS) ** 6
# An odd number near the golden section of 2^64: numbers that follow one another look like drawn ones.
_MIXER: Final = 0x9E3779B97F4A7C15


def drawn_ids(number: int, of: int) -> str:
    """As the clients draw them: 20 letters and digits, evenly spread."""
    return _word(number * _SPREAD // of, 3) + _word(number * _MIXER % 2**64, 7)


def numbered_ids(number: int, of: int) -> str:
    """`d0000000`, `d0000001`, …: a long common beginning."""
    return f"d{number:07d}"


def datastore_ids(number: int, of: int) -> str:
    """Numbers, as Datastore gave them."""
    return f"__id{number + 1}__"


def longest_ids(number: int, of: int) -> str:
    """1,500 bytes, which is the longest that Firestore takes."""
    return f"{number:08d}".rjust(1500, "k")


@dataclass(frozen=True)
class Collection:
    """A collection of the same size below each of its parents, or below the first `parents` of them only."""

    id: str
    documents: int
    fields: Fields
    ids: Ids = drawn_ids
    below: tuple[Collection, ...] = ()
    parents: int | None = None
    is_missing: bool = False
    """Whether its documents do not exist, and only those beneath them do."""

    def __post_init__(self) -> None:
        _in_order(self.below)


class Generated:
    """Root collections in the order of their ids; all their documents were written at one time. Queries below a document are refused."""

    def __init__(self, collections: Sequence[Collection], written: Moment = (1_700_000_000, 0)) -> None:
        self._collections = _in_order(collections)
        self._times = times(written, written)

    def scan(self, scan: Scan, moment: Moment | None) -> Iterator[Row]:
        _refuse_parent(scan)
        takes_all = scan.collection_id is None and scan.all_descendants
        for path, collection, number in self._walk(scan):
            if takes_all or scan.takes(path):
                yield Row(path, collection.fields(number), self._times)

    def _walk(self, scan: Scan) -> Iterator[tuple[str, Collection, int]]:
        """Paths between the edges, with what makes the document; also of collections that the scan does not take."""
        low, high = _segments(scan.start), _segments(scan.end)
        skipped = scan.start.path if scan.start is not None and scan.start.is_after else None
        last = scan.end.path if scan.end is not None and scan.end.is_after else None
        if low is None or high is None or low < high:
            for found in _below(self._collections, "", 0, low, high, scan.all_descendants):
                if found[0] != skipped and not found[1].is_missing:
                    yield found
        if last is not None and scan.holds(last) and (found_last := self._find(last)) is not None and not found_last[0].is_missing:
            yield last, *found_last

    def count(self, scan: Scan, moment: Moment | None) -> int:
        _refuse_parent(scan)
        end = self._rank(scan.end, scan)
        return max(0, end - self._rank(scan.start, scan)) if scan.start is not None else end

    def _rank(self, edge: Edge | None, scan: Scan) -> int:
        """How many documents of the scan's collections lie before an edge; None is the end."""
        if edge is None:
            return _size(self._collections, 0, scan, 0)
        before = _rank(self._collections, 0, _segments(edge) or [], scan, 0)
        return before + (edge.is_after and scan.takes(edge.path) and self.get(edge.path, None) is not None)

    def cuts(self, scan: Scan, most: int, moment: Moment | None) -> list[str]:
        number = self.count(scan, moment)
        many = min(most, max(0, number - 1))
        return [self._at(scan, number * part // (many + 1)) for part in range(1, many + 1)]

    def _at(self, scan: Scan, place: int) -> str:
        return _find_place(self._collections, "", 0, scan, place, 0)[0]

    def get(self, path: str, moment: Moment | None) -> Row | None:
        found = self._find(path)
        return None if found is None or found[0].is_missing else Row(path, found[0].fields(found[1]), self._times)

    def _find(self, path: str) -> tuple[Collection, int] | None:
        collections, parent = self._collections, 0
        segments = path.split("/")
        found = None
        for name, document_id in zip(segments[::2], segments[1::2], strict=True):
            collection = next((each for each in collections if each.id == name and _is_below(each, parent)), None)
            if collection is None:
                return None
            number = _first_from(collection, id_order(document_id))
            if number == collection.documents or collection.ids(number, collection.documents) != document_id:
                return None
            found, collections, parent = (collection, number), collection.below, number
        return found

    def collection_ids(self, parent: str, moment: Moment | None) -> list[str]:
        if not parent:
            return [collection.id for collection in self._collections if collection.documents]
        found = self._find(parent)
        return [] if found is None else [below.id for below in found[0].below if _is_below(below, found[1]) and below.documents]


def _below(
    collections: Sequence[Collection], prefix: str, parent: int, low: list[Order] | None, high: list[Order] | None, deep: bool = True
) -> Iterator[tuple[str, Collection, int]]:
    """Documents from `low` (inclusive) to `high` (exclusive), of which what lies above these collections is cut off; None is no limit."""
    for collection in collections:
        name = (True, 0, collection.id)
        if not _is_below(collection, parent) or (low and name < low[0]) or (high and name > high[0]):
            continue
        lowest = low[1:] if low and name == low[0] else None
        highest = high[1:] if high and name == high[0] else None
        yield from _documents(collection, f"{prefix}{collection.id}/", lowest, highest, deep)


def _documents(
    collection: Collection, prefix: str, low: list[Order] | None, high: list[Order] | None, deep: bool
) -> Iterator[tuple[str, Collection, int]]:
    of = collection.documents
    first = _first_from(collection, low[0]) if low else 0
    end = _first_from(collection, high[0]) if high else of
    for number in range(first, end):
        path = prefix + collection.ids(number, of)
        lowest = low[1:] if low and number == first and id_order(path.rpartition("/")[2]) == low[0] else None
        if not lowest:
            yield path, collection, number
        if deep and collection.below:
            yield from _below(collection.below, path + "/", number, lowest, None)
    if high and len(high) > 1 and end < of and id_order(last := collection.ids(end, of)) == high[0]:
        # The limit lies beneath this document, so that it comes before it.
        lowest = low[1:] if low and end == first and id_order(last) == low[0] else None
        if not lowest:
            yield prefix + last, collection, end
        if deep:
            yield from _below(collection.below, f"{prefix}{last}/", end, lowest, high[1:])


def _size(collections: Sequence[Collection], parent: int, scan: Scan, depth: int) -> int:
    """How many documents of the scan's collections lie in these collections of one parent, and beneath them."""
    there = [collection for collection in collections if _is_below(collection, parent)]
    return sum(_before(collection, collection.documents, scan, depth) for collection in there)


def _before(collection: Collection, number: int, scan: Scan, depth: int) -> int:
    """How many of the scan's are the first `number` documents of a collection, and what lies beneath them."""
    return _taken(collection, scan, depth) * number + _beneath(collection, number, scan, depth)


def _beneath(collection: Collection, parents: int, scan: Scan, depth: int) -> int:
    """How many lie beneath the first `parents` documents of a collection."""
    most = (parents if below.parents is None else min(parents, below.parents) for below in collection.below)
    each = (_size([below], 0, scan, depth + 1) for below in collection.below)
    return sum(number * size for number, size in zip(most, each, strict=True))


def _taken(collection: Collection, scan: Scan, depth: int) -> bool:
    return not collection.is_missing and scan.collection_id in (None, collection.id) and (scan.all_descendants or depth == 0)


def _rank(collections: Sequence[Collection], parent: int, edge: list[Order], scan: Scan, depth: int) -> int:
    """How many documents of the scan lie before an edge, of which what lies above these collections is cut off."""
    before = 0
    for collection in collections:
        name = (True, 0, collection.id)
        if not _is_below(collection, parent) or name > edge[0]:
            continue
        if name < edge[0] or len(edge) == 1:
            before += _size([collection], parent, scan, depth)
            continue
        number = _first_from(collection, edge[1])
        before += _before(collection, number, scan, depth)
        if len(edge) > 2 and number < collection.documents and id_order(collection.ids(number, collection.documents)) == edge[1]:
            before += _taken(collection, scan, depth) + _rank(collection.below, number, edge[2:], scan, depth + 1)
    return before


def _find_place(collections: Sequence[Collection], prefix: str, parent: int, scan: Scan, place: int, depth: int) -> tuple[str, int]:
    """The path of the document that so many of the scan's come before."""
    for collection in collections:
        size = _size([collection], parent, scan, depth)
        if place >= size:
            place -= size
            continue
        low, high = 0, collection.documents - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if _before(collection, middle, scan, depth) <= place else (low, middle - 1)
        place -= _before(collection, low, scan, depth)
        path = f"{prefix}{collection.id}/{collection.ids(low, collection.documents)}"
        if _taken(collection, scan, depth):
            if place == 0:
                return path, 0
            place -= 1
        return _find_place(collection.below, path + "/", low, scan, place, depth + 1)
    raise IndexError(place)


def _is_below(collection: Collection, parent: int) -> bool:
    return collection.parents is None or parent < collection.parents


def _first_from(collection: Collection, order: Order) -> int:
    """The number of the first document whose id does not come before `order`."""
    low, high, of = 0, collection.documents, collection.documents
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if id_order(collection.ids(middle, of)) < order else (low, middle)
    return low


def _segments(edge: Edge | None) -> list[Order] | None:
    return None if edge is None else [id_order(part) if place % 2 else (True, 0, part) for place, part in enumerate(edge.path.split("/"))]


def _word(number: int, pairs: int) -> str:
    """The number's last digits to the base of 62."""
    signs = []
    for _ in range(pairs):
        number, pair = divmod(number, 3844)
        signs.append(_PAIRS[pair])
    return "".join(reversed(signs))


def _in_order(collections: Sequence[Collection]) -> Sequence[Collection]:
    ids = [collection.id for collection in collections]
    if ids != sorted(set(ids), key=str.encode):
        raise ValueError(f"collections that are not in the order of their ids: {ids}")
    return collections


def _refuse_parent(scan: Scan) -> None:
    if scan.parent:
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, "what lies below one document is not served here")
