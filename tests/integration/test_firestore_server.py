"""The Firestore of our own answers as the emulator does, whether it keeps the documents itself or lets the emulator answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from firelift.firestore.channel import Firestore, Source, open_firestore
from firelift.firestore.lazy_protobuf import types
from firelift.firestore.query import (
    KeyRange,
    count,
    documents_request,
    keys_request,
    root_collection_ids,
    root_range,
    server_time,
    some_request,
)
from firelift.firestore.read_documents import get_documents
from firelift.firestore.stream import document_in
from firelift.firestore.values import Document
from firelift.local.emulator import clear
from firelift.local.firestore_server.passthrough import EmulatorAnswers
from firelift.local.firestore_server.server import FirestoreServer
from firelift.local.firestore_server.stored import StoredAnswers, StoredDatabase
from firelift.local.writer import delete_documents, values, write_documents
from tests.support.nasty_database import fill, go_on

PROJECT = "test-own-server"
ROOT = f"projects/{PROJECT}/databases/(default)"

RANGES = [
    KeyRange(),
    root_range("users"),
    root_range("cities"),
    KeyRange("users/007", "users/z"),
    KeyRange(None, "users/007/orders/0"),
    KeyRange("users/007/orders/0"),
]


@pytest.fixture(scope="module")
def emulated(emulator_host: str) -> Iterator[Firestore]:
    """What the emulator says of a database that has changed since it was filled."""
    fill(emulator_host, PROJECT)
    go_on(emulator_host, PROJECT)
    yield from _opened(emulator_host)
    clear(emulator_host, PROJECT)


@pytest.fixture(scope="module", params=["documents of its own", "the emulator's"])
def served(request: pytest.FixtureRequest, emulated: Firestore, emulator_host: str) -> Iterator[Firestore]:
    """What our own server says of the same documents."""
    own = request.param == "documents of its own"
    with FirestoreServer(StoredAnswers(StoredDatabase()) if own else EmulatorAnswers(emulator_host)) as server:
        if own:
            fill(server.address, PROJECT)
            go_on(server.address, PROJECT)
        yield from _opened(server.address)


def _opened(host: str) -> Iterator[Firestore]:
    firestore = open_firestore(Source(PROJECT, emulator_host=host))
    yield firestore
    firestore.close()


def _documents(firestore: Firestore, request: bytes) -> list[tuple[str, Any]]:
    responses = map(document_in, firestore.collect("RunQuery", request))
    return [_content(Document.FromString(response)) for response in responses if response is not None]


def _content(document: Document) -> tuple[str, Any]:
    """Without times, which differ."""
    return document.name, Document(fields=document.fields).SerializeToString(deterministic=True)


@pytest.mark.parametrize("keys", RANGES, ids=str)
def test_a_range_has_the_same_documents_in_the_same_order(emulated: Firestore, served: Firestore, keys: KeyRange) -> None:
    found = _documents(emulated, documents_request(emulated.source, keys, server_time(emulated)))
    assert found
    assert _documents(served, documents_request(served.source, keys, server_time(served))) == found
    assert count(served, keys, server_time(served)) == len(found)
    assert _documents(served, keys_request(served.source, keys, server_time(served))) == [(name, b"") for name, _ in found]
    after = found[len(found) // 2][0].removeprefix(f"{ROOT}/documents/")
    rest = _documents(served, documents_request(served.source, keys, server_time(served), after))
    assert rest == found[len(found) // 2 + 1 :]


@pytest.mark.parametrize("collection", [None, "users"])
def test_the_first_documents_are_the_same(emulated: Firestore, served: Firestore, collection: str | None) -> None:
    keys = root_range("users")
    found = _documents(emulated, some_request(emulated.source, keys, server_time(emulated), 7, None, collection))
    assert len(found) == 7
    assert _documents(served, some_request(served.source, keys, server_time(served), 7, None, collection)) == found


def test_collections_and_documents_by_name_are_the_same(emulated: Firestore, served: Firestore) -> None:
    assert root_collection_ids(served, server_time(served)) == root_collection_ids(emulated, server_time(emulated))
    names = [f"{ROOT}/documents/{path}" for path in ("users/007", "latecomers/1", "users/nobody", "cities/a.b.c")]

    def read(firestore: Firestore) -> dict[str, Any]:
        found = get_documents(firestore, names, server_time(firestore))
        return {name: document and _content(document) for name, document in found}

    assert read(served) == read(emulated)


def test_a_read_time_shows_what_was() -> None:
    with FirestoreServer(StoredAnswers(StoredDatabase())) as server:
        firestore = next(_opened(server.address))
        write_documents(server.address, ROOT, [("users/ada", values({"n": 1})), ("users/bob", values({"n": 1}))])
        before = server_time(firestore)
        write_documents(server.address, ROOT, [("users/ada", values({"n": 2})), ("users/cy", values({"n": 2}))])
        delete_documents(server.address, ROOT, ["users/bob"])

        def read(moment: str) -> dict[str, int]:
            responses = firestore.collect("RunQuery", documents_request(firestore.source, KeyRange(), moment))
            found = [Document.FromString(document) for response in responses if (document := document_in(response)) is not None]
            return {document.name.rpartition("/")[2]: document.fields["n"].integer_value for document in found}

        assert read(before) == {"ada": 1, "bob": 1}
        assert read(server_time(firestore)) == {"ada": 2, "cy": 2}
        firestore.close()


def test_a_document_larger_than_every_window_comes_whole_in_both_directions() -> None:
    with FirestoreServer(StoredAnswers(StoredDatabase())) as server:
        large = values({"text": "x" * 1_000_000})
        write_documents(server.address, ROOT, ((f"large/{number}", large) for number in range(20)))
        (firestore,) = [*_opened_once(server.address)]
        found = _documents(firestore, documents_request(firestore.source, KeyRange(), server_time(firestore)))
        assert [len(content) > 1_000_000 for _, content in found] == [True] * 20
        firestore.close()


def _opened_once(host: str) -> Iterator[Firestore]:
    yield open_firestore(Source(PROJECT, emulator_host=host))


def test_what_is_not_served_is_refused_with_the_reason(served: Firestore) -> None:
    request = types.ListDocumentsRequest.pb()(parent=f"{ROOT}/documents", collection_id="nope")
    with FirestoreServer(StoredAnswers(StoredDatabase())) as server, grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/google.firestore.v1.Firestore/ListDocuments", request_serializer=None, response_deserializer=None)
        with pytest.raises(grpc.RpcError) as refused:
            call(request.SerializeToString())
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert refused.value.details() == "ListDocuments is not served here"
