"""A database in memory that can be written: every version of every document is kept."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from typing import Any

import grpc

from firelift.firestore.lazy_protobuf import types
from firelift.firestore.values import Value
from firelift.local.firestore_server.answers import DatabaseAnswers, microseconds_now, path_below
from firelift.local.firestore_server.calls import Call, Refused, Responses
from firelift.local.firestore_server.database import Edge, Moment, Row, Scan
from firelift.local.firestore_server.encoding import times
from firelift.paths import path_order

_Document: Any = types.Document.pb()
_CommitResponse: Any = types.CommitResponse.pb()
Order = list[tuple[bool, int, str]]
Version = tuple[Moment, Row | None]
"""From when on, and what; None where the document was deleted."""


class StoredDatabase:
    """Its clock does not go back, and no two commits have the same time."""

    def __init__(self) -> None:
        self._order: list[tuple[Order, str]] = []
        self._versions: dict[str, list[Version]] = {}
        self._last = 0
        self._lock = threading.Lock()

    def set(self, path: str, fields: Mapping[str, Value]) -> None:
        self.commit([(path, serialized(fields))])

    def delete(self, path: str) -> None:
        self.commit([(path, None)])

    def commit(self, writes: list[tuple[str, bytes | None]]) -> Moment:
        """Writes documents, of which the serialized fields are given, or deletes those without; returns the time of the commit."""
        with self._lock:
            self._last = max(microseconds_now(), self._last + 1)
            moment = self._last // 1_000_000, self._last % 1_000_000 * 1000
            for path, fields in writes:
                self._write(path, fields, moment)
        return moment

    def _write(self, path: str, fields: bytes | None, moment: Moment) -> None:
        if path not in self._versions:
            self._versions[path] = []
            insort(self._order, (path_order(path), path))
        versions = self._versions[path]
        if fields is None:
            versions.append((moment, None))
            return
        created = next((at for at, row in _since_deletion(versions) if row is not None), moment)
        versions.append((moment, Row(path, fields, times(created, moment))))

    def get(self, path: str, moment: Moment | None) -> Row | None:
        versions = self._versions.get(path, [])
        place = len(versions) if moment is None else bisect_right(versions, moment, key=lambda version: version[0])
        return versions[place - 1][1] if place else None

    def scan(self, scan: Scan, moment: Moment | None) -> Iterator[Row]:
        first, end = 0 if scan.start is None else self._place(scan.start), len(self._order) if scan.end is None else self._place(scan.end)
        for _, path in self._order[first:end]:
            if scan.takes(path) and (row := self.get(path, moment)) is not None:
                yield row

    def _place(self, edge: Edge) -> int:
        find = bisect_right if edge.is_after else bisect_left
        return find(self._order, path_order(edge.path), key=lambda entry: entry[0])

    def count(self, scan: Scan, moment: Moment | None) -> int:
        return sum(1 for _ in self.scan(scan, moment))

    def cuts(self, scan: Scan, most: int, moment: Moment | None) -> list[str]:
        paths = [row.path for row in self.scan(scan, moment)]
        many = min(most, max(0, len(paths) - 1))
        return [paths[len(paths) * part // (many + 1)] for part in range(1, many + 1)]

    def collection_ids(self, parent: str, moment: Moment | None) -> list[str]:
        start = len(parent) + 1 if parent else 0
        below = self.scan(Scan(parent), moment)
        return sorted({row.path[start:].partition("/")[0] for row in below})


class StoredAnswers(DatabaseAnswers):
    """Answers of a database that takes commits, too."""

    def __init__(self, database: StoredDatabase) -> None:
        super().__init__(database)
        self._stored = database

    async def __call__(self, call: Call) -> Responses:
        if call.method == "Commit":
            yield self._commit(call.request)
            return
        async for response in super().__call__(call):
            yield response

    def _commit(self, request: Any) -> bytes:
        moment = self._stored.commit([_write_of(write) for write in request.writes])
        response = _CommitResponse()
        for _ in request.writes:
            result = response.write_results.add()
            result.update_time.seconds, result.update_time.nanos = moment
        response.commit_time.seconds, response.commit_time.nanos = moment
        return bytes(response.SerializeToString())


def _write_of(write: Any) -> tuple[str, bytes | None]:
    if write.HasField("update_mask") or write.update_transforms or write.HasField("current_document"):
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, "only whole documents are written here")
    if write.WhichOneof("operation") == "delete":
        return path_below(write.delete), None
    return path_below(write.update.name), serialized(write.update.fields)


def serialized(fields: Mapping[str, Value]) -> bytes:
    """In the order of the names, as Firestore sends them."""
    one = _Document()
    written = bytearray()
    for name in sorted(fields, key=str.encode):
        one.Clear()
        one.fields[name].CopyFrom(fields[name])
        written += one.SerializeToString()
    return bytes(written)


def _since_deletion(versions: list[Version]) -> list[Version]:
    last = max((place for place, (_, row) in enumerate(versions) if row is None), default=-1)
    return versions[last + 1 :]
