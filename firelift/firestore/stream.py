"""Reads a key range as a stream that outlives broken connections and ends only when every document was seen."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Final, TypeVar

import grpc

from firelift.firestore import errors
from firelift.firestore.channel import Backoff, Firestore
from firelift.firestore.query import KeyRange, documents_request

Broken = Callable[[str], None]
Position = TypeVar("Position")
Item = TypeVar("Item")

LOOK_EVERY: Final = 128
"""Documents after which the pace is looked at."""


def read_documents(
    firestore: Firestore, keys: KeyRange, read_time: str, after: str | None, expected: int | None, broken: Broken
) -> Generator[tuple[str, bytes], None, None]:
    """Path and serialized Document of each document of `keys` after `after`, in key order, as of `read_time`.

    `expected` is the number of documents to come, None where it is unknown; see `resumed`.
    """
    prefix = len(firestore.source.root) + 1

    def request(last: str | None) -> bytes:
        return documents_request(firestore.source, keys, read_time, last)

    def read(response: bytes) -> tuple[str, bytes] | None:
        document = document_in(response)
        return None if document is None else (name_of(document)[prefix:], document)

    return resumed(firestore, request, read, after, expected, broken)


def resumed(
    firestore: Firestore,
    request: Callable[[Position | None], bytes],
    read: Callable[[bytes], tuple[Position, Item] | None],
    after: Position | None,
    expected: int | None,
    broken: Broken,
) -> Generator[tuple[Position, Item], None, None]:
    """The items that `read` finds in the responses of a RunQuery, each once. `request` makes the query for what follows a position.

    A stream that ends before the `expected` number, or whose number is unknown, is continued from its last position until it ends there
    again; the caller judges what is still missing. `broken` is called with the reason of every new attempt.
    """
    backoff, last, seen, unpaced = Backoff(), after, 0, 0
    nowhere: object = object()
    broke_after = ended_after = renewed_after = nowhere
    while True:
        try:
            for response in firestore.stream("RunQuery", request(last)):
                found = read(response)
                if found is None:
                    continue
                last = found[0]
                seen += 1
                unpaced += 1
                if unpaced == LOOK_EVERY:
                    firestore.pace.took(unpaced)
                    unpaced = 0
                yield found
        except grpc.RpcError as error:
            firestore.pace.took(unpaced)
            unpaced = 0
            if last != renewed_after and firestore.renew(error):
                renewed_after = last
                broken(firestore.broke(error))
                continue
            backoff = backoff if last == broke_after else Backoff()
            broke_after = last
            if not errors.is_passing(error) or not backoff.wait():
                raise errors.translate(error, firestore.source.name, firestore.source.emulator_host) from error
            broken(firestore.broke(error))
            continue
        if last == ended_after or (expected is not None and seen >= expected):
            return
        if expected is not None or ended_after is not nowhere:
            broken("the stream ended early")
        # A stream that ends twice after the same position is really complete.
        ended_after = last


def document_in(response: bytes) -> bytes | None:
    """The bytes of the Document inside a serialized RunQueryResponse or BatchGetDocumentsResponse (field 1); None where there is none."""
    position, end = 0, len(response)
    while position < end:
        tag, position = varint(response, position)
        if tag & 7 == 2:
            length, position = varint(response, position)
            if tag == 0x0A:
                return response[position : position + length]
            position += length
        elif tag & 7 == 0:
            _, position = varint(response, position)
        else:
            position += 8 if tag & 7 == 1 else 4
    return None


def name_of(document: bytes) -> str:
    """The resource name of a serialized Document: its field 1, which every server writes first."""
    if document[:1] != b"\n":
        raise errors.FirestoreError(message="a document without a name was received")
    length, position = varint(document, 1)
    return document[position : position + length].decode()


def varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at this position of a protobuf message, and the position after it."""
    byte = data[position]
    if byte < 0x80:
        return byte, position + 1
    value, shift = byte & 0x7F, 7
    while True:
        position += 1
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
