"""Finds values inside jsonb and array columns that cannot be read as the type that was planned for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from psycopg import sql

from firelift.planning.model import RESIDUE
from firelift.postgres.inspect.rows import live
from firelift.postgres.schema.compatibility import SPELLED, described_tables
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Connection
from firelift.postgres.session.errors import translated

A_STATEMENT: Final = 50
"""Places that are looked at in one pass over the table."""

ReadsAs = Literal["timestamp", "bytes", "reference", "double", "geopoint", "vector", "element", "moment"]


@dataclass(frozen=True)
class Every:
    """A step into every element of an array, and every value of a map but those of these keys."""

    without: tuple[str, ...] = ()


Step = str | Every
"""A key of a map, or every one."""


@dataclass(frozen=True)
class Spot:
    """Where in a column to look, and for what. "element" and "moment" are the elements of an array column."""

    column: str
    steps: tuple[Step, ...]
    reads_as: ReadsAs


@dataclass(frozen=True)
class Unreadable:
    """How many values of a spot cannot be read as its type."""

    spot: Spot
    values: int
    query: str
    """The SQL that counts them."""


def unreadable(connection: Connection, table: TargetTable, spots: Sequence[Spot]) -> Iterator[Unreadable]:
    """Counts at each spot, in rows without residue, the values that cannot be read as the spot says; reads only.

    Spots in columns that are not there, or of another type than planned, are left out.
    """
    with translated(f"looking into the columns of {table.name}"):
        existing = described_tables(connection, table.schema, [table.name]).get(table.name)
        types = {name: column.type for name, column in existing.columns.items()} if existing else {}
        planned = {name: SPELLED.get(pg_type, pg_type) for name, pg_type in table.plan.target_columns()}
        there = [spot for spot in spots if RESIDUE in types and types.get(spot.column) == planned[spot.column]]
        for start in range(0, len(there), A_STATEMENT):
            yield from _counted(connection, table, there[start : start + A_STATEMENT])


def _counted(connection: Connection, table: TargetTable, spots: Sequence[Spot]) -> Iterator[Unreadable]:
    sums = [sql.SQL("coalesce(pg_catalog.sum({}), 0)::bigint").format(_of_a_row(spot)) for spot in spots]
    query = sql.SQL("SELECT {counts} FROM {table} AS whole WHERE {residue} IS NULL{live}")
    residue, only_live = sql.Identifier("whole", RESIDUE), live(table, "AND")

    def counting(counts: sql.Composable) -> sql.Composed:
        return query.format(counts=counts, table=table.identifier, residue=residue, live=only_live)

    found = connection.execute(counting(sql.SQL(", ").join(sums))).fetchone() or ()
    for spot, count, values in zip(spots, sums, found, strict=True):
        yield Unreadable(spot, values, counting(count).as_string(connection))


def _of_a_row(spot: Spot) -> sql.Composed:
    """How many values at a spot of one row are unreadable."""
    column = sql.Identifier("whole", spot.column)
    if spot.reads_as in _ELEMENTS:
        return sql.SQL(_ELEMENTS[spot.reads_as]).format(column=column)
    walked = [sql.SQL("(SELECT {} AS v) AS s0").format(column)]
    for number, step in enumerate(spot.steps):
        before, after = sql.Identifier(f"s{number}", "v"), sql.Identifier(f"s{number + 1}")
        walked.append(sql.SQL("CROSS JOIN LATERAL ({}) AS {} (v)").format(_walked(step, before), after))
    last = sql.Identifier(f"s{len(spot.steps)}", "v")
    if spot.reads_as in _TEXTS:
        # OFFSET 0 keeps the text from being extracted from the JSON again wherever the condition names it.
        text = sql.SQL("CROSS JOIN LATERAL (SELECT {v} #>> '{{}}' WHERE pg_catalog.jsonb_typeof({v}) = 'string' OFFSET 0) AS extracted (t)")
        walked.append(text.format(v=last))
        condition = sql.SQL("NOT ({})").format(sql.SQL(_TEXTS[spot.reads_as]))
    else:
        condition = sql.SQL(_VALUES[spot.reads_as]).format(v=last)
    return sql.SQL("(SELECT pg_catalog.count(*) FROM {} WHERE {})").format(sql.SQL(" ").join(walked), condition)


def _walked(step: Step, before: sql.Identifier) -> sql.Composed:
    if isinstance(step, str):
        return sql.SQL("SELECT {v} -> {key} WHERE pg_catalog.jsonb_typeof({v}) = 'object'").format(v=before, key=sql.Literal(step))
    # A CASE, as the functions refuse what is no array or object, and a WHERE may come too late.
    every = sql.SQL(
        "SELECT value FROM pg_catalog.jsonb_array_elements(CASE pg_catalog.jsonb_typeof({v}) WHEN 'array' THEN {v} ELSE '[]' END) "
        "UNION ALL SELECT value FROM pg_catalog.jsonb_each(CASE pg_catalog.jsonb_typeof({v}) WHEN 'object' THEN {v} ELSE '{{}}' END)"
    ).format(v=before)
    if not step.without:
        return every
    return every + sql.SQL(" WHERE key NOT IN ({})").format(sql.SQL(", ").join(map(sql.Literal, step.without)))


# What `firelift.rfc3339` writes. A pattern for all of it takes 7 µs a value.
_LEAP_YEAR: Final = "^([0-9][0-9](0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)"
_MOMENT: Final = (
    "pg_catalog.translate(t, '123456789', '000000000') COLLATE \"C\" "
    "IN ('0000-00-00T00:00:00Z', '0000-00-00T00:00:00.000000Z', '0000-00-00T00:00:00.000000000Z') "
    "AND pg_catalog.left(t, 4) COLLATE \"C\" <> '0000' "
    "AND pg_catalog.substr(t, 6, 2) COLLATE \"C\" BETWEEN '01' AND '12' "
    "AND pg_catalog.substr(t, 9, 2) COLLATE \"C\" BETWEEN '01' AND CASE "
    f"WHEN pg_catalog.substr(t, 6, 5) COLLATE \"C\" = '02-29' AND t ~ '{_LEAP_YEAR}' THEN '29' "
    "WHEN pg_catalog.substr(t, 6, 2) COLLATE \"C\" = '02' THEN '28' "
    "WHEN pg_catalog.substr(t, 6, 2) COLLATE \"C\" IN ('04', '06', '09', '11') THEN '30' ELSE '31' END "
    "AND pg_catalog.substr(t, 12, 2) COLLATE \"C\" <= '23' "
    "AND pg_catalog.substr(t, 15, 2) COLLATE \"C\" <= '59' "
    "AND pg_catalog.substr(t, 18, 2) COLLATE \"C\" <= '59'"
)
_SPECIAL: Final = "('NaN', 'Infinity', '-Infinity')"

# What a text, here `t`, should be.
_TEXTS: Final[dict[ReadsAs, Any]] = {
    "timestamp": _MOMENT,
    "bytes": "pg_catalog.length(t) % 4 = 0 AND t ~ '^[A-Za-z0-9+/]*={0,2}$'",
    "reference": "t !~ '^$|^/|//|/$'",
    "double": "t IN " + _SPECIAL,
}
# What another value, here `v`, should not be.
_VALUES: Final[dict[ReadsAs, Any]] = {
    "geopoint": "pg_catalog.jsonb_typeof({v}) = 'object' AND (pg_catalog.jsonb_typeof({v} -> 'latitude') = 'number' "
    "AND pg_catalog.jsonb_typeof({v} -> 'longitude') = 'number' AND {v} - 'latitude' - 'longitude' = '{{}}') IS NOT TRUE",
    "vector": "pg_catalog.jsonb_typeof({v}) = 'array' AND EXISTS (SELECT FROM pg_catalog.jsonb_array_elements("
    "CASE pg_catalog.jsonb_typeof({v}) WHEN 'array' THEN {v} ELSE '[]' END) AS component (c) "
    "WHERE pg_catalog.jsonb_typeof(c) <> 'number' AND (c #>> '{{}}' IN " + _SPECIAL + ") IS NOT TRUE)",
}
# Arrays of arrays are none of ours either, nor those that begin elsewhere than at 1; Firestore knows no infinite moment.
_OTHER_FORM: Final = "pg_catalog.array_ndims({column}) > 1 OR pg_catalog.array_lower({column}, 1) <> 1"
_COUNT_OF: Final = "(SELECT pg_catalog.count(*) FROM pg_catalog.unnest({column}) AS element (e) WHERE e IS NULL OR "
_ELEMENTS: Final[dict[ReadsAs, Any]] = {
    "element": _COUNT_OF + _OTHER_FORM + ")",
    "moment": _COUNT_OF + "NOT pg_catalog.isfinite(e) OR " + _OTHER_FORM + ")",
}
