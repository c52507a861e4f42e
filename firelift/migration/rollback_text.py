"""What `firelift stop`, `rollback` and `cleanup` say, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from firelift.formatting import counted

if TYPE_CHECKING:
    from firelift.receipts import ExpiredBackup, Restored, RolledBack, StopRequest


def stop_text(request: StopRequest) -> str:
    lines = [f"{request.migration_id} was asked to stop; `firelift status --watch` shows when it has."]
    lines += [f"The request could not be left in the target: {request.unreached}"] if request.unreached else []
    return "\n".join([*lines, "Continue it with `firelift migrate --resume`.", ""])


def rollback_text(done: RolledBack) -> str:
    return _taken_back(done) + (f"{_latest(done)}\n" if done.latest_of_database else "")


def rollback_message(done: RolledBack) -> str:
    """What was done, in a line: `nightly is rolled back: 2 tables removed, 1 table as before.`"""
    said = _counts(done) if done.tables and not done.already else _taken_back(done).partition("\n")[0]
    return f"{said} {_latest(done)}".strip()


def _latest(done: RolledBack) -> str:
    return f"It was not the latest run of the database: that is {done.latest_of_database}." if done.latest_of_database else ""


def _counts(done: RolledBack) -> str:
    removed = sum(table.action == "created" for table in done.tables)
    counts = ((removed, "removed"), (len(done.tables) - removed, "as before"))
    named = ", ".join(f"{counted(number, 'table')} {what}" for number, what in counts if number)
    others = f", changes by others undone in {counted(len(done.overridden), 'table')}" if done.overridden else ""
    left = f", {len(done.indexes_left)} of our indexes not back yet" if done.indexes_left else ""
    return f"{done.migration_id} is rolled back: {named}{others}{left}."


def _taken_back(done: RolledBack) -> str:
    if done.already:
        return f"{done.migration_id} was rolled back before; there is nothing left to undo.\n" + "".join(_left(done))
    if not done.tables:
        staged = "its staging tables are dropped" if done.staging_dropped else "nothing of it was in the target"
        return f"{done.migration_id} is rolled back: it had published nothing, and {staged}.\n"
    lines = [f"{done.migration_id} is rolled back."]
    for table in done.tables:
        lines.append(f"  {table.table}: {_restored(table)}")
    for changed in done.overridden:
        lines.append(f"  {changed.table}: later changes by others were undone too (--force)")
    lines += [line.rstrip("\n") for line in _left(done)]
    if done.app_config:
        lines.append(f"The app's configuration still names what the run made; its earlier version is kept in {done.app_config}.")
    return "\n".join(lines) + "\n"


def _left(done: RolledBack) -> Iterator[str]:
    """A line for each index that is not as it was."""
    from firelift.postgres.schema.indexes import statement_of

    for left in done.indexes_left:
        yield (
            f"An index of {left.target_schema}.{left.index.table} is not back yet, because another session may still see rows that are "
            f"gone and too long for it. Roll back once more when it has ended, or run VACUUM and {statement_of(left)}\n"
        )


def cleanup_text(expired: Sequence[ExpiredBackup], dropped: Sequence[str]) -> str:
    if not expired:
        return "No backup is old enough to drop.\n"
    lines = [
        f"{backup.migration_id}: {counted(len(backup.tables), 'table')}, {counted(backup.bytes, 'byte')}, "
        f"{counted(backup.age.days, 'day')} old"
        f"{', dropped' if backup.migration_id in dropped else ''}"
        for backup in expired
    ]
    if not dropped:
        lines.append("Nothing has been dropped: run `firelift cleanup --yes` to drop these. They cannot be rolled back then.")
    return "\n".join(lines) + "\n"


def _restored(table: Restored) -> str:
    if table.action == "created":
        return "removed: the run had created it"
    if table.action == "merged":
        return f"the run's changes are undone ({counted(table.rows or 0, 'row')} restored, digest equal)"
    return f"has its {counted(table.rows or 0, 'row')} back, digest equal"
