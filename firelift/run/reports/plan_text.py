"""A plan as text: which tables, columns and keys would hold which collections."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from firelift.formatting import aligned, count, counted, plain
from firelift.planning.deletion_limits import WOULD_STOP
from firelift.planning.model import CREATED_AT, EXTRA, RESIDUE, UPDATED_AT, Column, Plan, TablePlan
from firelift.planning.shown_plan import read_shown_plan
from firelift.run.reports.estimated import estimate_lines
from firelift.run.reports.increment import touched
from firelift.run.reports.increment_text import foreseen, nothing_to_do

_UNWRITTEN = "Nothing has been written to the target."
UNLESS_ORPHANED = " where no row is orphaned"
# Names and texts in SQL; in a comment a quotation mark is only a character.
_QUOTED = re.compile(r"""--[^\n]*|"(?:[^"]|"")*"|'(?:[^']|'')*'""")
_GONE = {"propagate": "delete {}", "mark": "mark {} as deleted", "ignore": "leave {} that are gone"}


def plan_text(report: Mapping[str, Any]) -> str:
    """What `firelift plan` prints, from the report of a dry run."""
    stops = [f"{warning['message']}\n" for warning in report.get("warnings", []) if warning["message"].startswith(WOULD_STOP)]
    return "\n".join([_planned(report), *stops])


def _planned(report: Mapping[str, Any]) -> str:
    plan = read_shown_plan(report["plan"]) if report.get("plan") else None
    if report.get("increment") and report["increment"]["tables"]:
        return _increment(report, plan)
    if plan is None or not plan.tables:
        return f"Nothing to migrate: no documents were found. {_UNWRITTEN}\n"
    schema, foreign_keys = report["settings"]["target_schema"], report["settings"]["foreign_keys"]
    counts = {table["collection"]: table for table in report["tables"]}
    parts = [_table(table, plan, schema, foreign_keys, counts.get(table.collection, {})) for table in plan.tables]
    return "\n".join([*parts, *_sql(report), *_publishing(report), _ending(report, plan)])


def _table(table: TablePlan, plan: Plan, schema: str, foreign_keys: str, counts: Mapping[str, Any]) -> str:
    figures = f"{counted(counts.get('documents'), 'document')}, {counted(counts.get('rejected'), 'reject')} expected"
    lines = [f"{plain(table.collection)} -> {plain(schema)}.{plain(table.table)} ({figures})"]
    lines += aligned([("column", "type", "field", "holds", "NULL means", "notes"), *_rows(table)])
    lines.append(f"  primary key ({', '.join(map(plain, table.keys))})")
    lines += _foreign_keys(table, plan, foreign_keys)
    return "\n".join(lines) + "\n"


def _rows(table: TablePlan) -> Iterator[Sequence[str]]:
    for key in table.keys[:-1]:
        yield plain(key), "text", "", "ancestor's id", "never", "key"
    yield plain(table.keys[-1]), "text", "", "document id", "never", "key"
    for column in table.columns:
        yield plain(column.name), column.type, plain(column.dotted_path), column.kind, column.null_means, _notes(column)
        for ancestor in column.reference.ancestors if column.reference else ():
            yield plain(ancestor), "text", plain(column.dotted_path), "ancestor's id", column.null_means, "of the reference"
    if table.extra is not None:
        yield EXTRA, "jsonb", "", "json", "no such field", "the rarest fields"
    yield CREATED_AT, "timestamptz", "", "create time", "never", ""
    yield UPDATED_AT, "timestamptz", "", "update time", "never", ""
    yield RESIDUE, "jsonb", "", "residue", "nothing to add", "what the columns cannot say"


def _notes(column: Column) -> str:
    if column.reference is not None:
        return f"-> {plain(column.reference.collection)}"
    return "renamed" if column.name != column.dotted_path else ""


def _foreign_keys(table: TablePlan, plan: Plan, mode: str) -> Iterator[str]:
    if mode == "off":
        return
    tables = {one.collection: one for one in plan.tables}
    if table.parent in tables:
        yield _foreign_key(table.keys[:-1], tables[table.parent], UNLESS_ORPHANED)
    for column in table.columns:
        if column.reference is not None and column.reference.collection in tables:
            condition = UNLESS_ORPHANED if mode == "report" else ""
            yield _foreign_key((*column.reference.ancestors, column.name), tables[column.reference.collection], condition)


