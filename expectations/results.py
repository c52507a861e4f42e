"""What was expected and what was found, expectation by expectation, as JSON (docs/verification.schema.json describes it)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, Literal

from expectations.gx_context import MOST_PLACES, PLACE, SuiteResult
from firelift.formatting import counted
from firelift.receipts import FailedExpectation, Receipt, Verified
from firelift.run.redact import redact
from firelift.settings.types import LevelName
from firelift.verification.checks import CHECKS
from firelift.verification.proof import Proof

Severity = Literal["critical", "warning", "info"]
SCHEMA_VERSION = 1
MOST_DIFFERENCES = 100
MOST_TEXT = 400
MOST_PIECES = 10_000


class Failure(Receipt):
    """One place in the target that is not as expected."""

    table: str
    column: str | None
    key: str | None
    expected: str
    observed: str
    recompute: str


class Entry(Receipt):
    """One expectation and its result."""

    suite: str
    level: LevelName
    table: str | None
    """None: it is about all tables."""
    column: str | None
    expectation: str
    sentence: str
    expected: str
    observed: str
    success: bool
    severity: Severity
    recompute: str
    raised: str | None = None
    """The error where the expectation could not be evaluated; then nothing is known about the data."""
    failures_total: int = 0
    failures: tuple[Failure, ...] = ()
    """The first hundred."""


def entries_of(suite_results: Sequence[SuiteResult]) -> list[Entry]:
    return [_entry(suite_result, result) for suite_result in suite_results for result in suite_result.result.results]


def verified(proof: Proof, entries: Sequence[Entry], results: str) -> Verified:
    """The receipt: what failed, what is only worth a warning, and the proof's own figures."""
    failed = [entry for entry in entries if not entry.success and entry.severity == "critical"]
    return Verified(
        level=proof.level,
        against=proof.against,
        completeness=proof.completeness,
        seed=proof.seed,
        passed=not failed,
        tables=proof.tables,
        compared=sum(table.compared for table in proof.tables),
        reread=sum(reread.asked for reread in proof.rereads if not reread.unavailable),
        expectations=len(entries),
        failed=tuple(failure for entry in failed for failure in _failed(entry))[:MOST_PLACES],
        failed_total=sum(entry.failures_total for entry in failed),
        differences_total=proof.differences_total,
        differences=proof.differences[:MOST_DIFFERENCES],
        warnings=(*proof.warnings, *_uncounted(proof), *(warning for entry in entries for warning in _warned(entry))),
        results=results,
    )


def as_json(migration_id: str, proof: Proof, entries: Sequence[Entry], done: Verified) -> str:
    """verification.json. It holds values of documents: as sensitive as the tables."""
    counts = {
        name: sum(getattr(table, name) for table in proof.tables) for name in ("documents", "rejected", "rows", "compared", "differing")
    }
    report = {
        "schemaVersion": SCHEMA_VERSION,
        "migrationId": migration_id,
        "level": proof.level,
        "against": proof.against,
        "completeness": proof.completeness,
        "schema": proof.schema_name,
        "seed": proof.seed,
        "readTime": proof.read_time,
        "passed": done.passed,
        "counts": {"tables": len(proof.tables), **counts, "reread": done.reread}
        | {"expectations": len(entries), "failedExpectations": sum(not entry.success for entry in entries)},
        **{name: _camel(getattr(proof, name)) for name in ("tables", "merged")},
        **{check.name: _camel(proof.found.get(check.name, ())) for check in CHECKS if check.find},
        # Of a sample, the keys that were compared; else the chunks.
        "pieces": _camel(proof.pieces[:MOST_PIECES]),
        "piecesTotal": len(proof.pieces),
        "differencesTotal": proof.differences_total,
        "differences": _camel(done.differences),
        "expectations": _camel(entries),
        "warnings": done.warnings,
        "versions": {name: version(name) for name in ("firelift", "great-expectations", "pandas")},
    }
    return json.dumps(report, indent=1, ensure_ascii=False)


def _entry(suite_result: SuiteResult, result: Any) -> Entry:
    config = result.expectation_config
    notes = config.meta
    raised = _raised(result)
    failures = [] if raised or result.success else _failures(suite_result, config, result.result)
    return Entry(
        suite=suite_result.suite,
        level=notes["level"],
        table=suite_result.table,
        column=notes["column"] or config.kwargs.get("column") if suite_result.table else None,
        expectation=config.type,
        sentence=notes["sentence"],
        expected=_expected(config),
        observed=f"could not be looked at: {raised}" if raised else _observed(config, result.result, result.success),
        success=bool(result.success),
        severity=_severity(config),
        recompute=notes["recompute"],
        raised=raised,
        failures_total=0 if result.success else max(1, _total(suite_result, result.result)),
        failures=tuple(failures),
    )


def _severity(config: Any) -> Severity:
    named: Severity = getattr(config.severity, "value", config.severity)
    return named


