"""Data Docs that open from disk: what Great Expectations renders, without scripts, with a first page and a stylesheet of our own.

Great Expectations' pages load styles and scripts from eight servers and list the suites by script; without a network they are blank.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView
from jinja2 import Environment, FileSystemLoader

from expectations.gx_context import SuiteResult
from expectations.results import Entry
from expectations.suites import TITLES
from firelift.files import storage_errors
from firelift.receipts import Verified
from firelift.verification.proof import Proof

PAGES = Path(__file__).parent / "pages"
STYLE = "style.css"
# Some thousands of suites are still a page that a browser opens at once.
MOST_FAILURES_SHOWN = 200

_TEMPLATES = Environment(loader=FileSystemLoader(PAGES), autoescape=True, trim_blocks=True, lstrip_blocks=True)

_GONE = re.compile(
    r"<script\b.*?</script>|<style\b.*?</style>|<link\b[^>]*>|<img\b[^>]*>|<footer\b.*?</footer>|\son\w+=\"[^\"]*\"|<title>.*?</title>"
    r"| ?\{batch!s:\.0\}",
    re.DOTALL | re.IGNORECASE,
)
_SUITE_LINK = re.compile(r'<a href="[^"]*/expectations/[^"]*"\s*>(.*?)</a>', re.DOTALL)


class Suite(NamedTuple):
    """A page of the site."""

    name: str
    page: str
    entries: list[Entry]

    @property
    def title(self) -> str:
        """The table's own name, or what a frame holds."""
        return self.entries[0].table or TITLES[self.name.removeprefix("all-")]

    @property
    def good(self) -> int:
        return sum(entry.success for entry in self.entries)

    @property
    def state(self) -> str:
        failed = {entry.severity for entry in self.entries if not entry.success}
        return "failed" if "critical" in failed else "warning" if failed else "passed"


def write_docs(
    suite_results: Sequence[SuiteResult], to: Path, migration_id: str, proof: Proof, entries: Sequence[Entry], done: Verified
) -> None:
    """Makes the directory anew, in one step, for its owner only."""
    unfinished = to.with_name(f".{to.name}.new")
    with storage_errors(to):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        _build(suite_results, unfinished)
        suites = _suites(unfinished, entries)
        for suite in suites:
            _mend(unfinished / suite.page, suite, depth=suite.page.count("/"))
        facts = {"migration_id": migration_id, "proof": proof, "done": done, "entries": entries, "suites": suites}
        (unfinished / "index.html").write_text(
            _TEMPLATES.get_template("index.html").render(**facts, most=MOST_FAILURES_SHOWN, href=quote), encoding="utf-8"
        )
        shutil.copyfile(PAGES / STYLE, unfinished / STYLE)
        _make_private(unfinished)
        shutil.rmtree(to, ignore_errors=True)
        unfinished.replace(to)


def _build(suite_results: Sequence[SuiteResult], to: Path) -> None:
    """Writes a page for each suite where Great Expectations itself would. A suite's expectations are on the page of its results."""
    renderer, view = ValidationResultsPageRenderer(), DefaultJinjaPageView()
    for suite_result in suite_results:
        run = suite_result.result.meta["run_id"]
        directory = to / "validations" / suite_result.suite / run.run_name / run.run_time.strftime("%Y%m%dT%H%M%S.%fZ")
        directory.mkdir(parents=True)
        page = view.render(renderer.render(suite_result.result), show_how_to_buttons=False)
        (directory / f"{suite_result.result.batch_id}.html").write_text(page, encoding="utf-8")


def _suites(site: Path, entries: Sequence[Entry]) -> list[Suite]:
    by_suite: dict[str, list[Entry]] = {}
    for entry in entries:
        by_suite.setdefault(entry.suite, []).append(entry)
    pages = {page.relative_to(site).parts[1]: page.relative_to(site).as_posix() for page in site.glob("validations/**/*.html")}
    return [Suite(name, pages[name], entries_of_suite) for name, entries_of_suite in by_suite.items()]


def _mend(page: Path, suite: Suite, depth: int) -> None:
    up = "../" * depth
    html = _SUITE_LINK.sub(r"\1", _GONE.sub("", page.read_text(encoding="utf-8")))
    head = f'<title>{_text(suite.title)}</title>\n<link rel="stylesheet" href="{up}{STYLE}">\n</head>'
    ours = _TEMPLATES.get_template("suite.html").render(suite=suite, up=up)
    html = html.replace("</head>", head, 1).replace("<body>", f"<body>\n{ours}", 1)
    page.write_text(html, encoding="utf-8")


def _text(title: str) -> str:
    return _TEMPLATES.from_string("{{ title }}").render(title=title)


def _make_private(root: Path) -> None:
    root.chmod(0o700)
    for path in root.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
