"""The reports of a run: one for machines and details, one page for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from firelift.run.clock import seconds_between
from firelift.run.text import count, duration, plain, size
from firelift.run.workspace import REPORT, SUMMARY, Workspace


class TableReport(TypedDict):
    """One table: `documents` read = `rows` loaded + `rejected`; `residue` rows say more than their columns can."""

    collection: str
    table: str
    documents: int
    rows: int
    rejected: int
    residue: int


_RESUME = "`firelift migrate --resume`"

_PHASE_REMEDY: Mapping[str, str] = {
    "pre_validation": f"Nothing has been written to the target. Mend the cause and run it again: {_RESUME}.",
    "extraction": f"No table of the target has been touched. Mend the cause and go on: {_RESUME}.",
    "transformation": f"No table of the target has been touched. Mend the cause and go on: {_RESUME}.",
    "import": f"Readers of the target see nothing of this run. Mend the cause and go on: {_RESUME}.",
    "verification": f"Nothing has been published. Look into `verification-results/` for what differs, mend it and go on: {_RESUME}.",
    "post_migration": f"Look at the error below: what was published stays. Mend the cause and go on: {_RESUME}.",
}

_HEADLINES: Mapping[str, str] = {
    "in_progress": "In progress",
    "completed": "Completed",
    "failed": "Failed",
    "stopped": "Stopped on request",
}


def final_report(
    settings: Mapping[str, Any],
    status: Mapping[str, Any],
    plan: Mapping[str, Any] | None = None,
    tables: Sequence[TableReport] | None = None,
    target: str | None = None,
) -> dict[str, Any]:
    """Everything there is to say of a run, from its public settings, its status, its plan and the counts of its tables."""
    report: dict[str, Any] = {
        "migrationId": status["migrationId"],
        "status": status["status"],
        "mode": status["mode"],
        "dryRun": bool(settings.get("dry_run")),
        "readTime": status["readTime"],
        "startedAt": status["startedAt"],
        "finishedAt": status["finishedAt"],
        "target": target,
        "currentPhase": status["currentPhase"],
        "lastCompletedPhase": status["lastCompletedPhase"],
        "statistics": dict(status["statistics"]),
        "phases": {name: _phase(phase, status["results"].get(name)) for name, phase in status["progress"]["phases"].items()},
        "tables": [dict(table) for table in tables or ()],
        "plan": plan,
        "errors": list(status["errors"]),
        "warnings": list(status["warnings"]),
        "settings": dict(settings),
    }
    return report | {"nextSteps": next_steps(report)}


def next_steps(report: Mapping[str, Any]) -> list[str]:
    """What to do now, by how the run stands."""
    state = report["status"]
    if state == "in_progress":
        return ["Wait, or watch it: `firelift status --watch`."]
    if state == "stopped":
        return [f"The run was stopped; nothing is lost. Go on with it: {_RESUME}."]
    if state == "failed":
        last = report["errors"][-1] if report["errors"] else {}
        cause = [last["remedy"]] if last.get("remedy") else []
        return [*cause, _PHASE_REMEDY.get(report["currentPhase"] or "", f"Mend the cause and go on: {_RESUME}.")]
    return _after_success(report)


def executive_summary(report: Mapping[str, Any]) -> str:
    """One page in Markdown: how it went, the figures, what to do next."""
    parts = [
        f"# Migration {report['migrationId']}",
        f"**{_headline(report)}**",
        _figures(report),
        *_problems(report),
        _tables(report),
        "## What to do next\n\n" + "\n".join(f"- {step}" for step in report["nextSteps"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_reports(
    workspace: Workspace,
    settings: Mapping[str, Any],
    status: Mapping[str, Any],
    plan: Mapping[str, Any] | None = None,
    tables: Sequence[TableReport] | None = None,
    target: str | None = None,
) -> dict[str, Any]:
    """Write both reports as the run stands now and return the first."""
    report = final_report(settings, status, plan, tables, target)
    workspace.write_json(REPORT, report, durable=status["status"] != "in_progress")
    workspace.write(SUMMARY, executive_summary(report).encode("utf-8", "backslashreplace"))
    return report


def is_empty(report: Mapping[str, Any]) -> bool:
    """Whether the database, or what was chosen of it, held no document."""
    return bool(report["status"] == "completed" and not report["tables"] and not report["statistics"].get("documentsRead"))


def _phase(phase: Mapping[str, Any], receipt: object) -> dict[str, Any]:
    return {
        "state": phase["state"],
        "startedAt": phase["startedAt"],
        "finishedAt": phase["finishedAt"],
        "durationSeconds": seconds_between(phase["startedAt"], phase["finishedAt"]),
        "documents": phase["documents"]["done"],
        "rows": phase["rows"]["done"],
        "rate": phase["rate"],
        "result": receipt,
    }


def _headline(report: Mapping[str, Any]) -> str:
    state: str = report["status"]
    if state == "failed":
        seen = (
            "the tables are published." if report["currentPhase"] == "post_migration" else "the target's readers see nothing of this run."
        )
        return f"Failed in {report['currentPhase'] or 'preparation'}: {seen}"
    if is_empty(report):
        return "Completed: the database held no documents, so there was nothing to move."
    if state == "completed" and report["dryRun"]:
        return "Planned: nothing has been written to the target."
    if state == "completed":
        return "Completed: every document read is a row of the target or among the rejects."
    if state == "in_progress" and report["currentPhase"]:
        return f"In progress: {report['currentPhase']}"
    return _HEADLINES.get(state, state) + "."


def _figures(report: Mapping[str, Any]) -> str:
    figures = report["statistics"]
    rows = [
        ("Documents read", count(figures.get("documentsRead"))),
        ("Rows loaded", "none (dry run)" if report["dryRun"] else count(figures.get("rowsLoaded"))),
        ("Documents rejected", count(figures.get("rowsRejected"))),
        ("Rows with a residue (exact, but not by their columns alone)", count(figures.get("residueRows"))),
        ("Tables", count(len(report["tables"]))),
        ("Bytes read", size(figures.get("bytesRead") or 0)),
        ("Duration", duration(figures.get("durationSeconds"))),
        ("Documents per second", count(figures.get("documentsPerSecond"))),
        ("Snapshot of Firestore taken at", report["readTime"] or "not yet"),
        ("Target", _name(report["target"]) if report["target"] else "?"),
    ]
    return _table(("Key figure", "Value"), "-r", rows)


def _problems(report: Mapping[str, Any]) -> list[str]:
    parts: list[str] = []
    if report["status"] == "failed" and report["errors"]:
        last = report["errors"][-1]
        parts.append(f"## What went wrong\n\n{_cell(last['type'])}: {_cell(last['message'])}")
    warnings = report["warnings"]
    if warnings:
        shown = [f"- {_cell(warning['message'])}" for warning in warnings[:10]]
        more = [f"- and {count(len(warnings) - 10)} more in the report"] if len(warnings) > 10 else []
        parts.append("## Warnings\n\n" + "\n".join([*shown, *more]))
    return parts


def _tables(report: Mapping[str, Any]) -> str:
    if not report["tables"]:
        return ""
    loaded = "Rows expected" if report["dryRun"] else "Rows"
    rows = [
        (
            _name(table["collection"]),
            _name(table["table"]),
            *(count(table[name]) for name in ("documents", "rows", "rejected", "residue")),
        )
        for table in report["tables"]
    ]
    return "## Collections\n\n" + _table(("Collection", "Table", "Documents", loaded, "Rejected", "Residue"), "--rrrr", rows)


def _after_success(report: Mapping[str, Any]) -> list[str]:
    if is_empty(report):
        return ["Check that project, database and `--collections` are the ones you meant; if so, all is well."]
    if report["dryRun"]:
        return ["Read the plan (`firelift plan` prints it), then run `firelift migrate` with the same options."]
    steps = []
    if report["statistics"].get("rowsRejected"):
        steps.append("Look at the rejected documents, kept whole under `rejects/` with their reasons.")
    if report["phases"].get("verification", {}).get("state") == "skipped":
        steps.append("Nothing was verified: compare some rows with Firestore before you rely on them.")
    done = report["phases"].get("post_migration", {}).get("result") or {}
    return [
        *steps,
        "Write policies for the new tables: row-level security is on, so that nobody but their owner and `service_role` reads them yet.",
        *_app_steps(done.get("app_config")),
        _clean_up({freed["what"] for freed in done.get("freed") or ()}),
    ]


def _app_steps(updated: Mapping[str, Any] | None) -> list[str]:
    """What is to be known of the app's configuration: names, never values."""
    if updated is None:
        return ["Point the application at the new tables."]
    if not updated["old_file"]:
        return [f"{_name(updated['file'])} said all it should already: restart the application where it has not read it yet."]
    names = ", ".join(map(_name, updated["changed"])) or "nothing"
    return [
        f"Restart the application: in {_name(updated['file'])} changed {names}. "
        f"As it was before it is kept in {_name(updated['old_file'])}; delete that when all is well."
    ]


def _clean_up(freed: set[str]) -> str:
    if "archive" in freed:
        return "The archive has been dropped. The working directory still holds reports and, if there are any, rejected documents."
    return "When the application runs on the new tables, delete the working directory: its archive holds all the data."


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
