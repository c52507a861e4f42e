"""final-migration-report.json: everything there is to say of a run; `docs/reports.md` explains it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from firelift.receipts import Completeness
from firelift.run.reports.headline import next_steps
from firelift.run.reports.increment import increment_report
from firelift.run.reports.reads import reads_billed
from firelift.run.reports.report_inputs import Material, versions
from firelift.run.reports.verified import verification
from firelift.run.timestamps import seconds_between

SCHEMA_VERSION = 1


class TableReport(TypedDict):
    """One table: `documents` read = `rows` loaded + `rejected`; `residue` rows say more than their columns can."""

    collection: str
    table: str
    documents: int
    rows: int
    rejected: int
    residue: int


def final_report(
    settings: Mapping[str, Any],
    status: Mapping[str, Any],
    plan: Mapping[str, Any] | None = None,
    tables: Sequence[TableReport] | None = None,
    target: str | None = None,
    material: Material | None = None,
) -> dict[str, Any]:
    """From a run's public settings, its status, its plan, the counts of its tables and what else is in its directory."""
    found, results, figures = material or Material(), status["results"], status["statistics"]
    verified = verification(_verified(status), found.proved)
    report: dict[str, Any] = {
        "schemaVersion": SCHEMA_VERSION,
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
        "rolledBack": status.get("rolledBack") or _rolled_back(figures),
        "statistics": {name: figure for name, figure in figures.items() if name != "completeness"},
        "phases": {name: _phase(phase, results.get(name)) for name, phase in status["progress"]["phases"].items()},
        "tables": [dict(table) for table in tables or ()],
        "increment": increment_report(found.increment, settings.get("target_schema") or "public"),
        "choices": found.reasons,
        "residue": _residue(results),
        "rejects": _rejects(results),
        "sample": _sample(found.sampled, results),
        "estimate": found.estimate,
        "completeness": _completeness(figures),
        "readsBilled": reads_billed(status, settings, verified["documentsReread"] if verified else 0),
        "verification": verified,
        "throughput": found.throughput or {"everySeconds": 1.0, "samples": []},
        "plan": plan,
        # Of other runs it is in their directory: for 1,000 tables it has megabytes.
        "ddl": found.sql if settings.get("dry_run") else None,
        "errors": list(status["errors"]),
        "warnings": list(status["warnings"]),
        "versions": versions((results.get("pre_validation") or {}).get("postgres_version")),
        "settings": dict(settings),
    }
    return report | {"nextSteps": next_steps(report)}


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


def _verified(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The receipt of this attempt; that of an earlier one says nothing of the rows of now."""
    state = status["progress"]["phases"]["verification"]["state"]
    return status["results"].get("verification") if state == "completed" else None


def _rolled_back(figures: Mapping[str, Any]) -> dict[str, Any] | None:
    """A failed run that took itself back."""
    done = figures.get("rolledBack")
    return {"at": None, "was": "failed", "by": "firelift", "result": done} if done else None


def _completeness(figures: Mapping[str, Any]) -> dict[str, Any] | None:
    """How it was shown that no document is missing; None for a sample, before everything is read, and if a field selected what was read."""
    found = Completeness.noted(figures)
    if not found.in_words:
        return None
    return {"byCount": found.counted, "bySecondScan": found.scanned, "unproven": found.unproven, "said": found.in_words}


def _sample(sampled: Mapping[str, Any] | None, results: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a test run drew, and where its tables are if they were kept."""
    if sampled is None:
        return None
    names = {"collection": "collection", "drawn": "drawn", "needed": "needed", "left_out": "leftOut", "absent": "absent"}
    return {
        "size": sampled["size"],
        "seed": sampled["seed"],
        "keptIn": (results.get("post_migration") or {}).get("scratch_schema"),
        "collections": [{shown: collection[name] for name, shown in names.items()} for collection in sampled["collections"]],
    }


def _residue(results: Mapping[str, Any]) -> dict[str, Any]:
    tables = _transformed(results).get("tables") or {}
    by_table = {
        collection: {"rows": counts.get("residue", 0), "causes": _most_first(counts.get("causes") or {})}
        for collection, counts in tables.items()
        if counts.get("residue")
    }
    causes: dict[str, int] = {}
    for counts in by_table.values():
        for cause, number in counts["causes"].items():
            causes[cause] = causes.get(cause, 0) + number
    return {"rows": sum(counts["rows"] for counts in by_table.values()), "causes": _most_first(causes), "byCollection": by_table}


def _rejects(results: Mapping[str, Any]) -> dict[str, Any]:
    transformed = _transformed(results)
    tables = transformed.get("tables") or {}
    by_collection = {collection: counts["rejected"] for collection, counts in tables.items() if counts.get("rejected")}
    return {
        "documents": transformed.get("rejected") or 0,
        "causes": _most_first(transformed.get("reasons") or {}),
        "byCollection": by_collection,
    }


def _transformed(results: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = results.get("transformation") or {}
    return found


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
