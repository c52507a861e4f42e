"""Reads new and changed documents by key, several requests at a time, in the order of their keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final

from firelift.errors import FireliftError
from firelift.firestore.channel import Firestore
from firelift.firestore.get import A_REQUEST, get_serialized
from firelift.firestore.values import Document
from firelift.modes.incremental.merge_keys import DifferingDocument
from firelift.times import microseconds

REQUESTS_AT_ONCE: Final = 3

Fetched = tuple[str, bytes, Document]
"""A document: its path, as Firestore serialized it, and parsed."""


class SnapshotInconsistent(FireliftError):
    """Firestore does not have a document at the read time as its stream of keys says."""

    recovery = "automatic"
    remedy = "Run again; if it happens again, the database is served inconsistently: report it with the migration log."


def batches_of(differing: Iterator[DifferingDocument]) -> Iterator[list[DifferingDocument]]:
    while batch := list(islice(differing, A_REQUEST)):
        yield batch


def fetched_in_order(
    fetch: Callable[[list[DifferingDocument]], list[Fetched]], batches: Iterator[list[DifferingDocument]]
) -> Iterator[list[Fetched]]:
    """What is fetched for each batch, in their order, while the next batches are looked for and asked for."""
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as threads:
        waiting: deque[Future[list[Fetched]]] = deque()
        for batch in batches:
            waiting.append(threads.submit(fetch, batch))
            if len(waiting) > REQUESTS_AT_ONCE:
                yield waiting.popleft().result()
        yield from (asked.result() for asked in waiting)


def fetch_documents(
    firestore: Firestore, read_time: str, broken: Callable[[str], None], differing: Sequence[DifferingDocument]
) -> list[Fetched]:
    """The documents in the order of their keys, each as the stream of keys has said that it is."""
    prefix = firestore.source.root + "/"
    found = dict(get_serialized(firestore, [prefix + each.path for each in differing], read_time, broken))
    return [_checked(each, found.get(prefix + each.path), read_time) for each in differing]


def _checked(each: DifferingDocument, document: bytes | None, read_time: str) -> Fetched:
    if document is None:
        raise SnapshotInconsistent(document=each.path, read_time=read_time, found="no document")
    parsed = Document.FromString(document)
    if update_time_of(parsed) != each.updated:
        raise SnapshotInconsistent(document=each.path, read_time=read_time, found="another update time")
    return each.path, document, parsed


def update_time_of(document: Document) -> int:
    return microseconds(document.update_time.seconds, document.update_time.nanos)