def _foreign_key(columns: Sequence[str], other: TablePlan, condition: str) -> str:
    own, keys = (", ".join(map(plain, names)) for names in (columns, other.keys))
    return f"  foreign key ({own}) -> {plain(other.table)} ({keys}){condition}"


def _ending(report: Mapping[str, Any], plan: Plan) -> str:
    documents = sum(table["documents"] for table in report["tables"])
    rejected = sum(table["rejected"] for table in report["tables"])
    totals = f"{counted(len(plan.tables), 'table')}, {counted(documents, 'document')}, {counted(rejected, 'reject')} expected"
    return f"{_sampled(report)}{totals}. {_UNWRITTEN}\n"


def _publishing(report: Mapping[str, Any]) -> Iterator[str]:
    """What publishing would do to the target, in order; nothing where there was no target to look at."""
    done = report.get("phases", {}).get("post_migration", {}).get("result") or {}
    if lines := done.get("would_publish"):
        listed = [f"  {number:>{len(str(len(lines)))}}. {plain(line)}" for number, line in enumerate(lines, 1)]
        yield "\n".join(["Publishing would do this to the target, in one transaction:", *listed]) + "\n"


def _sql(report: Mapping[str, Any]) -> Iterator[str]:
    """The SQL of the tables that the target does not have; nothing where it has them all."""
    if ddl := report.get("ddl"):
        # Control characters in names are escaped, so it is exactly what is executed only in the file.
        lines = [plain(line) for line in _QUOTED.sub(lambda quoted: quoted[0].replace("\n", "\\n"), ddl).split("\n")]
        yield "\n".join(["SQL of the new tables, as it is in plan.sql in the run's directory:", "", *lines])


def _increment(report: Mapping[str, Any], plan: Plan | None) -> str:
    """What an incremental run would do to each table that changes."""
    increment = report["increment"]
    found = touched(increment)
    if not found:
        return f"{nothing_to_do(increment)} {_UNWRITTEN}\n"
    parts = [_changes(table, report, plan) for table in found]
    rest = len(increment["tables"]) - len(found)
    others = f"No change was found in {counted(rest, 'other table')}. " if rest else ""
    said = foreseen(increment)
    return "\n".join([*parts, *_sql(report), *_publishing(report), f"{others}{said[0].upper()}{said[1:]}. {_UNWRITTEN}\n"])


def _changes(table: Mapping[str, Any], report: Mapping[str, Any], plan: Plan | None) -> str:
    schema, increment = report["settings"]["target_schema"], report["increment"]
    new = next((one for one in plan.tables if one.table == table["table"]), None) if plan and table["how"] == "whole" else None
    if new is not None and plan is not None:
        counts: Mapping[str, Any] = next((one for one in report["tables"] if one["table"] == table["table"]), {})
        return _table(new, plan, schema, report["settings"]["foreign_keys"], counts)
    verbs = {
        "new": "insert {}",
        "changed": "update {}",
        "gone": _GONE[increment["deletes"]],
        "rewritten": "write {} anew for a wider column",
    }
    rows = ", ".join(verb.format(count(table[name])) for name, verb in verbs.items() if table[name]) or "no row changes"
    unscanned = "" if table["scanned"] else "; deletions are not looked for"
    lines = [f"{plain(table['collection'])} -> {plain(schema)}.{plain(table['table'])}: {rows}{unscanned}"]
    return "\n".join([*lines, *(f"  {plain(statement)};" for statement in table["ddl"])]) + "\n"


def _sampled(report: Mapping[str, Any]) -> str:
    """That a test run saw a sample only, and what it reckons of the whole."""
    if not report.get("estimate"):
        return ""
    lines = aligned(estimate_lines(report["estimate"]))
    how = [f"  {line}" for line in report["estimate"]["how"]]
    return "\n".join(["Estimate for the full run:", *lines, *how, "", "Of the sample: "])
