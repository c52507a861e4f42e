"""Makes the plan: the tables, columns and types for all documents, from their profiles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from firelift.firestore.values import KEY_OF
from firelift.paths import Selection, parent_of
from firelift.planning.mapping import Mapping as NameMapping
from firelift.planning.model import TYPE_OF, Column, ColumnKind, Plan, ReferenceTarget, Shape, TablePlan
from firelift.planning.naming import CONVERSIONS, Names, Naming, key_names, shortened
from firelift.planning.profile import CollectionProfile, Profile, ValueProfile

MOST_COLUMNS = 400

# PostgreSQL's INDEX_MAX_KEYS: a primary key cannot have more columns.
MOST_KEYS = 32

# A heap tuple must fit into a page: 8160 bytes with 8 KiB pages. Longer values move out of line and leave a pointer of
# 18 bytes, but values up to about 24 bytes never move, so a column of varying length may take this much of the row.
ROW_BYTES, FIXED_BYTES, VARYING_BYTES = 7800, 8, 28
FIXED = {"bigint", "double precision", "boolean", "timestamptz"}

SCALARS: dict[frozenset[str], ColumnKind] = {
    frozenset({"string"}): "string",
    frozenset({"integer"}): "integer",
    frozenset({"double"}): "double",
    frozenset({"integer", "double"}): "double",
    frozenset({"boolean"}): "boolean",
    frozenset({"timestamp"}): "timestamp",
    frozenset({"bytes"}): "bytes",
    frozenset({"reference"}): "reference",
    frozenset({"vector"}): "vector",
    frozenset({"int32"}): "int32",
    frozenset({"int32", "integer"}): "integer",
    frozenset({"int32", "double"}): "double",
    frozenset({"int32", "integer", "double"}): "double",
    frozenset({"decimal128"}): "decimal128",
    frozenset({"object_id"}): "object_id",
}
ELEMENTS: dict[frozenset[str], ColumnKind] = {
    frozenset({"string"}): "strings",
    frozenset({"integer"}): "integers",
    frozenset({"double"}): "doubles",
    frozenset({"boolean"}): "booleans",
    frozenset({"timestamp"}): "timestamps",
}


@dataclass(frozen=True)
class PlanOptions:
    """The user's choices for the plan."""

    naming: Naming = "snake_case"
    mapping: NameMapping = field(default_factory=NameMapping)


@dataclass(frozen=True)
class TableConflict:
    """A table that is to be one collection's, while another collection is published in it."""

    table: str
    collection: str
    published_for: str


@dataclass(frozen=True)
class TableForecast:
    """The tables that a run will create or refill, as far as they are known before any document is read."""

    tables: Mapping[str, str] = field(default_factory=dict)
    """The tables of its root collections, by collection."""
    published: tuple[tuple[TablePlan, ...], ...] = ()
    """For each table that was published before, the plans that it may have now, the most likely first."""
    table_conflicts: tuple[TableConflict, ...] = ()
    """Tables that the mapping gives to another collection than the one published in it."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.tables.values())


ForecastTables = Callable[[Mapping[str, TablePlan]], TableForecast]
"""Forecasts the tables of a run from the plans of the tables published before, by collection."""


def forecast_tables(
    roots: Iterable[str],
    selection: Selection,
    options: PlanOptions,
    earlier: Mapping[str, TablePlan],
    last: Mapping[str, TablePlan] | None = None,
) -> TableForecast:
    """`earlier`: the plans of published tables; `last`: the plans of the last run that planned, which the target may have refused."""
    found = {*roots}
    again = [name for name in earlier if name.split("/")[0] in found and selection.takes(name)]
    names = _table_names(in_byte_order({*again, *filter(selection.takes, found)}), options, earlier)
    plans = {name: [plan for plan in (earlier[name], (last or {}).get(name)) if plan] for name in again}
    return TableForecast(
        tables={name: table for name, table in names.items() if "/" not in name},
        published=tuple(tuple(_forecast(plan, names[name], options) for plan in plans[name]) for name in again),
        table_conflicts=table_conflicts(_mapped(found, selection, options), earlier),
    )


def table_conflicts(tables: Mapping[str, str], earlier: Mapping[str, TablePlan]) -> tuple[TableConflict, ...]:
    """Those of the tables, given by collection, that are another collection's by its `earlier` plan, whether this run takes it or not."""
    owners = {plan.table: collection for collection, plan in earlier.items()}
    found = [(table, collection, owners.get(table, collection)) for collection, table in tables.items()]
    own = {collection for collection, plan in earlier.items() if tables.get(collection) == plan.table}
    return tuple(TableConflict(table, wanted, owner) for table, wanted, owner in found if wanted != owner and wanted not in own)


def _mapped(roots: set[str], selection: Selection, options: PlanOptions) -> dict[str, str]:
    """The tables that the mapping names, for collections that may have documents."""
    chosen = [name for name in options.mapping.collections if name.split("/")[0] in roots and selection.takes(name)]
    return {name: table for name in chosen if (table := options.mapping.table(name))}


