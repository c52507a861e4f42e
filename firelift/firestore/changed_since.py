"""Reads the documents of one collection that a field of theirs says have changed since a moment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from firelift.firestore import errors
from firelift.firestore.channel import Firestore
from firelift.firestore.counting import REFUSALS, is_refusal
from firelift.firestore.lazy_protobuf import types
from firelift.firestore.query import count_of, timestamp_of
from firelift.firestore.stream import Broken, document_in, name_of, resumed
from firelift.firestore.values import Document, Value

Position = tuple[bytes, str]
"""The last result of a query: the field's value, serialized, and the document's path."""

_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*")


class QueryRefused(errors.FirestoreError):
    """Firestore does not answer a query for documents by the field that marks changed ones."""

    remedy = "Create the index that its message names, or run without --changed-since-field."


@dataclass(frozen=True)
class Since:
    """Documents whose `field` is a timestamp after `watermark`, a moment with a time zone, have changed.

    The field may lie in a map, as in `meta.updatedAt`.
    """

    field: str
    watermark: datetime


def read_changed(firestore: Firestore, collection: str, since: Since, read_time: str, broken: Broken) -> Iterator[tuple[str, bytes]]:
    """Path and serialized Document of each changed document in a collection (`users/*/orders`), by the field's value, as of `read_time`.

    Raises QueryRefused, above all where an index is missing, and CountMismatch. For a nested collection Firestore also returns
    documents of collections with the same name elsewhere, which the caller must skip.
    """
    query = _query(collection, since)
    source, prefix = firestore.source, len(firestore.source.root) + 1
    expected = _counted(firestore, query, read_time)
    read = 0
    stream = resumed(
        firestore,
        lambda last: _request(source.root, query if last is None else _after(source.root, query, last), read_time),
        lambda response: _positioned(response, prefix, since.field),
        None,
        expected,
        broken,
    )
    for (_, path), document in stream:
        read += 1
        yield path, document
    if read != expected:
        raise errors.CountMismatch(collection=collection, field=since.field, read=read, counted=expected, read_time=read_time)


def _counted(firestore: Firestore, query: dict[str, Any], read_time: str) -> int:
    try:
        return count_of(firestore, query, read_time)
    except REFUSALS as error:
        if is_refusal(error):
            raise QueryRefused(**error.facts) from error
        raise


def _query(collection: str, since: Since) -> dict[str, Any]:
    field = {"field_path": since.field if _SIMPLE.fullmatch(since.field) else _quoted(since.field)}
    watermark = Timestamp()
    watermark.FromDatetime(since.watermark)
    value = types.Value.wrap(Value(timestamp_value=watermark))
    return {
        "from_": [{"collection_id": collection.rpartition("/")[2], "all_descendants": "/" in collection}],
        "where": {"field_filter": {"field": field, "op": "GREATER_THAN", "value": value}},
        "order_by": [{"field": field, "direction": "ASCENDING"}, {"field": {"field_path": "__name__"}, "direction": "ASCENDING"}],
    }


def _quoted(field: str) -> str:
    return "`" + field.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _after(root: str, query: dict[str, Any], position: Position) -> dict[str, Any]:
    value, path = position
    values = [types.Value.deserialize(value), {"reference_value": f"{root}/{path}"}]
    return query | {"start_at": {"values": values, "before": False}}


def _request(root: str, query: dict[str, Any], read_time: str) -> bytes:
    request = types.RunQueryRequest(parent=root, structured_query=query, read_time=timestamp_of(read_time))
    return bytes(types.RunQueryRequest.serialize(request))


def _positioned(response: bytes, prefix: int, field: str) -> tuple[Position, bytes] | None:
    document = document_in(response)
    if document is None:
        return None
    value = _value(Document.FromString(document), field)
    return (value.SerializeToString(), name_of(document)[prefix:]), document


def _value(document: Document, field: str) -> Value:
    if not _SIMPLE.fullmatch(field):
        return document.fields[field]
    first, *others = field.split(".")
    value = document.fields[first]
    for name in others:
        value = value.map_value.fields[name]
    return value
