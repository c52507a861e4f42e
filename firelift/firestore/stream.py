"""Reads a key range as a stream that outlives broken connections and ends only when every document was seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import grpc

from firelift.firestore import errors
from firelift.firestore.channel import Backoff, Firestore
from firelift.firestore.query import KeyRange, documents_request

Broken = Callable[[str], None]
Position = TypeVar("Position")
Item = TypeVar("Item")


def read_documents(
    firestore: Firestore, keys: KeyRange, read_time: str, after: str | None, expected: int | None, broken: Broken
) -> Iterator[tuple[str, bytes]]:
    """Path and serialized Document of each document of `keys` behind `after`, in key order, as of `read_time`.

    `expected` is how many there are to come, None where nobody knows; see `resumed`.
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
) -> Iterator[tuple[Position, Item]]:
    """What `read` finds in the responses of a RunQuery that `request` makes for what comes behind a place, each once.

    A stream that just ends before the `expected` number is continued from the last place, and what is still missing then is the
    caller's to judge; so is every stream where that number is not known. `broken` hears the reason of every new attempt, and of
    every end that was none.
    """
    backoff, last, seen = Backoff(), after, 0
    nowhere: object = object()
    broke_behind = ended_behind = nowhere
    while True:
        try:
            for response in firestore.stream("RunQuery", request(last)):
                found = read(response)
                if found is None:
                    continue
                last = found[0]
                seen += 1
                yield found
        except grpc.RpcError as error:
            backoff = backoff if last == broke_behind else Backoff()
            broke_behind = last
            if not errors.is_passing(error) or not backoff.wait():
                raise errors.translate(error, firestore.source.name, firestore.source.emulator_host) from error
            broken(f"{error.code().name}: {error.details()}")
            continue
        if last == ended_behind or (expected is not None and seen >= expected):
            return
        if expected is not None or ended_behind is not nowhere:
            broken("the stream ended early")
        # Asked once more behind the same place, a stream that ends again has really come to its end.
        ended_behind = last


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
    """The number at this position of a protobuf message, and the position behind it."""
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
