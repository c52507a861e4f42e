"""Reads new and changed documents by key, several requests at a time, in the order of their keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final

from firelift.errors import FireliftError
from firelift.firestore.channel import Firestore
from firelift.firestore.read_documents import REQUEST_SIZE, get_serialized
from firelift.firestore.values import Document
from firelift.modes.incremental.merge_keys import DifferingDocument
from firelift.rfc3339 import microseconds

REQUESTS_AT_ONCE: Final = 3

Fetched = tuple[str, bytes, Document]
"""A document: its path, as Firestore serialized it, and parsed."""


class SnapshotInconsistent(FireliftError):
    """Firestore's stream of keys named a document that Firestore does not have, or has otherwise, at the read time."""

    recovery = "automatic"
    remedy = "Run again; if it happens again, Firestore's answers contradict one another: report it with the migration log."


def batches_of(differing: Iterator[DifferingDocument]) -> Iterator[list[DifferingDocument]]:
    while batch := list(islice(differing, REQUEST_SIZE)):
        yield batch


def fetched_in_order(
    fetch: Callable[[list[DifferingDocument]], list[Fetched]], batches: Iterator[list[DifferingDocument]]
) -> Iterator[list[Fetched]]:
    """Yields the documents of each batch, in order, while the next batches are read."""
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
    """The documents in the order of their keys. Raises SnapshotInconsistent for one that is not as the stream of keys said."""
    prefix = firestore.source.root + "/"
    found = dict(get_serialized(firestore, [prefix + wanted.path for wanted in differing], read_time, broken))
    return [_checked(wanted, found.get(prefix + wanted.path), read_time) for wanted in differing]


def _checked(wanted: DifferingDocument, document: bytes | None, read_time: str) -> Fetched:
    if document is None:
        raise SnapshotInconsistent(document=wanted.path, read_time=read_time, found="no document")
    parsed = Document.FromString(document)
    if update_time_of(parsed) != wanted.updated:
        raise SnapshotInconsistent(document=wanted.path, read_time=read_time, found="another update time")
    return wanted.path, document, parsed


def update_time_of(document: Document) -> int:
    return microseconds(document.update_time.seconds, document.update_time.nanos)
