"""Changes the plan of a published table for new kinds of values: columns are added and widened, never renamed or dropped."""

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
    in_byte_order,
    kind_of_values,
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
    ("int32", "integer"): "integer",
    ("integer", "int32"): "integer",
    ("int32", "double"): "double",
    ("double", "int32"): "double",
}
"""By the kind of a column and that of new values, the wider kind; docs/types.md shows it. All other pairs become "json"."""


def widened(before: ColumnKind, new: ColumnKind) -> ColumnKind:
    """The narrowest kind of column for values of both kinds."""
    return before if before == new else WIDENED.get((before, new), "json")


class SchemaChanged(FireliftError):
    """Documents have new fields or types of values, and tables would have to change for them."""

    remedy = "Give --schema-changes evolve to change the tables like this, or freeze to keep such values in firestore_residue."


class RenamedByMapping(ConfigurationError):
    """The mapping gives another name to a published table or column, and an incremental run renames nothing."""

    remedy = "Give the published name in the mapping, or make a full run with the new one."


class ColumnNameTaken(ConfigurationError):
    """The mapping gives a new field the name of a column that the table already has for something else."""

    remedy = "Give another name in the mapping."


@dataclass(frozen=True)
class Evolved:
    """The plan of a table after the run."""

    plan: TablePlan
    """Without `marks_deleted`, because it is a run's own plan."""
    steps: tuple[SchemaStep, ...] = ()
    """The changes to the table."""
    rewrites: bool = False
    """A column has another kind than before, so every row must be written again."""
    frozen: tuple[SchemaStep, ...] = ()
    """The changes that `freeze` prevents; the values concerned are in the residue."""
    warnings: tuple[str, ...] = ()


def evolve(
    before: TablePlan,
    seen: CollectionProfile,
    migrated: frozenset[str],
    options: PlanOptions,
    policy: SchemaChanges,
    others: Collection[str] = (),
) -> Evolved:
    """The plan for rows written by `before` together with documents as `seen`. `migrated`: all collections that will have a table;
    `others`: names of the columns that the table has in the target, which no new column gets.

    With either plan a row expresses its document exactly: what a column cannot express is in the residue. Raises SchemaChanged with the
    policy "fail", RenamedByMapping and ColumnNameTaken.
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
    """`evolve` for all of these collections, with one SchemaChanged for all. `others`: by table."""
    how: SchemaChanges = "freeze" if policy == "freeze" else "evolve"
    evolved = {
        collection: evolve(plan, profile.get(collection, CollectionProfile()), migrated, options, how, others.get(plan.table, ()))
        for collection, plan in before.items()
    }
    if policy == "fail":
        refuse([step for table in evolved.values() for step in table.steps])
    return evolved


def refuse(steps: Sequence[SchemaStep]) -> None:
    """Raises SchemaChanged with all steps, if there are any."""
    if steps:
        raise SchemaChanged(changes="; ".join(map(str, steps)))


def _evolved(
    before: TablePlan, seen: CollectionProfile, migrated: frozenset[str], options: PlanOptions, others: Collection[str]
) -> Evolved:
    _refuse_renames(before, options)
    room = _Room(before, others)
    columns, too_wide = _existing_columns(before, seen, migrated, room)
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
        warnings=tuple(_warnings(before, too_wide, len(new) - len(added), seen.overflowed)),
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
        raise RenamedByMapping(collection=plan.collection, published_as=plan.table, mapped_to=table)
    for column in plan.columns:
        name = options.mapping.column(plan.collection, column.path)
        if name not in (None, column.name):
            raise RenamedByMapping(collection=plan.collection, field=column.dotted_path, published_as=column.name, mapped_to=name)


class _Room:
    """The room that the existing columns leave in a row, and in the number of columns."""

    def __init__(self, plan: TablePlan, others: Collection[str]) -> None:
        users = len({*others} - {name for name, _ in plan.target_columns()})
        self._bytes = room_beside(len(plan.keys)) - users * VARYING_BYTES - sum(map(_width, plan.columns))
        self._columns = MOST_COLUMNS - sum(1 + len(ancestors_of(column)) for column in plan.columns)

    def take(self, width: int, columns: int) -> bool:
        """Takes this much of the room; False, without taking it, where there is not enough."""
        if width > max(0, self._bytes) or columns > max(0, self._columns):
            return False
        self._bytes -= width
        self._columns -= columns
        return True

    def chosen(self, fields: Sequence[str], seen: CollectionProfile, migrated: frozenset[str]) -> list[str]:
        """The most frequent of these fields, as many as have room for a column, in byte order."""
        frequent = sorted(fields, key=lambda name: (-sum(seen.fields[name].kinds().values()), name.encode()))
        fitting = takewhile(lambda name: self.take(*_need(seen.fields[name], migrated)), frequent)
        return in_byte_order(fitting)


def _need(values: ValueProfile, migrated: frozenset[str]) -> tuple[int, int]:
    kind, target = kind_of_values(values, migrated)
    ancestors = target.count("/*/") if target else 0
    return width_of(kind, ancestors), 1 + ancestors


def _width(column: Column) -> int:
    return width_of(column.kind, len(ancestors_of(column)))


# ── existing columns ────────────────────────────────────────────────────────────────────────────────────────────────


def _existing_columns(before: TablePlan, seen: CollectionProfile, migrated: frozenset[str], room: _Room) -> tuple[list[Column], list[str]]:
    """The existing columns, widened for the values seen, and the names of those that have no room to be widened."""
    columns, too_wide = [], []
    for column in before.columns:
        values = seen.at(column.path)
        wider = _wide_enough(column, values, migrated) if values else column
        if room.take(_width(wider) - _width(column), 0):
            columns.append(wider)
        else:
            columns.append(column)
            too_wide.append(column.name)
    return columns, too_wide


def _wide_enough(column: Column, values: ValueProfile, migrated: frozenset[str]) -> Column:
    kind = widened(column.kind, _kind_for(column, values, migrated))
    if kind == column.kind:
        return column
    return column.model_copy(update={"kind": kind, "reference": None, "shape": _shape(column.kind, values) if kind == "json" else None})


def _kind_for(column: Column, values: ValueProfile, migrated: frozenset[str]) -> ColumnKind:
    """The kind of a column for these values alone; this column's own kind where the values do not matter for it."""
    kinds = frozenset(values.kinds()) - {"null"}
    if not kinds:
        return column.kind
    if kinds == {"array"} and column.kind in ELEMENT_OF and not (values.every and values.every.kinds()):
        return column.kind
    kind, target = kind_of_values(values, migrated)
    if column.reference and kinds == {"reference"}:
        # The collection may no longer have a table, or not in this run.
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
    "int32": "int32",
    "decimal128": "decimal128",
    "object_id": "object_id",
}
ELEMENT_OF: Final[dict[ColumnKind, ColumnKind]] = {
    "strings": "string",
    "integers": "integer",
    "doubles": "double",
    "booleans": "boolean",
    "timestamps": "timestamp",
}
OFTEN: Final = 2**62
"""More than any profile counts. The existing rows decide, whose profile is no longer there."""


