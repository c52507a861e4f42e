"""What `firelift verify` says, in lines for people."""

from __future__ import annotations

from firelift.formatting import counted
from firelift.receipts import RunVerified, Verified

MOST = 20
AGAINST = {"archive": "the archive of what was read", "firestore": "Firestore, read again"}


def verified_text(done: Verified) -> str:
    """The verdict, then what differs, then where the results are."""
    again = f", {counted(done.reread, 'document')} once more with Firestore" if done.reread else ""
    lines = [
        f"{_verdict(done)}{_unseen(done)}",
        *(_run(done.level, run) for run in done.runs),
        f"{counted(len(done.tables), 'table')}, {counted(done.expectations, 'expectation')}{again}.",
        *(f"not looked at: {table}" for table in done.not_looked_at),
        *_differences(done),
        *_failed(done),
        *(f"warning: {warning}" for warning in done.warnings),
        *(f"Results: {run.results} (verification.json, differences.csv, data-docs/index.html)" for run in done.runs),
        f"The sample's seed is {done.seed}.",
    ]
    return "\n".join(lines) + "\n"


def verified_message(done: Verified) -> str:
    """How it went and how many of how many were compared, in a line and without a value: it is for people who may not read the tables."""
    of = sum(run.documents for run in done.runs)
    compared = f"{done.compared:,} of {counted(of, 'document')} compared with {' and with '.join(_against(done))}"
    counts = f"{counted(len(done.tables), 'table')}, {compared}, {counted(done.expectations, 'expectation')}"
    return f"{_verdict(done)} {done.level}: {counts}.{_unseen(done)}"


def _unseen(done: Verified) -> str:
    """Said together with the verdict, which does not cover these."""
    return f" Not looked at: {counted(len(done.not_looked_at), 'published table')}." if done.not_looked_at else ""


def _verdict(done: Verified) -> str:
    return "All expectations are met." if done.passed else "The target does NOT match Firestore."


def _against(done: Verified) -> list[str]:
    return list(dict.fromkeys(AGAINST[run.against] for run in done.runs))


def _run(level: str, run: RunVerified) -> str:
    """What was compared with what, how many of how many."""
    compared = f"{run.compared:,} of {counted(run.documents, 'document')} compared to the last bit with {AGAINST[run.against]}"
    return f"{run.migration_id}, as of {run.read_time}, {level}: {counted(run.tables, 'table')}, {compared}."


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