def _raised(result: Any) -> str | None:
    info = result.exception_info or {}
    several = [info] if "raised_exception" in info else list(info.values())
    texts = [str(raised.get("exception_message") or "no reason given") for raised in several if raised.get("raised_exception")]
    return _short(redact(texts[0].split("\n")[0])) if texts else None


def _expected(config: Any) -> str:
    arguments = config.kwargs
    match config.type:
        case "expect_table_row_count_to_equal":
            return counted(arguments["value"], "row")
        case "expect_table_columns_to_match_set":
            return _short("columns " + ", ".join(arguments["column_set"]))
        case "expect_column_pair_values_to_be_equal":
            return f"{arguments['column_B']} = {arguments['column_A']}"
        case "expect_column_pair_values_a_to_be_greater_than_b":
            return f"{arguments['column_B']} ≤ {arguments['column_A']}"
        case "expect_column_values_to_be_in_set":
            return f"{arguments['column']} = {', '.join(map(str, arguments['value_set']))}"
        case _:
            return "0 rows"


def _observed(config: Any, found: Any, success: bool) -> str:
    match config.type:
        case "expect_table_row_count_to_equal":
            return counted(found["observed_value"], "row")
        case "expect_table_columns_to_match_set":
            missing = found.get("details", {}).get("mismatched", {}).get("missing", [])
            return _short("missing: " + ", ".join(missing)) if missing else "all there"
        case "unexpected_rows_expectation":
            return _rows(found)
        case "expect_column_values_to_not_be_null":
            return counted(found["unexpected_count"], "row")
        case _:
            places = found["element_count"]
            return f"all {places} as expected" if success else f"{found['unexpected_count']} of {places} not as expected"


def _rows(found: Any) -> str:
    rows = found.get("details", {}).get("unexpected_rows", [])
    examples = sorted("/".join(str(part) for part in row.values()) for row in rows)[:5]
    return _short(counted(found["observed_value"], "row") + (f", such as {'; '.join(examples)}" if examples else ""))


def _total(suite_result: SuiteResult, found: Any) -> int:
    return int(found.get("unexpected_count", 1)) if suite_result.frame is not None and found else 1


def _failures(suite_result: SuiteResult, config: Any, found: Any) -> list[Failure]:
    """Where a frame is not as expected: each row with both of its values."""
    if suite_result.frame is None:
        return []
    place = [column for column in PLACE if column in suite_result.frame]
    rows = {tuple(row[column] for column in place): row for row in suite_result.frame.to_dict("records")}
    wrong = [rows[tuple(index[column] for column in place)] for index in found["partial_unexpected_index_list"]]
    return [_failure(config.kwargs, row, config.meta["recompute"]) for row in wrong]


def _failure(arguments: Any, row: dict[Any, Any], recompute: str) -> Failure:
    if "value_set" in arguments:
        column, values = arguments["column"], ", ".join(map(str, arguments["value_set"]))
        expected, observed = _named(column, values), _named(column, row[column])
    else:
        expected, observed = (_named(column, row[column]) for column in (arguments["column_A"], arguments["column_B"]))
    # Inside a column or a kind of question, the place that it is about.
    inner = [str(row[name]) for name in ("key", "place", "what", "references") if name in row]
    return Failure(
        table=row["table"],
        column=row.get("column"),
        key=" ".join(inner) or None,
        expected=_short(expected),
        observed=_short(observed),
        recompute=str(row.get("recompute") or recompute),
    )


def _named(column: str, value: object) -> str:
    """The value with what it is. Of a digest the beginning is enough to see that it is another."""
    text = str(value)
    return f"{column.replace('_', ' ')} {text[:16] + '…' if column.endswith('_digest') and len(text) > 16 else text}"


def _failed(entry: Entry) -> Iterator[FailedExpectation]:
    """One a place, else one for the table."""
    for place in entry.failures or [entry]:
        key = getattr(place, "key", None)
        observed = f"{key}: {place.observed}" if key else place.observed
        table = place.table or "all"
        yield FailedExpectation(
            suite=entry.level,
            expectation=entry.expectation,
            table=table,
            column=place.column,
            expected=place.expected,
            observed=observed,
        )


def _uncounted(proof: Proof) -> Iterator[str]:
    """Warns of orphans in relations that nobody counted when the rows were loaded."""
    for relation in proof.relations:
        if relation.expected is None and relation.orphans:
            place = f"{relation.table}, {', '.join(relation.columns)}"
            yield f"{place}: {counted(relation.orphans, 'row')} without its row of {relation.references}; nobody counted them before."


def _warned(entry: Entry) -> Iterator[str]:
    if entry.success or entry.severity == "critical":
        return
    for place in entry.failures:
        yield f"{place.table}, {place.key}: {place.observed} ms, {place.expected} ms."


def _short(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


def _camel(receipts: Sequence[Receipt]) -> list[dict[str, Any]]:
    return [_renamed(receipt.model_dump(mode="json")) for receipt in receipts]


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {_name(key): _renamed(item) for key, item in value.items()}
    return [_renamed(item) for item in value] if isinstance(value, list) else value


def _name(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(part.title() for part in rest)
