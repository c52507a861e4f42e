"""Firestore changes at random while full and incremental runs come, go and are killed: after each the target says what Firestore says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from firelift.local.postgres import PostgresServer
from firelift.local.writer import GeoPoint, Reference, Vector
from firelift.paths import collection_of
from tests.acceptance.runner import Runner
from tests.acceptance.steps import steps
from tests.faults.migrating import SOAK

SEED = int(os.environ["FIRELIFT_FAULT_SEED"])
EXAMPLES, STEPS = (60, 30) if SOAK else (5, 14)

IDS = ("a", "B", "ü", "__id5__", "__id-3__", "zz~")
PATHS = st.builds(
    "/".join,
    st.one_of(
        st.tuples(st.sampled_from(("users", "Teams")), st.sampled_from(IDS)),
        st.tuples(st.just("users"), st.sampled_from(IDS), st.sampled_from(("orders", "notes")), st.sampled_from(IDS)),
        st.tuples(st.just("users"), st.sampled_from(IDS), st.just("orders"), st.sampled_from(IDS), st.just("lines"), st.sampled_from(IDS)),
    ),
)
VALUES = st.recursive(
    st.sampled_from(
        (None, True, 0, 7, 2**53 + 1, 1.5, -0.0, float("nan"), "", "text", "nul\0", b"\xff", GeoPoint(1.5, -2.5), Vector((1.0, 2.0)))
    )
    | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
    lambda inner: (
        st.lists(inner.filter(lambda thing: not isinstance(thing, list)), max_size=3)
        | st.dictionaries(st.sampled_from(("x", "y.z", "")), inner, max_size=2)
    ),
    max_leaves=4,
)
FIELDS = st.dictionaries(st.sampled_from(("name", "Name", "count", "id", "ref")), VALUES, max_size=4)


@pytest.fixture(scope="module")
def runner(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    started = Runner(prefect_api, tmp_path_factory.mktemp("runner") / "log")
    yield started
    started.close()


def test_after_each_run_the_target_says_what_firestore_said(
    runner: Runner, emulator_host: str, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("model")

    class Model(Keeping):
        place = (runner, emulator_host, postgres, directory)

    quick = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate) if not SOAK else tuple(Phase),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(SEED)(Model), settings=quick)


class Keeping(RuleBasedStateMachine):
    """What can happen to a Firestore database and to a target that is to follow it."""

    place: tuple[Runner, str, PostgresServer, Path]

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        runner, host, server, directory = self.place
        self.steps = self.stack.enter_context(steps(runner, host, server, directory / str(id(self))))
        self.there: set[str] = set()
        self.migrated = False

    @initialize(documents=st.dictionaries(PATHS, FIELDS, min_size=1, max_size=8))
    def begin(self, documents: dict[str, dict[str, Any]]) -> None:
        self._write(documents)

    @rule(documents=st.dictionaries(PATHS, FIELDS, min_size=1, max_size=4))
    def write(self, documents: dict[str, dict[str, Any]]) -> None:
        self._write(documents)

    @rule(path=PATHS, to=PATHS)
    def refer(self, path: str, to: str) -> None:
        self._write({path: {"ref": Reference(f"{self.steps.source.name}/documents/{to}")}})

    @precondition(lambda self: self.there)
    @rule(data=st.data(), again=st.booleans())
    def delete(self, data: st.DataObject, again: bool) -> None:
        path = data.draw(st.sampled_from(sorted(self.there)))
        self.steps.delete(path)
        self.there.discard(path)
        if again:
            self._write({path: {"name": "again"}})

    @precondition(lambda self: self.migrated)
    @rule(killed_after=st.none() | st.floats(0.2, 3.0))
    def increment(self, killed_after: float | None) -> None:
        if killed_after is not None:
            with self.steps.runner.killing(killed_after):
                self.steps.runner.begin(self._unverified(), migration_mode="incremental")
                self.steps.runner.end()
        self.steps.in_step(self.steps.increment())

    @rule()
    def full(self) -> None:
        done = self.steps.full()
        if self.there:
            # A full run leaves the tables of collections that have vanished; the next increment empties them.
            self.steps.in_step(done, {collection_of(path) for path in self.there})
            self.migrated = True

    @precondition(lambda self: self.migrated)
    @rule()
    def nothing_happens(self) -> None:
        self.steps.in_step(self.steps.increment())
        done = self.steps.increment()
        self.steps.in_step(done)
        assert {name: done.increment[name] for name in ("new", "changed", "gone", "rewritten")} == dict.fromkeys(
            ("new", "changed", "gone", "rewritten"), 0
        )

    def teardown(self) -> None:
        self.stack.close()

    def _write(self, documents: dict[str, dict[str, Any]]) -> None:
        self.steps.write(documents)
        self.there |= documents.keys()

    def _unverified(self) -> dict[str, str]:
        return self.steps.variables | {"MIGRATION_AUTO_VERIFICATION": "false"}
