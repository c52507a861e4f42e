"""What publishing depends on: the run's own tables, and what the target has of them now. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from firelift.errors import FireliftError
from firelift.planning.increment import Increment
from firelift.planning.model import DELETED_AT, TablePlan
from firelift.planning.references import relations_of
from firelift.postgres.inspect.key_filter import KeyFilter
from firelift.postgres.load.constraints import ForeignKeys
from firelift.postgres.publish.merge import Merge, merge_of, merge_planned, refuse_other_plans
from firelift.postgres.schema.compatibility import ExistingTable, existing_tables, incompatibilities, retyped_columns, taken_columns
from firelift.postgres.schema.control_schema import saved_plans
from firelift.postgres.schema.foreign_keys import ForeignKey, foreign_keys_of, is_ours
from firelift.postgres.schema.indexes import overfull
from firelift.postgres.schema.names import scratch_schema, staging_schema
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.queries import QUERY
from firelift.receipts import Index


class TableChangedMeanwhile(FireliftError):
    """While the migration ran, a table of the target became one that cannot take its rows."""

    recovery = "after_fix"
    remedy = "Fix what is named, then run again with --resume."


class Refresh(NamedTuple):
    """A table of the plan that is in the target already."""

    plan: TablePlan
    existing: ExistingTable
    merge: Merge | None = None
    """How the staged rows are merged into the table's own; None where they replace all of them."""

    @property
    def name(self) -> str:
        return self.plan.table

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.plan.target_columns())

    @property
    def others(self) -> tuple[str, ...]:
        """Columns of the target that are not the plan's."""
        return tuple(name for name in self.existing.columns if name not in self.columns)

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(name for name in self.columns if name not in self.existing.columns)

    @property
    def retyped(self) -> tuple[str, ...]:
        """Columns that get another type, in which every row is rewritten."""
        return self.merge.retyped(self.plan) if self.merge else retyped_columns(self.existing, self.plan)

    @property
    def added(self) -> tuple[str, ...]:
        """Every column that the table gets."""
        return (*self.missing, DELETED_AT) if self.merge and self.merge.adds_soft_delete_column else self.missing

    def staged(self, staging: str) -> KeyFilter:
        """The keys of the rows that are written, and of those that go."""
        deleted = (self.merge.deleted.table,) if self.merge and self.merge.deleted.table else ()
        return KeyFilter(staging, (self.plan.table, *deleted), self.plan.keys)


class Wanted(NamedTuple):
    """A foreign key of ours that the target should have."""

    source: str
    columns: tuple[str, ...]
    references: str
    referenced: tuple[str, ...]

    @property
    def relation(self) -> tuple[str, tuple[str, ...], str]:
        return self.source, self.columns, self.references


@dataclass(frozen=True)
class Publication:
    """What a run publishes: tables by their plans, into a schema, as of a read time."""

    migration_id: str
    target_schema: str
    tables: tuple[TablePlan, ...]
    read_time: datetime
    increment: Increment | None = None
    foreign_keys: ForeignKeys = "report"
    expected_rows: Mapping[str, int] = field(default_factory=dict)
    """The live rows that tables must have at the end, by table."""

    @property
    def staging(self) -> str:
        return staging_schema(self.migration_id)

    @property
    def is_scratch(self) -> bool:
        """The tables are a test run's, for nobody but whoever started it."""
        return self.target_schema == scratch_schema(self.migration_id)


@dataclass(frozen=True)
class Found:
    """What the target has of the tables of a publication."""

    refreshes: tuple[Refresh, ...]
    """Tables of the run that exist; all other tables of the run are new."""
    keys: tuple[ForeignKey, ...]
    """Every foreign key from or to these tables."""
    overfull: Mapping[str, tuple[Index, ...]]
    """By table the indexes of ours that cannot hold the staged rows."""
    published: tuple[TablePlan, ...] = ()
    """The plans of all published tables of the schema."""
    unchanged: tuple[tuple[TablePlan, ExistingTable], ...] = ()
    """Tables of an increment in which no row changes, as they were published."""
    wanted: tuple[Wanted, ...] = ()
    """Foreign keys of ours that the published tables should have."""
    uncertain: frozenset[Wanted] = frozenset()
    """Those of them that are left out where a row is orphaned, which is not known yet."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """By table about how many rows there are now, by the server's statistics; tables that were never analyzed are left out."""
    new_rows: Mapping[str, int] = field(default_factory=dict)
    """By table how many rows a new one has, where that is known."""

    @property
    def names(self) -> list[str]:
        return [refreshed.name for refreshed in self.refreshes]

    def new(self, tables: Sequence[TablePlan]) -> tuple[TablePlan, ...]:
        return new_tables(tables, self.refreshes)

    def saved(self, collection: str, table: str) -> TablePlan | None:
        """The plan by which a collection was published in the table of this name."""
        return next((plan for plan in self.published if (plan.collection, plan.table) == (collection, table)), None)


def merges_of(connection: Connection, publication: Publication) -> dict[str, Merge]:
    """How the staged rows get into the tables that were published before. Raises DeletedKeysMissing."""
    increment = publication.increment
    listed = [planned for table in publication.tables if increment and (planned := increment.of(table.table))]
    found = {
        planned.table: merge_of(connection, publication.migration_id, planned, increment, publication.read_time)
        for planned in listed
        if increment
    }
    return {table: merge for table, merge in found.items() if merge}


