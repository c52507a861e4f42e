"""A database made by rule says the same in every way it can be asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firelift.local.firestore_server.database import Edge, Scan
from firelift.local.firestore_server.generated import Collection, Generated, Ids, datastore_ids, drawn_ids, longest_ids, numbered_ids
from firelift.paths import path_order


def _fields(number: int) -> bytes:
    return b"%d" % number


def _database(ids: Ids) -> Generated:
    items = Collection("items", 2, _fields, ids)
    events = Collection("events", 30, _fields, ids, (items,), parents=2)
    tenants = Collection("tenants", 5, _fields, ids, (events, Collection("notes", 1, _fields, ids)), is_missing=True)
    return Generated([Collection("a", 20, _fields, ids), tenants, Collection("users", 7, _fields, ids)])


DATABASES = [_database(ids) for ids in (drawn_ids, numbered_ids, datastore_ids, longest_ids)]
PATHS = [[row.path for row in database.scan(Scan(), None)] for database in DATABASES]
# Nothing lies at these: before, between and behind what is there, and deep beneath it.
NOWHERE = ["0/0", "a/zzz", "a\0/x", "tenants/nope/x/y", "users/__id-9223372036854775808__", "tenants/__id-9223372036854775808__", "zz/z"]
databases = st.integers(0, len(DATABASES) - 1)


@st.composite
def edges(draw: st.DrawFn, paths: list[str]) -> Edge | None:
    path = draw(st.sampled_from([*paths, *(f"{path}/events/q" for path in paths), *NOWHERE]))
    return draw(st.sampled_from([None, Edge(path), Edge(path, is_after=True)]))


@st.composite
def scans(draw: st.DrawFn, paths: list[str]) -> Scan:
    collection = draw(st.sampled_from([None, None, "events", "items", "users", "nope"]))
    deep = draw(st.booleans())
    return Scan(collection_id=collection, all_descendants=deep, start=draw(edges(paths)), end=draw(edges(paths)))


@given(databases, st.data())
def test_a_scan_has_what_lies_between_its_edges_in_the_order_of_keys(number: int, data: st.DataObject) -> None:
    scan = data.draw(scans(PATHS[number]))
    assert [row.path for row in DATABASES[number].scan(scan, None)] == [path for path in PATHS[number] if scan.holds(path)]


@given(databases, st.data())
def test_a_count_is_that_of_the_scan(number: int, data: st.DataObject) -> None:
    scan = data.draw(scans(PATHS[number]))
    assert DATABASES[number].count(scan, None) == sum(map(scan.holds, PATHS[number]))


@given(databases, st.sampled_from([None, "events", "items", "users"]), st.integers(1, 300))
def test_cuts_are_documents_in_order_and_make_parts_of_about_the_same_size(number: int, collection: str | None, most: int) -> None:
    scan = Scan(collection_id=collection)
    paths = [path for path in PATHS[number] if scan.takes(path)]
    cuts = DATABASES[number].cuts(scan, most, None)
    places = [paths.index(cut) for cut in cuts]
    assert len(cuts) == min(most, len(paths) - 1)
    assert places == sorted(set(places))
    sizes = [after - before for before, after in zip([0, *places], [*places, len(paths)], strict=True)]
    assert max(sizes) - min(sizes) <= 1


@given(databases, st.data())
def test_a_document_is_found_by_its_path(number: int, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(PATHS[number]))
    found = DATABASES[number].get(path, None)
    assert found is not None
    assert found in list(DATABASES[number].scan(Scan(start=Edge(path), end=Edge(path, is_after=True)), None))
    assert DATABASES[number].get(f"{path}-", None) is None


def test_the_order_is_that_of_firestores_keys() -> None:
    for paths in PATHS:
        assert paths == sorted(paths, key=path_order)


def test_documents_that_do_not_exist_have_collections_all_the_same() -> None:
    for database in DATABASES:
        assert database.collection_ids("", None) == ["a", "tenants", "users"]
        parent = next(iter(database.scan(Scan(collection_id="events"), None))).path.rpartition("/events/")[0]
        assert database.get(parent, None) is None
        assert database.collection_ids(parent, None) == ["events", "notes"]
