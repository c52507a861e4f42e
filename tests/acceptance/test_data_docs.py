"""Data Docs as a reader sees them who has the files and no network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from psycopg import sql

import expectations
from firelift.local.postgres import PostgresServer
from firelift.planning.model import Plan
from firelift.postgres.schema.ddl import create_table
from firelift.postgres.schema.target_table import TargetTable
from firelift.postgres.session.connect import Session, connect
from firelift.receipts import Difference, Verified
from firelift.verification.proof import DigestUnit, Proof, Reread
from tests.support.browser import Browser, Seen, browser
from tests.support.postgres_tables import plan
from tests.support.proofs import DIGEST, OTHER, compared, measured, proof_of
from tests.support.whole_way import new_database

__all__ = ["browser"]

RUN = "migration-2026-11-22T10-30-00-123Z-abc123"
# Whoever renders a name or a value as HTML is found out.
EVIL = '<script>document.title="taken"</script><img src="http://198.51.100.7/x.png">&amp;'
USERS, ORDERS, ODD = plan("users", name="string"), plan("users/*/orders", parent="users"), plan("odd", table=EVIL[:60], note="string")
PLAN = Plan(database="projects/p/databases/(default)", tables=(USERS, ORDERS, ODD))
ROWS = {table.table: 0 for table in PLAN.tables}


class Site(NamedTuple):
    """What was written, and what it should say."""

    directory: Path
    told: Any
    done: Verified

    @property
    def pages(self) -> list[Path]:
        return sorted((self.directory / "data-docs").rglob("*.html"))


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> Iterator[str]:
    with new_database(postgres) as url, closing(connect(url, "firelift-test")) as connection:
        for table in PLAN.tables:
            connection.execute(create_table(TargetTable("public", table)))
            keys = sql.SQL(", ").join(map(sql.Identifier, table.keys))
            connection.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY ({})").format(sql.Identifier("public", table.table), keys))
        yield url


@pytest.fixture(scope="module")
def passed(url: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return site(url, proof_of(PLAN, ROWS), tmp_path_factory.mktemp("passed"))


@pytest.fixture(scope="module")
def failed(url: str, tmp_path_factory: pytest.TempPathFactory) -> Site:
    wrong = [
        DigestUnit(table=EVIL[:60], key=f"{EVIL} {number}", documents=1, source_digest=DIGEST, target_digest=OTHER) for number in range(3)
    ]
    proof = proof_of(
        PLAN,
        ROWS,
        pieces=(*wrong, DigestUnit(table="users", key=EVIL, documents=1, source_digest=EVIL, target_digest="", presence="source")),
        tables=(compared(USERS, 0, documents=7, rejected=3), compared(ORDERS, 0), compared(ODD, 0, differing=3)),
        rereads=(Reread(table="users", asked=200, differing=1),),
        differences_total=4,
        differences=(Difference(table="users", key="ann", field="name", what="value", expected=EVIL, found=EVIL),),
        performance=(measured(USERS, 77.5),),
    )
    return site(url, proof, tmp_path_factory.mktemp("failed"))


def site(url: str, proof: Proof, directory: Path) -> Site:
    done = expectations.validate(Session(url, "firelift-test"), PLAN, proof, directory, RUN)
    (directory / "differences.csv").write_text("table,key,field,what,expected,found\n")
    return Site(directory, json.loads((directory / "verification.json").read_text()), done)


@pytest.fixture(params=["passed", "failed"])
def any_site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue(request.param)
    return found


def figure(seen: Seen, name: str) -> int:
    (found,) = re.findall(rf'id="{name}">(\d+)<', seen.dom)
    return int(found)


def test_the_figures_are_those_of_the_json(browser: Browser, any_site: Site) -> None:
    seen = browser.see(any_site.directory / "data-docs" / "index.html")
    counts = any_site.told["counts"]
    for name in ("tables", "documents", "rejected", "rows", "compared", "reread", "expectations"):
        assert figure(seen, name) == counts[name], name
    assert figure(seen, "differences") == any_site.told["differencesTotal"]
    assert figure(seen, "met") == counts["expectations"] - counts["failedExpectations"]
    assert RUN in seen.text
    assert ("Passed" in seen.text) is any_site.told["passed"]


def test_the_pages_of_suites_have_the_figures_of_the_json_and_ask_no_network(browser: Browser, failed: Site) -> None:
    for page in failed.pages:
        seen = browser.see(page)
        assert seen.loads == []
        assert seen.console == ()
        assert "<script" not in seen.dom
        assert "<title>taken" not in seen.dom
        suite = page.relative_to(failed.directory / "data-docs").parts[1:2]
        asked = [each for each in failed.told["expectations"] if (each["suite"],) == suite]
        if asked:
            met = sum(each["success"] for each in asked)
            assert f"Evaluated Expectations {len(asked)} Successful Expectations {met} " in seen.text
            assert all(" ".join(each["sentence"].split()) in seen.text for each in asked)


def test_every_link_leads_somewhere(any_site: Site) -> None:
    for page in any_site.pages:
        links = [link for link in re.findall(r'(?:href|src)="([^"#]+)"', page.read_text()) if "://" not in link]
        assert links
        assert [link for link in links if not (page.parent / unquote(link)).exists()] == []


def test_what_is_wrong_stands_on_the_first_page(browser: Browser, failed: Site) -> None:
    text = browser.see(failed.directory / "data-docs" / "index.html").text
    assert f"Failed: {failed.done.failed_total} places are not as they should be." in text
    for each in failed.done.failed:
        assert " ".join(f"{each.table} {each.column or ''} {each.suite} {each.expected} {each.observed}".split()) in text
    assert f"users ann name value {EVIL} {EVIL}" in text
    assert "users, key lookup: p95 77.5 ms, limit 5.0 ms." in text


def test_a_site_is_small(any_site: Site) -> None:
    """Great Expectations' own has 4 MB of fonts and pictures."""
    assert sum(path.stat().st_size for path in (any_site.directory / "data-docs").rglob("*") if path.is_file()) < 600_000
