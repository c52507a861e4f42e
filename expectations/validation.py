"""Validates the tables and the proof against the suites of a level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from expectations import suites
from expectations.data_docs import write_docs
from expectations.gx_context import GxContext, SuiteResult, open_context
from expectations.results import Entry, as_json, entries_of, verified
from firelift.errors import FireliftError
from firelift.files import write_whole
from firelift.planning.model import Plan
from firelift.postgres.schema.compatibility import ExistingTable, described_tables
from firelift.postgres.session.connect import Session
from firelift.postgres.session.errors import translated
from firelift.receipts import Verified
from firelift.verification.check import Evidence
from firelift.verification.proof import Proof

RESULT, DOCS = "verification.json", "data-docs"


class ExpectationErrored(FireliftError):
    """An expectation could not be looked at, so nobody knows whether the tables are right."""

    # The rows stay for --resume: nothing is known to be wrong with them.
    recovery = "after_fix"
    remedy = "Nothing is known to be wrong with the data. Run again with --resume; if it happens again, report it."


def validate(session: Session, plan: Plan, proof: Proof, results: Path, migration_id: str, check: Callable[[], None]) -> Verified:
    """See `expectations.validate`."""
    evidence = Evidence(plan, proof, _existing(session, proof.schema_name, plan))
    with open_context(session, proof.schema_name, migration_id, check) as gx_context:
        suite_results = [*_tables(gx_context, proof, evidence), *_frames(gx_context, proof, evidence)]
        entries = entries_of(suite_results)
        _refuse_errored(entries)
        done = verified(proof, entries, results.name)
        write_whole(results / RESULT, as_json(migration_id, proof, entries, done))
        write_docs(suite_results, results / DOCS, migration_id, proof, entries, done)
    return done


def _existing(session: Session, schema: str, plan: Plan) -> dict[str, ExistingTable]:
    with session.open() as connection, translated("looking at the tables"):
        return described_tables(connection, schema, [table.table for table in plan.tables])


def _tables(gx_context: GxContext, proof: Proof, evidence: Evidence) -> list[SuiteResult]:
    """A missing table can be asked nothing; the frames say that it is missing."""
    existing = [table for table in evidence.plan.tables if table.table in evidence.existing]
    return [gx_context.validate_table(table, suites.of_table(table, proof)) for table in existing]


def _frames(gx_context: GxContext, proof: Proof, evidence: Evidence) -> list[SuiteResult]:
    frames = suites.frames_of(evidence)
    by_frame = suites.of_frames(proof.level)
    return [gx_context.validate_frame(name, frames[name], suite) for name, suite in by_frame.items() if name in frames]


def _refuse_errored(entries: Sequence[Entry]) -> None:
    """Raises ExpectationErrored where nothing failed for certain. (An expectation about a missing column always errors.)"""
    failed = [entry for entry in entries if not entry.success and entry.severity == "critical"]
    if failed and all(entry.raised for entry in failed):
        first = failed[0]
        raise ExpectationErrored(table=first.table or "all", expectation=first.expectation, said=first.raised, others=len(failed) - 1)
