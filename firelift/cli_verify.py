"""What `firelift verify` says, in lines for people."""

from __future__ import annotations

from firelift.receipts import Verified
from firelift.run.text import counted

MOST = 20
AGAINST = {"archive": "the archive", "firestore": "Firestore"}


def verified_text(done: Verified) -> str:
    """How it went, then what differs, then where everything stands."""
    documents = sum(table.documents - table.rejected for table in done.tables)
    compared = f"{done.compared:,} of {documents:,} documents compared to the last bit"
    again = f", {done.reread:,} read from Firestore again" if done.reread else ""
    verdict = "All expectations are met." if done.passed else "The target does NOT say what Firestore said."
    lines = [
        verdict,
        f"{done.level}, against {AGAINST[done.against]}: {counted(len(done.tables), 'table')}, "
        f"{compared}{again}, {counted(done.expectations, 'expectation')}.",
        *_differences(done),
        *_failed(done),
        *(f"warning: {warning}" for warning in done.warnings),
        f"Results: {done.results} (verification.json, differences.csv, data-docs/index.html); the sample's seed is {done.seed}.",
    ]
    return "\n".join(lines) + "\n"


def _differences(done: Verified) -> list[str]:
    if not done.differences_total:
        return []
    listed = [
        f"  {' '.join(filter(None, (found.table, found.key, found.field)))}: {found.what}: expected {found.expected}, found {found.found}"
        for found in done.differences[:MOST]
    ]
    return [f"{counted(done.differences_total, 'difference')}:", *listed, *_more(done.differences_total, "differences.csv")]


def _failed(done: Verified) -> list[str]:
    if not done.failed_total:
        return []
    listed = [
        f"  {failed.table}{f'.{failed.column}' if failed.column else ''}: {failed.expectation}: "
        f"expected {failed.expected}, observed {failed.observed}"
        for failed in done.failed[:MOST]
    ]
    return [f"{counted(done.failed_total, 'expectation')} not met:", *listed, *_more(done.failed_total, "verification.json")]


def _more(total: int, file: str) -> list[str]:
    return [f"  … and {total - MOST:,} more in {file}"] if total > MOST else []
