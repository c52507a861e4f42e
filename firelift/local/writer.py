"""Writes documents into an emulator exactly as they are given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf.message import Message

from firelift.firestore.lazy_protobuf import types
from firelift.firestore.values import Value

Write: Any = types.Write.pb()
CommitRequest: Any = types.CommitRequest.pb()

WRITES_A_COMMIT = 500
BYTES_A_COMMIT = 3_500_000  # Firestore takes 10 MiB, the emulator 4 MiB, and the request is a little more than its writes.


@dataclass(frozen=True)
class Reference:
    """A reference by its full resource name."""

    name: str


@dataclass(frozen=True)
class GeoPoint:
    latitude: float
    longitude: float


@dataclass(frozen=True)
class Vector:
    numbers: tuple[float, ...]


def write_documents(host: str, database: str, documents: Iterable[tuple[str, Mapping[str, Value]]]) -> int:
    """Writes `(path below documents/, fields)` pairs into `projects/{p}/databases/{d}`; returns how many."""
    return _commit(host, database, (_update(f"{database}/documents/{path}", fields) for path, fields in documents))


def delete_documents(host: str, database: str, paths: Iterable[str]) -> int:
    return _commit(host, database, (Write(delete=f"{database}/documents/{path}") for path in paths))


def value(thing: object) -> Value:
    """The Firestore value of a Python object; a Value stays as it is."""
    match thing:
        case Value():
            return thing
        case None:
            return value_of(null_value=0)
        case bool():
            return value_of(boolean_value=thing)
        case int():
            return value_of(integer_value=thing)
        case float():
            return value_of(double_value=thing)
        case str():
            return value_of(string_value=thing)
        case bytes():
            return value_of(bytes_value=thing)
        case datetime():
            return _timestamp(thing)
        case Reference():
            return value_of(reference_value=thing.name)
        case GeoPoint():
            return value_of(geo_point_value={"latitude": thing.latitude, "longitude": thing.longitude})
        case Vector():
            # https://cloud.google.com/firestore/docs/vector-search: a map with this tag is how a vector travels.
            return value({"__type__": "__vector__", "value": list(thing.numbers)})
        case list() | tuple():
            return value_of(array_value={"values": [value(element) for element in thing]})
        case Mapping():
            return value_of(map_value={"fields": values(thing)})
    raise TypeError(f"no Firestore value for {type(thing).__name__}")


def values(fields: Mapping[str, object]) -> dict[str, Value]:
    return {name: value(thing) for name, thing in fields.items()}


def value_of(**kind: object) -> Value:
    """A value with its kind spelled out: `value_of(string_value="…")`."""
    made: type[Any] = Value
    return made(**kind)  # type: ignore[no-any-return]


def _timestamp(moment: datetime) -> Value:
    since = moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return value_of(timestamp_value={"seconds": since.days * 86400 + since.seconds, "nanos": since.microseconds * 1000})


def _update(name: str, fields: Mapping[str, Value]) -> Message:
    write: Message = Write(update={"name": name, "fields": fields})
    return write


def _commit(host: str, database: str, writes: Iterable[Message]) -> int:
    written = 0
    # http_proxy and its like are not for an emulator.
    with grpc.insecure_channel(host, options=[("grpc.enable_http_proxy", 0)]) as channel:
        commit = channel.unary_unary(
            "/google.firestore.v1.Firestore/Commit", request_serializer=CommitRequest.SerializeToString, response_deserializer=bytes
        )
        for batch in _batches(writes):
            commit(CommitRequest(database=database, writes=batch), metadata=[("authorization", "Bearer owner")], timeout=120)
            written += len(batch)
    return written


def _batches(writes: Iterable[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for write in writes:
        more = write.ByteSize() + 8
        if batch and (len(batch) == WRITES_A_COMMIT or size + more > BYTES_A_COMMIT):
            yield batch
            batch, size = [], 0
        batch.append(write)
        size += more
    if batch:
        yield batch
