"""Lists of collections, and the order in which documents that were asked for by name come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from firelift.firestore.lazy_protobuf import types
from firelift.local.firestore_server.calls import Answer, Call, Responses

_CollectionIds: Any = types.ListCollectionIdsResponse.pb()
_BatchGet: Any = types.BatchGetDocumentsResponse.pb()


@dataclass(frozen=True)
class ListPages:
    """ListCollectionIds answers in pages of so many ids, the first of which is empty; the order of ids is not the keys'."""

    documented: ClassVar[str] = (
        "https://github.com/googleapis/nodejs-firestore/pull/838: 20 ids by default, 300 at most; that a page may be empty or in any "
        "order is nowhere excluded"
    )
    size: int = 20

    def around(self, call: Call, answer: Answer) -> Responses:
        return self._page(call, answer) if call.method == "ListCollectionIds" else answer(call)

    async def _page(self, call: Call, answer: Answer) -> Responses:
        ids = sorted(await _all_ids(call, answer), reverse=True)
        place = call.request.page_token
        end = int(place) + min(self.size, call.request.page_size or self.size) if place else 0
        page = ids[int(place) : end] if place else []
        yield _CollectionIds(collection_ids=page, next_page_token=str(end) if end < len(ids) else "").SerializeToString()


async def _all_ids(call: Call, answer: Answer) -> list[str]:
    request = type(call.request).FromString(call.body)
    found: list[str] = []
    request.page_token, request.page_size = "", 300
    while True:
        (page,) = [_CollectionIds.FromString(page) async for page in answer(call.asking("ListCollectionIds", request)) if page is not None]
        found += page.collection_ids
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


@dataclass(frozen=True)
class ListedLate:
    """Collections that lists do not name at first: a list is complete in the end."""

    documented: ClassVar[str] = "nowhere: ListCollectionIds promises no consistency beyond its read_time"
    collections: tuple[str, ...]
    calls: int = 1
    """So many first lists do not name them."""
    _listed: list[None] = field(default_factory=list, init=False, repr=False, compare=False)

    def around(self, call: Call, answer: Answer) -> Responses:
        is_early = call.method == "ListCollectionIds" and len(self._listed) < self.calls
        return self._shortened(call, answer) if is_early else answer(call)

    async def _shortened(self, call: Call, answer: Answer) -> Responses:
        async for response in answer(call):
            if response is not None:
                page = _CollectionIds.FromString(response)
                named = [name for name in page.collection_ids if name not in self.collections]
                yield _CollectionIds(collection_ids=named, next_page_token=page.next_page_token).SerializeToString()
                if not page.next_page_token:
                    self._listed.append(None)


@dataclass(frozen=True)
class MissingLast:
    """BatchGetDocuments answers in the order of names, and then with those that are missing."""

    documented: ClassVar[str] = (
        'https://firebase.google.com/docs/firestore/reference/rpc/google.firestore.v1#batchgetdocumentsrequest: "not guaranteed to be '
        'returned in the same order"; this order as seen at https://github.com/t-k/fireemu'
    )

    def around(self, call: Call, answer: Answer) -> Responses:
        return self._ordered(call, answer) if call.method == "BatchGetDocuments" else answer(call)

    async def _ordered(self, call: Call, answer: Answer) -> Responses:
        found = [(_BatchGet.FromString(response), response) async for response in answer(call) if response is not None]
        for _, response in sorted(found, key=lambda pair: (bool(pair[0].missing), pair[0].found.name or pair[0].missing)):
            yield response
