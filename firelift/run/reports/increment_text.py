"""What an incremental run has changed, or would change, in sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from firelift.formatting import count, counted, plain
from firelift.run.reports.increment import touched, writes

GONE: Final[Mapping[str, str]] = {"propagate": "deleted", "mark": "marked as deleted", "ignore": "gone, but left in the target"}
"""What becomes of the rows of documents that are gone, by `--deletes`."""
_REWRITTEN: Final = "rewritten because a column's type changed"
_COMMAND: Final = "`firelift migrate --migration-mode incremental`"
_LATER: Final = f"Keep the target in step: run {_COMMAND} again, or let the deployment `migration/incremental` do it on its schedule."
_UNDO: Final = "To take this run back, and only this one: `firelift rollback`."


def headline_of_increment(report: Mapping[str, Any], proof: str) -> str:
    """How a completed increment, or the plan of one, reads in a line."""
    increment = report["increment"]
    if not touched(increment):
        return f"Planned. {nothing_to_do(increment)}" if report["dryRun"] else f"Completed: {_unchanged(increment)}; {_holds(report)}."
    if report["dryRun"]:
        return f"Planned: {foreseen(increment)}; nothing has been written to the target."
    return f"Completed: {happened(increment)}; {_holds(report)}.{' ' if proof else ''}{proof}"


def title_of_changes(report: Mapping[str, Any]) -> str:
    """The title of the table of an increment's changes, by the state of the run."""
    if report["dryRun"]:
        return "What would change"
    return {"completed": "What has changed", "rolled_back": "What had changed"}.get(report["status"], "What is to change")


def happened(increment: Mapping[str, Any]) -> str:
    """`12 new, 3 changed, 1 deleted, 2 schema changes`."""
    totals = increment["totals"]
    words = {"new": "new", "changed": "changed", "gone": GONE[increment["deletes"]], "rewritten": _REWRITTEN}
    return ", ".join([*(f"{count(totals[name])} {word}" for name, word in words.items() if totals[name]), *_schema_changes(totals)])


def nothing_to_do(increment: Mapping[str, Any]) -> str:
    """Of the plan of an increment that changes nothing, in a line."""
    return f"Nothing to do: {_unchanged(increment)}; {_looked_at(increment)}."


def proof_of_tables(report: Mapping[str, Any]) -> str:
    """What a passed verification says of the whole tables of an increment; empty for other runs, and where none was counted."""
    if not report["increment"]:
        return ""
    increment = report["increment"]
    tables = sum(table["how"] == "difference" and table["scanned"] for table in touched(increment))
    if not tables:
        return ""
    left = " and rows left of documents that are gone" if increment["deletes"] == "ignore" else ""
    these = f"{'the' if tables == 1 else 'each of the'} {counted(tables, 'table')} that changed, of {count(len(increment['tables']))},"
    return f"With the increment {these} has as many rows as Firestore has documents{left}."


def why_unverified(report: Mapping[str, Any]) -> str:
    """Why there is no result of a verification."""
    if report["dryRun"]:
        return "A dry run has no rows to verify."
    if report["phases"]["verification"]["state"] != "skipped":
        return "The run did not come to a result of its verification."
    if report["increment"] and not writes(report["increment"]):
        return f"No row was written, so there was none to verify: {_looked_at(report['increment'])}."
    return "Verification was switched off: nothing was compared."


def steps_after_increment(report: Mapping[str, Any]) -> list[str]:
    """What to do after an increment that is completed, or planned."""
    found = touched(report["increment"])
    if not found:
        return [*_of_unscanned(report["increment"]), _LATER]
    if report["dryRun"]:
        return [f"Read what would be done (`firelift plan` prints it), then run {_COMMAND} with the same options."]
    return [*_of_rows(report), *_of_tables(found), *_of_unscanned(report["increment"]), _LATER, _UNDO]


