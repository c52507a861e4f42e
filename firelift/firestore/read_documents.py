"""Reads single documents again, as they were at a read time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from firelift.firestore import errors
from firelift.firestore.channel import Backoff, Firestore
from firelift.firestore.lazy_protobuf import types
from firelift.firestore.query import timestamp_of
from firelift.firestore.stream import document_in, name_of
from firelift.firestore.values import Document

_Request: Any = types.BatchGetDocumentsRequest.pb()
_Response: Any = types.BatchGetDocumentsResponse.pb()

REQUEST_SIZE = 100
Broken = Callable[[str], None]


class AnswerIncomplete(errors.FirestoreError):
    """Firestore did not answer for every document whether it exists."""

    recovery = "automatic"


def get_documents(
    firestore: Firestore, names: Sequence[str], read_time: str, broken: Broken = lambda _: None
) -> Iterator[tuple[str, Document | None]]:
    """Each named document (resource names, no name twice) as of `read_time`, in any order; None where Firestore has none."""
    for name, document in get_serialized(firestore, names, read_time, broken):
        yield name, None if document is None else Document.FromString(document)


def get_serialized(
    firestore: Firestore, names: Sequence[str], read_time: str, broken: Broken = lambda _: None
) -> Iterator[tuple[str, bytes | None]]:
    """The same documents as Firestore serialized them.

    After a broken answer the remaining documents are requested again; `broken` is called with the reason.
    """
    for start in range(0, len(names), REQUEST_SIZE):
        yield from _answered(firestore, names[start : start + REQUEST_SIZE], read_time, broken)


def _answered(firestore: Firestore, names: Sequence[str], read_time: str, broken: Broken) -> Iterator[tuple[str, bytes | None]]:
    waiting, backoff = dict.fromkeys(names), Backoff()
    while waiting:
        requested = len(waiting)
        try:
            for response in firestore.stream("BatchGetDocuments", _request(firestore, list(waiting), read_time)):
                name, document = _read(response)
                if name in waiting:
                    del waiting[name]
                    yield name, document
        except grpc.RpcError as error:
            firestore.pace.took(requested - len(waiting))
            backoff = backoff if len(waiting) == requested else Backoff()
            if not errors.is_passing(error) or not backoff.wait():
                raise errors.translate(error, firestore.source.name, firestore.source.emulator_host) from error
            broken(firestore.broke(error))
            continue
        firestore.pace.took(requested - len(waiting))
        if len(waiting) == requested:
            raise AnswerIncomplete(database=firestore.source.name, asked=requested)


def _request(firestore: Firestore, names: list[str], read_time: str) -> bytes:
    request = _Request(database=firestore.source.name, documents=names, read_time=timestamp_of(read_time))
    return bytes(request.SerializeToString())


def _read(response: bytes) -> tuple[str, bytes | None]:
    document = document_in(response)
    return (str(_Response.FromString(response).missing), None) if document is None else (name_of(document), document)
