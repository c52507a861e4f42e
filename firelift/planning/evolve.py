"""How the plan of a published table changes for values that it has not met: columns are added and widened, never renamed or lost."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from firelift.errors import ConfigurationError, FireliftError
from firelift.formatting import counted
from firelift.paths import parent_of
from firelift.planning.build import (
    MOST_COLUMNS,
    VARYING_BYTES,
    PlanOptions,
    ancestors_of,
    column_of,
    holding,
    in_byte_order,
    room_beside,
    shape_of,
    width_of,
)
from firelift.planning.increment import SchemaChanges, SchemaStep
from firelift.planning.model import Column, ColumnKind, PgType, Shape, TablePlan
from firelift.planning.naming import Names
from firelift.planning.profile import CollectionProfile, Profile, ValueProfile

WIDENED: Final[dict[tuple[ColumnKind, ColumnKind], ColumnKind]] = {
    ("integer", "double"): "double",
    ("double", "integer"): "double",
    ("link", "reference"): "reference",
    ("reference", "link"): "reference",
}
"""What a column becomes that holds the first and meets the second; docs/types.md shows it. Whatever else differs becomes "json"."""


def widened(before: ColumnKind, met: ColumnKind) -> ColumnKind:
    """What a column holds that can say both, and nothing wider than needed."""
    return before if before == met else WIDENED.get((before, met), "json")


class SchemaChanged(FireliftError):
    """Documents have new fields or types of values, for which tables would have to change."""

    remedy = "Give --schema-changes evolve to have the tables changed so, or freeze to keep such values in firestore_residue."


class RenamedByMapping(ConfigurationError):
    """The mapping names a table or column otherwise than it stands in the target, and an incremental run renames nothing."""

    remedy = "Give the standing name in the mapping, or make a full run with the new one."


class NameTaken(ConfigurationError):
    """The mapping gives a new field a column that stands in the target for something else."""

    remedy = "Give another name in the mapping."


@dataclass(frozen=True)
class Evolved:
    """The plan that a table has from now on."""

    plan: TablePlan
    """Without `marks_deleted`, as it is a run's own plan."""
    steps: tuple[SchemaStep, ...] = ()
    """What must happen to the table."""
    rewrites: bool = False
    """A column holds something else than before: every row must be written anew."""
    frozen: tuple[SchemaStep, ...] = ()
    """What would have happened without `freeze`; the values concerned are in the residue."""
    warnings: tuple[str, ...] = ()


def evolve(
    before: TablePlan,
    seen: CollectionProfile,
    migrated: frozenset[str],
    options: PlanOptions,
    policy: SchemaChanges,
    others: Collection[str] = (),
) -> Evolved:
    """The plan for rows written by `before` beside documents as `seen`. `migrated`: all collections that have a table then; `others`: names
    of the columns that the table has in the target, which no new column gets.

    Under either plan a row says exactly what its document says: what a column cannot say is in the residue. Raises SchemaChanged with the
    policy "fail", RenamedByMapping and NameTaken.
    """
    evolved = _evolved(before, seen, migrated, options, others)
    if policy == "fail":
        refuse(evolved.steps)
    if policy == "freeze":
        return Evolved(plan=_unmarked(before), frozen=evolved.steps)
    return evolved


def evolve_all(
    before: Mapping[str, TablePlan],
    profile: Profile,
    migrated: frozenset[str],
    options: PlanOptions,
    policy: SchemaChanges,
    others: Mapping[str, Collection[str]],
) -> dict[str, Evolved]:
    """`evolve` for each of these collections, with one SchemaChanged for all of them. `others`: by table."""
    how: SchemaChanges = "freeze" if policy == "freeze" else "evolve"
    evolved = {
        collection: evolve(plan, profile.get(collection, CollectionProfile()), migrated, options, how, others.get(plan.table, ()))
        for collection, plan in before.items()
    }
    if policy == "fail":
        refuse([step for each in evolved.values() for step in each.steps])
    return evolved


def refuse(steps: Sequence[SchemaStep]) -> None:
    """Raises SchemaChanged with every step, if there is one."""
    if steps:
        raise SchemaChanged(changes="; ".join(map(str, steps)))


