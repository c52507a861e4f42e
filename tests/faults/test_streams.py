"""Streams that break, or just end, are read on from their last key: nothing is missing and nothing comes twice."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest

from firelift.firestore import errors
from firelift.firestore.channel import Source, open_firestore
from firelift.firestore.query import KeyRange, server_time
from firelift.firestore.stream import read_documents
from firelift.local.firestore_server.rules.streams import StreamsOf
from firelift.local.firestore_server.server import FirestoreServer
from firelift.local.firestore_server.stored import StoredAnswers, StoredDatabase
from firelift.local.writer import values, write_documents
from tests.support.breaking import breaking

DOCUMENTS = 40
PASSING = [
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    None,
]


@pytest.fixture
def source(emulator_host: str, project: str) -> Source:
    source = Source(project, emulator_host=emulator_host)
    paths = [f"users/{number:03}" for number in range(DOCUMENTS - 1)]
    write_documents(emulator_host, source.name, [(path, values({"path": path})) for path in [*paths, "users/missing/below/1"]])
    return source


def read_through(address: str, source: Source, expected: int, reasons: list[str]) -> Iterator[tuple[str, bytes]]:
    firestore = open_firestore(source)
    moment = server_time(firestore)
    firestore.close()
    through = open_firestore(Source(source.project, emulator_host=address))
    yield from read_documents(through, KeyRange(), moment, None, expected, reasons.append)
    through.close()


@pytest.mark.parametrize("code", PASSING, ids=str)
@pytest.mark.parametrize("after", [0, 1, 13])
def test_a_broken_stream_is_read_on_from_its_last_key(source: Source, code: grpc.StatusCode | None, after: int) -> None:
    reasons: list[str] = []
    whole = list(read_through(str(source.emulator_host), source, DOCUMENTS, []))
    # A stream that ends empty twice behind one key is over, so an empty end is tried once only.
    times = 1 if code is None and after == 0 else 3
    with breaking(str(source.emulator_host), code, after, times) as broken:
        read = list(read_through(broken.address, source, DOCUMENTS, reasons))
    assert read == whole
    assert len(read) == DOCUMENTS
    assert len(reasons) == times
    assert broken.streams == [after] * times


def test_an_error_that_waiting_does_not_mend_is_not_tried_again(source: Source) -> None:
    with breaking(str(source.emulator_host), grpc.StatusCode.PERMISSION_DENIED, 5, times=9) as broken:
        with pytest.raises(errors.FirestoreDenied, match="broken on purpose"):
            list(read_through(broken.address, source, DOCUMENTS, []))
        assert len(broken.streams) == 1


def test_a_stream_that_stays_short_ends_and_leaves_the_judgement_to_the_count(source: Source) -> None:
    reasons: list[str] = []
    read = list(read_through(str(source.emulator_host), source, DOCUMENTS + 1, reasons))
    assert len(read) == DOCUMENTS
    assert reasons == ["the stream ended early"]


def test_a_snapshot_that_is_gone_is_said_to_be(source: Source) -> None:
    class TooOld(grpc.RpcError):  # type: ignore[misc]
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.FAILED_PRECONDITION

        def details(self) -> str:
            return "The requested snapshot version is too old."

    assert isinstance(errors.translate(TooOld(), source.name), errors.SnapshotExpired)


def test_a_stream_that_falls_silent_is_read_on_and_one_whose_reader_is_slow_is_not_broken() -> None:
    database = StoredDatabase()
    for number in range(DOCUMENTS):
        database.set(f"users/{number:03}", values({"n": number}))
    with FirestoreServer(StoredAnswers(database), [StreamsOf(15, "hang")]) as server:
        firestore = open_firestore(Source("p", emulator_host=server.address))
        firestore.longest_silence = 0.2
        reasons: list[str] = []
        reading = read_documents(firestore, KeyRange(), server_time(firestore), None, DOCUMENTS, reasons.append)
        read = [path for path, _ in (next(reading) for _ in range(5))]
        time.sleep(0.7)
        assert reasons == []
        read += [path for path, _ in reading]
        firestore.close()
    assert read == [f"users/{number:03}" for number in range(DOCUMENTS)]
    assert reasons == ["DEADLINE_EXCEEDED: no message for 0.2 s"] * 2
