"""What verification has compared, and what it found."""

from __future__ import annotations

from firelift.receipts.receipt import Receipt


class Difference(Receipt):
    """A difference between target and Firestore. Values are shortened, so it never has a whole document."""

    table: str
    key: str
    """The document's key joined by `/`; `*` for the whole table."""
    field: str = ""
    """The field path inside the document; empty for a difference of the whole row."""
    what: str
    """`value`, `type`, `missing field`, `unexpected field`, `missing row`, `unexpected row`, `unreadable row`, `create time`, ..."""
    expected: str
    found: str


class TableCompared(Receipt):
    """One table: the rows it should have, the rows it has, and how many documents were compared to the last bit."""

    collection: str
    table: str
    documents: int
    """Read from Firestore; `rows` should be that without those `rejected`."""
    rejected: int
    rows: int
    compared: int
    differing: int
    """Documents that differ, are missing, or are unexpected."""
    whole: bool
    """Every document was compared, not only a sample."""


class FailedExpectation(Receipt):
    """An expectation of a suite that the target does not meet."""

    suite: str
    expectation: str
    table: str
    column: str | None
    expected: str
    observed: str


class RunVerified(Receipt):
    """The published tables of one run, compared with the documents of its snapshot."""

    migration_id: str
    read_time: str
    against: str
    tables: int
    documents: int
    compared: int
    passed: bool
    results: str


class Verified(Receipt):
    """A summary of what was verified; `verification-results/verification.json` has the details."""

    level: str
    against: str
    completeness: str = ""
    """How it was shown that no document is missing on the side of Firestore."""
    seed: str
    passed: bool
    tables: tuple[TableCompared, ...]
    compared: int
    reread: int
    expectations: int
    failed: tuple[FailedExpectation, ...] = ()
    """The first hundred of `failed_total`."""
    failed_total: int = 0
    differences_total: int = 0
    differences: tuple[Difference, ...] = ()
    """The first hundred."""
    warnings: tuple[str, ...] = ()
    results: str = "verification-results"
    runs: tuple[RunVerified, ...] = ()
    """For a published target: the runs whose tables were compared, each with the documents of its own snapshot."""
    not_looked_at: tuple[str, ...] = ()
    """Published tables that were not compared, each with the reason."""