def fitting(
    connection: Connection, publication: Publication, tables: Sequence[TablePlan], merges: Mapping[str, Merge]
) -> tuple[Refresh, ...]:
    """Those of the tables that are in the target. Raises TableChangedMeanwhile where one cannot take its rows."""
    schema = publication.target_schema
    found = incompatibilities(connection, schema, tables, {name: merge.before for name, merge in merges.items()})
    existing = existing_tables(connection, schema, [table.table for table in tables])
    for name, merge in merges.items():
        if merge.adds_soft_delete_column and name in existing:
            found += taken_columns(schema, existing[name], merge.before, [DELETED_AT])
    if found:
        raise TableChangedMeanwhile(**{f"problem_{number}": str(problem) for number, problem in enumerate(found, 1)})
    return _refreshes(tables, existing, merges)


def _refreshes(tables: Sequence[TablePlan], existing: Mapping[str, ExistingTable], merges: Mapping[str, Merge]) -> tuple[Refresh, ...]:
    return tuple(Refresh(table, existing[table.table], merges.get(table.table)) for table in tables if table.table in existing)


def new_tables(tables: Sequence[TablePlan], refreshes: Sequence[Refresh]) -> tuple[TablePlan, ...]:
    """Those that the target does not have."""
    there = {refreshed.name for refreshed in refreshes}
    return tuple(table for table in tables if table.table not in there)


def found_before_lock(connection: Connection, publication: Publication, refreshes: Sequence[Refresh]) -> Found:
    """What decides how strongly the tables are locked. Raises TooLongForIndex."""
    keys = _keys(connection, publication.target_schema, refreshes)
    return Found(tuple(refreshes), keys, _overfull(connection, publication, refreshes, keys))


def found_under_lock(connection: Connection, publication: Publication, refreshes: Sequence[Refresh], new_rows: Mapping[str, int]) -> Found:
    """What decides all that publishing does then. Raises PlanChanged, TooLongForIndex."""
    schema, keys = publication.target_schema, _keys(connection, publication.target_schema, refreshes)
    unchanged = _unchanged(connection, publication)
    staged = foreign_keys_of(connection, publication.staging, [table.table for table in publication.tables])
    return Found(
        tuple(refreshes),
        keys,
        _overfull(connection, publication, refreshes, keys),
        published=tuple(saved_plans(connection, schema).values()) if refreshes or publication.increment else (),
        unchanged=unchanged,
        wanted=tuple(Wanted(key.source, key.columns, key.references, key.referenced) for key in staged),
        rows=_about(connection, schema, refreshes),
        new_rows=new_rows,
    )


def foreseen(connection: Connection, publication: Publication, new_rows: Mapping[str, int]) -> Found:
    """The same before anything is staged. What only rows show is left out: indexes that a value is too long for, orphaned rows."""
    schema, increment = publication.target_schema, publication.increment
    merges = {
        planned.table: merge
        for planned in (increment.tables if increment else ())
        if increment and (merge := merge_planned(publication.migration_id, planned, increment, publication.read_time))
    }
    before = increment.before() if increment else {}
    existing = existing_tables(connection, schema, list({table.table for table in publication.tables} | {*before}))
    changed = {table.table for table in publication.tables}
    refreshes = _refreshes(publication.tables, existing, merges)
    relations = tuple(relations_of(publication.tables)) if increment is None and publication.foreign_keys != "off" else ()
    refused = [relation for relation in relations if relation.kind == "link" and publication.foreign_keys == "strict"]
    return Found(
        refreshes,
        _keys(connection, schema, refreshes),
        {},
        published=tuple(saved_plans(connection, schema).values()),
        unchanged=tuple((plan, existing[name]) for name, plan in before.items() if name in existing and name not in changed),
        wanted=tuple(Wanted(*relation.ends) for relation in relations),
        uncertain=frozenset(Wanted(*relation.ends) for relation in relations if relation not in refused),
        rows=_about(connection, schema, refreshes),
        new_rows=new_rows,
    )


def _keys(connection: Connection, schema: str, refreshes: Sequence[Refresh]) -> tuple[ForeignKey, ...]:
    return tuple(foreign_keys_of(connection, schema, [refreshed.name for refreshed in refreshes])) if refreshes else ()


def _overfull(
    connection: Connection, publication: Publication, refreshes: Sequence[Refresh], keys: Sequence[ForeignKey]
) -> dict[str, tuple[Index, ...]]:
    where = (publication.staging, publication.target_schema)
    return {table.name: overfull(connection, *where, table.name, table.columns, keys) for table in refreshes}


def _unchanged(connection: Connection, publication: Publication) -> tuple[tuple[TablePlan, ExistingTable], ...]:
    """The tables in which nothing changes."""
    if publication.increment is None:
        return ()
    before = publication.increment.before()
    existing = existing_tables(connection, publication.target_schema, list(before))
    refuse_other_plans(connection, publication.target_schema, publication.increment, existing)
    changed = {table.table for table in publication.tables}
    return tuple((plan, existing[name]) for name, plan in before.items() if name not in changed)


def _about(connection: Connection, schema: str, refreshes: Sequence[Refresh]) -> dict[str, int]:
    given = {"schema": schema, "tables": [refreshed.name for refreshed in refreshes]}
    return dict(connection.execute(QUERY["estimated_rows"], given).fetchall()) if refreshes else {}


def hindering(found: Found, schema: str, refreshed: Refresh) -> tuple[ForeignKey, ...]:
    """Foreign keys of ours whose column will no longer hold what they need."""
    own = [key for key in found.keys if is_ours(key) and (key.source_schema, key.source) == (schema, refreshed.name)]
    return tuple(key for key in own if {*key.columns} & {*refreshed.retyped})
