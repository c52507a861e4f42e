"""A verification in the words of the reports, from the phase's receipt or, where it failed, from what it wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MOST = 100
"""Differences and failed expectations in the report; `verification-results/` has all."""


def verification(result: Mapping[str, Any] | None, proved: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """None where nothing was verified to the end. `result`: the receipt of one that passed; `proved`: what a failed one wrote."""
    if result is not None:
        return _of_receipt(result)
    return _of_file(proved) if proved is not None else None


def _of_receipt(result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "level": result.get("level"),
        "against": result.get("against"),
        "completeness": _text(result.get("completeness")),
        "seed": _text(result.get("seed")),
        "passed": bool(result.get("passed")),
        "documentsCompared": result.get("compared", 0),
        "documentsReread": result.get("reread", 0),
        "expectations": result.get("expectations", 0),
        "expectationsFailed": result.get("failed_total", 0),
        "failed": [_failed(failed) for failed in _first(result.get("failed"))],
        "differencesTotal": result.get("differences_total", 0),
        "differences": [_difference(difference) for difference in _first(result.get("differences"))],
        "tables": [_table(table) for table in result.get("tables") or ()],
        "warnings": [str(warning) for warning in result.get("warnings") or ()],
        "results": result.get("results", "verification-results"),
    }


def _of_file(proved: Mapping[str, Any]) -> dict[str, Any]:
    tables = [_table(table) for table in proved.get("tables") or ()]
    expectations: list[Mapping[str, Any]] = list(proved.get("expectations") or ())
    failed = [found for found in expectations if not found.get("success") and found.get("severity") != "warning"]
    return {
        "level": proved.get("level"),
        "against": proved.get("against"),
        "completeness": _text(proved.get("completeness")),
        "seed": _text(proved.get("seed")),
        "passed": bool(proved.get("passed")),
        "documentsCompared": sum(table["compared"] for table in tables),
        "documentsReread": sum(reread.get("asked", 0) for reread in proved.get("rereads") or () if not reread.get("unavailable")),
        "expectations": len(expectations),
        "expectationsFailed": len(failed),
        "failed": [_failed(found) for found in _first(failed)],
        "differencesTotal": proved.get("differencesTotal", 0),
        "differences": [_difference(difference) for difference in _first(proved.get("differences"))],
        "tables": tables,
        "warnings": [str(warning) for warning in proved.get("warnings") or ()],
        "results": "verification-results",
    }


def _first(found: Iterable[Mapping[str, Any]] | None) -> list[Mapping[str, Any]]:
    return list(found or ())[:MOST]


def _table(table: Mapping[str, Any]) -> dict[str, Any]:
    counts = {name: int(table.get(name) or 0) for name in ("documents", "rejected", "rows", "compared", "differing")}
    return {"collection": _text(table.get("collection")), "table": _text(table.get("table")), **counts, "whole": bool(table.get("whole"))}


def _difference(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _text(found.get(name)) for name in ("table", "key", "field", "what", "expected", "found")}


def _failed(found: Mapping[str, Any]) -> dict[str, Any]:
    column = found.get("column")
    return {
        **{name: _text(found.get(name)) for name in ("suite", "expectation", "table")},
        "column": None if column is None else _text(column),
        **{name: _text(found.get(name)) for name in ("expected", "observed")},
    }


def _text(value: object) -> str:
    return "" if value is None else str(value)
