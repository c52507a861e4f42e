"""Answers calls from a database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final

import grpc

from firelift.firestore.lazy_protobuf import types
from firelift.local.firestore_server.calls import Call, Refused, Responses
from firelift.local.firestore_server.database import Database, Edge, Moment, Row, Scan
from firelift.local.firestore_server.encoding import DOCUMENT, READ_TIME, delimited, document, document_key, timestamp

_BatchGetResponse: Any = types.BatchGetDocumentsResponse.pb()
_AggregationResponse: Any = types.RunAggregationQueryResponse.pb()
_CollectionIds: Any = types.ListCollectionIdsResponse.pb()
_Partitions: Any = types.PartitionQueryResponse.pb()

# https://github.com/googleapis/nodejs-firestore/pull/838: 20 where nothing is asked for, 300 at most
PAGE: Final = 20
LARGEST_PAGE: Final = 300


class DatabaseAnswers:
    """Answers of one database. What production would refuse for its rules, rules refuse."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, call: Call) -> Responses:
        if call.method not in _ANSWERS:
            raise Refused(grpc.StatusCode.UNIMPLEMENTED, f"{call.method} is not served here")
        for response in _ANSWERS[call.method](self, call.request):
            yield response

    def run_query(self, request: Any) -> Iterator[bytes]:
        query, root = request.structured_query, root_of(request.parent)
        moment = read_moment(request)
        found = self._database.scan(scan_of(request.parent, query), moment)
        rows = islice(found, query.limit.value) if query.HasField("limit") else found
        at = delimited(READ_TIME, timestamp(moment or now()))
        encode: Callable[[str, Row], bytes] = document_key if is_keys_only(query) else document
        last = None
        for last in rows:
            yield delimited(DOCUMENT, encode(root, last)) + at
        if last is None:
            yield at

    def run_aggregation_query(self, request: Any) -> Iterator[bytes]:
        asked = request.structured_aggregation_query
        moment = read_moment(request)
        number = self._database.count(scan_of(request.parent, asked.structured_query), moment)
        response = _AggregationResponse()
        for aggregation in asked.aggregations:
            if aggregation.WhichOneof("operator") != "count":
                raise Refused(grpc.StatusCode.UNIMPLEMENTED, "only COUNT is served here")
            most = aggregation.count.up_to.value if aggregation.count.HasField("up_to") else number
            response.result.aggregate_fields[aggregation.alias].integer_value = min(number, most)
        response.read_time.seconds, response.read_time.nanos = moment or now()
        yield response.SerializeToString()

    def batch_get_documents(self, request: Any) -> Iterator[bytes]:
        moment = read_moment(request)
        answered = moment or now()
        for name in dict.fromkeys(request.documents):
            row = self._database.get(path_below(name), moment)
            if row is None:
                response = _BatchGetResponse(missing=name)
                response.read_time.seconds, response.read_time.nanos = answered
                yield response.SerializeToString()
            else:
                yield delimited(DOCUMENT, document(root_of(name), row)) + delimited(0x22, timestamp(answered))

    def list_collection_ids(self, request: Any) -> Iterator[bytes]:
        ids = self._database.collection_ids(path_below(request.parent), read_moment(request))
        start = int(request.page_token or 0)
        end = start + min(request.page_size or PAGE, LARGEST_PAGE)
        yield _CollectionIds(collection_ids=ids[start:end], next_page_token=str(end) if end < len(ids) else "").SerializeToString()

    def partition_query(self, request: Any) -> Iterator[bytes]:
        root = root_of(request.parent)
        cuts = self._database.cuts(scan_of(request.parent, request.structured_query), request.partition_count, read_moment(request))
        response = _Partitions()
        for path in cuts:
            response.partitions.add(before=True).values.add(reference_value=root + path)
        yield response.SerializeToString()


_ANSWERS: Final[Mapping[str, Callable[[DatabaseAnswers, Any], Iterator[bytes]]]] = {
    "RunQuery": DatabaseAnswers.run_query,
    "RunAggregationQuery": DatabaseAnswers.run_aggregation_query,
    "BatchGetDocuments": DatabaseAnswers.batch_get_documents,
    "ListCollectionIds": DatabaseAnswers.list_collection_ids,
    "PartitionQuery": DatabaseAnswers.partition_query,
}


def microseconds_now() -> int:
    return time.time_ns() // 1000


def now() -> Moment:
    """This moment in microseconds, as Firestore's clock has it."""
    moment = microseconds_now()
    return moment // 1_000_000, moment % 1_000_000 * 1000


def root_of(name: str) -> str:
    """`projects/p/databases/d/documents/` of a resource name in it."""
    head, documents, _ = name.partition("/documents")
    return f"{head}{documents}/"


def path_below(name: str) -> str:
    """The path of a document's resource name; empty for the database's root."""
    return name.partition("/documents")[2].strip("/")


def read_moment(request: Any) -> Moment | None:
    if request.WhichOneof("consistency_selector") != "read_time":
        return None
    return request.read_time.seconds, request.read_time.nanos


def is_keys_only(query: Any) -> bool:
    return [field.field_path for field in query.select.fields] == ["__name__"]


def scan_of(parent: str, query: Any) -> Scan:
    """What a query by keys asks for. Raises Refused for filters, and for any order but that of the keys."""
    if len(query.from_) != 1:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "StructuredQuery.from cannot have more than one collection selector.")
    if query.HasField("where") or query.offset or query.HasField("find_nearest"):
        raise Refused(grpc.StatusCode.UNIMPLEMENTED, "only queries by key are served here")
    for order in query.order_by:
        if order.field.field_path != "__name__" or order.direction == types.StructuredQuery.Direction.DESCENDING:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "kind is required for all orders except __key__ ascending")
    (selector,) = query.from_
    # `before` is the place before the cursor's document, for both ends.
    start = Edge(_cursor(query.start_at), not query.start_at.before) if query.HasField("start_at") else None
    end = Edge(_cursor(query.end_at), not query.end_at.before) if query.HasField("end_at") else None
    return Scan(path_below(parent), selector.collection_id or None, selector.all_descendants, start, end)


def _cursor(cursor: Any) -> str:
    return path_below(cursor.values[0].reference_value)