def _forecast(plan: TablePlan, table: str, options: PlanOptions) -> TablePlan:
    """The plan under the table's present name, without the columns that a mapping renames."""
    stay = [column for column in plan.columns if options.mapping.column(plan.collection, column.path) in (None, column.name)]
    return plan.model_copy(update={"table": table, "columns": tuple(stay)})


def make_plan(
    database: str, profile: Profile, options: PlanOptions, earlier: Mapping[str, TablePlan] | None = None, existing: Collection[str] = ()
) -> Plan:
    """The plan for every collection of the profile that a table can hold. It uses the names of `earlier` plans again.

    `existing` are other collections whose tables stay in the target: references and parents may lead there.
    """
    earlier = earlier or {}
    collections = [collection for collection in in_byte_order(profile) if why_no_table(collection) is None]
    names = _table_names(collections, options, earlier)
    migrated = frozenset({*collections, *existing})
    tables = [
        _table(collection, names[collection], profile[collection], migrated, options, earlier.get(collection)) for collection in collections
    ]
    return Plan(database=database, tables=tuple(tables))


def why_no_table(collection: str) -> str | None:
    """The reason why no document of the collection can be a row; None for ordinary collections."""
    if "\0" in collection:
        return "an id in its path contains NUL"
    if len(collection.split("/*/")) > MOST_KEYS:
        return f"it is nested deeper than the {MOST_KEYS} columns of an index"
    return None


def in_byte_order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: name.encode())


def _table_names(collections: list[str], options: PlanOptions, earlier: Mapping[str, TablePlan]) -> dict[str, str]:
    mapped = {collection: table for collection in collections if (table := options.mapping.table(collection))}
    before = {collection: earlier[collection].table for collection in collections if collection in earlier}
    given = _without(mapped.values(), before) | mapped
    # The table of a collection that is no longer there, or not selected, is not given to another one.
    others = {plan.table for collection, plan in earlier.items() if collection not in given}
    names = Names(options.naming, taken={*given.values(), *others})
    return given | {collection: _table_name(collection, options.naming, names) for collection in collections if collection not in given}


def _without(taken: Collection[str], names: Mapping[str, str]) -> dict[str, str]:
    return {original: name for original, name in names.items() if name not in taken}


def _table_name(collection: str, naming: Naming, names: Names) -> str:
    segments = collection.split("/")[::2]
    joined = "_".join(CONVERSIONS[naming](segment) for segment in segments) or "_"
    return names.take_free(shortened(joined, collection))


def _table(
    collection: str, table: str, seen: CollectionProfile, migrated: frozenset[str], options: PlanOptions, earlier: TablePlan | None
) -> TablePlan:
    keys = list(earlier.keys) if earlier else key_names(collection, options.naming)
    fields = _fields_with_columns(seen, migrated, len(keys))
    spare = len(fields) < len(seen.fields) or seen.overflowed
    columns = _named(collection, fields, seen, migrated, options, keys, earlier)
    extra = shape_of_fields({name: values for name, values in seen.fields.items() if name not in set(fields)}) if spare else None
    parent = parent_of(collection)
    plan = TablePlan(
        collection=collection,
        table=table,
        keys=tuple(keys),
        columns=tuple(columns),
        extra=extra,
        parent=parent if parent in migrated else None,
    )
    return plan.model_copy(update={"former": _former(plan, earlier)}) if earlier and earlier.table == table else plan


def _former(plan: TablePlan, earlier: TablePlan) -> tuple[Column, ...]:
    """The columns that the same table has from earlier plans and that this one does not fill."""
    filled = {name for name, _ in plan.target_columns()}
    return tuple(column for column in earlier.earlier_columns() if column.name not in filled)


def _fields_with_columns(seen: CollectionProfile, migrated: frozenset[str], keys: int) -> list[str]:
    """The fields that get a column, in byte order: all, or the most frequent ones that fit into a row."""
    frequent = sorted(seen.fields, key=lambda name: (-sum(seen.fields[name].kinds().values()), name.encode()))
    room, columns, chosen = room_beside(keys), MOST_COLUMNS, []
    for name in frequent:
        kind, reference = kind_of_values(seen.fields[name], migrated)
        ancestors = reference.count("/*/") if reference else 0
        room -= width_of(kind, ancestors)
        columns -= 1 + ancestors
        if room < 0 or columns < 0:
            break
        chosen.append(name)
    return in_byte_order(chosen)


def room_beside(keys: int) -> int:
    """The bytes of a row that are left for the columns of fields."""
    return ROW_BYTES - (keys + 2) * VARYING_BYTES - 2 * FIXED_BYTES


def width_of(kind: ColumnKind, ancestors: int) -> int:
    """The bytes of a row that a field may take, with the ancestors' columns of a reference."""
    return (FIXED_BYTES if TYPE_OF[kind] in FIXED else VARYING_BYTES) + ancestors * VARYING_BYTES


