"""What a sample says of the whole."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from firelift.modes.test.costs import CollectionSeen, Estimate, Pace, estimate
from firelift.postgres.publish.scratch_schema import Weight
from firelift.run.reports.estimated import estimate_lines

OWN = Pace(run=None, seconds={"pre_validation": 1.0, "extraction": 2.0, "import": 0.5}, documents={"extraction": 20, "import": 10})


def seen(documents: int | None, sampled: int, target: int | None = 100_000) -> CollectionSeen:
    return CollectionSeen(
        collection="users",
        table="users",
        documents=documents,
        exact=True,
        sampled=sampled,
        archive_bytes=100.0 * sampled,
        tables_bytes=50 * sampled,
        target_bytes=target,
    )


def reckoned(*collections: CollectionSeen, read: int | None = 0, counts: int = 0, pace: Pace = OWN) -> Estimate:
    return estimate(collections, read, counts, pace, read_price=0.06)


def test_bytes_grow_with_the_documents() -> None:
    found = reckoned(seen(1000, 10), seen(7, 7))
    assert (found.documents, found.disk_bytes.archive, found.disk_bytes.tables) == (1007, 100_700, 50_350)
    assert found.disk_bytes.total == 151_050
    assert found.target_bytes == 200_000


def test_where_firestore_does_not_count_no_number_is_made_up() -> None:
    found = reckoned(seen(None, 10), seen(7, 7), read=None)
    assert (found.documents, found.disk_bytes.total, found.target_bytes) == (None, None, None)
    assert (found.reads.total, found.price.usd, found.seconds.total) == (None, None, None)
    assert found.seconds.phases == {"pre_validation": 1.0, "extraction": None, "import": None}
    assert found.how[0].startswith("Firestore does not count the documents here")
    assert dict(estimate_lines(found.report()))["Documents"] == "?"


def test_a_collection_without_a_sample_takes_nothing() -> None:
    assert reckoned(seen(1000, 0)).disk_bytes.total == 0


def test_reads_have_a_price() -> None:
    found = reckoned(seen(10, 10), read=1_000_000, counts=1000)
    assert (found.reads.total, found.price.usd) == (1_001_000, 0.6006)


def test_phases_take_longer_with_more_documents_but_not_those_that_look_once() -> None:
    assert reckoned(seen(1000, 10)).seconds.phases == {"pre_validation": 1.0, "extraction": 100.0, "import": 50.0}
    assert reckoned(seen(1000, 10)).seconds.total == 151.0


def test_it_is_said_whose_pace_it_is() -> None:
    earlier = OWN.model_copy(update={"run": "migration-1"})
    assert reckoned(seen(10, 10), pace=earlier).seconds.earlier_run == "migration-1"
    assert any("migration-1" in line for line in reckoned(seen(10, 10), pace=earlier).how)
    assert any("upper bound" in line for line in reckoned(seen(10, 10)).how)


def test_what_was_not_loaded_has_no_weight() -> None:
    assert reckoned(seen(10, 10, None)).target_bytes is None


@dataclass(frozen=True)
class Case:
    rows: int
    wanted: int
    bytes: int


@pytest.mark.parametrize("case", [Case(100, 100, 40_000), Case(100, 200, 64_000), Case(0, 500, 16_000), Case(100, 0, 16_000)], ids=str)
def test_a_table_weighs_its_empty_pages_once(case: Case) -> None:
    assert Weight(bytes=40_000, empty=16_000).of(case.rows, case.wanted) == case.bytes
