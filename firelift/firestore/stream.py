"""Reads a key range as a stream that outlives broken connections and ends only when every document was seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc

from firelift.firestore import errors
from firelift.firestore.channel import Firestore, Patience
from firelift.firestore.query import KeyRange, documents_request

Broken = Callable[[str], None]


def read_documents(
    firestore: Firestore, keys: KeyRange, read_time: str, after: str | None, expected: int, broken: Broken, keys_only: bool = False
) -> Iterator[tuple[str, bytes]]:
    """Path and serialized Document of each document of `keys` behind `after`, in key order, as of `read_time`.

    `expected` is how many there are to come: a stream that just ends before it is continued from the last key, and
    what is still missing then is the caller's to judge. `broken` hears the reason of every new attempt.
    """
    patience, prefix = Patience(), len(firestore.source.root) + 1
    last, seen = after, 0
    broke_behind: object = object()
    ended_behind: object = object()
    while True:
        try:
            for response in firestore.stream("RunQuery", documents_request(firestore.source, keys, read_time, last, keys_only)):
                document = document_in(response)
                if document is None:
                    continue
                last = name_of(document)[prefix:]
                seen += 1
                yield last, document
        except grpc.RpcError as error:
            patience = patience if last == broke_behind else Patience()
            broke_behind = last
            if not errors.is_passing(error) or not patience.wait():
                raise errors.translate(error, firestore.source.name, firestore.source.emulator_host) from error
            broken(f"{error.code().name}: {error.details()}")
            continue
        if seen >= expected or last == ended_behind:
            return
        # Asked once more behind the same key, a stream that ends again has really come to its end.
        ended_behind = last
        broken("the stream ended early")


def document_in(response: bytes) -> bytes | None:
    """The bytes of the Document inside a serialized RunQueryResponse (field 1); None for progress messages."""
    position, end = 0, len(response)
    while position < end:
        tag, position = _varint(response, position)
        if tag & 7 == 2:
            length, position = _varint(response, position)
            if tag == 0x0A:
                return response[position : position + length]
            position += length
        elif tag & 7 == 0:
            _, position = _varint(response, position)
        else:
            position += 8 if tag & 7 == 1 else 4
    return None


def name_of(document: bytes) -> str:
    """The resource name of a serialized Document: its field 1, which every server writes first."""
    if document[:1] != b"\n":
        raise errors.FirestoreError(message="a document without a name was received")
    length, position = _varint(document, 1)
    return document[position : position + length].decode()


def _varint(data: bytes, position: int) -> tuple[int, int]:
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
