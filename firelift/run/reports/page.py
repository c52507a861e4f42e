"""migration-report.html: the report with pictures, one file that needs no network, no script and no other file.

The pictures are HTML and SVG of the template's own. Matplotlib draws them as well, but in a fixed width and colour, so
that a telephone and a dark screen show them badly, and it brings 130 MB and 2 s at the end of every run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from firelift.formatting import count, counted, duration, plain, shortened, size
from firelift.run.reports.charts import MOST_BARS, bars, throughput
from firelift.run.reports.estimated import estimate_lines
from firelift.run.reports.headline import headline, proof_sentence, what_is_wrong
from firelift.run.reports.increment import SUMMED, changes, touched
from firelift.run.reports.increment_text import GONE, proof_of_tables, title_of_changes, why_unverified

_COMPARED = ("documents", "rejected", "rows", "compared", "differing", "whole")
MOST_DIFFERENCES, MOST_FAILED, MOST_COLUMNS, MOST_MESSAGES, MOST_STEPS = 20, 20, 100, 50, 50


def html_report(report: Mapping[str, Any], beside: Collection[str] = ()) -> str:
    """The page; `beside` names the files in the run's directory that it may link to."""
    verified = report["verification"]
    largest = {table["collection"]: table["documents"] for table in report["tables"]}
    choices = sorted(report["choices"], key=lambda table: -largest.get(table["collection"], 0))
    html: str = template().render(
        report=report,
        headline=headline(report),
        wrong=what_is_wrong(report),
        proof=f"{proof_sentence(verified, report['increment'])} {proof_of_tables(report)}".strip() if verified else "",
        unverified=why_unverified(report),
        changed=_changed(report) if report["increment"] else None,
        estimate=estimate_lines(report["estimate"]) if report["estimate"] else [],
        throughput=throughput(report["throughput"]),
        phases=[{"name": name, **phase} for name, phase in report["phases"].items()],
        longest=max([phase["durationSeconds"] or 0 for phase in report["phases"].values()], default=0) or 1,
        collections=bars(report["tables"], ("documents", "rows", "rejected", "residue")),
        verified=bars(verified["tables"] if verified else [], _COMPARED, "differing"),
        choices=choices[:MOST_BARS],
        more_choices=max(0, len(choices) - MOST_BARS),
        beside=beside,
        most={
            "differences": MOST_DIFFERENCES,
            "failed": MOST_FAILED,
            "columns": MOST_COLUMNS,
            "messages": MOST_MESSAGES,
            "steps": MOST_STEPS,
        },
    )
    return html


def _changed(report: Mapping[str, Any]) -> dict[str, Any]:
    """What an increment does to each table that changes."""
    increment = report["increment"]
    found = touched(increment)
    return {
        "title": title_of_changes(report),
        "gone": GONE[increment["deletes"]].capitalize(),
        "bars": bars([{**table, "documents": changes(table)} for table in found], (*SUMMED, "documents")),
        "steps": [step for table in found for step in table["steps"]],
        "untouched": len(increment["tables"]) - len(found),
    }


@cache  # to make it takes a third of a second, which a run has to spare before its end
def template() -> Any:
    import jinja2  # not for --help

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": count,
        "counted": counted,
        "duration": duration,
        "bytes": size,
        "plain": plain,
        "short": shortened,
        "moment": moment,
        "span": span,
        "compact": compact,
        "ticks": ticks,
    }
    return environment.get_template("page.html.j2")


def moment(time: str | None) -> str:
    """`2026-11-22 10:30:00 UTC`; the files themselves have the exact time."""
    return f"{time[:10]} {time[11:19]} UTC" if time else "not yet"


def span(seconds: float) -> str:
    """Times along an axis: 0, 0.4 s, 30 s, 2 min, 1 h, 1 h 30 min."""
    if 0 < seconds < 10 and seconds != round(seconds):
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole else "0"
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return " ".join(f"{number} {unit}" for number, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if number)


def compact(number: float) -> str:
    """A number along an axis: 0, 2.5, 7,500, 10 M."""
    if number >= 1_000_000:
        return f"{number / 1_000_000:g} M"
    return f"{number:,.0f}" if number == round(number) else f"{number:g}"


def ticks(text: str) -> Any:
    """A sentence of ours with `code` in it; what came from the data in between stays text."""
    import markupsafe

    parts = plain(text).split("`")
    if len(parts) % 2 == 0:
        return plain(text)
    code = markupsafe.Markup("<code>{}</code>")
    return markupsafe.Markup("").join(code.format(part) if number % 2 else part for number, part in enumerate(parts))
