"""Documents that differ are those that the stream of keys has told of, or it is an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from firelift.firestore.channel import Firestore, Source
from firelift.firestore.lazy_protobuf import types
from firelift.modes.incremental.fetch import SnapshotInconsistent, fetch_documents
from firelift.modes.incremental.merge_keys import DifferingDocument

SOURCE = Source("lab")
MOMENT = "2026-11-22T10:00:00.123456Z"

_Request: Any = types.BatchGetDocumentsRequest.pb()
_Response: Any = types.BatchGetDocumentsResponse.pb()


class Answering(Firestore):
    """Has documents of these paths, written at these seconds; answers from the last to the first."""

    def __init__(self, written: Mapping[str, int]) -> None:
        self.source, self._written = SOURCE, written

    def stream(self, method: str, request: bytes) -> Iterator[bytes]:
        for name in reversed(_Request.FromString(request).documents):
            written = self._written.get(name.removeprefix(SOURCE.root + "/"))
            answer = {"missing": name} if written is None else {"found": {"name": name, "update_time": {"seconds": written}}}
            yield _Response(**answer).SerializeToString()


def paths(written: Mapping[str, int], *told: tuple[str, int]) -> list[str]:
    firestore: Any = Answering(written)
    return [
        path
        for path, _, _ in fetch_documents(
            firestore, MOMENT, print, [DifferingDocument(path, seconds * 1_000_000) for path, seconds in told]
        )
    ]


def test_documents_come_in_the_order_of_their_keys() -> None:
    assert paths({"users/a": 1, "users/b": 2, "users/c": 3}, ("users/a", 1), ("users/c", 3)) == ["users/a", "users/c"]


@pytest.mark.parametrize(("written", "found"), [({"users/a": 1}, "no document"), ({"users/a": 1, "users/b": 3}, "another update time")])
def test_a_document_that_is_not_as_its_key_said_is_an_error(written: Mapping[str, int], found: str) -> None:
    with pytest.raises(SnapshotInconsistent, match=found):
        paths(written, ("users/a", 1), ("users/b", 2))