def _evolved(
    before: TablePlan, seen: CollectionProfile, migrated: frozenset[str], options: PlanOptions, others: Collection[str]
) -> Evolved:
    _refuse_renames(before, options)
    room = _Room(before, others)
    columns, cramped = _standing_columns(before, seen, migrated, room)
    steps = [_step(before, column, old.type) for column, old in zip(columns, before.columns, strict=True) if column != old]
    new = [name for name in seen.fields if (name,) not in {column.path for column in columns}]
    # A table has firestore_extra because a row had no room for more columns.
    chosen = room.chosen(new, seen, migrated) if before.extra is None else []
    added = _new_columns(before, chosen, seen, migrated, options, others)
    changes = {"columns": (*columns, *added), "parent": before.parent or _parent(before, migrated)}
    return Evolved(
        plan=_unmarked(before).model_copy(update=changes),
        steps=(*steps, *(_step(before, column, None) for column in added)),
        rewrites=bool(steps),
        warnings=tuple(_warnings(before, cramped, len(new) - len(added), seen.overflowed)),
    )


def _unmarked(plan: TablePlan) -> TablePlan:
    return plan.model_copy(update={"marks_deleted": False})


def _parent(plan: TablePlan, migrated: frozenset[str]) -> str | None:
    parent = parent_of(plan.collection)
    return parent if parent in migrated else None


def _step(plan: TablePlan, column: Column, before: PgType | None) -> SchemaStep:
    return SchemaStep(
        collection=plan.collection,
        table=plan.table,
        kind="wider column" if before else "new column",
        column=column.name,
        field=column.dotted_path,
        before=before,
        after=column.type,
    )


def _refuse_renames(plan: TablePlan, options: PlanOptions) -> None:
    table = options.mapping.table(plan.collection)
    if table not in (None, plan.table):
        raise RenamedByMapping(collection=plan.collection, stands_as=plan.table, mapped_to=table)
    for column in plan.columns:
        name = options.mapping.column(plan.collection, column.path)
        if name not in (None, column.name):
            raise RenamedByMapping(collection=plan.collection, field=column.dotted_path, stands_as=column.name, mapped_to=name)


class _Room:
    """What is left of a row, and of the number of columns, beside those that stand."""

    def __init__(self, plan: TablePlan, others: Collection[str]) -> None:
        users = len({*others} - {name for name, _ in plan.target_columns()})
        self._bytes = room_beside(len(plan.keys)) - users * VARYING_BYTES - sum(map(_width, plan.columns))
        self._columns = MOST_COLUMNS - sum(1 + len(ancestors_of(column)) for column in plan.columns)

    def take(self, width: int, columns: int) -> bool:
        """Whether there is so much left, which is taken then."""
        if width > max(0, self._bytes) or columns > max(0, self._columns):
            return False
        self._bytes -= width
        self._columns -= columns
        return True

    def chosen(self, fields: Sequence[str], seen: CollectionProfile, migrated: frozenset[str]) -> list[str]:
        """The most frequent of these fields, as many as can have a column; in byte order."""
        frequent = sorted(fields, key=lambda name: (-sum(seen.fields[name].kinds().values()), name.encode()))
        fitting = takewhile(lambda name: self.take(*_need(seen.fields[name], migrated)), frequent)
        return in_byte_order(fitting)


def _need(values: ValueProfile, migrated: frozenset[str]) -> tuple[int, int]:
    kind, target = holding(values, migrated)
    ancestors = target.count("/*/") if target else 0
    return width_of(kind, ancestors), 1 + ancestors


def _width(column: Column) -> int:
    return width_of(column.kind, len(ancestors_of(column)))


# ── columns that stand ───────────────────────────────────────────────────────────────────────────────────────────────


def _standing_columns(before: TablePlan, seen: CollectionProfile, migrated: frozenset[str], room: _Room) -> tuple[list[Column], list[str]]:
    """The columns of before, wide enough for what was seen, and the names of those that would be too wide for the row so."""
    columns, cramped = [], []
    for column in before.columns:
        values = seen.at(column.path)
        wider = _wide_enough(column, values, migrated) if values else column
        if room.take(_width(wider) - _width(column), 0):
            columns.append(wider)
        else:
            columns.append(column)
            cramped.append(column.name)
    return columns, cramped


