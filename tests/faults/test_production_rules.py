"""From a Firestore that follows production's rules a migration comes to the same target, killed and resumed too; or it says why not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc
import pytest

from firelift.local.firestore_server.passthrough import EmulatorAnswers
from firelift.local.firestore_server.rules.access import Denied, NotFirestore, OneDatabase
from firelift.local.firestore_server.rules.counting import CountLimit, CountRefused
from firelift.local.firestore_server.rules.listing import ListedLate, ListPages, MissingLast
from firelift.local.firestore_server.rules.partitions import PartitionPages, PartitionsRefused
from firelift.local.firestore_server.rules.read_times import HOUR, ReadTimes
from firelift.local.firestore_server.rules.streams import Distance, Failing, StreamLimit, StreamsOf
from firelift.local.firestore_server.rules.traffic import RampUp
from firelift.local.firestore_server.server import FirestoreServer, Rule
from tests.faults.conftest import PROJECT
from tests.support.migrating import SOAK, VERIFIED, Ground, Place, Undisturbed, differences
from tests.support.prefect_servers import schemas_of

HARMLESS: dict[str, Sequence[Rule]] = {
    "partitions in pages without order": [PartitionPages()],
    "fewer partitions than asked for": [PartitionPages(share=0.4)],
    "no partitions": [PartitionsRefused()],
    "partitions are denied": [PartitionsRefused(grpc.StatusCode.PERMISSION_DENIED)],
    "streams end with UNAVAILABLE": [StreamsOf(60)],
    "streams end with DEADLINE_EXCEEDED": [StreamsOf(60, code=grpc.StatusCode.DEADLINE_EXCEEDED)],
    "streams end as if they were complete": [StreamsOf(60, "ok")],
    "streams take their connection with them": [StreamsOf(200, "cut")],
    "streams end after their time": [StreamLimit(0.05)],
    "calls fail now and then": [Failing(0.2)],
    "COUNT is refused": [CountRefused()],
    "COUNT over all collections is not implemented": [CountRefused(grpc.StatusCode.UNIMPLEMENTED, only_without_collection=True)],
    "a large COUNT takes too long": [CountLimit(100, seconds=0.2)],
    "neither partitions nor COUNT": [CountRefused(), PartitionsRefused()],
    # The snapshot of all of these runs is as old as the tests, which take longer than an hour in `make soak`.
    "read times with point-in-time recovery": [ReadTimes(window=12 * HOUR, point_in_time_recovery=True, ends_streams=True)],
    "collections are listed in pages": [ListPages(2)],
    "a collection is listed late": [ListedLate(("users",), calls=3)],
    "documents come in another order": [MissingLast()],
    "traffic may grow slowly only": [RampUp(start=1500, period=1, patience=0.2)],
    "Firestore is far away": [Distance(0.05, 2000)],
    "one database with its headers": [OneDatabase(PROJECT)],
    "all of it": [
        Failing(0.05),
        StreamsOf(150),
        CountLimit(100, seconds=0.1),
        PartitionPages(share=0.5),
        ListPages(2),
        MissingLast(),
        Distance(0.01, 4000),
    ],
}

REFUSED: dict[str, tuple[Sequence[Rule], str]] = {
    "queries are denied": ([Denied(("RunQuery",))], "Firestore refuses to let this account read"),
    "lists are denied": ([Denied(("ListCollectionIds",))], "Firestore refuses to let this account read"),
    "documents by name are denied": ([Denied(("BatchGetDocuments",))], "Firestore refuses to let this account read"),
    "another database": ([OneDatabase(PROJECT, "another")], "There is no such Firestore database"),
    "Datastore mode": ([NotFirestore()], "not available for Firestore in Datastore Mode"),
    "Enterprise edition without native access": ([NotFirestore(is_enterprise=True)], "Firestore API data access is disabled"),
    "a read time that is too old": ([ReadTimes(window=0)], "no longer keeps the snapshot"),
    "a read time that is too old, by another code": (
        [ReadTimes(window=0, code=grpc.StatusCode.INVALID_ARGUMENT)],
        "no longer keeps the snapshot",
    ),
}


@pytest.fixture
def place(ground: Ground) -> Iterator[Place]:
    with ground.place() as made:
        yield made


@contextmanager
def from_production(place: Place, emulator_host: str, rules: Sequence[Rule]) -> Iterator[Place]:
    """The place of a run that reads through a server with these rules."""
    with FirestoreServer(EmulatorAnswers(emulator_host), rules) as server:
        yield place.with_(FIRESTORE_EMULATOR_HOST=server.address)


# The others are killed in `make soak`.
KILLED = (
    HARMLESS
    if SOAK
    else {name: HARMLESS[name] for name in ("fewer partitions than asked for", "neither partitions nor COUNT", "all of it")}
)


@pytest.mark.parametrize("rules", HARMLESS.values(), ids=HARMLESS)
def test_it_comes_to_the_same_target(place: Place, emulator_host: str, undisturbed: Undisturbed, rules: Sequence[Rule]) -> None:
    with from_production(place, emulator_host, rules) as far:
        said = far.migrate()
    assert said.code == 0, said.err
    assert differences(place.content(), undisturbed.content) == []


@pytest.mark.parametrize("rules", KILLED.values(), ids=KILLED)
def test_killed_while_it_reads_and_resumed_it_comes_to_the_same_target(
    place: Place, emulator_host: str, undisturbed: Undisturbed, rules: Sequence[Rule]
) -> None:
    with from_production(place, emulator_host, [*rules, Distance(0, 500)]) as slow:
        started = slow.start()
        started.until(lambda: place.archived().documents >= 100)
        started.kill()
    before = place.archived()
    with from_production(place, emulator_host, rules) as far:
        said = far.migrate("--resume")
    assert said.code == 0, said.err
    assert before.files.items() <= place.archived().files.items()
    assert differences(place.content(), undisturbed.content) == []


@pytest.mark.parametrize(("rules", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_production_refuses_is_said_and_nothing_is_written(
    place: Place, emulator_host: str, rules: Sequence[Rule], reason: str
) -> None:
    before = place.content()
    with from_production(place, emulator_host, rules) as far:
        said = far.migrate()
    assert said.code == 1, said.err
    assert said.error.startswith("error: ")
    assert reason in said.error
    assert before.items() <= place.content().items()
    assert not [schema for schema in schemas_of(place.url) if "staging" in schema]


def test_a_snapshot_that_expires_while_it_is_read_leaves_the_target_as_it_was(place: Place, emulator_host: str) -> None:
    before = place.content()
    expiring = ReadTimes(window=1e9)
    with FirestoreServer(EmulatorAnswers(emulator_host), [expiring, Distance(0, 500)]) as server:
        far = place.with_(FIRESTORE_EMULATOR_HOST=server.address)
        started = far.start()
        started.until(lambda: place.archived().documents >= 100)
        started.kill()
    with from_production(place, emulator_host, [ReadTimes(window=0)]) as far:
        said = far.migrate("--resume")
    assert said.code == 1
    assert "no longer keeps the snapshot" in said.error
    assert before.items() <= place.content().items()


def test_a_verified_run_comes_through_all_of_it(place: Place, emulator_host: str, undisturbed: Undisturbed) -> None:
    with from_production(place.with_(**VERIFIED), emulator_host, HARMLESS["all of it"]) as far:
        said = far.migrate()
    assert said.code == 0, said.err
    assert differences(place.content(), undisturbed.content) == []
