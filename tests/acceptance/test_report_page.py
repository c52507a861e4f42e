"""The report as a reader opens it from disk, without a network: what is seen there is what the JSON says."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from firelift.formatting import count
from firelift.planning.increment import Increment
from firelift.run.reports import html_report
from tests.support.browser import Browser, Seen, browser
from tests.support.increment_cases import difference, whole, wider
from tests.support.report_cases import EVIL, Differs, report_of, samples, tables_of, verified

__all__ = ["browser"]

UGLY = tables_of([EVIL, "users", "users/*/orders", "a&b"])


def cells(seen: Seen, kind: str, name: str) -> dict[str, str]:
    """The figures in the row of a collection or table."""
    rows: dict[str, str] = {
        unescape(found[1]): found[2] for found in re.finditer(rf'<tr data-{kind}="([^"]*)">(.*?)</tr>', seen.dom, re.DOTALL)
    }
    return dict(re.findall(r'data-figure="(\w+)">([^<]*)<', rows[name]))


def tiles(seen: Seen) -> dict[str, str]:
    return dict(re.findall(r'<dd data-figure="(\w+)"[^>]*>([^<]*)<', seen.dom))


def opened(browser: Browser, report: dict[str, Any], directory: Path) -> Seen:
    page = directory / "migration-report.html"
    page.write_text(html_report(report))
    seen = browser.see(page)
    assert seen.console == ()
    assert seen.loads == []
    return seen


@pytest.mark.parametrize("differing", [0, 37])
def test_the_figures_on_the_page_are_those_of_the_report(browser: Browser, tmp_path: Path, differing: int) -> None:
    error = Differs(differences=differing) if differing else None
    report = report_of(tmp_path, tables=UGLY, proof=verified(UGLY, differing), error=error, throughput=samples())
    seen = opened(browser, report, tmp_path)
    figures = report["statistics"]
    assert (
        tiles(seen).items()
        >= {
            "documentsRead": count(figures["documentsRead"]),
            "rowsLoaded": count(figures["rowsLoaded"]),
            "rowsRejected": count(figures["rowsRejected"]),
            "readsBilled": count(report["readsBilled"]["total"]),
            "tables": "4",
        }.items()
    )
    for table in report["tables"]:
        said = cells(seen, "collection", table["collection"])
        assert said == {name: count(table[name]) for name in ("documents", "rows", "rejected", "residue")}
    for table in report["verification"]["tables"]:
        said = cells(seen, "table", table["table"])
        assert said == {name: count(table[name]) for name in ("documents", "rows", "compared", "differing")}
    assert f'data-status="{report["status"]}"' in seen.dom
    assert ("37 differences, the first: table" in seen.text) == bool(differing)


def test_what_the_data_say_stays_text(browser: Browser, tmp_path: Path) -> None:
    report = report_of(tmp_path, tables=UGLY, proof=verified(UGLY, 2), error=Differs(file=EVIL))
    seen = opened(browser, report, tmp_path)
    assert "<script" not in seen.dom
    assert EVIL in seen.text


@pytest.mark.parametrize("names", [[], [f"collection{number}" for number in range(500)]], ids=["no table", "500 tables"])
def test_any_number_of_tables_can_be_shown(browser: Browser, tmp_path: Path, names: list[str]) -> None:
    report = report_of(tmp_path, tables=tables_of(names))
    assert tiles(opened(browser, report, tmp_path))["documentsRead"] == count(report["statistics"]["documentsRead"])


def test_the_figures_of_an_increment_are_those_of_the_report(browser: Browser, tmp_path: Path) -> None:
    written = tables_of([EVIL, "users"])
    found = Increment(
        tables=(difference(EVIL, new=12, changed=3, deleted=1, steps=(wider(EVIL),)), difference("rooms"), whole("users", 40))
    )
    report = report_of(tmp_path, tables=written, proof=verified(written), increment=found)
    seen = opened(browser, report, tmp_path)
    totals = report["increment"]["totals"]
    assert tiles(seen).items() >= {name: count(totals[name]) for name in ("new", "changed", "gone", "unchanged")}.items()
    for table in (report["increment"]["tables"][0], report["increment"]["tables"][2]):
        assert cells(seen, "changed", table["table"]) == {name: count(table[name]) for name in ("new", "changed", "gone", "rewritten")}
    assert report["increment"]["tables"][0]["steps"][0] in seen.text
