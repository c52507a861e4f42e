"""How many documents leave a column of their table without a value, judged by the profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from firelift.firestore.values import KEY_OF, KIND_OF
from firelift.planning.build import ELEMENTS, SCALARS, ancestors_of
from firelift.planning.model import Column, ColumnKind, Plan, TablePlan
from firelift.planning.profile import CollectionProfile, Profile

SHOWN: dict[ColumnKind, frozenset[str]] = {
    "link": frozenset({"reference"}),
    "json": frozenset({*KIND_OF.values(), *KEY_OF, "vector"} - {"null"}),
    **{kind: frozenset().union(*(kinds for kinds, of in SCALARS.items() if of == kind)) for kind in SCALARS.values()},
    **dict.fromkeys(ELEMENTS.values(), frozenset({"array"})),
}
"""The kinds of value that a column can show. Exceptions, such as an array of other elements, are ignored here."""


class Lacking(NamedTuple):
    """Documents that certainly have no value for a column: at least `documents`, of `of`."""

    documents: int
    of: int


def lacking_of(plan: Plan, profile: Profile) -> dict[str, dict[str, Lacking]]:
    """The columns that some documents leave NULL, by table. An incremental run has profiles of new and changed documents only."""
    return {table.table: _lacking(table, profile[table.collection]) for table in plan.tables if table.collection in profile}


def _lacking(table: TablePlan, seen: CollectionProfile) -> dict[str, Lacking]:
    found: dict[str, Lacking] = {}
    for column in table.columns:
        if without := seen.documents - _shown(column, seen):
            found |= dict.fromkeys((column.name, *ancestors_of(column)), Lacking(without, seen.documents))
    return found


def _shown(column: Column, seen: CollectionProfile) -> int:
    values = seen.at(column.path)
    if values is None:
        # Where the profile did not follow all names, nothing is known about this one.
        return seen.documents if seen.overflowed else 0
    kinds: Mapping[str, int] = values.kinds()
    return sum(count for kind, count in kinds.items() if kind in SHOWN[column.kind])
