"""Values inside jsonb and array columns, at every place where the plan gives their type."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import islice
from typing import Final

from firelift.planning.model import EXTRA, Column, Plan, Shape, TablePlan
from firelift.postgres.inspect.nested import Every, Spot, Step, Unreadable, unreadable
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Session
from firelift.verification.check import Check, Evidence, Found, Inputs, Row, always
from firelift.verification.differing_fields import path_of
from firelift.verification.proof import NestedProved

MOST_PLACES: Final = 200
"""Places of a table that are checked, outermost first."""

Named = dict[Spot, str]
"""Spots, with their paths as people write them."""


def prove_nested(session: Session, schema: str, plan: Plan) -> tuple[NestedProved, ...]:
    """Counts, at each typed place, the values that cannot be read as their planned type, in rows without residue."""
    with session.open_to_read() as connection:
        return tuple(
            _proved(table, spots[found.spot], found)
            for table in plan.tables
            if (spots := typed_places(table))
            for found in unreadable(connection, TargetTable(schema, table), list(spots))
        )


def typed_places(table: TablePlan) -> Named:
    """Up to MOST_PLACES places of a table whose planned type JSON does not have, and arrays."""
    places = [place for column in table.columns for place in _in_column(column)]
    if table.extra is not None:
        places += _beneath(EXTRA, (), "", table.extra)
    return dict(islice(sorted(places, key=lambda place: len(place[0].steps)), MOST_PLACES))


def _in_column(column: Column) -> Iterator[tuple[Spot, str]]:
    path = reduce(path_of, column.path, "")
    if column.type.endswith("[]"):
        yield Spot(column.name, (), "moment" if column.type == "timestamptz[]" else "element"), f"{path}[*]"
    elif column.shape is not None:
        yield from _in_shape(column.name, (), path, column.shape)


def _in_shape(column: str, steps: tuple[Step, ...], path: str, shape: Shape) -> Iterator[tuple[Spot, str]]:
    if shape.string != "string":
        yield Spot(column, steps, shape.string), path
    if shape.object == "geopoint":
        yield Spot(column, steps, "geopoint"), path
    if shape.array == "vector":
        yield Spot(column, steps, "vector"), path
    yield from _beneath(column, steps, path, shape)


def _beneath(column: str, steps: tuple[Step, ...], path: str, shape: Shape) -> Iterator[tuple[Spot, str]]:
    # JSON in PostgreSQL has no NUL: a map with such a key is in the residue.
    keys = {key: child for key, child in shape.keys.items() if "\0" not in key}
    for key, child in keys.items():
        yield from _in_shape(column, (*steps, key), path_of(path, key), child)
    if shape.every is not None:
        yield from _in_shape(column, (*steps, Every(tuple(keys))), f"{path}[*]", shape.every)


def _proved(table: TablePlan, place: str, found: Unreadable) -> NestedProved:
    return NestedProved(
        table=table.table,
        column=found.spot.column,
        place=place,
        reads_as=_read_as(table, found.spot),
        unreadable=found.values,
        query=found.query,
    )


def _read_as(table: TablePlan, spot: Spot) -> str:
    """For an array column the type of its elements."""
    if spot.reads_as in ("element", "moment"):
        return dict(table.target_columns())[spot.column].removesuffix("[]")
    return spot.reads_as


def find(inputs: Inputs) -> Found:
    tables = inputs.tables
    return Found(prove_nested(tables.session, tables.schema, tables.plan))


def frame(evidence: Evidence) -> Iterator[Row]:
    return (nested.model_dump(exclude={"query"}) | {"recompute": nested.query} for nested in evidence.proof.nested)


CHECK = Check(
    "nested",
    "All tables: values inside JSON",
    "comprehensive",
    frame,
    find=find,
    expectations=(always("unreadable", 0, "Every value inside JSON reads as the type that the plan gives it."),),
)
