"""What a run leaves in Prefect: its name and tags, artifacts of its report, events of what became of it, and the report as its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.filesystems import LocalFileSystem
from prefect.results import get_result_store
from prefect.serializers import JSONSerializer
from prefect.settings import PREFECT_API_URL, PREFECT_DEFAULT_RESULT_STORAGE_BLOCK
from prefect.states import Completed

from firelift.formatting import count, counted
from firelift.run.reports import executive_summary
from firelift.run.reports.estimated import estimate_lines
from firelift.run.reports.headline import headline
from firelift.run.reports.increment import touched
from firelift.run.reports.plan_text import plan_text
from firelift.settings.settings import Settings
from tasks.flow_run import Happening, announce, current_flow_run
from tasks.subflow import client_of

MOST_ROWS: Final = 1000
"""Of a table in the UI; the report has all."""
MOST_CHARACTERS: Final = 200_000
"""Of a plan; Prefect refuses what is much larger than a few megabytes."""


def name_flow_run(migration_id: str, settings: Settings, project: str) -> None:
    """Gives the flow run the migration's id and what it is looked for by. A server that does not answer keeps nothing from going on."""
    flow_run = current_flow_run()
    if flow_run is None:
        return
    mode = settings.migration_mode
    tags = [mode, *(["plan"] if settings.dry_run else []), project, settings.target_schema]
    name = f"{'plan' if settings.dry_run else mode} {migration_id}"
    with suppress(Exception):
        client = client_of(PREFECT_API_URL.value())
        client.update_flow_run(flow_run.id, name=name, tags=list(dict.fromkeys([*flow_run.tags, *tags])))


def leave_artifacts(report: Mapping[str, Any]) -> None:
    """Summary, tables, plan and estimate, as far as the run came. Artifacts show and decide nothing: their errors are let go."""
    if current_flow_run() is None or not report.get("schemaVersion"):
        return
    with suppress(Exception):
        create_markdown_artifact(executive_summary(without_values(report)), key="firelift-summary", description=headline(report))
        for key, rows, description in _tables(report):
            create_table_artifact(rows[:MOST_ROWS], key=key, description=_of_all(description, rows))
        if report["dryRun"] and report["plan"]:
            create_markdown_artifact(
                _fenced(plan_text(dict(report))), key="firelift-plan", description=f"The plan of {report['migrationId']}"
            )


def announce_begin(migration_id: str, settings: Settings, project: str) -> None:
    """The event of a run that begins, or goes on."""
    mode = "plan" if settings.dry_run else settings.migration_mode
    facts = {"mode": mode, "project": project, "target": settings.target(), "schema": settings.target_schema, "resumed": settings.resume}
    announce("started", migration_id, _labels(mode, settings.target_schema), facts)


def announce_end(report: Mapping[str, Any]) -> None:
    """The event of what became of a run: published, failed and perhaps rolled back, or stopped. A plan, a test and a run that found
    nothing to do publish nothing."""
    happened: dict[str, Happening] = {"failed": "failed", "stopped": "stopped"}
    what = "published" if _is_published(report) else happened.get(report.get("status", ""))
    if what is None:
        return
    mode = "plan" if report["dryRun"] else report["mode"]
    figures = report["statistics"]
    labels = _labels(mode, report["settings"]["target_schema"]) | {
        "firelift.verification": _verdict(report),
        "firelift.rejects": "some" if figures.get("rowsRejected") else "none",
    }
    facts = {
        "mode": mode,
        "target": report["target"],
        "schema": report["settings"]["target_schema"],
        "phase": report["currentPhase"],
        "tables": len(report["tables"]),
        "documentsRead": figures.get("documentsRead", 0),
        "rowsLoaded": figures.get("rowsLoaded", 0),
        "rowsRejected": figures.get("rowsRejected", 0),
        "said": headline(without_values(report)),
    }
    announce(what, report["migrationId"], labels, facts)
    if what == "failed" and report["rolledBack"] is not None:
        announce("rolled-back", report["migrationId"], labels, facts)


def _verdict(report: Mapping[str, Any]) -> str:
    if report["status"] == "failed" and report["currentPhase"] == "verification":
        return "failed"
    return "passed" if report["verification"] and report["verification"]["passed"] else "none"


def _is_published(report: Mapping[str, Any]) -> bool:
    end = report.get("phases", {}).get("post_migration", {}).get("result") or {}
    return bool(report.get("status") == "completed" and report["mode"] != "test" and end.get("published"))


def _labels(mode: str, schema: str) -> dict[str, str]:
    return {"firelift.mode": mode, "firelift.schema": schema}


def without_values(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report without what a failed verification shows of documents: more people read the server than the working directory."""
    verified = report["verification"]
    return {**report, "verification": verified and {**verified, "differences": [], "failed": []}}


def _tables(report: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]], str]]:
    of = f"of {report['migrationId']}"
    if report["increment"]:
        named = ("collection", "table", "how", "new", "changed", "gone", "unchanged")
        yield "firelift-tables", _rows(touched(report["increment"]), named), f"Tables that change {of}"
    elif report["tables"]:
        yield (
            "firelift-tables",
            _rows(report["tables"], ("collection", "table", "documents", "rows", "rejected", "residue")),
            f"Tables {of}",
        )
    if report["estimate"]:
        rows = [{"what": what, "value": value} for what, value in estimate_lines(report["estimate"])]
        yield "firelift-estimate", rows, f"Estimate for the full run, {of}"


def _rows(tables: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    return [{name: table[name] for name in names if name in table} for table in tables]


def _of_all(description: str, rows: Sequence[object]) -> str:
    return description if len(rows) <= MOST_ROWS else f"{description}: the first {count(MOST_ROWS)} of {count(len(rows))}"


def _fenced(text: str) -> str:
    """As it is printed; no run of backticks in a name can end it."""
    shown = text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}\n… the rest is in final-migration-report.json"
    fence = "`" * (3 + max((len(run) for run in shown.replace("`", " `").split() if set(run) == {"`"}), default=0))
    while fence in shown:
        fence += "`"
    return f"{fence}text\n{shown}\n{fence}"


def completed(report: dict[str, Any], directory: Path) -> State[Any]:
    """The flow run's end: a sentence of what was done, and the report as the result that `run_deployment(...)` gets."""
    own = LocalFileSystem(basepath=str(directory / "prefect-results"))
    # In the run's directory, as private as the report itself; a storage that was chosen stays.
    where = {} if PREFECT_DEFAULT_RESULT_STORAGE_BLOCK.value() else {"result_storage": own, "result_storage_block_id": None}
    store = get_result_store().model_copy(update={"serializer": JSONSerializer(), "metadata_storage": None, **where})
    record = store.create_result_record(report)
    store.persist_result_record(record)
    with suppress(OSError):
        Path(record.metadata.storage_key or "").chmod(0o600)
    return Completed(message=done(report), data=record)


def done(report: Mapping[str, Any]) -> str:
    """`Completed: … 1,801 documents read, 1,801 rows loaded into 3 tables of db.example/postgres.`"""
    figures, tables = report["statistics"], counted(len(report["tables"]), "table")
    read = f"{counted(figures['documentsRead'], 'document')} read"
    if report["dryRun"]:
        return f"{headline(report)} {read}, {tables} planned."
    return f"{headline(report)} {read}, {counted(figures['rowsLoaded'], 'row')} loaded, {tables} of {report['target']}."
