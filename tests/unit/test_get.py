"""Documents read one by one, through answers that break."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from firelift.firestore.channel import Backoff, Firestore, Source
from firelift.firestore.errors import FirestoreDenied, SnapshotExpired
from firelift.firestore.lazy_protobuf import types
from firelift.firestore.read_documents import REQUEST_SIZE, AnswerIncomplete, get_documents

SOURCE = Source("lab")
NAMES = [f"{SOURCE.root}/users/{number}" for number in range(REQUEST_SIZE + 20)]
MOMENT = "2026-11-22T10:00:00.123456Z"

_Request: Any = types.BatchGetDocumentsRequest.pb()
_Response: Any = types.BatchGetDocumentsResponse.pb()


class Broke(grpc.RpcError):  # type: ignore[misc]
    def __init__(self, status: grpc.StatusCode, said: str) -> None:
        self._status, self._said = status, said

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return self._said


class Answering(Firestore):
    """Has every other document. Each of its first answers ends behind so many documents, with this error if there is one."""

    def __init__(self, *ends: tuple[int, Broke | None]) -> None:
        self.source, self._ends = SOURCE, list(ends)
        self.requests: list[Any] = []

    def stream(self, method: str, request: bytes) -> Iterator[bytes]:
        assert method == "BatchGetDocuments"
        asked = _Request.FromString(request)
        self.requests.append(asked)
        after, error = self._ends.pop(0) if self._ends else (len(asked.documents), None)
        for name in list(asked.documents)[:after]:
            number = int(name.rpartition("/")[2])
            answer = {"missing": name} if number % 2 else {"found": {"name": name}}
            yield _Response(**answer).SerializeToString()
        if error is not None:
            raise error


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "wait", lambda _: True)


def read(firestore: Firestore, broken: list[str] | None = None) -> dict[str, bool]:
    answers = list(get_documents(firestore, NAMES, MOMENT, (broken if broken is not None else []).append))
    assert len(answers) == len(dict(answers))
    return {name: document is not None for name, document in answers}


EVERY_OTHER = {name: not number % 2 for number, name in enumerate(NAMES)}


def test_every_document_is_asked_for_once_at_the_read_time() -> None:
    firestore: Any = Answering()
    assert read(firestore) == EVERY_OTHER
    assert [len(request.documents) for request in firestore.requests] == [REQUEST_SIZE, 20]
    assert {request.read_time.ToJsonString() for request in firestore.requests} == {MOMENT}


def test_a_broken_answer_is_gone_on_with() -> None:
    unavailable = Broke(grpc.StatusCode.UNAVAILABLE, "went away")
    firestore: Any = Answering((30, unavailable), (0, unavailable), (10, None))
    broken: list[str] = []
    assert read(firestore, broken) == EVERY_OTHER
    assert [len(request.documents) for request in firestore.requests] == [100, 70, 70, 60, 20]
    assert broken == ["UNAVAILABLE: went away"] * 2


def test_an_answer_without_any_document_is_an_error() -> None:
    with pytest.raises(AnswerIncomplete):
        read(Answering((0, None)))


@pytest.mark.parametrize(
    ("status", "said", "error"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, "The requested snapshot version is too old.", SnapshotExpired),
        (grpc.StatusCode.PERMISSION_DENIED, "no", FirestoreDenied),
    ],
)
def test_what_waiting_does_not_help_is_said_at_once(status: grpc.StatusCode, said: str, error: type[Exception]) -> None:
    firestore: Any = Answering((3, Broke(status, said)))
    with pytest.raises(error):
        read(firestore)
    assert len(firestore.requests) == 1