def _wide_enough(column: Column, values: ValueProfile, migrated: frozenset[str]) -> Column:
    kind = widened(column.kind, _met(column, values, migrated))
    if kind == column.kind:
        return column
    return column.model_copy(update={"kind": kind, "reference": None, "shape": _shape(column.kind, values) if kind == "json" else None})


def _met(column: Column, values: ValueProfile, migrated: frozenset[str]) -> ColumnKind:
    """What a column for the values alone would hold; what this one holds, where they say nothing about it."""
    kinds = frozenset(values.kinds()) - {"null"}
    if not kinds:
        return column.kind
    if kinds == {"array"} and column.kind in ELEMENT_OF and not (values.every and values.every.kinds()):
        return column.kind
    kind, target = holding(values, migrated)
    if column.reference and kinds == {"reference"}:
        # The collection may have no table any more, or not in this run.
        return "link" if {*(values.targets or ())} == {column.reference.collection} else "reference"
    return "reference" if target else kind


ONE_VALUE: Final[dict[ColumnKind, str]] = {
    "string": "string_value",
    "integer": "integer_value",
    "double": "double_value",
    "boolean": "boolean_value",
    "timestamp": "timestamp_value",
    "bytes": "bytes_value",
    "reference": "reference_value",
    "link": "reference_value",
    "vector": "vector",
}
ELEMENT_OF: Final[dict[ColumnKind, ColumnKind]] = {
    "strings": "string",
    "integers": "integer",
    "doubles": "double",
    "booleans": "boolean",
    "timestamps": "timestamp",
}
OFTEN: Final = 2**62
"""More than any profile counts: what the rows hold already decides, as there is no profile of them any more."""


def _shape(kind: ColumnKind, values: ValueProfile) -> Shape | None:
    """The shape by which rows of a column that held this need no residue in JSON, and most of the new values neither."""
    both = _held(kind)
    both.add(values)
    return shape_of(both)


def _held(kind: ColumnKind) -> ValueProfile:
    """A profile of a column that holds this."""
    values = ValueProfile()
    if kind in ELEMENT_OF:
        values.counts["array_value"] = OFTEN
        values.every = _held(ELEMENT_OF[kind])
        return values
    values.counts[ONE_VALUE[kind]] = OFTEN
    if kind == "double":
        values.counts["nonfinite"] = 1  # there may be such; they are rare beside any strings
    return values


# ── new columns ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _new_columns(
    before: TablePlan,
    fields: Sequence[str],
    seen: CollectionProfile,
    migrated: frozenset[str],
    options: PlanOptions,
    others: Collection[str],
) -> list[Column]:
    standing = {*others, *(name for name, _ in before.target_columns())}
    given = {name: column for name in fields if (column := options.mapping.column(before.collection, (name,)))}
    for name, column in given.items():
        if column in standing:
            raise NameTaken(collection=before.collection, field=name, mapped_to=column)
    names = Names(options.naming, taken={*standing, *given.values()}, reserved=before.keys)
    given |= {name: names.give(name) for name in fields if name not in given}
    # Rows that stand say nothing of the field, and their documents had none.
    missing = {"null_means": "missing"}
    return [column_of(name, given[name], seen, migrated, names, options.naming, None).model_copy(update=missing) for name in fields]


def _warnings(plan: TablePlan, cramped: Sequence[str], without: int, overflowed: bool) -> Iterator[str]:
    if cramped:
        yield (
            f"{plan.table}: no row has room for {counted(len(cramped), 'column')} as wide as new values need ({', '.join(cramped[:5])}"
            f"{', …' if len(cramped) > 5 else ''}); those values are in firestore_residue until a full run plans anew"
        )
    if plan.extra is None and (without or overflowed):
        yield (
            f"{plan.table}: {'more than ' if overflowed else ''}{without} new fields have no room for a column; they are in "
            "firestore_residue until a full run makes firestore_extra for them"
        )
