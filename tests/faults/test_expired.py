"""Firestore gives up the snapshot while a run reads: the rest is read as of a later moment, and an incremental run closes the gap."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest

from firelift.firestore.channel import Source
from firelift.local.firestore_server.answers import microseconds_now
from firelift.local.firestore_server.calls import Answer, Call, Refused, Responses
from firelift.local.firestore_server.passthrough import EmulatorAnswers
from firelift.local.firestore_server.rules.counting import CountRefused
from firelift.local.firestore_server.rules.streams import Distance
from firelift.local.firestore_server.server import FirestoreServer, Rule
from firelift.local.postgres import PostgresServer
from firelift.local.writer import delete_documents
from firelift.run.workspace import REPORT, catch_up_id
from tests.support.migrating import SOAK, VERIFIED, Ground, Place, differences, numbered
from tests.support.prefect_servers import tables_of
from tests.support.reported import undocumented_below
from tests.support.warm_commands import BY_PREFECT
from tests.support.whole_way import new_source, write

USERS, WORDS = 400, 300
LIVED_IN_ONLY = {"cities": 50, "not_ours": 20}


class GivesUp:
    """From a moment on Firestore keeps no snapshot of before it; streams that read one end."""

    documented: ClassVar[str] = "https://firebase.google.com/docs/firestore/pitr: an hour, here by a word of the test"

    def __init__(self) -> None:
        self.oldest = 0

    def now(self) -> None:
        self.oldest = microseconds_now()

    def around(self, call: Call, answer: Answer) -> Responses:
        request: Any = call.request if call.method != "Commit" else None
        if request is None or not request.HasField("read_time"):
            return answer(call)
        return self._watched(request.read_time.seconds * 1_000_000 + request.read_time.nanos // 1000, call, answer)

    async def _watched(self, moment: int, call: Call, answer: Answer) -> Responses:
        self._refuse(moment)
        async for response in answer(call):
            self._refuse(moment)
            yield response

    def _refuse(self, moment: int) -> None:
        if moment < self.oldest:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "The requested 'read_time' is too old.")


@pytest.fixture
def source(emulator_host: str) -> Iterator[Source]:
    with new_source(emulator_host) as source:
        orders = {f"users/{number:04}/orders/1": {"of": number} for number in range(0, USERS, 10)}
        words = {f"words/{number:04}": {"word": number} for number in range(WORDS)}
        write(source, {**{f"users/{number:04}": {"version": 1} for number in range(USERS)}, **orders, **words})
        yield source


@pytest.fixture
def ground(source: Source, prefect_api: str, postgres: PostgresServer, tmp_path: Path) -> Ground:
    assert source.emulator_host
    return Ground(prefect_api, source.emulator_host, source.project, postgres, tmp_path, "now", numbered())


@pytest.fixture
def place(ground: Ground) -> Iterator[Place]:
    with ground.place() as made:
        yield made


@contextmanager
def served(place: Place, source: Source, *rules: Rule) -> Iterator[tuple[Place, GivesUp]]:
    """The place of a run that reads slowly through a server that may give up."""
    assert source.emulator_host
    gives_up = GivesUp()
    with FirestoreServer(EmulatorAnswers(source.emulator_host), [gives_up, Distance(0, 200), *rules]) as server:
        yield place.with_(FIRESTORE_EMULATOR_HOST=server.address), gives_up


CATCH_UP = ("--on-expired-snapshot", "catch-up")


def goes_on_changing(source: Source) -> None:
    """What was read already, and what was not, is changed, deleted and made."""
    assert source.emulator_host
    write(source, {f"users/{number:04}": {"version": 2} for number in (1, 20, USERS - 1)})
    write(source, {"users/0000a": {"version": 1}, f"users/{USERS}": {"version": 1}, "words/a": {"word": "new"}})
    delete_documents(source.emulator_host, source.name, ["users/0002", "users/0010/orders/1", f"users/{USERS - 2:04}", "words/0299"])


def rows(place: Place) -> dict[str, list[str]]:
    return {what: lines for what, lines in place.content().items() if what.startswith("rows of ") and "not_ours" not in what}


def as_firestore_is_now(ground: Ground) -> dict[str, list[str]]:
    """The rows of a full run of its own, later."""
    with ground.place() as other:
        said = other.migrate()
        assert said.code == 0, said.err
        return rows(other)


def report(place: Place, migration_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place.workspace / "runs" / migration_id / REPORT).read_bytes())
    return found


def says_what_was_read_when(place: Place) -> None:
    """The full run claims no proof, and names the moments; the incremental one compared all keys at one."""
    assert undocumented_below(place.workspace) == []
    full = report(place, place.migration_id)
    following = report(place, catch_up_id(place.migration_id))
    assert full["status"] == following["status"] == "completed"
    later = full["statistics"]["readLater"]
    assert full["readTime"] < later[0] <= later[-1] < following["readTime"]
    assert full["completeness"]["unproven"] > 0
    assert any("gave up the snapshot" in warning["message"] for warning in full["warnings"])
    assert following["completeness"]["unproven"] == 0
    assert following["increment"]["totals"]["keys"] == following["completeness"]["byCount"] + following["completeness"]["bySecondScan"]


WAYS: dict[str, dict[str, str]] = {"by Python": {}, "by Prefect, verified": {**BY_PREFECT, **VERIFIED}}
RULES: dict[str, Sequence[Rule]] = {"counted": [], "not counted": [CountRefused()]}


@pytest.mark.parametrize(
    ("rules", "way"),
    [
        pytest.param(RULES[rules], WAYS[way], id=f"{rules}, {way}")
        for rules in RULES
        for way in WAYS
        if SOAK or (rules == "counted") == (way == "by Python")
    ],
)
def test_the_rest_is_read_later_and_the_gap_is_closed(
    place: Place, ground: Ground, source: Source, rules: Sequence[Rule], way: dict[str, str]
) -> None:
    with served(place.with_(**way), source, *rules) as (far, gives_up):
        started = far.start(*CATCH_UP)
        started.until(lambda: place.archived().documents >= 80)
        goes_on_changing(source)
        gives_up.now()
        said = started.wait()
    assert said.code == 0, said.err
    assert f"{catch_up_id(place.migration_id)}: Completed: " in said.out
    assert said.err.count("extraction running") == 2
    says_what_was_read_when(place)
    assert differences(rows(place), as_firestore_is_now(ground)) == []


def test_a_run_that_stopped_for_it_goes_on_so_and_reads_nothing_twice(place: Place, ground: Ground, source: Source) -> None:
    with served(place, source) as (far, gives_up):
        started = far.start()
        started.until(lambda: place.archived().documents >= 80)
        goes_on_changing(source)
        gives_up.now()
        said = started.wait()
        assert said.code == 1
        assert "--resume --on-expired-snapshot catch-up" in said.error
        assert tables_of(place.url) == LIVED_IN_ONLY
        before = place.archived().files
        said = far.migrate("--resume", *CATCH_UP)
    assert said.code == 0, said.err
    assert before.items() <= place.archived().files.items()
    says_what_was_read_when(place)
    assert differences(rows(place), as_firestore_is_now(ground)) == []


def test_killed_while_it_reads_the_rest_it_goes_on(place: Place, ground: Ground, source: Source) -> None:
    with served(place, source) as (far, gives_up):
        started = far.start(*CATCH_UP)
        started.until(lambda: place.archived().documents >= 80)
        gives_up.now()
        now = place.archived().documents
        started.until(lambda: place.archived().documents >= now + 80)
        started.kill()
        goes_on_changing(source)
        said = far.migrate("--resume", *CATCH_UP)
    assert said.code == 0, said.err
    says_what_was_read_when(place)
    assert differences(rows(place), as_firestore_is_now(ground)) == []


def test_where_nothing_that_firestore_has_is_kept_for_a_moment_the_run_fails(place: Place, source: Source) -> None:
    with served(place, source) as (far, gives_up):
        started = far.start(*CATCH_UP)
        started.until(lambda: place.archived().documents >= 80)
        gives_up.oldest = 2**62
        said = started.wait()
    assert said.code == 1
    assert "no longer keeps the snapshot" in said.error


def test_a_plan_of_what_was_read_later_is_followed_by_nothing(place: Place, source: Source) -> None:
    with served(place, source) as (far, gives_up):
        started = far.start("--dry-run", *CATCH_UP)
        started.until(lambda: place.archived().documents >= 80)
        gives_up.now()
        said = started.wait()
    assert said.code == 0, said.err
    assert [run.name for run in (place.workspace / "runs").iterdir()] == [place.migration_id]
