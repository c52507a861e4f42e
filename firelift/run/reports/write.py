"""Writes the reports of a run in its present state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from firelift.run.reports.final import TableReport, final_report
from firelift.run.reports.page import html_report
from firelift.run.reports.report_inputs import material_of
from firelift.run.reports.summary import executive_summary
from firelift.run.workspace import LOG, PAGE, REPORT, SUMMARY, VERIFICATION, Workspace

# Relative to the run's directory as to the working directory, where the latest run's are linked.
_LINKED = (
    REPORT,
    SUMMARY,
    LOG,
    f"{VERIFICATION}/data-docs/index.html",
    f"{VERIFICATION}/verification.json",
    f"{VERIFICATION}/differences.csv",
)


def write_reports(
    workspace: Workspace,
    settings: Mapping[str, Any],
    status: Mapping[str, Any],
    plan: Mapping[str, Any] | None = None,
    tables: Sequence[TableReport] | None = None,
    target: str | None = None,
    warn: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Write the reports and return the long one; the page for browsers only when the run is over.

    A page that cannot be made costs the run nothing but a warning.
    """
    report = final_report(settings, status, plan, tables, target, material_of(workspace, status))
    is_over = status["status"] != "in_progress"
    workspace.write_json(REPORT, report, durable=is_over)
    workspace.write(SUMMARY, executive_summary(report).encode("utf-8", "backslashreplace"))
    if is_over:
        _write_page(workspace, report, warn)
    else:
        # What an earlier attempt said at its end is out of date.
        workspace.remove(PAGE)
    return report


def _write_page(workspace: Workspace, report: Mapping[str, Any], warn: Callable[[str], None] | None) -> None:
    try:
        workspace.write(PAGE, html_report(report, _beside(workspace)).encode("utf-8", "backslashreplace"))
        workspace.link_page()
    except Exception as error:  # whatever goes wrong with the page, the run continues
        if warn is not None:
            warn(f"{PAGE} could not be written: {error}")


def _beside(workspace: Workspace) -> list[str]:
    return [name for name in _LINKED if (workspace.run / name).is_file()]
