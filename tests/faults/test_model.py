"""Firestore changes at random while full and incremental runs come, go and are killed: after each the target says what Firestore says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from firelift.local.postgres import PostgresServer
from firelift.local.writer import GeoPoint, Reference, Vector
from firelift.migration.rollback import roll_back_run
from firelift.paths import collection_of
from tests.support.flow_runner import Outcome, Runner
from tests.support.migrating import SOAK
from tests.support.prefect_servers import eventually
from tests.support.synced_database import steps

# What happens is drawn anew in the soak; otherwise it is always the same, so that a change is judged by what it changes.
SEED = int(os.environ["FIRELIFT_FAULT_SEED"]) if SOAK else 1
# So many databases, and so many times that one of them changes and is migrated. In `make soak` parts run side by side on one Prefect
# server: some 12 s a migration, so that a part of 120 took longer than a test may.
EXAMPLES, STEPS = (4, 12) if SOAK else (3, 4)
PARTS = max(1, int(os.environ["FIRELIFT_KILLS"]) // 40) if SOAK else 1

IDS = st.sampled_from(("a", "B", "ü", "__id5__", "__id-3__", "zz~"))
PATHS = st.builds(
    "/".join,
    st.one_of(
        st.tuples(st.sampled_from(("users", "Teams")), IDS),
        st.tuples(st.just("users"), IDS, st.sampled_from(("orders", "notes")), IDS),
        st.tuples(st.just("users"), IDS, st.just("orders"), IDS, st.just("lines"), IDS),
    ),
)
# Such that a field is rather of another type, and now and then of the same.
VALUES = st.recursive(
    st.sampled_from(
        (None, True, 0, 7, 2**53 + 1, 1.5, -0.0, float("nan"), "", "text", "nul\0", b"\xff", GeoPoint(1.5, -2.5), Vector((1.0, 2.0)))
    )
    | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    lambda inner: (
        st.lists(inner.filter(lambda thing: not isinstance(thing, list | Vector)), max_size=3)
        | st.lists(st.sampled_from((1, 2, 3)), max_size=3)
        | st.dictionaries(st.sampled_from(("x", "y.z", "`")), inner, max_size=2)
    ),
    max_leaves=4,
)
FIELDS = st.dictionaries(st.sampled_from(("name", "Name", "count", "id", "ref", "users_id", "firestore_deleted_at")), VALUES, max_size=4)


class Write(NamedTuple):
    documents: Mapping[str, Mapping[str, Any]]


class Refer(NamedTuple):
    path: str
    to: str


class Delete(NamedTuple):
    """The n-th of the documents that are there; or its whole collection, documents beneath it stay."""

    number: int
    whole: bool
    again: bool
    """It is created anew under its id."""


CHANGES = st.lists(
    st.one_of(
        st.builds(Write, st.dictionaries(PATHS, FIELDS, min_size=1, max_size=3)),
        st.builds(Refer, PATHS, PATHS),
        st.builds(Delete, st.integers(0, 30), whole=st.sampled_from((False, False, True)), again=st.booleans()),
    ),
    max_size=4,
)
FIRST = st.dictionaries(PATHS, FIELDS, min_size=1, max_size=8)
ANY = "100%"
"""Chance may well delete everything."""
MODES = st.sampled_from(("incremental", "incremental", "incremental", "full"))
DELETES = st.sampled_from(("propagate", "propagate", "mark"))


@pytest.fixture(scope="module")
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """By Prefect, and so more slowly, in `make soak`."""
    with closing(Runner(tmp_path_factory.mktemp("runner") / "log", request.getfixturevalue("prefect_api") if SOAK else None)) as started:
        yield started


@pytest.mark.parametrize("number", range(SEED, SEED + PARTS))
def test_after_each_run_the_target_says_what_firestore_said(
    number: int, runner: Runner, emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("model")

    class Model(Keeping):
        place = (runner, emulator_host, postgres, directory)

    quick = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        # To look for a smaller example of a failure would take hours.
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(seed(number)(Model), settings=quick)


class Published(NamedTuple):
    migration_id: str
    before: Mapping[str, list[str]]
    """What the target held until then."""


_numbers = count(1)


class Keeping(RuleBasedStateMachine):
    """What can happen to a Firestore database and to a target that is to follow it. Each step changes the one and has the other follow."""

    place: tuple[Runner, str, PostgresServer, Path]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        runner, host, server, directory = self.place
        self.steps = self.stack.enter_context(steps(runner, host, server, directory / str(next(_numbers))))
        self.there: set[str] = set()
        self.published: list[Published] = []
        self.seconds = 4.0
        """How long the last run took."""

    @initialize(documents=FIRST, mode=MODES)
    def begin(self, documents: dict[str, dict[str, Any]], mode: str) -> None:
        self._change([Write(documents)])
        self._run(mode)

    @rule(changes=CHANGES, meanwhile=CHANGES, deletes=DELETES)
    def increment(self, changes: list[Any], meanwhile: list[Any], deletes: str) -> None:
        self._change(changes)
        self._run("incremental", meanwhile, deletes=deletes)

    @rule(changes=CHANGES, meanwhile=CHANGES)
    def full(self, changes: list[Any], meanwhile: list[Any]) -> None:
        self._change(changes)
        self._run("full", meanwhile)

    @rule(changes=CHANGES)
    def twice(self, changes: list[Any]) -> None:
        self._change(changes)
        self._run("incremental")
        again = self._run("incremental").increment
        assert {name: again[name] for name in ("new", "changed", "gone", "rewritten")} == dict(new=0, changed=0, gone=0, rewritten=0)

    @rule(changes=CHANGES, meanwhile=CHANGES, mode=MODES, deletes=DELETES, at=st.floats(0.02, 1.05), resumed=st.booleans())
    def killed(self, changes: list[Any], meanwhile: list[Any], mode: str, deletes: str, at: float, resumed: bool) -> None:
        """A run dies on the way, or just after; it is resumed, or another one takes its place and it comes too late."""
        self._change(changes)
        options = {"migration_mode": mode, "deletes": deletes, "max_deletes": ANY, "max_workers": 2, "migration_id": _new_id()}
        before = self.steps.content()
        ended = self._kill(at, options)
        self._change(meanwhile)
        if ended is not None:
            self._succeeded(ended, options, before)
        elif self.steps.content() != before:
            # Nobody has heard that it published; but it has, and everything.
            self._succeeded(Outcome({"readTime": self._read_time(options), "status": "completed"}), options, before)
        if ended is None and resumed:
            self._go_on(options, before)
        else:
            self._too_late(options, self._run("incremental"))

    @precondition(lambda self: self.published)
    @rule(runs=st.integers(1, 3), changes=CHANGES)
    def taken_back(self, runs: int, changes: list[Any]) -> None:
        """Runs are undone, the last first; then Firestore goes on."""
        self._change(changes)
        for _ in range(min(runs, len(self.published))):
            last = self.published.pop()
            roll_back_run(self.steps.url, last.migration_id, force=False)
            found = self.steps.content()
            assert {what: found[what] for what in found if found[what] or what in last.before} == last.before
        self._run("incremental")

    def teardown(self) -> None:
        self.stack.close()

    def _change(self, changes: list[Any]) -> None:
        for change in changes:
            match change:
                case Write(documents):
                    self._write(documents)
                case Refer(path, to):
                    self._write({path: {"ref": Reference(f"{self.steps.source.name}/documents/{to}")}})
                case Delete() if self.there:
                    self._delete(change)

    def _write(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        self.steps.write(documents)
        self.there |= documents.keys()

    def _delete(self, change: Delete) -> None:
        there = sorted(self.there)
        path = there[change.number % len(there)]
        gone = [other for other in there if collection_of(other) == collection_of(path)] if change.whole else [path]
        self.steps.delete(*gone)
        self.there -= {*gone}
        if change.again:
            self._write({path: {"name": "again"}})

    def _run(self, mode: str, meanwhile: list[Any] | None = None, **options: Any) -> Outcome:
        """A run to its end, with changes on its way; the target is equal to Firestore as of its moment."""
        options = {"migration_mode": mode, "max_deletes": ANY, "migration_id": _new_id(), **options}
        before = self.steps.content()
        began = time.monotonic()
        self.steps.runner.begin(self.steps.unverified, **options)
        self._change(meanwhile or [])
        done = self.steps.runner.end()
        self.seconds = time.monotonic() - began
        assert done is not None, "the process died"
        self._succeeded(done, options, before)
        return done

    def _succeeded(self, done: Outcome, options: dict[str, Any], before: Mapping[str, list[str]]) -> None:
        note(f"{options}: {done.error or done.report['status']}")
        assert done.error is None, f"{done.error}: {done.message}"
        assert done.report["status"] == "completed"
        moment = done.report["readTime"]
        # A full run leaves the tables of collections that have vanished; the next increment empties them.
        full = options["migration_mode"] == "full"
        self.steps.equal(moment, {collection_of(path) for path in self.steps.documents(moment)} if full else None)
        if self.steps.content() != before:
            self.published.append(Published(options["migration_id"], before))

    def _kill(self, at: float, options: dict[str, Any]) -> Outcome | None:
        """None where the run died; no session of it is left then."""
        runner = self.steps.runner
        runner.begin(self.steps.unverified, **options)
        with runner.killing(at * self.seconds):
            ended = runner.end()
        if ended is None:
            eventually(60, self.steps.is_quiet)
        return ended

    def _go_on(self, options: dict[str, Any], before: Mapping[str, list[str]]) -> None:
        """The run that was killed is resumed; one that had not begun is begun."""
        begun = (self.steps.directory / "runs" / options["migration_id"]).exists()
        done = self.steps.migrate(**options, **({"resume": True} if begun else {}))
        if self.published and self.published[-1].migration_id == options["migration_id"]:
            self.published.pop()
        self._succeeded(done, options, before)

    def _too_late(self, options: dict[str, Any], by: Outcome) -> None:
        """Another run has published since: resumed now, the one before must not bring back what was, unless it had not looked yet."""
        if (self.steps.directory / "runs" / options["migration_id"]).exists():
            before = self.steps.content()
            late = self.steps.migrate(**options, resume=True)
            note(f"too late: {late.error or late.report['status']} {late.message}")
            if late.error is None and late.report["readTime"] > by.report["readTime"]:
                self._succeeded(late, options, before)
            assert late.error is None or late.message, "it says why"
            assert self.steps.content() == before or self.published[-1].migration_id == options["migration_id"]

    def _read_time(self, options: dict[str, Any]) -> str:
        ((found,),) = self.steps.ask(f"SELECT read_time FROM firelift.migrations WHERE migration_id = '{options['migration_id']}'")
        assert isinstance(found, datetime)
        return found.astimezone(UTC).isoformat()


def _new_id() -> str:
    return f"run-{next(_numbers)}"
