"""Increments as an incremental run writes them down."""

from __future__ import annotations

from typing import Any

from firelift.planning.increment import Deletes, Increment, SchemaStep, TableIncrement
from firelift.planning.model import Column, TablePlan

BASE = "migration-0"


def standing(collection: str, marks_deleted: bool = False) -> TablePlan:
    """The plan by which a table was published."""
    name = collection.replace("/*/", "_")
    columns = (Column(name="age", path=("age",), kind="integer"),)
    return TablePlan(collection=collection, table=name, keys=("id",), columns=columns, marks_deleted=marks_deleted)


def difference(collection: str, keys: int = 1000, marks_deleted: bool = False, **facts: Any) -> TableIncrement:
    plan = standing(collection, marks_deleted)
    return TableIncrement(collection=collection, table=plan.table, before=plan, base=BASE, keys=keys, **facts)


def whole(collection: str, documents: int) -> TableIncrement:
    table = collection.replace("/*/", "_")
    step = SchemaStep(collection=collection, table=table, kind="new table")
    return TableIncrement(collection=collection, table=table, steps=(step,), keys=documents, new=documents)


def wider(collection: str, column: str = "age") -> SchemaStep:
    table = collection.replace("/*/", "_")
    return SchemaStep(collection=collection, table=table, kind="wider column", column=column, field=column, before="bigint", after="jsonb")


def added(collection: str, column: str) -> SchemaStep:
    return SchemaStep(
        collection=collection, table=collection.replace("/*/", "_"), kind="new column", column=column, field=column, after="text"
    )


NOTHING = Increment(tables=(difference("users"), difference("users/*/orders", keys=4000)))


def some(deletes: Deletes = "propagate") -> Increment:
    """Something of everything: a difference with schema changes, a new table, one from which all is gone, some untouched."""
    return Increment(
        deletes=deletes,
        tables=(
            difference("users", keys=1000, new=12, changed=3, deleted=1, rewritten=985, steps=(added("users", "nick"), wider("users"))),
            difference("users/*/orders", keys=4000, changed=2),
            difference("rooms", keys=0, deleted=7),
            difference("products", keys=500),
            difference("events", keys=20_000),
            whole("reviews", 40),
        ),
    )


SINCE = Increment(tables=(difference("users", keys=15, new=12, changed=3, scanned=False), difference("rooms", keys=9)))
MANY = Increment(tables=tuple(difference(f"collection{number}", keys=number, new=number) for number in range(500)))
