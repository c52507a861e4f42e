"""What has changed in Firestore since its tables were published, by all their keys or by a field of the documents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

from firelift.firestore.changed_since import Since
from firelift.firestore.channel import Source
from firelift.firestore.errors import CountMismatch, ScansDiffer
from firelift.firestore.query import KeyRange
from firelift.firestore.read_documents import REQUEST_SIZE
from firelift.local.postgres import PostgresServer
from firelift.local.writer import delete_documents
from firelift.modes.incremental.compare import cut_at_documents
from firelift.modes.incremental.merge_keys import KeysOutOfOrder
from firelift.paths import Selection, collection_of, ids_of
from firelift.phases.pre_validation import survey
from firelift.planning.model import DELETED_AT
from firelift.receipts import Completeness, RootCollection
from firelift.storage.extraction_inputs import ExtractionInputs
from firelift.verification.completeness import Seen, prove_digests
from firelift.workers import Workers
from tests.support.breaking import breaking
from tests.support.differences import There, find, published
from tests.support.gateway import gateway
from tests.support.production_rules import partitions, refusing
from tests.support.whole_way import arrived, write

NASTY = ["__id-5__", "__id5__", "__id10__", "-1", "007", "B", "a b", "ä", "\uff00", "🦊"]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
EVERYTHING: dict[str, dict[str, object]] = {
    **{f"users/{key}": {"name": key, "at": LONG_AGO} for key in NASTY},
    **{f"users/u{n:03}": {"name": f"{n}", "at": LONG_AGO} for n in range(130)},
    **{f"users/{key}/orders/{order}": {"total": 1.5, "at": LONG_AGO} for key in (*NASTY, "u005", "missing") for order in ("__id7__", "x")},
    "users/missing/orders/x/items/1": {"n": 1, "at": LONG_AGO},
    "users!/1": {"neighbour": True},
    "teams/1/orders/1": {"total": 2.5, "at": LONG_AGO},
}
BELOW_USERS = [path for path in EVERYTHING if path.startswith("users/")]
USERS, ORDERS, ITEMS = "users", "users/*/orders", "users/*/orders/*/items"
MANY = {collection: sum(collection_of(path) == collection for path in EVERYTHING) for collection in (USERS, ORDERS, ITEMS)}


@pytest.fixture
def there(emulator_host: str, project: str, database_url: str) -> There:
    source = Source(project, emulator_host=emulator_host)
    write(source, EVERYTHING)
    return published(source, database_url)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "next"


def delete(there: There, *paths: str) -> None:
    assert there.source.emulator_host
    delete_documents(there.source.emulator_host, there.source.name, paths)


def live_on(there: There) -> None:
    """New, changed, deleted and re-created documents at every depth, below parents that exist and others that do not."""
    write(there.source, {f"users/new-{n:03}": {"name": "new"} for n in range(REQUEST_SIZE + 20)})
    write(there.source, {"users/__id-7__": {"n": 1}, "users/nobody/orders/1": {"total": 3}, "users/missing/orders/x/items/0": {"n": 0}})
    write(there.source, {"users/007": {"name": "Bond"}, "users/ä/orders/x": {"total": "much"}, "users/u100/gifts/1": {"from": "me"}})
    delete(there, "users/u001", "users/__id5__", "users/🦊/orders/__id7__", "users/u000")
    write(there.source, {"users/u000": EVERYTHING["users/u000"]})


CHANGED = {"users/007", "users/ä/orders/x", "users/u000"}
NEW = {
    *(f"users/new-{n:03}" for n in range(REQUEST_SIZE + 20)),
    "users/__id-7__",
    "users/nobody/orders/1",
    "users/missing/orders/x/items/0",
    "users/u100/gifts/1",
}
GONE = {USERS: [("__id5__",), ("u001",)], ORDERS: [("🦊", "__id7__")]}
COUNTS = {
    USERS: (MANY[USERS] + REQUEST_SIZE + 19, REQUEST_SIZE + 21, 2, 2),
    "users/*/gifts": (1, 1, 0, 0),
    ORDERS: (MANY[ORDERS], 1, 1, 1),
    ITEMS: (2, 1, 0, 0),
}


def test_where_nothing_has_changed_nothing_is_read_but_the_keys(emulator_host: str, postgres: PostgresServer, tmp_path: Path) -> None:
    with arrived(emulator_host, postgres, tmp_path, EVERYTHING) as arrival:
        moment = datetime.fromisoformat(arrival.validated.read_time)
        found = find(There(arrival.source, arrival.url, moment), tmp_path / "next")
    assert found.counts() == {collection: (many, 0, 0, 0) for collection, many in MANY.items()}
    assert (found.documents, found.deleted, found.profile) == ({}, {}, {})
    assert found.extracted.reads == found.heard[0] == len(BELOW_USERS)
    assert (found.extracted.documents, found.extracted.chunks, found.heard[1]) == (0, 0, 0)


@pytest.mark.parametrize(("workers", "range_documents"), [(1, 25_000), (2, 20)], ids=["one range", "several ranges"])
def test_what_is_new_changed_and_gone_is_found_at_every_depth(there: There, run: Path, workers: int, range_documents: int) -> None:
    live_on(there)
    found = find(there, run, workers=workers, range_documents=range_documents, batch_size=50)
    assert found.counts() == COUNTS
    assert set(found.documents) == CHANGED | NEW
    assert {collection: sorted(keys) for collection, keys in found.deleted.items()} == GONE
    assert found.extracted.documents == len(CHANGED | NEW)
    assert found.extracted.reads == sum(keys for keys, *_ in COUNTS.values()) + len(CHANGED | NEW)
    assert found.heard == (sum(keys for keys, *_ in COUNTS.values()), found.extracted.bytes)
    assert (found.extracted.ranges > 2) is (range_documents == 20)
    assert found.documents["users/007"].fields["name"].string_value == "Bond"
    assert {collection: seen.documents for collection, seen in found.profile.items()} == {
        collection: sum(collection_of(path) == collection for path in CHANGED | NEW) for collection in COUNTS
    }


def test_where_firestore_does_not_count_the_same_is_found_and_its_keys_are_scanned_again(there: There, run: Path) -> None:
    live_on(there)
    host = str(there.source.emulator_host)
    with gateway(host, {"RunAggregationQuery": refusing(grpc.StatusCode.UNIMPLEMENTED), "PartitionQuery": partitions(host)}) as gate:
        found = find(there, run, host=gate.address, counts=False, since=Since("at", there.moment))
    keys = sum(number for number, *_ in COUNTS.values())
    assert found.counts() == COUNTS
    assert set(found.documents) == CHANGED | NEW
    assert {collection: sorted(deleted) for collection, deleted in found.deleted.items()} == GONE
    assert (found.extracted.counted, found.extracted.scanned) == (None, keys)
    assert found.extracted.ranges > 1
    assert "only their number shows whether at has found all" in found.extracted.scan_reason


def test_keys_that_a_second_scan_does_not_find_again_are_an_error(there: There) -> None:
    moment = survey(there.source, "now", Selection(), 0, print).read_time
    seen = Seen(KeyRange("users/u000", "users/u010"), 10, "another digest")
    with Workers(1) as pool, pytest.raises(ScansDiffer, match="range: users/u000 to users/u010"):
        prove_digests(pool, there.source, [seen], moment)


def test_a_second_attempt_leaves_nothing_of_the_first(there: There, run: Path) -> None:
    live_on(there)
    find(there, run, workers=2, range_documents=20, batch_size=10)
    found = find(there, run)
    assert set(found.documents) == CHANGED | NEW
    assert {collection: sorted(keys) for collection, keys in found.deleted.items()} == GONE


def test_writes_behind_the_read_time_change_nothing(there: There, run: Path) -> None:
    def concurrently() -> None:
        live_on(there)
        delete(there, *BELOW_USERS[40:60])

    write(there.source, {"users/B": {"name": "before the read time"}})
    found = find(there, run, meanwhile=concurrently)
    assert found.counts()[USERS] == (MANY[USERS], 0, 1, 0)
    assert found.documents["users/B"].fields["name"].string_value == "before the read time"
    assert found.deleted == {}


def test_all_keys_of_a_root_collection_that_has_vanished_are_gone(there: There, run: Path) -> None:
    delete(there, *BELOW_USERS)
    found = find(there, run)
    assert found.counts() == {collection: (0, 0, 0, many) for collection, many in MANY.items()}
    assert found.documents == {}
    assert {collection: set(keys) for collection, keys in found.deleted.items()} == {
        collection: {tuple(ids_of(path)) for path in BELOW_USERS if collection_of(path) == collection} for collection in MANY
    }


def test_a_row_that_is_marked_as_deleted_is_no_row(there: There, run: Path) -> None:
    with there.connect() as connection:
        connection.execute(f"ALTER TABLE public.users ADD COLUMN {DELETED_AT} timestamptz".encode())
        connection.execute(f"UPDATE public.users SET {DELETED_AT} = now() WHERE id IN ('u007', 'u008')".encode())
    delete(there, "users/u008")
    found = find(there, run, plans=lambda plan: plan.model_copy(update={"marks_deleted": plan.collection == USERS}))
    assert found.counts()[USERS] == (MANY[USERS] - 1, 1, 0, 0)
    assert set(found.documents) == {"users/u007"}
    assert found.deleted == {}


def test_documents_that_the_migration_does_not_take_are_counted_and_left(there: There, run: Path) -> None:
    live_on(there)
    found = find(there, run, selection=Selection(exclude=[ORDERS]))
    assert found.extracted.skipped == COUNTS[ORDERS][0] + COUNTS[ITEMS][0]
    assert set(found.counts()) == {USERS, "users/*/gifts"}
    assert {collection_of(path) for path in found.documents} == {USERS, "users/*/gifts"}


def test_rows_without_their_primary_key_that_repeat_are_an_error(there: There, run: Path) -> None:
    with there.connect() as connection:
        connection.execute("ALTER TABLE public.users DROP CONSTRAINT users_pkey CASCADE")
        connection.execute("INSERT INTO public.users SELECT * FROM public.users WHERE id = 'u007'")
    with pytest.raises(KeysOutOfOrder, match="the table"):
        find(there, run)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, None], ids=str)
def test_a_broken_stream_is_read_on_from_its_last_key(there: There, run: Path, code: grpc.StatusCode | None) -> None:
    live_on(there)
    with breaking(str(there.source.emulator_host), code, after=70, times=2) as broken:
        found = find(there, run, host=broken.address)
    assert found.counts() == COUNTS
    assert len(found.extracted.breaks) == 2


def test_a_stream_that_stays_short_is_an_error_and_nothing_is_gone(there: There, run: Path) -> None:
    with breaking(str(there.source.emulator_host), None, after=0, times=9) as broken, pytest.raises(CountMismatch):
        find(there, run, host=broken.address)


CUTS = [
    (["users/c", "users/f"], [(None, "c", 1), ("c", "f", 1), ("f", None, 1)]),
    (["users/c/users/d", "users/f"], [(None, "f", 2), ("f", None, 1)]),
    (["users/c/orders/d", "users/f\0"], [(None, None, 3)]),
]


@pytest.mark.parametrize(("cuts", "ranges"), CUTS)
def test_a_root_is_cut_at_its_own_documents_only(
    monkeypatch: pytest.MonkeyPatch, cuts: Sequence[str], ranges: list[tuple[str | None, str | None, int]]
) -> None:
    edges = ["users/a", *cuts, None]
    made = [(KeyRange(start, end), 1) for start, end in pairwise(edges)]
    monkeypatch.setattr("firelift.modes.incremental.compare.cut", lambda *_: made)
    root = RootCollection(collection="users", start="users/a", end=None, documents=3)
    inputs = ExtractionInputs(Source("p"), root, Path("archive"), "", Selection(), 1, 1)
    done = cut_at_documents(inputs, 1, print)
    assert [(between.low, between.high, documents) for _, between, documents in done] == ranges
    ends = [keys.end for keys, _, _ in done]
    assert [keys.start for keys, _, _ in done] == ["users/a", *ends[:-1]]


def test_a_field_tells_what_has_changed(there: There, run: Path) -> None:
    later = there.moment + timedelta(hours=1)
    write(there.source, {f"users/new-{n:03}": {"at": later} for n in range(REQUEST_SIZE + 20)})
    write(there.source, {"users/007": {"at": later}, "users/ä/orders/x": {"at": later}, "teams/1/orders/1": {"at": later}})
    found = find(there, run, since=Since("at", there.moment))
    assert found.extracted.scan_reason == ""
    assert Completeness.of([found.extracted]).in_words == ""
    assert set(found.documents) == {"users/007", "users/ä/orders/x"} | {f"users/new-{n:03}" for n in range(REQUEST_SIZE + 20)}
    assert found.counts() == {USERS: (REQUEST_SIZE + 21, REQUEST_SIZE + 20, 1, 0), ORDERS: (1, 0, 1, 0), ITEMS: (0, 0, 0, 0)}
    assert not any(change.scanned for change in found.extracted.changes)
    assert found.extracted.reads == REQUEST_SIZE + 23
    assert found.heard == (len(BELOW_USERS) + REQUEST_SIZE + 20, found.extracted.bytes)
    assert found.profile[USERS].documents == REQUEST_SIZE + 21


def test_what_a_field_tells_twice_is_read_and_left(there: There, run: Path) -> None:
    found = find(there, run, since=Since("at", LONG_AGO - timedelta(days=1)))
    assert (found.extracted.scan_reason, found.documents) == ("", {})
    assert found.change(USERS).documents == MANY[USERS]


def test_where_a_field_cannot_have_told_all_the_keys_are_compared(there: There, run: Path) -> None:
    write(there.source, {"users/007": {"at": there.moment + timedelta(hours=1)}})
    delete(there, "users/u001")
    found = find(there, run, since=Since("at", there.moment))
    rows = len(BELOW_USERS)
    assert (
        found.extracted.scan_reason
        == f"Firestore has {rows - 1} documents, while the tables have {rows} rows and 0 documents turned out to be new"
    )
    assert found.counts()[USERS] == (MANY[USERS] - 1, 0, 1, 1)
    assert set(found.documents) == {"users/007"}
    assert all(change.scanned for change in found.extracted.changes)
    assert found.extracted.reads == 1 + rows - 1 + 1


def test_where_firestore_refuses_the_query_the_keys_are_compared(there: There, run: Path) -> None:
    live_on(there)
    found = find(there, run, since=Since("__reserved__", there.moment))
    assert "does not answer which documents of users have changed by __reserved__" in found.extracted.scan_reason
    assert found.counts() == COUNTS


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, None], ids=str)
def test_a_broken_query_by_a_field_is_read_on(there: There, run: Path, code: grpc.StatusCode | None) -> None:
    later = there.moment + timedelta(hours=1)
    write(there.source, {f"users/new-{n:03}": {"of": {"a": {"at": later + timedelta(seconds=n // 10)}}} for n in range(60)})
    with breaking(str(there.source.emulator_host), code, after=17, times=2) as broken:
        found = find(there, run, since=Since("of.a.at", there.moment), host=broken.address)
    assert found.extracted.scan_reason == ""
    assert set(found.documents) == {f"users/new-{n:03}" for n in range(60)}
    assert len(found.extracted.breaks) == 2


def test_a_field_of_any_name_is_asked_for(there: There, run: Path) -> None:
    later = there.moment + timedelta(hours=1)
    write(there.source, {"users/new": {"when `it` changed": later}})
    found = find(there, run, since=Since("when `it` changed", there.moment))
    assert (set(found.documents), found.extracted.scan_reason) == ({"users/new"}, "")
