"""migration-executive-summary.md: one page, for those who decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from firelift.formatting import count, counted, duration, plain, shortened, size
from firelift.run.reports.estimated import estimate_lines
from firelift.run.reports.headline import headline, proof_sentence, what_is_wrong
from firelift.run.reports.increment import SUMMED, touched
from firelift.run.reports.increment_text import GONE, proof_of_tables, title_of_changes

MOST_TABLES = 10
"""Rows of a table on the page; the others are summed."""
MOST_FOUND = 5
MOST_WARNINGS = 5
MOST_STEPS = 10


def executive_summary(report: Mapping[str, Any]) -> str:
    """One page in Markdown: how it went and why, the figures, the proof, what to do next."""
    parts = [
        f"# Migration {report['migrationId']}",
        f"**{headline(report)}**",
        what_is_wrong(report),
        *_wrong(report),
        _section("Key figures", _figures_of_increment(report) if report["increment"] else _figures(report)),
        _section("Estimate for the full run", _estimate(report)),
        _section("Verification", _verification(report)),
        *([_section("Collections", _tables(report))] if not report["increment"] else _changes(report)),
        _section("Warnings", _warnings(report)),
        _section("What to do next", "\n".join(f"- {step}" for step in report["nextSteps"])),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _wrong(report: Mapping[str, Any]) -> list[str]:
    """What ended the run, and where the data differ: the first thing on the page."""
    parts: list[str] = []
    if report["status"] == "failed" and report["errors"]:
        last = report["errors"][-1]
        parts.append(f"{_cell(last['type'])}: {_cell(last['message'])}")
    verified = report["verification"]
    if verified and not verified["passed"]:
        parts += _differences(verified)
        parts += _failed(verified)
    return [_section("What went wrong", "\n\n".join(parts))] if parts else []


def _differences(verified: Mapping[str, Any]) -> list[str]:
    total, found = verified["differencesTotal"], verified["differences"][:MOST_FOUND]
    if not found:
        return []
    tables = sorted({difference["table"] for difference in verified["differences"]})
    listed = ", ".join(_name(table) for table in tables[:5]) + (" and others" if len(tables) > 5 else "")
    title = f"**{_number(total, 'difference')} in {listed}**" + (f", the first {len(found)}:" if total > len(found) else ":")
    heads = ("Table", "Key", "Field", "What", "Expected", "Found")
    rows = [tuple(_name(shortened(text, 60)) if (text := difference[head.lower()]) else "" for head in heads) for difference in found]
    return [title, _table(heads, "------", rows)]


def _failed(verified: Mapping[str, Any]) -> list[str]:
    total, found = verified["expectationsFailed"], verified["failed"][:MOST_FOUND]
    if not found:
        return []
    title = f"**{_number(total, 'expectation')} not met**" + (f", the first {len(found)}:" if total > len(found) else ":")
    rows = [
        (
            _cell(one["expectation"]),
            _name(".".join(name for name in (one["table"], one["column"]) if name)) if one["table"] else "",
            _cell(shortened(one["expected"], 60)),
            _cell(shortened(one["observed"], 60)),
        )
        for one in found
    ]
    return [title, _table(("Expectation", "Where", "Expected", "Observed"), "----", rows)]


def _figures(report: Mapping[str, Any]) -> str:
    figures = report["statistics"]
    rows = [
        ("Documents read", count(figures.get("documentsRead"))),
        *_completeness(report),
        *([("Documents a collection that were to be drawn", count(report["sample"]["size"]))] if report["sample"] else []),
        ("Rows loaded", "none (dry run)" if report["dryRun"] else count(figures.get("rowsLoaded"))),
        ("Documents rejected", count(figures.get("rowsRejected"))),
        ("Rows with a residue (exact, but not by their columns alone)", count(figures.get("residueRows"))),
        ("Tables", count(len(report["tables"]))),
        ("Bytes read", size(figures.get("bytesRead") or 0)),
        ("Firestore reads billed (computed)", count(report["readsBilled"]["total"])),
        ("Duration", duration(figures.get("durationSeconds"))),
        ("Documents per second", count(figures.get("documentsPerSecond"))),
        ("Snapshot of Firestore taken at", report["readTime"] or "not yet"),
        ("Target", _name(report["target"]) if report["target"] else "?"),
    ]
    return _table(("Key figure", "Value"), "-r", rows)


def _figures_of_increment(report: Mapping[str, Any]) -> str:
    figures, increment = report["statistics"], report["increment"]
    totals = increment["totals"]
    rows = [
        ("Documents compared by key and update time", count(totals["keys"])),
        *_completeness(report),
        ("New", count(totals["new"])),
        ("Changed", count(totals["changed"])),
        (GONE[increment["deletes"]].capitalize(), count(totals["gone"])),
        ("Unchanged, by key and update time", count(totals["unchanged"])),
        ("Rows written", "none (dry run)" if report["dryRun"] else count(figures.get("rowsLoaded"))),
        ("Documents rejected", count(figures.get("rowsRejected"))),
        ("Tables that change", f"{count(len(touched(increment)))} of {count(len(increment['tables']))}"),
        ("Firestore reads billed (computed)", count(report["readsBilled"]["total"])),
        ("Duration", duration(figures.get("durationSeconds"))),
        ("Snapshot of Firestore taken at", report["readTime"] or "not yet"),
        ("Target", _name(report["target"]) if report["target"] else "?"),
    ]
    return _table(("Key figure", "Value"), "-r", rows)


def _completeness(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = report["completeness"]
    if not found:
        return []
    return [("None is missing, as shown by" if not found["unproven"] else "That none is missing is shown by", found["said"])]


def _changes(report: Mapping[str, Any]) -> list[str]:
    """What an increment does to each table that changes, and to the schema."""
    increment = report["increment"]
    found = touched(increment)
    steps = [f"- {_cell(step)}" for table in found for step in table["steps"]]
    more = [f"- and {count(len(steps) - MOST_STEPS)} more in the report"] if len(steps) > MOST_STEPS else []
    return [
        _section(title_of_changes(report), _changes_by_table(increment, found)),
        _section("Schema changes", "\n".join([*steps[:MOST_STEPS], *more])),
    ]


def _changes_by_table(increment: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return ""
    columns = [name for name in SUMMED if name != "rewritten" or increment["totals"]["rewritten"]]
    heads = {"new": "New", "changed": "Changed", "gone": GONE[increment["deletes"]].capitalize(), "rewritten": "Written anew"}
    rows = _listed(found, columns, lambda table: (_name(table["table"]), "new table" if table["how"] == "whole" else ""))
    listed = _table(("Table", "", *(heads[name] for name in columns)), "--" + "r" * len(columns), rows)
    rest = len(increment["tables"]) - len(found)
    return f"{listed}\n\nNo change was found in {counted(rest, 'other table')}." if rest else listed


def _verification(report: Mapping[str, Any]) -> str:
    verified = report["verification"]
    if verified is None:
        return ""
    asked = _number(verified["expectations"], "expectation")
    said = [
        proof_sentence(verified, report["increment"]) if verified["passed"] else f"Level {verified['level']}: not passed.",
        *([tables] if verified["passed"] and (tables := proof_of_tables(report)) else []),
        f"{asked}, {count(verified['expectationsFailed'])} not met.",
    ]
    if not verified["tables"]:
        return " ".join(said)
    # A table that differs comes before those that do not, however small it is.
    listed = sorted(verified["tables"], key=lambda table: (-table["differing"], -table["documents"], table["collection"]))
    columns = ("documents", "rows", "compared", "differing")
    rows = _listed(listed, columns, lambda table: (_name(table["table"]),))
    return " ".join(said) + "\n\n" + _table(("Table", "Documents", "Rows", "Compared", "Differing"), "-rrrr", rows)


def _estimate(report: Mapping[str, Any]) -> str:
    estimate = report["estimate"]
    if estimate is None:
        return ""
    largest = sorted(
        estimate["collections"], key=lambda collection: -(math.inf if collection["documents"] is None else collection["documents"])
    )
    columns = ("Collection", "Documents", "Archive and tables", "Target")
    rows = [_estimated(collection) for collection in largest[:MOST_TABLES]]
    more = [f"And {_number(len(largest) - MOST_TABLES, 'collection')} more in the report."] if len(largest) > MOST_TABLES else []
    whole = _table(("", "Value"), "-r", estimate_lines(estimate))
    return "\n\n".join([whole, _table(columns, "-rrr", rows), *more, " ".join(estimate["how"])])


def _estimated(collection: Mapping[str, Any]) -> tuple[str, ...]:
    documents = ("" if collection["exact"] or collection["documents"] is None else "about ") + count(collection["documents"])
    target = "?" if collection["targetBytes"] is None else size(collection["targetBytes"])
    disk = "?" if collection["archiveBytes"] is None else size(collection["archiveBytes"] + collection["tablesBytes"])
    return (_name(collection["collection"]), documents, disk, target)


def _tables(report: Mapping[str, Any]) -> str:
    if not report["tables"]:
        return ""
    columns = ("documents", "rows", "rejected", "residue")
    largest = sorted(report["tables"], key=lambda table: -table["documents"])[:MOST_TABLES]
    others = [table for table in report["tables"] if table not in largest]
    shown = [table for table in report["tables"] if table in largest]
    rows = _listed([*shown, *others], columns, lambda table: (_name(table["collection"]), _name(table["table"])))
    loaded = "Rows expected" if report["dryRun"] else "Rows"
    return _table(("Collection", "Table", "Documents", loaded, "Rejected", "Residue"), "--rrrr", rows)


def _listed(
    tables: Sequence[Mapping[str, Any]], columns: Sequence[str], names: Callable[[Mapping[str, Any]], tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """The first tables, then the sum of all others."""
    rows = [(*names(table), *(count(table[column]) for column in columns)) for table in tables[:MOST_TABLES]]
    rest = tables[MOST_TABLES:]
    if rest:
        blank = [""] * (len(names(rest[0])) - 1)
        rows.append((f"{count(len(rest))} others", *blank, *(count(sum(table[column] for table in rest)) for column in columns)))
    return rows


def _warnings(report: Mapping[str, Any]) -> str:
    # Schema changes have a section of their own.
    steps = tuple(step for table in (report["increment"] or {"tables": ()})["tables"] for step in table["steps"])
    warnings = [warning for warning in report["warnings"] if not steps or not warning["message"].endswith(steps)]
    shown = [f"- {_cell(warning['message'])}" for warning in warnings[:MOST_WARNINGS]]
    more = [f"- and {count(len(warnings) - MOST_WARNINGS)} more in the report"] if len(warnings) > MOST_WARNINGS else []
    return "\n".join([*shown, *more])


def _number(number: int, what: str) -> str:
    return f"{count(number)} {what}{'' if number == 1 else 's'}"


def _table(heads: Sequence[str], align: str, rows: Sequence[Sequence[str]]) -> str:
    rule = ["---:" if way == "r" else "---" for way in align]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def _name(text: str) -> str:
    """A name as code, which reads the same in a terminal; one that could end the code or the cell is escaped instead."""
    shown = plain(text)
    return _cell(text) if not shown or set(shown) & set("`|\\") else f"`{shown}`"


def _cell(text: str) -> str:
    """Text from outside in one cell: it cannot end the cell, start a tag or a link, or hide."""
    escaped = "".join("\\" + character if character in "\\`*_[]<>|" else character for character in plain(text))
    return escaped.replace("&", "&amp;")
