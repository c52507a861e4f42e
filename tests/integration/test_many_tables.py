"""What many tables cost is so much a table: counted in statements and function calls, as seconds differ from machine to machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

import expectations
from firelift.local.postgres import PostgresServer
from firelift.paths import Selection
from firelift.phases.verification import prove
from firelift.planning.build import PlanOptions, TableForecast, forecast_tables
from firelift.planning.model import Plan, ReferenceTarget, TablePlan
from firelift.postgres.load.constraints import constrain
from firelift.postgres.schema.compatibility import incompatibilities
from firelift.postgres.schema.ddl import create_table
from firelift.postgres.schema.preflight import check_target
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Session, connect
from firelift.settings.types import LevelName
from firelift.settings.verification_level import LEVELS
from firelift.verification.checks.performance import measure
from firelift.verification.inputs import Known, Tables, Verification
from firelift.verification.proof import Limits
from firelift.workers import Workers
from tests.support.call_counts import calls, statements
from tests.support.postgres_tables import plan
from tests.support.proofs import proof_of
from tests.support.refreshed_tables import FIRST, SECOND, migrate, target
from tests.support.whole_way import Arrival, arrived, new_database

FEW = 10
NUMBERS = (FEW, 2 * FEW, 3 * FEW)
LIMITS = Limits(lookup_ms=60_000, count_ms=60_000)


class Cost(NamedTuple):
    """Of verifying some tables."""

    statements: list[str]
    calls: Counter[tuple[str, str]]

    def called(self, part: str) -> int:
        """How often functions were called that have this name, or this in their file's."""
        return sum(times for (file, name), times in self.calls.items() if part in file or part == name)


def growth(figures: Sequence[int]) -> list[int]:
    """What each `FEW` more tables come to."""
    return [after - before for before, after in pairwise(figures)]


def planned(number: int) -> Plan:
    return Plan(database="projects/lab/databases/(default)", tables=tables(number))


def tables(number: int) -> tuple[TablePlan, ...]:
    return tuple(plan(f"c{n:03}", name="string", score="double", next=ReferenceTarget(collection=f"c{n:03}")) for n in range(number))


@pytest.fixture(scope="module")
def standing(postgres: PostgresServer) -> Iterator[str]:
    """A database with the empty tables of as many collections, their keys and indexes."""
    with new_database(postgres) as url:
        with closing(connect(url, "firelift-test")) as connection:
            for table in tables(max(NUMBERS)):
                connection.execute(create_table(TargetTable("public", table)))
            constrain(connection, "public", tables(max(NUMBERS)), "report")
        yield url


def validated(server: PostgresServer, url: str, number: int, level: LevelName, results: Path) -> Cost:
    proof = proof_of(planned(number), dict.fromkeys((table.table for table in tables(number)), 0), level)
    with statements(server, url) as sent, calls() as made:
        done = expectations.validate(Session(url, "firelift-test"), planned(number), proof, results, FIRST)
    assert len(done.tables) == number
    return Cost(sent, made)


@pytest.mark.parametrize("level", ["standard", "comprehensive"])
def test_validating_costs_so_much_a_table_and_writes_nothing_into_stores_that_nobody_asks(
    postgres: PostgresServer, standing: str, tmp_path: Path, level: LevelName
) -> None:
    # The first time of all loads libraries, and fills what they keep.
    _, *costs = (validated(postgres, standing, number, level, tmp_path / "results") for number in (1, *NUMBERS))
    assert max(growth([len(cost.statements) for cost in costs])) <= 11 * FEW
    # Not one: each would write down once more what was asked, or all tables so far.
    assert growth([cost.called("data_context/store/") for cost in costs]) == [0, 0]
    first, second = growth([cost.called("") for cost in costs])
    assert second <= first * 1.02


@pytest.mark.parametrize(("level", "most"), [("standard", 4), ("comprehensive", 10)])
def test_measuring_costs_so_much_a_table(postgres: PostgresServer, standing: str, level: LevelName, most: int) -> None:
    costs: list[Cost] = []
    for number in NUMBERS:
        with statements(postgres, standing) as sent, calls() as made:
            measure(Session(standing, "firelift-test"), "public", planned(number), LEVELS[level], LIMITS, "seed")
        costs.append(Cost(sent, made))
    assert max(growth([len(cost.statements) for cost in costs])) <= most * FEW
    # All relations are worked out once; a table's from among those of all would be so many times as many.
    first, second = growth([cost.called("relations_of") for cost in costs])
    assert second <= first
    first, second = growth([cost.called("") for cost in costs])
    assert second <= first * 1.02


def test_a_target_of_many_published_tables_is_asked_as_many_questions_as_one_of_few(postgres: PostgresServer) -> None:
    before, with_plans = zip(*(checked(postgres, number) for number in NUMBERS[:2]), strict=True)
    assert growth(before) == [0]
    assert growth(with_plans) == [0]


def checked(server: PostgresServer, number: int) -> tuple[int, int]:
    """How many statements it takes to foresee what a full run would find in a target of so many tables, and to say so once it has plans."""

    def everything(earlier: Mapping[str, TablePlan]) -> TableForecast:
        assert len(earlier) == number
        return forecast_tables(earlier, Selection(), PlanOptions(), earlier)

    with new_database(server) as url:
        with target(url) as connection:
            migrate(connection, FIRST, {}, tables(number))
        with statements(server, url) as foreseeing:
            assert check_target(url, SECOND, "public", everything) == []
        with statements(server, url) as planning, target(url) as connection:
            assert incompatibilities(connection, "public", tables(number)) == []
    return len(foreseeing), len(planning)


def proved(server: PostgresServer, here: Arrival, level: LevelName, results: Path) -> list[str]:
    roots = [root.collection for root in here.validated.roots]
    with Workers(1) as workers, statements(server, here.url) as sent:
        verification = Verification(
            Tables(Session(here.url, "firelift-test"), "public", here.plan, here.run),
            roots,
            LEVELS[level],
            "seed",
            here.validated.read_time,
            results,
            LIMITS,
            source=here.source,
            known=Known(relations=here.imported.relations),
        )
        prove(workers, verification)
    return sent


MOST: dict[LevelName, int] = {"standard": 18, "comprehensive": 31}


def test_many_small_collections_are_compared_in_so_many_statements_a_table_over_so_many_connections(
    emulator_host: str, postgres: PostgresServer, tmp_path: Path
) -> None:
    found: dict[LevelName, list[list[str]]] = {level: [] for level in MOST}
    for number in NUMBERS[:2]:
        documents = {f"c{table:03}/{n}": {"name": f"name {n}", "score": n * 1.5} for table in range(number) for n in range(3)}
        with arrived(emulator_host, postgres, tmp_path / str(number), documents) as here:
            for level, sent in found.items():
                sent.append(proved(postgres, here, level, tmp_path / "results"))
    for level, sent in found.items():
        assert growth([len(statements_sent) for statements_sent in sent])[0] <= MOST[level] * FEW
        # Each of our connections begins so.
        assert growth([sum(line.startswith("SET search_path") for line in statements_sent) for statements_sent in sent]) == [0]
