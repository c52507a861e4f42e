"""The reports of a run: all of it for machines, a page for people, and the same with charts for a browser."""

from firelift.run.reports.final import TableReport, final_report
from firelift.run.reports.headline import is_empty
from firelift.run.reports.mark_rolled_back import note_rollback
from firelift.run.reports.page import html_report
from firelift.run.reports.summary import executive_summary
from firelift.run.reports.write import write_reports

__all__ = ["TableReport", "executive_summary", "final_report", "html_report", "is_empty", "note_rollback", "write_reports"]