def _of_rows(report: Mapping[str, Any]) -> Iterator[str]:
    increment = report["increment"]
    if report["statistics"].get("rowsRejected"):
        yield "Look at the rejected documents, kept whole under `rejects/` with their reasons; every run tries them again."
    if report["phases"]["verification"]["state"] == "skipped" and writes(report["increment"]):
        yield "Nothing was verified: compare some rows with Firestore before you rely on them."
    if increment["deletes"] == "ignore" and (gone := increment["totals"]["gone"]):
        yield f"Rows of documents that are gone stay in the target, as `--deletes ignore` says: {count(gone)}."


def _of_tables(found: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    if any(table["steps"] for table in found if table["how"] == "difference"):
        yield "See whether the application and your views get along with the schema changes."
    if new := sum(table["how"] == "whole" for table in found):
        these = counted(new, "new table")
        yield f"Write policies for {these}: row-level security is on, so that nobody but the owner and `service_role` reads them yet."


def _of_unscanned(increment: Mapping[str, Any]) -> Iterator[str]:
    if unscanned := _unscanned(increment):
        yield f"Deletions were not looked for in {counted(unscanned, 'table')}: a run that compares all keys does, see `--full-scan-every`."


def foreseen(increment: Mapping[str, Any]) -> str:
    """`12 rows would be inserted, 3 updated, 1 deleted, 2 schema changes`."""
    totals = increment["totals"]
    gone = "left, though their documents are gone" if increment["deletes"] == "ignore" else GONE[increment["deletes"]]
    words = {"new": "inserted", "changed": "updated", "gone": gone, "rewritten": _REWRITTEN}
    said = [(totals[name], word) for name, word in words.items() if totals[name]]
    first = [f"{counted(number, 'row')} would be {word}" for number, word in said[:1]]
    return ", ".join([*first, *(f"{count(number)} {word}" for number, word in said[1:]), *_schema_changes(totals)])


def _schema_changes(totals: Mapping[str, int]) -> list[str]:
    return [counted(totals["steps"], "schema change")] if totals["steps"] else []


def _unchanged(increment: Mapping[str, Any]) -> str:
    """With the run whose rows the documents were compared with, where it is one."""
    bases = {table["base"] for table in increment["tables"]} - {None}
    since = f"run {plain(bases.pop())}" if len(bases) == 1 else "the last run"
    return f"nothing was found to have changed since {since}" if _unscanned(increment) else f"nothing has changed since {since}"


def _looked_at(increment: Mapping[str, Any]) -> str:
    """What an increment knows of the documents it has not read: their keys and update times, and of some tables not even that."""
    keys, unscanned = increment["totals"]["keys"], _unscanned(increment)
    scanned = len(increment["tables"]) - unscanned
    by_key = f"{counted(keys, 'document')} compared with {'its row' if keys == 1 else 'their rows'} by key and update time"
    by_field = f"in {counted(unscanned, 'table')} only documents that a field says have changed were looked for, and none that are gone"
    return ", ".join(([by_key] if scanned else []) + ([by_field] if unscanned else []))


def _holds(report: Mapping[str, Any]) -> str:
    """What is known of the target now, and no more than that."""
    increment, settings = report["increment"], report["settings"]
    left_out = settings.get("collections") or settings.get("exclude_collections") or report["statistics"].get("documentsPassedOver")
    chosen = "the chosen collections of " if left_out else ""
    source = f"{chosen}Firestore as of {report['readTime']}"
    if _unscanned(increment):
        return _looked_at(increment)
    if not touched(increment):
        return f"key and update time of all {counted(increment['totals']['keys'], 'document')} in {source} are those of their rows"
    if writes(increment) and not (report["verification"] or {}).get("passed"):
        return f"the target was brought to {source}, unverified"
    but = []
    if rejected := report["statistics"].get("rowsRejected"):
        but.append(counted(rejected, "rejected document"))
    if increment["deletes"] == "ignore" and increment["totals"]["gone"]:
        but.append("the rows left")
    except_for = f"but for {' and '.join(but)} " if but else ""
    rows = f"{except_for}by key and update time the rows are those of the documents in {source}"
    unread = increment["totals"]["unchanged"] - increment["totals"]["rewritten"]
    return f"{rows} ({counted(unread, 'unchanged one')} not read)" if unread > 0 else rows


def _unscanned(increment: Mapping[str, Any]) -> int:
    return sum(not table["scanned"] for table in increment["tables"])
