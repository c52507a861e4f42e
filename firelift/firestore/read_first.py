"""Reads the first documents of a key range, at a cost that does not depend on how many there are."""

from __future__ import annotations

from collections.abc import Iterator

from firelift.firestore.channel import Firestore
from firelift.firestore.query import KeyRange, some_request
from firelift.firestore.stream import document_in, name_of

# With the largest documents (1 MiB) one answer has 100 MB.
PAGE_SIZE = 100


def first_documents(
    firestore: Firestore, keys: KeyRange, read_time: str, limit: int, collection_id: str | None = None
) -> Iterator[tuple[str, bytes]]:
    """Path and serialized Document of the first `limit` documents of `keys`, in key order, as of `read_time`.

    With `collection_id` only documents of that root collection itself, from the range's start on.
    """
    prefix, after = len(firestore.source.root) + 1, None
    while limit > 0:
        size = min(limit, PAGE_SIZE)
        responses = firestore.collect("RunQuery", some_request(firestore.source, keys, read_time, size, after, collection_id))
        found = [document for response in responses if (document := document_in(response)) is not None]
        for document in found:
            after = name_of(document)[prefix:]
            yield after, document
        if len(found) < size:
            return
        limit -= size
