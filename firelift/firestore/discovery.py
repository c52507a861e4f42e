"""Finds every root collection of a database and cuts it into key ranges that can be read in parallel."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from firelift.firestore import errors
from firelift.firestore.channel import Firestore
from firelift.firestore.counting import counted
from firelift.firestore.query import KeyRange, partition_cursors, root_collection_ids, root_range
from firelift.paths import path_order


@dataclass(frozen=True)
class Root:
    """A root collection with everything beneath it, and how many documents Firestore counts there; None where it does not.

    `keys` reaches to the start of the next root collection, so that the ranges of all roots tile the database:
    what the list of collection ids does not name is read, and counted, with its neighbour.
    """

    collection_id: str
    keys: KeyRange
    documents: int | None
    why_uncounted: str = ""


def roots(firestore: Firestore, read_time: str) -> list[Root]:
    """Every root collection in key order; the counts add up to COUNT over the whole database by construction."""
    ids = root_collection_ids(firestore, read_time)
    if not ids:
        return []
    starts = [root_range(collection_id).start for collection_id in ids]
    edges = [None, *starts[1:], None]
    ranges = [KeyRange(start, end) for start, end in itertools.pairwise(edges)]
    with ThreadPoolExecutor(max_workers=4) as threads:
        counts = list(threads.map(lambda keys: counted(firestore, keys, read_time), ranges))
    return [Root(name, keys, found.documents, found.why_not) for name, keys, found in zip(ids, ranges, counts, strict=True)]


def key_ranges(firestore: Firestore, root: Root, parts: int, read_time: str) -> list[KeyRange]:
    """The root collection cut into at most `parts` key ranges without gap or overlap."""
    if parts <= 1 or (root.documents is not None and root.documents < 2):
        return [root.keys]
    cuts = server_cuts(firestore, root, parts, read_time)
    if cuts is None:
        cuts = [] if root.documents is None else _counted_cuts(firestore, root, root.documents, parts, read_time)
    edges = [root.keys.start, *cuts, root.keys.end]
    return [KeyRange(start, end) for start, end in itertools.pairwise(edges)]


def server_cuts(firestore: Firestore, root: Root, parts: int, read_time: str) -> list[str] | None:
    """Cuts by PartitionQuery; None where the server has none (the emulator), or does not answer."""
    try:
        cursors = partition_cursors(firestore, root.collection_id, parts, read_time)
    except (errors.FirestoreError, errors.FirestoreDenied, errors.FirestoreUnreachable):
        # Cuts are only a help: what else is wrong will be said by what is asked next.
        return None
    # A collection group's cursors also lie in collections of that name below other roots.
    return ascending(root.keys, [path for path in cursors if path.startswith(root.collection_id + "/")])


def ascending(keys: KeyRange, cuts: Iterable[str]) -> list[str]:
    """These paths as cuts of a key range: in Firestore's key order, each once, and only those inside of it."""
    low, high = (path_order(edge) if edge is not None else None for edge in (keys.start, keys.end))
    placed = sorted((path_order(path), path) for path in {*cuts})
    return [path for place, path in placed if (low is None or low < place) and (high is None or place < high)]


def _counted_cuts(firestore: Firestore, root: Root, documents: int, parts: int, read_time: str) -> list[str]:
    """Cuts found by COUNT: each halves the ids it may lie between until it is near enough to its share."""
    cuts: list[str] = []
    for part in range(1, parts):
        cut = _counted_cut(firestore, root, documents * part // parts, documents // (4 * parts), read_time)
        if cut is not None:
            cuts.append(cut)
    return ascending(root.keys, cuts)


# Two printable ASCII characters: fine enough for ids that are spread, and where they are not one range does the work.
_ALPHABET = [chr(code) for code in range(0x21, 0x7F) if chr(code) != "/"]


def _counted_cut(firestore: Firestore, root: Root, wanted: int, tolerance: int, read_time: str) -> str | None:
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
