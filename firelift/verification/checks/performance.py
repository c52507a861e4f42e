"""How fast the target answers, and where that is slower than it should be."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from firelift.planning.model import Plan, TablePlan
from firelift.planning.references import Relation, relations_of
from firelift.postgres.inspect.performance import (
    Answers,
    What,
    counts,
    drawn,
    is_indexed,
    joins_to_parent,
    key_lookups,
    range_scans,
    reference_lookups,
)
from firelift.postgres.schema.compatibility import ExistingTable, described_tables
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection, Session
from firelift.postgres.session.errors import translated
from firelift.settings.verification_level import Level
from firelift.verification.check import Check, Evidence, Expectation, Found, Inputs, Row
from firelift.verification.proof import Limits, Measured

SETTINGS: Final[dict[str, str]] = {"key lookup": "MIGRATION_MAX_LOOKUP_MS", "count": "MIGRATION_MAX_COUNT_MS"}

Earlier = Mapping[tuple[str, str], float]
"""The p50 of an earlier run, by table and kind of question."""


def measure(
    session: Session, schema: str, plan: Plan, level: Level, limits: Limits, seed: str, earlier: Path | None = None
) -> tuple[Measured, ...]:
    """Looks up keys and counts rows as often as the level says; a level with scans also follows references, scans ranges and joins.

    `earlier` is an older verification.json: a file that is missing, damaged or of another kind is ignored.
    """
    if not level.lookups:
        return ()
    before = earlier_figures(earlier)
    with session.open_to_read() as connection:
        with translated("looking at the tables"):
            existing = described_tables(connection, schema, [table.table for table in plan.tables])
        there = [table for table in plan.tables if table.table in existing and _is_whole(table, existing[table.table])]
        relations = relations_by_table(there) if level.scans else {}
        return tuple(
            _measured(table, answers, limits, before)
            for table in there
            for answers in _answers(connection, TargetTable(schema, table), relations.get(table.table, []), level, seed)
            if answers.times
        )


def relations_by_table(tables: Sequence[TablePlan]) -> dict[str, list[Relation]]:
    found: dict[str, list[Relation]] = {}
    for relation in relations_of(tables):
        found.setdefault(relation.table, []).append(relation)
    return found


def _is_whole(table: TablePlan, existing: ExistingTable) -> bool:
    return all(name in existing.columns for name, _ in table.target_columns())


def too_slow(measured: Sequence[Measured]) -> tuple[str, ...]:
    """A warning for each figure above its limit: the table, the figure, the limit and the setting that has it."""
    return tuple(
        f"{one.table}: {one.what} takes {one.p95:.1f} ms (p95 of {one.samples}), more than the {one.limit:g} ms of {SETTINGS[one.what]}"
        for one in measured
        if one.limit is not None and one.p95 > one.limit
    )


def earlier_figures(file: Path | None) -> Earlier:
    """The figures in a verification.json, as far as it has any."""
    try:
        figures = json.loads(file.read_bytes()) if file else {}
    except (OSError, ValueError, RecursionError):
        return {}
    entries = figures.get("performance") if isinstance(figures, dict) else None
    return {place: p50 for entry in (entries if isinstance(entries, list) else []) for place, p50 in _figure(entry)}


def _figure(entry: Any) -> Iterator[tuple[tuple[str, str], float]]:
    if not isinstance(entry, dict):
        return
    table, what, p50 = entry.get("table"), entry.get("what"), entry.get("p50")
    if isinstance(table, str) and isinstance(what, str) and isinstance(p50, int | float) and math.isfinite(p50):
        yield (table, what), float(p50)


def _answers(connection: Connection, table: TargetTable, relations: Sequence[Relation], level: Level, seed: str) -> Iterator[Answers]:
    number = int.from_bytes(hashlib.sha256(f"{seed}:{table.plan.collection}".encode()).digest()[:4], "big") >> 1
    keys = drawn(connection, table, table.keys, level.lookups, number)
    yield key_lookups(connection, table, keys)
    yield counts(connection, table, level.counts)
    if not level.scans:
        return
    yield range_scans(connection, table, keys[: level.scans])
    for relation in relations:
        if relation.kind == "parent":
            yield joins_to_parent(connection, table, relation, keys[: level.scans])
    indexed = (one for one in relations if one.kind == "link" and is_indexed(connection, table, one.columns))
    if link := next(indexed, None):
        values = drawn(connection, table, link.columns, level.lookups, number)
        yield reference_lookups(connection, table, link, values)


def _measured(table: TablePlan, answers: Answers, limits: Limits, before: Earlier) -> Measured:
    seconds = sum(answers.times) / 1000
    limit: dict[What, float] = {"key lookup": limits.lookup_ms, "count": limits.count_ms}
    return Measured(
        table=table.table,
        what=answers.what,
        samples=len(answers.times),
        p50=percentile(answers.times, 50),
        p95=percentile(answers.times, 95),
        p99=percentile(answers.times, 99),
        rows_per_second=round(answers.rows / seconds, 1) if seconds and answers.rows else None,
        earlier_p50=before.get((table.table, answers.what)),
        limit=limit.get(answers.what),
        query=answers.query,
    )


def percentile(times: Sequence[float], percent: int) -> float:
    """The smallest time that this percentage of all times does not exceed, to the microsecond."""
    return round(sorted(times)[math.ceil(len(times) * percent / 100) - 1], 3)


def find(inputs: Inputs) -> Found:
    verification, tables = inputs.verification, inputs.tables
    measured = measure(
        tables.session,
        tables.schema,
        tables.plan,
        verification.level,
        verification.limits,
        verification.seed,
        verification.known.earlier,
    )
    return Found(measured, warnings=too_slow(measured))


def frame(evidence: Evidence) -> Iterator[Row]:
    for measured in evidence.proof.performance:
        if measured.limit is not None:
            place = {"table": measured.table, "what": measured.what}
            yield place | {"p95": measured.p95, "limit": measured.limit, "recompute": measured.query}


CHECK = Check(
    "performance",
    "All tables: response times",
    "standard",
    frame,
    find=find,
    of_increments=False,
    expectations=(
        Expectation(
            "ExpectColumnPairValuesAToBeGreaterThanB",
            {"column_A": "limit", "column_B": "p95", "or_equal": True},
            "95 of 100 answers come within the limit of the settings (ms).",
            severity="warning",
        ),
    ),
)
