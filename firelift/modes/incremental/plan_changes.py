"""Plans what an incremental run changes in the target: the evolved and the new tables, and the rows that they will have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from firelift.files import write_sealed
from firelift.modes.incremental.baseline import Baseline
from firelift.planning.build import PlanOptions, make_plan, why_no_table
from firelift.planning.evolve import Evolved, evolve_all, refuse
from firelift.planning.increment import INCREMENT, Deletes, Increment, SchemaChanges, SchemaStep, TableIncrement
from firelift.planning.model import Plan, TablePlan
from firelift.planning.profile import Profile
from firelift.postgres.schema.control_schema import SavedTable
from firelift.receipts import Rewritten, TableChanges, TableCounts


class Planned(NamedTuple):
    """What the run will do, and the plan of every table it does it to."""

    plan: Plan
    increment: Increment
    frozen: tuple[SchemaStep, ...]
    """What `freeze` has left in the residue instead."""
    warnings: tuple[str, ...]


def plan_increment(
    database: str,
    found: Baseline,
    profile: Profile,
    changes: Sequence[TableChanges],
    options: PlanOptions,
    policy: SchemaChanges,
    deletes: Deletes,
    rewrite: Callable[[TablePlan], Rewritten],
) -> Planned:
    """The plans of the tables in which something changes: the evolved ones of existing tables, and those of new collections.

    `profile` is that of the new and changed documents. `rewrite` is called, with the current plan, for a table whose other rows
    must all be rewritten too, and returns how many those are. Raises SchemaChanged.
    """
    migrated = frozenset(found.tables) | {collection for collection in profile if why_no_table(collection) is None}
    new = {collection: seen for collection, seen in profile.items() if collection not in found.tables}
    earlier = {collection: saved.plan for collection, saved in found.tables.items()}
    made = make_plan(database, new, options, earlier, migrated).tables
    by_collection = {change.collection: change for change in changes if change.collection in found.tables}
    before = {collection: found.tables[collection].plan for collection in by_collection}
    evolved = evolve_all(before, profile, migrated, options, "freeze" if policy == "freeze" else "evolve", found.columns)
    if policy == "fail":
        refuse([*(step for table in evolved.values() for step in table.steps), *map(_new_table, made)])
    tables = [
        _difference(found.tables[collection], by_collection[collection], table, deletes, rewrite if table.rewrites else None)
        for collection, table in evolved.items()
    ]
    touched = [evolved[table.collection].plan for table in tables if table.touched]
    whole = [_whole(table, new[table.collection].documents) for table in made]
    return Planned(
        plan=Plan(database=database, tables=tuple(sorted([*touched, *made], key=lambda table: table.collection.encode()))),
        increment=Increment(deletes=deletes, tables=(*tables, *whole)),
        frozen=tuple(step for table in evolved.values() for step in table.frozen),
        warnings=tuple(warning for table in evolved.values() for warning in table.warnings),
    )


def _difference(
    saved: SavedTable, change: TableChanges, evolved: Evolved, deletes: Deletes, rewrite: Callable[[TablePlan], Rewritten] | None
) -> TableIncrement:
    rewritten = rewrite(saved.plan) if rewrite else None
    return TableIncrement(
        collection=change.collection,
        table=saved.plan.table,
        before=saved.plan,
        base=saved.migration_id,
        steps=evolved.steps,
        keys=change.documents,
        scanned=change.scanned,
        new=change.new,
        changed=change.changed,
        deleted=change.deleted,
        keeps_deleted=deletes == "ignore",
        rewritten=rewritten.documents if rewritten else 0,
        deleted_chunks=rewritten.deleted_chunks if rewritten and rewritten.deleted_documents else None,
    )


def _whole(table: TablePlan, documents: int) -> TableIncrement:
    return TableIncrement(collection=table.collection, table=table.table, steps=(_new_table(table),), keys=documents, new=documents)


def _new_table(table: TablePlan) -> SchemaStep:
    return SchemaStep(collection=table.collection, table=table.table, kind="new table")


def write_increment(run: Path, increment: Increment) -> None:
    write_sealed(run / INCREMENT, increment.model_dump_json(indent=1))


def expected_rows(increment: Increment, counts: Mapping[str, TableCounts]) -> dict[str, int]:
    """By table how many rows will have a document once the increment is merged, for tables whose keys were all compared.

    A document that cannot be stored is among the new ones of every run.
    """
    return {
        table.table: table.keys - _rejected(counts, table.collection) + (table.deleted if increment.deletes == "ignore" else 0)
        for table in increment.tables
        if table.scanned and table.before is not None
    }


def _rejected(counts: Mapping[str, TableCounts], collection: str) -> int:
    return counts[collection].rejected if collection in counts else 0
