"""Firestore's keys beside those of the tables: what is new, changed and gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firelift.modes.incremental.merge_keys import KeyMergeJoin, KeysOutOfOrder
from firelift.paths import Key, collection_of, id_order, ids_of, key_order
from firelift.postgres.inspect.published_keys import PublishedKeys
from firelift.receipts import TableChanges

Keys = Mapping[str, int]
"""Update times by path."""

IDS = ["__id-9223372036854775808__", "__id-5__", "__id5__", "__id10__", "-1", "007", "B", "__not_reserved", "a", "a b", "\uff00", "🦊"]


def path_order(path: str) -> list[object]:
    """Firestore's order of whole paths: segment by segment, collections by their bytes."""
    return [id_order(segment) if place % 2 else segment.encode() for place, segment in enumerate(path.split("/"))]


def merged(
    streamed: list[tuple[str, int]], rows: dict[str, list[tuple[object, ...]]], left_out: str = ""
) -> tuple[set[str], set[str], KeyMergeJoin]:
    gone: set[str] = set()

    def lost(collection: str, key: Key) -> None:
        segments = collection.split("/*/")
        gone.add("/".join(f"{segment}/{part}" for segment, part in zip(segments, key, strict=True)))

    merge = KeyMergeJoin(
        rows, lambda collection: PublishedKeys(iter(rows.get(collection, [])), numbered=True), lambda one: one != left_out, lost
    )
    return {document.path for document in merge.differing(iter(streamed))}, gone, merge


def rows_of(standing: Keys) -> dict[str, list[tuple[object, ...]]]:
    rows: dict[str, list[tuple[object, ...]]] = {}
    for path in sorted(standing, key=lambda path: key_order(ids_of(path))):
        rows.setdefault(collection_of(path), []).append((*ids_of(path), standing[path]))
    return rows


def keys(of: Keys) -> list[tuple[str, int]]:
    return [(path, of[path]) for path in sorted(of, key=path_order)]


def test_ids_sort_as_firestore_sorts_them() -> None:
    assert sorted(reversed(IDS), key=id_order) == IDS


ids = st.sampled_from(IDS)
paths = st.one_of(
    st.builds("users/{}".format, ids),
    st.builds("users/{}/orders/{}".format, ids, ids),
    st.builds("users/{}/orders%d/{}".format, ids, ids),
    st.builds("users/{}/orders/{}/items/{}".format, ids, ids, ids),
)
sides = st.dictionaries(paths, st.integers(1, 2), max_size=40)


@given(source=sides, target=sides)
def test_merging_says_what_two_dictionaries_say(source: Keys, target: Keys) -> None:
    differing, gone, merge = merged(keys(source), rows_of(target))
    assert differing == {path for path in source if target.get(path) != source[path]}
    assert gone == set(target) - set(source)
    assert sum(change.documents for change in merge.changes().values()) == len(source)
    assert merge.changes() == {
        collection: TableChanges(
            collection=collection,
            documents=sum(collection_of(path) == collection for path in source),
            new=sum(collection_of(path) == collection for path in source.keys() - target.keys()),
            changed=sum(collection_of(path) == collection and source[path] != target[path] for path in source.keys() & target.keys()),
            deleted=sum(collection_of(path) == collection for path in target.keys() - source.keys()),
        )
        for collection in {collection_of(path) for path in [*source, *target]}
    }


@given(source=sides, target=sides)
def test_documents_that_the_migration_does_not_take_are_counted_and_passed_over(source: Keys, target: Keys) -> None:
    orders = "users/*/orders"
    rows = {collection: listed for collection, listed in rows_of(target).items() if collection != orders}
    differing, gone, merge = merged(keys(source), rows, left_out=orders)
    assert merge.skipped == sum(collection_of(path) == orders for path in source)
    assert orders not in {collection_of(path) for path in differing | gone}
    assert orders not in merge.changes()


@pytest.mark.parametrize(
    "streamed",
    [
        ["users/b", "users/a"],
        ["users/a", "users/a"],
        ["users/z", "users/__id5__"],
        ["users/__id10__", "users/__id5__"],
        ["users/a/orders/1", "users/b/orders/1", "users/a/orders/2"],
    ],
)
@pytest.mark.parametrize("standing", [[], ["users/a", "users/b", "users/a/orders/1"]])
def test_a_stream_that_does_not_ascend_is_an_error(streamed: list[str], standing: list[str]) -> None:
    with pytest.raises(KeysOutOfOrder, match="Firestore"):
        merged([(path, 1) for path in streamed], rows_of(dict.fromkeys(standing, 1)))


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("rows", [[("b", 1), ("a", 1)], [("a", 1), ("a", 1)], [(None, 1)], [("a", 1), (None, 1)]])
def test_rows_that_do_not_ascend_are_an_error(rows: list[tuple[object, ...]], numbered: bool) -> None:
    def none_gone(collection: str, key: Key) -> None: ...

    merge = KeyMergeJoin(["users"], lambda _: PublishedKeys(iter(rows), numbered), lambda _: True, none_gone)
    with pytest.raises(KeysOutOfOrder, match="the table"):
        list(merge.differing([("users/a", 1)]))


def test_a_table_is_read_no_further_than_the_stream() -> None:
    read: list[int] = []

    def rows() -> Iterator[tuple[str, int]]:
        for number in range(1000):
            read.append(number)
            yield f"{number:04}", 1

    merge = KeyMergeJoin(["users"], lambda _: PublishedKeys(rows()), lambda _: True, lambda collection, key: None)
    differing = merge.differing((f"users/{number:04}", 1 + (number == 500)) for number in range(1000))
    assert next(differing).path == "users/0500"
    assert len(read) == 502
    assert list(differing) == []
