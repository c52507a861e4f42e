"""The state of a run in a sentence, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firelift.formatting import count, counted, plain, shortened
from firelift.run.reports.increment_text import headline_of_increment, steps_after_increment
from firelift.run.workspace import catch_up_id
from firelift.settings.verification_level import LEVELS

_RESUME = "`firelift migrate --resume`"

_PHASE_REMEDY: Mapping[str, str] = {
    "pre_validation": f"Nothing has been written to the target. Fix the cause and run it again: {_RESUME}.",
    "extraction": f"No table of the target has been touched. Fix the cause and continue: {_RESUME}.",
    "transformation": f"No table of the target has been touched. Fix the cause and continue: {_RESUME}.",
    "import": f"Readers of the target see nothing of this run. Fix the cause and continue: {_RESUME}.",
    "verification": f"Nothing has been published. Look into `verification-results/` for what differs, fix it and continue: {_RESUME}.",
    "post_migration": f"Look at the error below: what was published stays. Fix the cause and continue: {_RESUME}.",
}


def is_empty(report: Mapping[str, Any]) -> bool:
    """Whether the database, or what was chosen of it, held no document."""
    return bool(
        report["status"] == "completed" and not report["tables"] and not report["statistics"].get("documentsRead") and not _tables(report)
    )


def _tables(report: Mapping[str, Any]) -> Any:
    """The tables that an increment speaks for, also where it changes none of them."""
    return report["increment"]["tables"] if report["increment"] else ()


def headline(report: Mapping[str, Any]) -> str:
    """The state of the run, for the first line that is read."""
    state: str = report["status"]
    if state == "failed":
        return f"Failed in {report['currentPhase'] or 'preparation'}: {_target_after_failure(report)}"
    if state == "rolled_back":
        return "Rolled back: the target is as it was before this run."
    if state == "stopped":
        return "Stopped on request."
    if state == "in_progress":
        return f"In progress: {report['currentPhase']}" if report["currentPhase"] else "In progress."
    return _headline_of_success(report)


def next_steps(report: Mapping[str, Any]) -> list[str]:
    """What to do now, by the state of the run."""
    state = report["status"]
    if state == "in_progress":
        return ["Wait, or watch it: `firelift status --watch`."]
    if state == "stopped":
        return [f"The run was stopped; nothing is lost. Continue it: {_RESUME}."]
    if state == "rolled_back":
        return ["Fix what made you roll it back, then migrate again: `firelift migrate`.", "The archive of this run is still there."]
    if state == "failed":
        last = report["errors"][-1] if report["errors"] else {}
        cause = [last["remedy"]] if last.get("remedy") else []
        return [*cause, _PHASE_REMEDY.get(report["currentPhase"] or "", f"Fix the cause and continue: {_RESUME}.")]
    return _after_success(report)


def _target_after_failure(report: Mapping[str, Any]) -> str:
    if report["rolledBack"] is not None:
        return "nothing was published, and the target is restored: it is as it was before this run."
    if report["currentPhase"] == "post_migration":
        return "the tables are published."
    return "the target's readers see nothing of this run."


def _headline_of_success(report: Mapping[str, Any]) -> str:
    if is_empty(report):
        return "Completed: the database held no documents, so there was nothing to move."
    if report["increment"]:
        return headline_of_increment(report, _proof_of_increment(report))
    if report["dryRun"]:
        of_what = ", from a sample" if report["mode"] == "test" else ""
        return f"Planned{of_what}: nothing has been written to the target."
    verified = report["verification"]
    if report["mode"] == "test":
        proof = proof_sentence(verified) if verified and verified["passed"] else "Nothing was verified."
        return f"Tried out: a sample went through all phases. {proof} {_whereabouts(report)}"
    proof = proof_sentence(verified) if verified and verified["passed"] else "Nothing was verified: rows and documents were only counted."
    return f"Completed: every document read is a row of the target or among the rejects. {proof}{_read_later(report)}"


def _read_later(report: Mapping[str, Any]) -> str:
    later = report["statistics"].get("readLater")
    if not later:
        return ""
    return (
        f" But Firestore gave up the snapshot of {report['readTime']}: the rest is as of later moments, up to {later[-1]}. "
        f"The incremental run `{catch_up_id(report['migrationId'])}` brings all to one moment."
    )


def _proof_of_increment(report: Mapping[str, Any]) -> str:
    verified = report["verification"]
    return proof_sentence(verified, report["increment"]) if verified and verified["passed"] else ""


def _whereabouts(report: Mapping[str, Any]) -> str:
    kept = (report["sample"] or {}).get("keptIn")
    return f"Its tables are in the schema `{kept}`." if kept else "Nothing of it is left in the target."


def what_is_wrong(report: Mapping[str, Any]) -> str:
    """What a verification found and where, in a line; empty where it found nothing."""
    verified = report["verification"]
    if verified is None or verified["passed"]:
        return ""
    if verified["differences"]:
        # A document says more than a count that does not add up.
        found = verified["differences"]
        first = next((difference for difference in found if difference["key"] != "*"), found[0])
        return _first_difference(first, verified["differencesTotal"])
    if verified["failed"]:
        first, total = verified["failed"][0], verified["expectationsFailed"]
        where = f" in {_quoted('.'.join(filter(None, (first['table'], first['column']))))}" if first["table"] else ""
        return f"{count(total)} of {count(verified['expectations'])} expectations not met, the first{where}: {plain(first['expectation'])}."
    return "The verification did not pass."


def _first_difference(first: Mapping[str, Any], total: int) -> str:
    number = counted(total, "difference") + ("" if total == 1 else ", the first")
    field = f", field {_quoted(first['field'])}" if first["field"] else ""
    values = f"expected {_quoted(first['expected'])}, found {_quoted(first['found'])}"
    return f"{number}: table {_quoted(first['table'])}, key {_quoted(first['key'])}{field}: {first['what']}, {values}."


def _quoted(text: str) -> str:
    """A short word from the data, as code; a backtick in it would end that."""
    shown = shortened(text, 60).replace("`", "'")
    return f"`{shown}`" if shown else "nothing"


AGAINST: Mapping[str, str] = {"archive": "the archive of what was read", "firestore": "Firestore, read again"}


def proof_sentence(verified: Mapping[str, Any], increment: Mapping[str, Any] | None = None) -> str:
    """What the verification compared with what, how many of how many, in a sentence."""
    compared = f"{_compared(verified, increment)} compared to the last bit with {AGAINST[verified['against']]}"
    found = counted(verified["differencesTotal"], "difference") if verified["differencesTotal"] else "no difference"
    return f"Verified ({verified['level']}): {compared}{_not_from_firestore(increment)}{_reread(verified)}, {found}."


def _compared(verified: Mapping[str, Any], increment: Mapping[str, Any] | None) -> str:
    """`all 5,000 documents`, `312 of 5,000 documents`, of an increment `all 15 documents whose rows were written`."""
    number, documents = verified["documentsCompared"], sum(table["documents"] - table["rejected"] for table in verified["tables"])
    what = f"document{'' if documents == 1 else 's'}{' whose rows were written' if increment else ''}"
    return f"{'all' if number == documents else f'{count(number)} of'} {count(documents)} {what}"


def _not_from_firestore(increment: Mapping[str, Any] | None) -> str:
    """Rewritten rows are compared with what they held before: Firestore was not asked about them."""
    rewritten = increment["totals"]["rewritten"] if increment else 0
    return f" ({count(rewritten)} of them made from existing rows, not read from Firestore)" if rewritten else ""


def _reread(verified: Mapping[str, Any]) -> str:
    if not LEVELS[verified["level"]].rereads:
        return ""
    return f", {count(verified['documentsReread']) if verified['documentsReread'] else 'none'} of them with Firestore once more"


def _after_success(report: Mapping[str, Any]) -> list[str]:
    if is_empty(report):
        return ["Check that project, database and `--collections` are the ones you want; if so, all is well."]
    if report["increment"]:
        return [*steps_after_increment(report), *_restart(report)]
    if report["mode"] == "test":
        return _after_test(report)
    if report["dryRun"]:
        return ["Read the plan (`firelift plan` prints it), then run `firelift migrate` with the same options."]
    steps = []
    if report["statistics"].get("readLater"):
        again = "`firelift migrate --migration-mode incremental --full-scan-every 1`"
        steps.append(f"Until the incremental run has succeeded the tables hold documents of several moments; if it has not, run {again}.")
    if report["statistics"].get("rowsRejected"):
        steps.append("Look at the rejected documents, kept whole under `rejects/` with their reasons.")
    if report["phases"].get("verification", {}).get("state") == "skipped":
        steps.append("Nothing was verified: compare some rows with Firestore before you rely on them.")
    done = report["phases"].get("post_migration", {}).get("result") or {}
    return [
        *steps,
        "Write policies for the new tables: row-level security is on, so that nobody but their owner and `service_role` reads them yet.",
        *_app_steps(done.get("app_config")),
        _clean_up({freed["what"] for freed in done.get("freed") or ()}),
    ]


def _restart(report: Mapping[str, Any]) -> list[str]:
    """After an increment only a configuration that has changed is mentioned."""
    updated = (report["phases"].get("post_migration", {}).get("result") or {}).get("app_config")
    return _app_steps(updated) if updated and updated["changed"] else []


def _after_test(report: Mapping[str, Any]) -> list[str]:
    """A sample shows most of what a full run will meet, never all of it."""
    kept = (report["sample"] or {}).get("keptIn")
    removal = f"Look at the tables in `{kept}`; `firelift rollback --migration-id {report['migrationId']}` removes them."
    return [
        *([removal] if kept else []),
        "Read the estimate and the warnings. Types are those of the sample: rarer values may give a column a wider type in the full run.",
        "Then run `firelift migrate` with the same options, without `--migration-mode test`.",
    ]


def _app_steps(updated: Mapping[str, Any] | None) -> list[str]:
    """What changed in the app's configuration: names, never values."""
    if updated is None:
        return ["Point the application at the new tables."]
    if not updated["old_file"]:
        return [f"`{plain(updated['file'])}` already had these values: restart the application if it has not read them yet."]
    names = ", ".join(f"`{plain(name)}`" for name in updated["changed"]) or "nothing"
    return [
        f"Restart the application: in `{plain(updated['file'])}` changed {names}. "
        f"As it was before it is kept in `{plain(updated['old_file'])}`; delete that when all is well."
    ]


def _clean_up(freed: set[str]) -> str:
    if "archive" in freed:
        return "The archive has been dropped. The working directory still holds reports and, if there are any, rejected documents."
    return "When the application runs on the new tables, delete the working directory: its archive holds all the data."