def _shape(kind: ColumnKind, values: ValueProfile) -> Shape | None:
    """The shape with which existing rows of this kind need no residue as JSON, and most new values need none either."""
    both = _profile_of(kind)
    both.add(values)
    return shape_of(both)


def _profile_of(kind: ColumnKind) -> ValueProfile:
    """A profile as if a column of this kind had very many values."""
    values = ValueProfile()
    if kind in ELEMENT_OF:
        values.counts["array_value"] = OFTEN
        values.every = _profile_of(ELEMENT_OF[kind])
        return values
    values.counts[ONE_VALUE[kind]] = OFTEN
    if kind == "double":
        values.counts["nonfinite"] = 1  # there may be some, but fewer than any strings
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
    existing = {*others, *(name for name, _ in before.target_columns())}
    given = {name: column for name in fields if (column := options.mapping.column(before.collection, (name,)))}
    for name, column in given.items():
        if column in existing:
            raise ColumnNameTaken(collection=before.collection, field=name, mapped_to=column)
    names = Names(options.naming, taken={*existing, *given.values()}, reserved=before.keys)
    given |= {name: names.give(name) for name in fields if name not in given}
    # The documents of existing rows did not have the field.
    missing = {"null_means": "missing"}
    return [column_of(name, given[name], seen, migrated, names, options.naming, None).model_copy(update=missing) for name in fields]


def _warnings(plan: TablePlan, too_wide: Sequence[str], without: int, overflowed: bool) -> Iterator[str]:
    if too_wide:
        yield (
            f"{plan.table}: no row has room to widen {counted(len(too_wide), 'column')} for new values ({', '.join(too_wide[:5])}"
            f"{', …' if len(too_wide) > 5 else ''}); those values are in firestore_residue until a full run makes a new plan"
        )
    if plan.extra is None and (without or overflowed):
        yield (
            f"{plan.table}: {'more than ' if overflowed else ''}{without} new fields have no room for a column; they are in "
            "firestore_residue until a full run makes firestore_extra for them"
        )
