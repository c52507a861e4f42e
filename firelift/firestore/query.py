"""The requests that Firelift sends: queries over all collections of a key range, their counts, and the list of root collections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc

from firelift.firestore.channel import Firestore, Source
from firelift.firestore.errors import FirestoreError
from firelift.firestore.lazy_protobuf import types

# The smallest document id that Firestore allows; with it a cursor lies before every document of a collection.
# (The Node.js client's recursiveDelete selects a collection and all beneath it in the same way.)
FIRST_ID = "__id-9223372036854775808__"


@dataclass(frozen=True)
class KeyRange:
    """Every document from path `start` (inclusive) to path `end` (exclusive), at any depth, in key order.

    Paths are relative to the database's root, as in `users/alice`; None is the end of the database on that side.
    """

    start: str | None = None
    end: str | None = None


def root_range(collection_id: str) -> KeyRange:
    """A root collection with everything beneath it, also below documents that do not exist."""
    return KeyRange(f"{collection_id}/{FIRST_ID}", f"{collection_id}\0/{FIRST_ID}")


def _cursor(source: Source, path: str, before: bool) -> dict[str, Any]:
    return {"values": [{"reference_value": f"{source.root}/{path}"}], "before": before}


def _kindless(source: Source, keys: KeyRange, after: str | None) -> dict[str, Any]:
    query: dict[str, Any] = {
        "from_": [{"all_descendants": True}],
        "order_by": [{"field": {"field_path": "__name__"}, "direction": "ASCENDING"}],
    }
    if after is not None:
        query["start_at"] = _cursor(source, after, before=False)
    elif keys.start is not None:
        query["start_at"] = _cursor(source, keys.start, before=True)
    if keys.end is not None:
        query["end_at"] = _cursor(source, keys.end, before=True)
    return query


def documents_request(source: Source, keys: KeyRange, read_time: str, after: str | None = None) -> bytes:
    """RunQuery for the documents of a key range, those after path `after` if given."""
    query = _kindless(source, keys, after)
    request = types.RunQueryRequest(parent=source.root, structured_query=query, read_time=timestamp_of(read_time))
    return bytes(types.RunQueryRequest.serialize(request))


def keys_request(source: Source, keys: KeyRange, read_time: str, after: str | None = None) -> bytes:
    """RunQuery for the same documents without their fields: with name, create and update time only."""
    query = _kindless(source, keys, after) | {"select": {"fields": [{"field_path": "__name__"}]}}
    request = types.RunQueryRequest(parent=source.root, structured_query=query, read_time=timestamp_of(read_time))
    return bytes(types.RunQueryRequest.serialize(request))


def count(firestore: Firestore, keys: KeyRange, read_time: str, most: int | None = None) -> int:
    """How many documents Firestore has in the key range at `read_time`; at most `most`, if given."""
    return count_of(firestore, _kindless(firestore.source, keys, None), read_time, most)


def count_collection(firestore: Firestore, collection_id: str, read_time: str) -> int:
    """How many documents a root collection has itself, without those beneath it."""
    return count_of(firestore, {"from_": [{"collection_id": collection_id}]}, read_time)


def count_of(firestore: Firestore, query: dict[str, Any], read_time: str, most: int | None = None) -> int:
    """How many documents a structured query finds at `read_time`; at most `most`, if given."""
    bound = {} if most is None else {"up_to": most}
    request = types.RunAggregationQueryRequest(
        parent=firestore.source.root,
        structured_aggregation_query={"structured_query": query, "aggregations": [{"alias": "n", "count": bound}]},
        read_time=timestamp_of(read_time),
    )
    # What took too long would take as long again.
    final = (grpc.StatusCode.DEADLINE_EXCEEDED,)
    responses = firestore.collect("RunAggregationQuery", types.RunAggregationQueryRequest.serialize(request), final=final)
    results = [types.RunAggregationQueryResponse.deserialize(response).result for response in responses]
    counts = [result.aggregate_fields["n"].integer_value for result in results if "n" in result.aggregate_fields]
    if not counts:
        raise FirestoreError(database=firestore.source.name, status="UNKNOWN", message="the answer to COUNT has no number")
    return int(sum(counts))


def some_request(source: Source, keys: KeyRange, read_time: str, limit: int, after: str | None, collection_id: str | None) -> bytes:
    """RunQuery for the first `limit` documents of a key range after path `after`; with `collection_id` only those of that root collection.

    With `collection_id` the range's start must name a document of that collection, and its end is ignored.
    """
    query = _kindless(source, keys if collection_id is None else KeyRange(keys.start), after)
    if collection_id is not None:
        query["from_"] = [{"collection_id": collection_id}]
    query["limit"] = {"value": limit}
    request = types.RunQueryRequest(parent=source.root, structured_query=query, read_time=timestamp_of(read_time))
    return bytes(types.RunQueryRequest.serialize(request))


def server_time(firestore: Firestore) -> str:
    """The time by Firestore's own clock, RFC 3339: the read time of a request for a document that need not exist."""
    request = types.BatchGetDocumentsRequest(database=firestore.source.name, documents=[f"{firestore.source.root}/firelift/clock"])
    responses = firestore.collect("BatchGetDocuments", types.BatchGetDocumentsRequest.serialize(request))
    answered = types.BatchGetDocumentsResponse.pb(types.BatchGetDocumentsResponse.deserialize(responses[0]))
    return str(answered.read_time.ToJsonString())


def root_collection_ids(firestore: Firestore, read_time: str) -> list[str]:
    """The ids of the root collections, in key order (UTF-8 bytes)."""
    found: list[str] = []
    token = ""
    while True:
        request = types.ListCollectionIdsRequest(
            parent=firestore.source.root, page_size=300, page_token=token, read_time=timestamp_of(read_time)
        )
        answer = types.ListCollectionIdsResponse.deserialize(
            firestore.call("ListCollectionIds", types.ListCollectionIdsRequest.serialize(request))
        )
        found.extend(answer.collection_ids)
        token = answer.next_page_token
        if not token:
            return sorted(found, key=lambda collection: collection.encode())


def partition_cursors(firestore: Firestore, collection_id: str, parts: int, read_time: str) -> list[str]:
    """Paths at which Firestore itself would cut the collection group `collection_id` into `parts`, in any order.

    Firestore promises no order among its pages, and may return fewer cuts than requested; a page may be empty without being the last.
    """
    found: list[str] = []
    token, tokens = "", set[str]()
    while True:
        request = types.PartitionQueryRequest(
            parent=firestore.source.root,
            structured_query={
                "from_": [{"collection_id": collection_id, "all_descendants": True}],
                "order_by": [{"field": {"field_path": "__name__"}, "direction": "ASCENDING"}],
            },
            partition_count=parts - 1,
            page_token=token,
            read_time=timestamp_of(read_time),
        )
        answer = types.PartitionQueryResponse.deserialize(firestore.call("PartitionQuery", types.PartitionQueryRequest.serialize(request)))
        prefix = firestore.source.root + "/"
        found.extend(cursor.values[0].reference_value.removeprefix(prefix) for cursor in answer.partitions if cursor.values)
        token = answer.next_page_token
        # Cuts are optional, so reading ends when the pages repeat.
        if not token or token in tokens:
            return found
        tokens.add(token)


def timestamp_of(text: str) -> Any:
    from google.protobuf.timestamp_pb2 import Timestamp

    stamp = Timestamp()
    stamp.FromJsonString(text)
    return stamp
