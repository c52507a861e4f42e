"""Whatever a table held and whatever comes, under the plan that it has then every row says its document to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firelift.firestore.values import Document, same_document
from firelift.paths import collection_of
from firelift.planning.build import PlanOptions, make_plan
from firelift.planning.evolve import Evolved, evolve
from firelift.planning.increment import SchemaChanges
from firelift.planning.model import TablePlan
from firelift.planning.profile import CollectionProfile, Profiler
from firelift.transform import compile_decoder, compile_encoder
from firelift.transform.encode import Row
from tests.support.strategies import ANY, BELOW, DATABASE, FIELDS, LOOKALIKES, TAME, document, planned_documents

BOUNDED = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
MIGRATED = frozenset({"users", "users/*/orders"})
NAME = f"{BELOW}/users/1"


def documents() -> st.SearchStrategy[list[Document]]:
    """Documents of few fields, so that old ones and new ones share some."""
    values = TAME.scalars() | TAME.arrays_of_one_type() | ANY.values() | LOOKALIKES
    fields = st.dictionaries(st.sampled_from(FIELDS), values, max_size=4)
    return st.lists(fields.map(lambda held: document(NAME, held)), max_size=3)


def profile(found: Sequence[Document]) -> CollectionProfile:
    profiler = Profiler(DATABASE)
    for one in found:
        profiler.see(collection_of(one.name.removeprefix(f"{BELOW}/")), one)
    return next(iter(profiler.profile.values()), CollectionProfile())


def planned(found: Sequence[Document]) -> TablePlan:
    return make_plan(DATABASE, {"users": profile(found), "users/*/orders": CollectionProfile()}, PlanOptions()).table_of("users")


def encoded(plan: TablePlan, original: Document) -> Row:
    return compile_encoder(plan, DATABASE)(original.SerializeToString())


def decoded(plan: TablePlan, row: Row) -> Document:
    return compile_decoder(plan, DATABASE)(row)


def altered(row: Row, before: TablePlan, after: TablePlan) -> Row:
    """The row as it stands after columns were added beside it."""
    cells = dict(zip((name for name, _ in before.target_columns()), row, strict=True))
    return [cells.get(name) for name, _ in after.target_columns()]


def check(before: TablePlan, evolved: Evolved, old: Sequence[Document], new: Sequence[Document]) -> None:
    for original in old:
        row = encoded(before, original)
        now = encoded(evolved.plan, decoded(before, row)) if evolved.rewrites else altered(row, before, evolved.plan)
        assert same_document(decoded(evolved.plan, now), original)
    for original in new:
        assert same_document(decoded(evolved.plan, encoded(evolved.plan, original)), original)


@pytest.mark.parametrize("policy", [policy for policy in get_args(SchemaChanges) if policy != "fail"])
@BOUNDED
@given(old=documents(), new=documents())
def test_old_and_new_documents_come_back_under_the_evolved_plan(policy: SchemaChanges, old: list[Document], new: list[Document]) -> None:
    before = planned(old)
    check(before, evolve(before, profile(new), MIGRATED, PlanOptions(), policy), old, new)


@BOUNDED
@given(old=planned_documents(), new=documents())
def test_documents_come_back_whatever_the_plan_before_was(old: tuple[TablePlan, list[Document]], new: list[Document]) -> None:
    before, originals = old
    evolved = evolve(before, profile(new), MIGRATED, PlanOptions(), "evolve", {"c1", "users"})
    check(before, evolved, originals, new if before.collection == "users" else [])


@BOUNDED
@given(old=documents(), new=documents())
def test_evolving_again_for_the_same_documents_has_no_steps(old: list[Document], new: list[Document]) -> None:
    once = evolve(planned(old), profile(new), MIGRATED, PlanOptions(), "evolve")
    again = evolve(once.plan, profile(new), MIGRATED, PlanOptions(), "evolve")
    assert (again.plan, again.steps, again.rewrites) == (once.plan, (), False)


@BOUNDED
@given(old=documents(), new=documents())
def test_columns_that_stand_keep_their_place_and_name(old: list[Document], new: list[Document]) -> None:
    before = planned(old)
    after = evolve(before, profile(new), MIGRATED, PlanOptions(), "evolve").plan
    kept = after.columns[: len(before.columns)]
    assert [(column.name, column.dotted_path, column.null_means) for column in kept] == [
        (column.name, column.dotted_path, column.null_means) for column in before.columns
    ]
    assert len({name for name, _ in after.target_columns()}) == len(after.target_columns())
