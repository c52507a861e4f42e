"""Whether a migration can run, and what it would cost."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from firelift.migration.check.readiness_text import check_message
from tasks.pre_validation import look_at_both_sides


@flow(name="check", flow_run_name="check")
def check(
    collections: list[str] | None = None,
    exclude_collections: list[str] | None = None,
    target_schema: str | None = None,
    max_reads: int | None = None,
    max_cost: float | None = None,
    read_price: float | None = None,
    working_dir: str | None = None,
) -> State[Any]:
    """Reaches both sides, counts the documents and reckons reads, price, time and room; reads no document and writes nothing.

    Fails where something would keep a migration from running.

    Args:
        collections: Only these collections and everything below them, such as ["users"]
        exclude_collections: Leave out these collections and everything below them
        target_schema: Schema of the target tables
        max_reads: Whether a run with this --max-reads would begin
        max_cost: Whether a run with this --max-cost would begin
        read_price: US dollars for 100,000 document reads; depends on where the database is
        working_dir: Directory of earlier runs, whose pace tells how long a run takes
    """
    options = {name: value for name, value in locals().items() if value is not None}
    found = look_at_both_sides(options)
    return Completed(message=check_message(found), data=found.report())