def _named(
    collection: str,
    fields: list[str],
    seen: CollectionProfile,
    migrated: frozenset[str],
    options: PlanOptions,
    keys: list[str],
    earlier: TablePlan | None,
) -> list[Column]:
    mapped = {name: column for name in fields if (column := options.mapping.column(collection, (name,)))}
    columns = earlier.earlier_columns() if earlier else ()
    before = {column.path: column for column in columns}
    given = _without(mapped.values(), {path[0]: column.name for path, column in before.items() if seen.at(path)}) | mapped
    # Columns of fields that no longer occur stay, and so do the ancestors' columns of a reference.
    others = {name for column in columns for name, _ in column.target_columns()}
    names = Names(options.naming, taken={*given.values(), *keys, *others}, reserved=keys)
    for name in fields:
        if name not in given:
            given[name] = names.give(name)
    return [column_of(name, given[name], seen, migrated, names, options.naming, before.get((name,))) for name in fields]


def column_of(
    name: str, column: str, seen: CollectionProfile, migrated: frozenset[str], names: Names, naming: Naming, before: Column | None
) -> Column:
    """The column for a field, under the name chosen for it. `before`: its column in an earlier plan."""
    values = seen.fields[name]
    kind, target = kind_of_values(values, migrated)
    nulls = values.counts["null_value"]
    missing = seen.documents - sum(values.kinds().values())
    return Column(
        name=column,
        path=(name,),
        kind=kind,
        null_means="null" if nulls > missing else "missing",
        shape=shape_of(values) if kind == "json" else None,
        reference=ReferenceTarget(
            collection=target, ancestors=_ancestors_again(before, column, target) or _ancestors(column, target, names, naming)
        )
        if target
        else None,
    )


def _ancestors_again(before: Column | None, column: str, target: str) -> tuple[str, ...]:
    """The ancestors' columns that this reference had before, if it still has the same name and collection."""
    same = before is not None and before.reference is not None and (before.name, before.reference.collection) == (column, target)
    return ancestors_of(before) if before and same else ()


def ancestors_of(column: Column) -> tuple[str, ...]:
    """The columns with the ids of a referenced document's ancestors."""
    return column.reference.ancestors if column.reference else ()


def _ancestors(column: str, target: str, names: Names, naming: Naming) -> tuple[str, ...]:
    wanted = [f"{column}_{key}" for key in key_names(target, naming)[:-1]]
    return tuple(names.take_free(shortened(name, name)) for name in wanted)


def kind_of_values(values: ValueProfile, migrated: frozenset[str]) -> tuple[ColumnKind, str | None]:
    """The kind of column for these values of a field, and the one collection that its references lead to, if any."""
    kinds = frozenset(values.kinds()) - {"null"}
    if kinds == {"reference"}:
        target = next(iter(values.targets or {""}))
        return ("link", target) if len(values.targets or {}) == 1 and target in migrated else ("reference", None)
    if kinds == {"array"}:
        return ELEMENTS.get(frozenset(values.every.kinds() if values.every else ()), "json"), None
    return SCALARS.get(kinds, "json"), None


# ── shapes: how the JSON of a jsonb column is read back ──────────────────────────────────────────────────────────────

PLAIN = Shape()


def shape_of(values: ValueProfile) -> Shape | None:
    """The shape with which most of these values need no residue; None where plain JSON expresses everything."""
    shape = _shape(values)
    return None if shape == PLAIN else shape


def shape_of_fields(fields: Mapping[str, ValueProfile]) -> Shape:
    """The shape of an object with these fields."""
    return Shape(keys=_shaped(fields))


def _shape(values: ValueProfile) -> Shape:
    kinds = values.kinds() | {"nonfinite": values.counts["nonfinite"]}
    # In JSON a value with a reserved key is the map that it is.
    kinds["map"] = kinds.get("map", 0) + sum(kinds.get(kind, 0) for kind in KEY_OF)
    keys, every = _within(values)
    return Shape(
        string=_most(
            kinds, {"string": "string", "timestamp": "timestamp", "bytes": "bytes", "reference": "reference", "double": "nonfinite"}
        ),
        object=_most(kinds, {"map": "map", "geopoint": "geopoint"}),
        array=_most(kinds, {"array": "array", "vector": "vector"}),
        keys=_shaped(keys),
        every=shape_of(every) if every is not None else None,
    )


def _most(kinds: Mapping[str, int], named: Mapping[str, str]) -> Any:
    """The name whose kind has the most values; the first one on a tie."""
    return max(named, key=lambda name: kinds.get(named[name], 0))


def _within(values: ValueProfile) -> tuple[Mapping[str, ValueProfile], ValueProfile | None]:
    """Profiles of the map keys, and of everything else inside these values."""
    keys, every = values.keys or {}, values.every
    if not keys or every is None:
        return keys, every
    # With keys, `every` is the profile of the keys that were too many to follow: then all share one shape.
    whole = ValueProfile()
    for inner in (*keys.values(), every):
        whole.add(inner)
    return {}, whole


def _shaped(fields: Mapping[str, ValueProfile]) -> dict[str, Shape]:
    return {key: shape for key in in_byte_order(fields) if (shape := shape_of(fields[key])) is not None}
